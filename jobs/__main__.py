"""The processes by name: `python -m jobs api`, `python -m jobs worker`."""

import sys

from jobs.main import run_api, run_worker

PROCESSES = {"api": run_api, "worker": run_worker}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in PROCESSES:
        sys.exit(f"usage: python -m jobs {'|'.join(PROCESSES)}")
    PROCESSES[sys.argv[1]]()

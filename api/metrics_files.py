"""Files in which the workers of one server share their metrics."""

import contextlib
import os

import psutil
from prometheus_client.multiprocess import mark_process_dead

FILES = ("counter", "histogram", "gauge_livesum", "gauge_livemax")  # a process's files, by prometheus_client's names
FILE_BYTES = 2**18  # for each file: several times the space of all its series


def reserve_files(folder: str) -> None:
    """Allocate the disk space of this process's metrics in advance. Raises OSError if there is none.

    prometheus_client maps sparse files into memory; on a full disk, the first write to a new page of one is SIGBUS,
    which ends the process.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS
        return
    for kind in FILES:
        with open(os.path.join(folder, f"{kind}_{os.getpid()}.db"), "ab") as file:
            os.posix_fallocate(file.fileno(), 0, FILE_BYTES)


def drop_dead_workers(folder: str) -> None:
    """Drop the gauges of workers that were killed; their counters stay."""
    for name in os.listdir(folder):
        kind, _, pid = name.removesuffix(".db").rpartition("_")
        if kind.startswith("gauge_live") and not is_worker(int(pid)):
            with contextlib.suppress(FileNotFoundError):  # another worker answered at the same time
                mark_process_dead(int(pid), folder)  # type: ignore[no-untyped-call]


def is_worker(pid: int) -> bool:
    """Whether a process is a worker of this server; its id may have been reused by another."""
    try:
        process = psutil.Process(pid)
        return process.ppid() == os.getppid() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

"""How many threads the model has, and threads for work beside it, which must not take the cores that it runs on."""

import math
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of all its cores in a period, and the period
NICE = 10  # of nice(2), as `nice` itself gives


def compute_threads(workers: int, quota: Path = QUOTA) -> int:
    """Threads for the arithmetic of one of so many workers: its share of the cores that this process may use.

    Products are no faster on two threads of one core; and threads beyond a container's quota stop all of them.
    """
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    if sys.platform == "linux":
        cores = min(cores, len(os.sched_getaffinity(0)))
    try:
        allowed, period = quota.read_text().split()
        cores = min(cores, math.ceil(int(allowed) / int(period)))
    except (OSError, ValueError):  # no such file, or "max"
        pass
    return max(1, cores // workers)


def background_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """A pool whose threads step back where the model's want to run; on Linux, where a thread has a priority of its own.

    A product waits for the slowest of its threads, so one that is interrupted costs all of them.
    """
    return ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=_step_back)


def _step_back() -> None:
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(NICE, os.getpriority(os.PRIO_PROCESS, thread)))

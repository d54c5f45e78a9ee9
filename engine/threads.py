"""The number of threads for the model, and low-priority threads for other work, so that the model keeps its cores."""

import logging
import math
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

logger = logging.getLogger(__name__)

CGROUP = Path("/sys/fs/cgroup")  # a container's: its share of CPU time
WAIT_POLICY, SPINS = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
NICE = 10  # priority for nice(2); the default of the `nice` command


def compute_threads(workers: int, cgroup: Path = CGROUP) -> int:
    """Threads for the arithmetic of one of `workers` processes: its share of the cores that this one may use.

    Matrix products are no faster on two threads of one core, and threads beyond a container's quota stall all of them.
    """
    physical = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else physical
    quota = _quota(cgroup)
    cores = min(physical, allowed, math.ceil(quota) if quota else physical)
    threads = max(1, cores // workers)
    told = f", a quota of {quota:g}" if quota else ""
    logger.info("Threads: %d; %d cores, of which %d may be used%s", threads, physical, min(physical, allowed), told)
    return threads


def _quota(cgroup: Path) -> float | None:
    """Cores whose time this process may use at most, by version 2 of cgroups or version 1; None: no limit."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            used, period = " ".join((cgroup / file).read_text() for file in files).split()
            return int(used) / int(period) if int(used) > 0 else None
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return None


def let_waiting_threads_sleep() -> None:
    """Let threads that wait for the others of a product spin for a moment, then sleep, unless the environment differs.

    By default they spin for long. Where anything else keeps a core busy, they take away the very time that the last one
    needs: a token of the embedded checkpoint took 5 to 40 times as long on two cores, one of them busy. But to wake one
    takes 30 to 50 us, 90 times in a step that is computed call by call. After 1000 rounds such a step of the 0.9B model
    in 8 bits took 0.72 of the time of sleeping at once, and 1.3 times it beside a busy core. OpenMP reads this once, so
    it is set before torch is imported.
    """
    if WAIT_POLICY not in os.environ and SPINS not in os.environ:
        os.environ |= {WAIT_POLICY: "PASSIVE", SPINS: "1000"}


def background_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """A pool whose threads yield to the model's, on Linux, where each thread has its own priority.

    A matrix product waits for the slowest of its threads, so an interruption of one delays all of them.
    """
    return ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=lower_priority)


def lower_priority() -> None:
    """Let this thread yield to the model's, on Linux."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(NICE, os.getpriority(os.PRIO_PROCESS, thread)))

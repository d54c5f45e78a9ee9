"""Threads for work beside the model, which must not take the cores that its arithmetic runs on."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

NICE = 10  # of nice(2), as `nice` itself gives


def background_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """A pool whose threads step back where the model's want to run; on Linux, where a thread has a priority of its own.

    A product waits for the slowest of its threads, so one that is interrupted costs all of them.
    """
    return ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=_step_back)


def _step_back() -> None:
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, max(NICE, os.getpriority(os.PRIO_PROCESS, thread)))

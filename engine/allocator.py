"""Settings of glibc's allocator, which otherwise keeps freed memory."""

import ctypes

M_ARENA_MAX = -8  # from glibc's malloc.h


def share_heaps() -> None:
    """Make threads that start later share two heaps, instead of eight per core.

    Memory that is free in one heap is of no use to another: more heaps take 100 to 150 MiB more for the same traffic.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(M_ARENA_MAX, 2)


def trim() -> None:
    """Return free memory to the system."""
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release is not None:
        release(0)

import platform
import subprocess
import sys

import pytest

HEAPS_OF_EIGHT_THREADS = """
import ctypes, threading
from engine.allocator import share_heaps

share_heaps()

together = threading.Barrier(8)

def allocate():
    together.wait()
    buffers = [ctypes.create_string_buffer(5000) for _ in range(100)]
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the others have one heap, or none of these names")
def test_threads_share_two_heaps() -> None:
    done = subprocess.run([sys.executable, "-c", HEAPS_OF_EIGHT_THREADS], capture_output=True, text=True, check=True)
    assert 1 <= done.stdout.count("<heap nr=") <= 2

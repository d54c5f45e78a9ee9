import os
import sys
import threading

import pytest

from engine.threads import NICE, background_pool


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
def test_a_background_thread_steps_back_alone() -> None:
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    with background_pool(1, "test") as pool:
        theirs = pool.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())).result()
    assert theirs == max(own, NICE)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own

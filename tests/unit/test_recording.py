"""A terminal session as an animated image."""

import re
import sys

from scripts.recording import Recording, Screen

ERASED = "print('\\x1b[31m1 of 2\\x1b[0m', end='', flush=True); time.sleep(0.5); print('\\r\\x1b[2K2 of 2')"


def test_a_session_shows_what_was_typed_and_each_line_for_its_time() -> None:
    recording = Recording()
    recording.run("count", [sys.executable, "-c", f"import time; {ERASED}"])
    image = recording.svg()
    shown = re.findall(r'<text class="([\w-]+)( last)?"[^>]*>(.*?)</text>', image)
    texts = {re.sub(r"<[^>]+>", "", text): bool(last) for _, last, text in shown}
    assert texts["$ count"]
    assert texts["2 of 2"]
    assert not texts["1 of 2"]
    assert re.search(r'<tspan fill="#\w{6}">1 of 2</tspan>', image)


def test_a_bar_of_two_lines_is_written_over_itself() -> None:
    screen = Screen()
    screen.write("one\r\ntwo\r\x1b[2K\x1b[1A\x1b[2K1\r\n2")
    assert screen.shown() == ("1", "2")

"""A terminal session, recorded as it runs and drawn as an animated SVG.

Knows as much of terminals as rich's bars need: line ends, carriage returns, lines that are erased, steps up, colours.
"""

import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fcntl import ioctl
from html import escape
from itertools import pairwise

from rich.terminal_theme import SVG_EXPORT_THEME as THEME
from rich.text import Text

COLUMNS, ROWS = 118, 24
IDLE = 1.5  # seconds of a session without news that are shown
HELD = 6.0  # seconds that the end is shown
TYPING = 0.03  # seconds a letter
STEP = 0.2  # seconds between two frames
WIDTH, HEIGHT, SIZE = 7.8, 19, 13  # a character's, and its font
EDGE = 16
PIECES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+")

Lines = tuple[str, ...]  # a screen's, with their colours as ANSI has them


@dataclass
class Screen:
    """What a terminal shows."""

    lines: list[str] = field(default_factory=lambda: [""])
    row: int = 0

    def write(self, text: str) -> None:
        for piece in PIECES.findall(text):
            if piece == "\n":
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif piece == "\r":
                continue  # rich erases a line before it writes it again
            elif piece.endswith("K"):
                self.lines[self.row] = ""
            elif piece.endswith("A"):
                self.row -= int(piece[2:-1] or 1)
            elif not piece.startswith("\x1b") or piece.endswith("m"):
                self.lines[self.row] += piece

    def shown(self) -> Lines:
        return tuple(self.lines[-ROWS:])


class Recording:
    """Commands as a person types them, one after the other."""

    def __init__(self) -> None:
        self._screen = Screen()
        self._frames: list[tuple[float, Lines]] = []
        self._now = 0.0

    def run(self, line: str, arguments: Sequence[str], stop: Callable[[], bool] = lambda: False) -> None:
        """Type `line` and run `arguments`; press Ctrl-C once `stop` says so."""
        self._screen.write("\x1b[1m$ ")
        for letter in line:
            self._screen.write(letter)
            self._pass(TYPING)
        self._screen.write("\x1b[0m\n")
        self._pass(0.5)
        process, terminal = pty.fork()
        if process == 0:
            os.environ["TERM"] = "xterm-256color"
            os.execvp(arguments[0], list(arguments))  # noqa: S606
        ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._watch(terminal, process, stop)
        os.waitpid(process, 0)
        self._pass(IDLE)

    def _watch(self, terminal: int, process: int, stop: Callable[[], bool]) -> None:
        before, stopped = time.monotonic(), False
        while True:
            ready, _, _ = select.select([terminal], [], [], 0.05)
            if not stopped and stop():
                os.kill(process, signal.SIGINT)
                stopped = True
            if not ready:
                continue
            try:
                news = os.read(terminal, 2**16)
            except OSError:  # the command has ended
                return
            now = time.monotonic()
            self._pass(min(IDLE, now - before))
            before = now
            self._screen.write(news.decode(errors="replace"))

    def _pass(self, seconds: float) -> None:
        """The screen is as it is for so long."""
        if not self._frames or self._frames[-1][1] != self._screen.shown():
            self._frames.append((self._now, self._screen.shown()))
        self._now += seconds

    def svg(self) -> str:
        end = self._now + HELD
        frames = _thinned([*self._frames, (self._now, self._screen.shown())])
        rows = max(len(lines) for _, lines in frames)
        texts, moves = [], set()
        for row in range(rows):
            for begin, stop, line in _spans(
                [(at, lines[row] if row < len(lines) else "") for at, lines in frames], end
            ):
                moves.add((begin, stop))
                texts.append(_text(line, row, _name(begin, stop), last=stop == end))
        width, height = COLUMNS * WIDTH + 2 * EDGE, rows * HEIGHT + 2 * EDGE
        style = "\n".join(_keyframes(begin, stop, end) for begin, stop in sorted(moves))
        return SVG.format(width=width, height=height, size=SIZE, end=f"{end:.2f}", moves=style, texts="\n".join(texts))


SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}">
<style>
text {{ font: {size}px ui-monospace, 'DejaVu Sans Mono', monospace; fill: #c5c8c6; white-space: pre; }}
text {{ animation-duration: {end}s; animation-timing-function: step-end; animation-iteration-count: infinite; }}
@media (prefers-reduced-motion) {{ text {{ animation: none !important }} text:not(.last) {{ display: none }} }}
{moves}
</style>
<rect width="100%" height="100%" rx="8" fill="#1c1f24"/>
{texts}
</svg>
"""


def _thinned(frames: Sequence[tuple[float, Lines]]) -> list[tuple[float, Lines]]:
    """Frames at least STEP apart, the last of each step."""
    kept: dict[int, tuple[float, Lines]] = {}
    for at, lines in frames:
        kept[int(at / STEP)] = int(at / STEP) * STEP, lines
    return list(kept.values())


def _spans(seen: Sequence[tuple[float, str]], end: float) -> list[tuple[float, float, str]]:
    """From when to when a row showed which text."""
    starts = [seen[0], *(after for before, after in pairwise(seen) if before[1] != after[1])]
    ends = [at for at, _ in starts[1:]] + [end]
    return [(begin, stop, line) for (begin, line), stop in zip(starts, ends, strict=True) if Text.from_ansi(line).plain]


def _text(line: str, row: int, move: str, *, last: bool) -> str:
    made = Text.from_ansi(line)
    parts = []
    for part in made.divide(sorted({place for span in made.spans for place in (span.start, span.end)})):
        style = part.spans[0].style if part.spans else ""
        colour = getattr(getattr(style, "color", None), "get_truecolor", lambda _: None)(THEME)
        look = (f' fill="{colour.hex}"' if colour else "") + (
            ' font-weight="bold"' if getattr(style, "bold", 0) else ""
        )
        parts.append(f"<tspan{look}>{escape(part.plain)}</tspan>" if look else escape(part.plain))
    kind = f"{move} last" if last else move
    y = EDGE + row * HEIGHT + SIZE
    length = f'textLength="{len(made.plain) * WIDTH:.0f}" lengthAdjust="spacingAndGlyphs"'
    return f'<text class="{kind}" x="{EDGE}" y="{y}" {length}>{"".join(parts)}</text>'


def _name(begin: float, stop: float) -> str:
    return f"t{begin * 1000:.0f}-{stop * 1000:.0f}"


def _keyframes(begin: float, stop: float, end: float) -> str:
    name = _name(begin, stop)
    steps = [(0.0, "hidden")] if begin > 0 else []
    steps += [(begin, "visible")] + ([(stop, "hidden")] if stop < end else [])
    frames = " ".join(f"{100 * at / end:.3f}% {{ visibility: {how} }}" for at, how in steps)
    return f".{name} {{ animation-name: {name} }} @keyframes {name} {{ {frames} }}"

"""Sections of the GPU check: their figures, the bars that they are held against, their errors and times."""

import json
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

TRACEBACK_CHARS = 2000


class Section:
    """What one section found out."""

    def __init__(self, *, full: bool) -> None:
        """`full`: real size on a GPU, where times and memory count."""
        self._full = full
        self.figures: dict[str, Any] = {}
        self.bars: dict[str, dict[str, Any]] = {}

    def holds(self, name: str, value: Any, wanted: Any = True) -> None:
        """A bar on exactness."""
        self.bars[name] = {"value": value, "limit": wanted, "ok": value == wanted}

    def at_most(self, name: str, value: float, limit: float) -> None:
        """A bar on exactness: the value may not exceed the limit."""
        self.bars[name] = {"value": round(value, 5), "limit": limit, "ok": value <= limit}

    def speed(self, name: str, value: float, *, most: float | None = None, least: float | None = None) -> None:
        """A bar on times or memory, which only counts at the real size on a GPU."""
        if not self._full:
            return
        ok = (most is None or value <= most) and (least is None or value >= least)
        limit = {"most": most, "least": least}
        self.bars[name] = {
            "value": round(value, 4),
            "limit": {key: bound for key, bound in limit.items() if bound is not None},
            "ok": ok,
        }


class Report:
    """All sections run so far. Prints each as a line of JSON when it ends, and keeps the file `out` up to date."""

    def __init__(self, *, full: bool, seconds: float, out: Path | None) -> None:
        """`seconds`: time after which no further section begins."""
        self._full, self._seconds, self._out = full, seconds, out
        self._started = time.monotonic()
        self.sections: dict[str, dict[str, Any]] = {}

    @property
    def ok(self) -> bool:
        """No section was left out or failed, and no bar was missed."""
        return all("error" not in told and not missed(told) for told in self.sections.values())

    @property
    def whole(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "missed": [f"{name}: {bar}" for name, told in self.sections.items() for bar in missed(told)],
            "errors": [name for name, told in self.sections.items() if "error" in told],
            "seconds": round(time.monotonic() - self._started, 1),
            "sections": self.sections,
        }

    def run(self, name: str, work: Callable[[Section], None]) -> None:
        """Run one section; an error in it is recorded, and the next one goes on."""
        if time.monotonic() - self._started > self._seconds:
            self.sections[name] = {"error": "no time left"}
        else:
            self.sections[name] = self._told(work)
        print(json.dumps({name: self.sections[name]}), flush=True)
        if self._out is not None:
            self._out.write_text(json.dumps(self.whole, indent=1) + "\n")

    def _told(self, work: Callable[[Section], None]) -> dict[str, Any]:
        section, started = Section(full=self._full), time.monotonic()
        told: dict[str, Any] = {}
        try:
            work(section)
        except Exception as error:
            trace = traceback.format_exc()[-TRACEBACK_CHARS:]
            told = {"error": f"{type(error).__name__}: {error}"[:TRACEBACK_CHARS], "traceback": trace}
        told["seconds"] = round(time.monotonic() - started, 1)
        return told | {"bars": section.bars} | section.figures


def missed(told: dict[str, Any]) -> Sequence[str]:
    return [name for name, bar in told.get("bars", {}).items() if not bar["ok"]]

"""The labels of fields, and how they are found on a line.

Phrases match as whole words, in any case and spacing, with or without accents. If two begin at the same character, the
longer one wins. The labels of sums are words put together: `sum_labels.py`.
"""

import bisect
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from modes.phrases import ADDRESSES, COLUMNS, FIELDS
from modes.sum_labels import sum_of_name
from modes.wording import key_of, listed, normal, one_of

NEXT_LABEL = re.compile(r"\s(?=[A-ZÀ-ÖØ-ÞŁŚŻ]\w*(?:\s[a-zà-ÿ]\w*){0,3}\s?:(?:\s|$))")
"""The space before an unlisted label: a capitalised word, up to three lower-case ones, a colon."""

SEPARATOR = re.compile(r"[\s:#.\-_*=]*")
OPENING = " •*-·\t>○●▪□■#"  # what may stand before the first label of a line


@dataclass(frozen=True)
class Label:
    """A label that was found on a line."""

    field: str
    start: int  # start of the phrase on its line
    end: int  # start of its value
    stop: int  # start of the next label, or end of the line
    languages: tuple[str, ...] = ()


class Labels:
    """Finds labels on lines."""

    def __init__(self, extra: Mapping[str, Sequence[str]]) -> None:
        """Accept `extra` phrases by field, those of a caller's own schema."""
        every = [*listed(FIELDS), *((field, "", phrase) for field, phrases in extra.items() for phrase in phrases)]
        self._meanings: dict[str, tuple[str, tuple[str, ...]]] = {}
        for field, language, phrase in every:
            known, languages = self._meanings.get(key_of(phrase), (field, ()))
            self._meanings[key_of(phrase)] = known, (*languages, *([language] if language else []))
        self._pattern = one_of(phrase for _, _, phrase in every)

    def on(self, folded: str, shown: str, dates: Collection[int] = ()) -> list[Label]:
        """Labels at the line's start or a cell's, and later ones that a colon, a second word or a date confirms.

        `dates`: where dates begin on the line.
        """
        found: list[tuple[str, int, int, tuple[str, ...]]] = []
        for match in self._pattern.finditer(folded):
            field, languages = self._meanings[key_of(match[0])]
            before, after = folded[: match.start()], folded[match.end() :]
            gap = before[len(before.rstrip()) :]
            first = not before.strip(OPENING) or "\t" in gap or " " * 3 in gap
            colon = bool(re.match(r"\s?[:#]", after))
            several = " " in normal(match[0]) and found != []
            value = SEPARATOR.match(folded, match.end()).end()  # type: ignore[union-attr]  # it always matches
            dated = field in ("date", "due_date") and (value in dates or bool(re.match(r"\s\d", after)))
            if first or colon or several or dated:
                found.append((field, match.start(), value, languages))
        others = [match.end() for match in NEXT_LABEL.finditer(shown)]
        stops = sorted([*(start for _, start, _, _ in found), *others, len(folded)])
        return [Label(field, start, end, _first_from(stops, end), spoken) for field, start, end, spoken in found]

    def row(self, folded: str) -> list[tuple[str, int, int]]:
        """Field, start and end of each label of a line that is nothing but labels; empty for any other line."""
        found = [
            (self._meanings[key_of(match[0])][0], match.start(), match.end())
            for match in self._pattern.finditer(folded)
        ]
        rest = self._pattern.sub("", folded)
        return [] if re.search(r"\w", rest) else found


def _first_from(positions: Sequence[int], start: int) -> int:
    """The first of ascending positions from `start` on, else the last."""
    return positions[min(bisect.bisect_left(positions, start), len(positions) - 1)]


def words_of(name: str) -> str:
    """The words of a property's name: `invoiceNo`, `invoice_no` -> `invoice no`."""
    return normal(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name))


def field_of(name: str) -> str | None:
    """The known field that a property's name means."""
    return _FIELDS.get(words_of(name)) or sum_of_name(name)


def is_address(label: str) -> bool:
    """Whether the value of a label may go on over several lines."""
    words = label.strip(" :#.*\t")
    return key_of(words) in _ADDRESSES or words.endswith(" address")


def column_of(name: str) -> str | None:
    """The column of a list of items that a property's name means."""
    return _COLUMNS.get(words_of(name))


_FIELDS = {normal(phrase): field for field, _, phrase in listed(FIELDS)} | {normal(field): field for field in FIELDS}
_COLUMNS = {
    normal(head): column
    for column, languages in COLUMNS.items()
    for head in (*languages["en"].split(","), column)
    if column in ("name", "quantity", "unit_price", "amount", "unit")
}
_ADDRESSES = {key_of(phrase) for _, _, phrase in listed({"": ADDRESSES})}

"""A page as read for one schema; where its numbers could be read in two ways, in the way that makes its sums right."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from modes.items import items_of
from modes.labels import Labels
from modes.page import PageText, read_page
from modes.printed.style import Style
from modes.sums import CENT, sums_of

_SPACED = re.compile(r"(?<![\d.,/:-])\d{1,3} [1-9]\d\d(?:[.,]\d{2})?(?![\d.,]*\d)")
"""A blank that may part thousands or two numbers."""


def read(transcript: str, extra: Mapping[str, Sequence[str]]) -> PageText:
    """`extra`: labels of a caller's own schema by field."""
    labels = Labels(extra)
    page = read_page(transcript, labels)
    styles = list(_other_styles(page))
    if not styles or (_is_right(page) and not _is_open(page)):
        return page
    right = [own for style in styles if _is_right(own := read_page(transcript, labels, style))]
    return right[0] if len(right) == 1 else page


def _is_open(page: PageText) -> bool:
    return any(number.others for line in page.lines for number in line.numbers)


def _other_styles(page: PageText) -> Iterator[Style]:
    """The ways in which the page's numbers may be read as well."""
    if _is_open(page):
        yield from (replace(page.style, decimal=mark) for mark in ".,")
    if _SPACED.search(page.views.plain):
        yield replace(page.style, spaced=not page.style.spaced)


def _is_right(page: PageText) -> bool:
    """Whether the sums of a page add up."""
    sums = sums_of(page)
    amounts = [item.amount.number or Decimal() for item in items_of(page)]
    added = sum(amounts, Decimal())
    wholes = [option.number for kind in ("subtotal", "total") for option in sums.options[kind]]
    return sums.agreed or any(len(amounts) > 1 and abs(added - whole) < CENT for whole in wholes)

"""Boxes to tick: which of the words beside them are chosen."""

import re

from modes.page import Span

_TICKED = "☑☒✓✔✗✘■●◉⬛🗹🗷⊠"
_EMPTY = "☐□○◯⬜◻▢"
_BOX = re.compile(
    rf"(?P<ticked>[{_TICKED}]|[\[(]\s?[xX✓✔✗✘*•]\s?[\])])|(?P<empty>[{_EMPTY}]|\[\s{{0,3}}\]|\(\s{{1,3}}\))"
)


def ticked(text: str, span: Span) -> list[Span] | None:
    """The words beside the ticked boxes in a part of a text; None where it has no boxes.

    A box stands before its words, unless words stand before the first box.
    """
    boxes = list(_BOX.finditer(text, *span))
    if not boxes:
        return None
    before = text[span[0] : boxes[0].start()].strip(" \t:：") == ""
    found = []
    for index, box in enumerate(boxes):
        if box["ticked"] is None:
            continue
        if before:
            end = boxes[index + 1].start() if index + 1 < len(boxes) else span[1]
            words = box.end(), end
        else:
            words = (boxes[index - 1].end() if index else span[0]), box.start()
        if re.search(r"\w", text[slice(*words)]):
            found.append(words)
    return found


def label_of_boxes(text: str) -> Span | None:
    """The words before the first of several boxes, where each box stands before its own words."""
    boxes = list(_BOX.finditer(text))
    if len(boxes) < 2 or not re.search(r"\w", text[boxes[-1].end() :]):
        return None
    words = 0, boxes[0].start()
    return words if re.search(r"[^\W\d_]{2}", text[slice(*words)]) else None

"""The transcript of blocks as they stand on their pages, from which schemas are filled."""

import json
import math

import pytest

from answers.arranged import arranged
from answers.transcript import Transcript
from layout.blocks import Block
from layout.pages import ReadBlock, ReadPage
from models.detection import Box, Detection
from modes.form import Form
from modes.schemas import SCHEMAS, parse


def read(pages: list[list[tuple[str, Box]]]) -> tuple[list[ReadPage], Transcript]:
    """Pages with these blocks, whose words have ever less probability, and their transcript."""
    whole, made = Transcript(), []
    for index, blocks in enumerate(pages):
        page = ReadPage(index=index, size=(400, 400))
        for text, box in blocks:
            found = Block((Detection("text", 1.0, box, 0),), task=None)
            page.blocks.append(ReadBlock(block=found, text=text))
            own = Transcript()
            for number, word in enumerate(text.split(" ")):
                own.add(word if number == 0 else f" {word}", math.log(0.9 ** (number + 1)))
            whole.append(own, "\n\n")
        made.append(page)
    return made, whole


LABELS = ("Invoice no.\nInvoice date\nTotal", Box(10, 100, 120, 160))
VALUES = ("4711\n2025-03-14\n80.60", Box(200, 100, 300, 160))


def test_a_block_of_labels_and_the_block_of_their_values_beside_it_are_lines() -> None:
    found = arranged(*read([[("Acme Ltd", Box(10, 10, 120, 40)), LABELS, VALUES]]))
    assert found.text == "Acme Ltd\nInvoice no.\t4711\nInvoice date\t2025-03-14\nTotal\t80.60"
    filled = json.loads(Form(parse(SCHEMAS["invoice"]), found.text).content())
    assert (filled["invoice_number"], filled["date"], filled["total"]) == ("4711", "2025-03-14", 80.6)


def test_every_line_keeps_the_probabilities_of_its_words() -> None:
    found = arranged(*read([[("one\ntwo three", Box(0, 0, 100, 40)), ("four five", Box(200, 0, 300, 20))]]))
    assert found.text == "one\tfour five\ntwo three"
    assert found.probability_at(*place(found, "four")) == pytest.approx(0.9)
    assert found.probability_at(*place(found, "five")) == pytest.approx(0.81)
    assert found.probability_at(*place(found, "three")) == pytest.approx(0.81)


def test_the_rows_of_a_table_stay_rows() -> None:
    table = "<fcel>Item<fcel>Amount<nl><fcel>Tea<fcel>4.00<nl>"
    found = arranged(*read([[(table, Box(0, 0, 300, 60)), ("Total 4.00", Box(0, 80, 300, 100))]]))
    filled = json.loads(Form(parse(SCHEMAS["receipt"]), found.text).content())
    assert (filled["items"], filled["total"]) == ([{"name": "Tea", "qty": None, "price": 4}], 4)


def test_pages_follow_each_other_and_empty_ones_leave_nothing() -> None:
    pages = [[("one", Box(0, 0, 9, 9))], [], [("one", Box(0, 0, 9, 9)), ("", Box(0, 20, 9, 29))]]
    assert arranged(*read(pages)).text == "one\n\n---\n\none"


def place(found: Transcript, word: str) -> tuple[int, int]:
    start = found.text.index(word)
    return start, start + len(word)

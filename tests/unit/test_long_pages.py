"""The work of extraction grows with the length of a page, and no faster, whatever the page is made of."""

import sys
import time
from typing import Any

import pytest

from modes.form import Form
from modes.page import MAX_LINE
from modes.schemas import SCHEMAS, parse

RECEIPT = parse(SCHEMAS["receipt"])
LONGEST = 60_000  # characters, about what the longest answer of the model holds

UNITS = {
    "digits": "739182\n",
    "one line of groups": "123 456 789 ",
    "one line of labels": "Total: 1.00 Tax: ",
    "labels": "Total:\nDate:\nInvoice number\n",
    "labels with values": "Total: 5.00\nDue date: 01/02/2024\n03/04/2024\n",
    "addresses": "Address\n7 Mill Lane\n",
    "amounts": "12.50\n",
    "items": "Walnut bread 2 x 3.00 6.00\n",
    "items without decimals": "Bread 7\n",
    "a table of taxes": "VAT 7% 1.00 0.07 1.07\n",
    "cells": "| a | 2 | 3.00 |\n",
}
NAMES = {
    "blanks": " ",
    "empty lines": "\n",
    "tabs": "\t",
    "one word": "a",
    "one number": "7",
    "glued groups": "123'",
    "marks": "=",
    "rules": "|--",
    "glued labels": "Name:",
}


def calls(text: str) -> int:
    """How often the extraction of a receipt from a text calls a function of Python or C."""
    count = 0

    def counted(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        form = Form(RECEIPT, text)
        form.content()
        form.fields()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("shape", UNITS)
def test_four_times_the_text_is_four_times_the_work(shape: str) -> None:
    first, second = (UNITS[shape] * (size // len(UNITS[shape])) for size in (MAX_LINE, 4 * MAX_LINE))
    Form(RECEIPT, first)  # fills the caches of patterns
    assert calls(second) < 5 * calls(first)


@pytest.mark.parametrize("shape", NAMES)
def test_no_pattern_runs_away(shape: str) -> None:
    """Quadratic patterns take a minute for such pages, and count as one call each."""
    text = NAMES[shape] * (LONGEST // len(NAMES[shape])) + "x\nTotal 5.00"
    began = time.process_time()
    Form(RECEIPT, text)
    assert time.process_time() - began < 5


def test_a_long_line_is_read_as_any_other() -> None:
    text = "Lane Shop\nTotal 5.00 " + "Thank you for coming. " * 500
    assert '"total": 5.00' in Form(RECEIPT, text).content()


def test_a_number_that_is_too_long_for_a_line_is_not_read_in_parts() -> None:
    assert '"total": null' in Form(RECEIPT, "Total " + "7" * (MAX_LINE + 2)).content()

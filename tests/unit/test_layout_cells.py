"""Tables set anew: cells cut out and put close to each other, each on one line."""

import numpy as np
from PIL import Image

from layout.parts import parts_of_table
from models.detection import hull
from tests.printed import Sheet

DARK = 100  # grey level below which a pixel is ink


def table(
    *rows: tuple[tuple[int, int, str], ...], rules: tuple[int, ...] = (), down: tuple[int, ...] = ()
) -> Image.Image:
    """Texts at x and y, and rules across and down, cut out of their page."""
    sheet = Sheet()
    for row in rows:
        for x, y, text in row:
            sheet.line(x, y, text)
    for y in rules:
        sheet.pen.line((30, y, 700, y), fill=sheet.ink)
    for x in down:
        sheet.pen.line((x, rules[0], x, rules[-1]), fill=sheet.ink)
    left, top, right, bottom = hull(sheet.boxes)
    return sheet.image.crop(
        (int(left) - 12, int(top) - 12, max(int(right) + 12, 702 if rules else 0), int(bottom) + 12)
    )


def ink_of(image: Image.Image) -> int:
    return int((np.asarray(image.convert("L")) < DARK).sum())


def rows_of_ink(image: Image.Image) -> int:
    """Runs of pixel rows with ink."""
    marks = (np.asarray(image.convert("L")) < DARK).any(axis=1)
    return int((np.diff(np.pad(marks, 1).astype(int)) == 1).sum())


WIDE = [
    ((40, 40 + 40 * row, name), (600, 40 + 40 * row, price))
    for row, (name, price) in enumerate([("Item", "Price"), ("Bread", "125"), ("Milk", "199"), ("Coffee", "450")])
]


def test_columns_that_are_far_apart_come_close() -> None:
    image = table(*WIDE)
    (part,) = parts_of_table(image, 5)
    assert part.width < image.width / 3
    assert ink_of(part) == ink_of(image)
    assert rows_of_ink(part) == 4


def test_a_cell_of_a_dash_stays() -> None:
    image = table(*WIDE[:3], ((40, 160, "Tea"), (620, 160, "-")))
    (part,) = parts_of_table(image, 5)
    assert ink_of(part) == ink_of(image)


def test_rules_are_left_out() -> None:
    ruled = table(*WIDE, rules=(34, 74, 114, 154))
    (part,) = parts_of_table(ruled, 5)
    assert ink_of(part) == ink_of(table(*WIDE))


def test_lines_of_a_cell_come_on_one_line() -> None:
    image = table(
        ((40, 40, "Item"), (300, 40, "Price")),
        ((40, 90, "Walnut"), (300, 90, "125"), (40, 112, "bread")),
        ((40, 162, "Coffee"), (300, 162, "450"), (40, 184, "beans")),
    )
    (part,) = parts_of_table(image, 5)
    assert rows_of_ink(part) == 3
    assert ink_of(part) == ink_of(image)


def test_a_word_that_a_narrow_cell_breaks_is_whole_again() -> None:
    rows = [((40, 40, "Bottleca"), (140, 40, "4")), ((40, 62, "ps"),), ((40, 102, "Bread"), (140, 102, "12"))]
    rules, down = (34, 92, 132), (34, 106, 220)
    broken, apart = (parts_of_table(table(*rows, rules=rules, down=at), 5)[0] for at in (down, ()))
    assert broken.width < apart.width


def test_a_cell_over_two_columns_leaves_the_table_as_it_is() -> None:
    image = table(
        ((40, 40, "Prices of this and of the other year"),),
        *[((40, 80 + 40 * row, "Bread"), (300, 80 + 40 * row, "125")) for row in range(3)],
    )
    (part,) = parts_of_table(image, 5)
    assert part.size == (image.width + 2, image.height + 2)


def test_a_table_that_lies_askew_is_left_as_it_is() -> None:
    image = table(*WIDE).rotate(1, Image.Resampling.BICUBIC, expand=True, fillcolor=(255, 255, 255))
    (part,) = parts_of_table(image, 5)
    assert part.width == image.width + 2

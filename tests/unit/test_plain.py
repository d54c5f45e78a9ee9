"""Markdown as plain text."""

from exports.plain import plain_text


def test_signs_go_and_words_stay() -> None:
    assert plain_text("# A *title*\n\nOne line\nand another: $x^2$\n\n1986\\. A year") == (
        "A title\n\nOne line\nand another: $x^2$\n\n1986. A year\n"
    )


def test_cells_are_parted_by_tabs() -> None:
    table = "| Tree | Boxes |\n| --- | --- |\n| Apple | 41 |\n\nafter"
    assert plain_text(table) == "Tree\tBoxes\nApple\t41\n\nafter\n"


def test_no_word_goes_with_a_tag() -> None:
    assert plain_text("| a<br>b |\n| --- |\n\n<script>alert(1)</script>") == "a b\n\nalert(1)\n"


def test_tables_with_merged_cells_are_read_too() -> None:
    html = "<table><tr><td colspan=2>Fruit</td></tr><tr><td>Pear</td><td>26</td></tr></table>"
    assert plain_text(f"before\n\n{html}\n") == "before\n\nFruit\nPear\t26\n"

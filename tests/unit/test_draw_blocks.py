"""Pages with their blocks drawn, for people to look at."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scripts.draw_blocks import drawn, main, pages_of, tag

PAGE = Image.new("RGB", (400, 600), "white")
WHITE = (255, 255, 255)


def block(order: int, label: str, *box: int, **fields: Any) -> dict[str, Any]:
    return {"page": 1, "order": order, "label": label, "box": list(box), "parts": None, "cut": None, "error": None} | (
        fields
    )


def test_a_block_is_framed_where_it_lies() -> None:
    shown = drawn(PAGE, [block(1, "text", 100, 200, 300, 400)])
    assert WHITE not in {shown.getpixel(place) for place in [(100, 300), (300, 300), (200, 200), (200, 400)]}
    assert {shown.getpixel(place) for place in [(99, 300), (301, 300), (200, 401), (200, 300)]} == {WHITE}


def test_labels_differ_in_colour() -> None:
    shown = drawn(PAGE, [block(1, "text", 10, 100, 200, 200), block(2, "table", 10, 300, 200, 400)])
    assert shown.getpixel((200, 150)) != shown.getpixel((200, 350))


def test_each_box_of_a_block_is_framed() -> None:
    parts = [[10, 100, 100, 200], [200, 100, 300, 200]]
    shown = drawn(PAGE, [block(1, "text", 10, 100, 300, 200, parts=parts)])
    assert shown.getpixel((100, 150)) == shown.getpixel((300, 150)) != WHITE


def test_the_page_itself_stays_as_it_is() -> None:
    drawn(PAGE, [block(1, "text", 100, 200, 300, 400)])
    assert PAGE.getcolors() == [(400 * 600, WHITE)]


@pytest.mark.parametrize(
    ("fields", "said"), [({}, "3 text"), ({"error": "x"}, "3 text (unreadable)"), ({"cut": "length"}, "3 text (cut)")]
)
def test_a_tag_tells_the_order_the_label_and_what_went_wrong(fields: dict[str, str], said: str) -> None:
    assert tag(block(3, "text", 0, 0, 1, 1, **fields)) == said


def test_pages_of_a_pdf_are_drawn_as_the_server_draws_them(tmp_path: Path) -> None:
    file = tmp_path / "two.pdf"
    PAGE.save(file, save_all=True, append_images=[Image.new("RGB", (600, 400))], resolution=72)
    count, pages = pages_of(file.read_bytes())
    assert count == 2
    assert [page.width > page.height for page in pages] == [False, True]


def test_a_missing_server_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VLLM_URL", "http://127.0.0.1:9")  # the discard port, where nothing listens
    PAGE.save(tmp_path / "page.png")
    assert main([str(tmp_path / "page.png"), "-o", str(tmp_path / "out")]) == 1
    assert "scripts/serve" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

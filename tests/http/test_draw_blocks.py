"""scripts/draw_blocks.py against a real server whose layout network finds given boxes."""

from pathlib import Path

import pytest
from PIL import Image

from scripts.draw_blocks import main
from tests.checkpoints import write_script
from tests.documents import SIZE, detections, finds, page
from tests.engines import running_engine
from tests.http.sockets import served


def test_each_page_of_a_document_gets_its_blocks_and_the_document_its_markdown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds(monkeypatch, detections(["doc_title", "image"]), detections(["image", "text"]))
    file = tmp_path / "scan.tiff"
    page("One", "").save(file, save_all=True, append_images=[page("", "Two")], compression="tiff_deflate")
    checkpoint = write_script(tmp_path / "model", "One", " two", " three.")
    out = tmp_path / "out"
    with running_engine(checkpoint) as engine, served(engine) as url:
        monkeypatch.setenv("VLLM_URL", url)
        assert main([str(file), "-o", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["scan-1.blocks.png", "scan-2.blocks.png", "scan.md"]
    assert (out / "scan.md").read_text() == "# One two three.\n\n---\n\nOne two three.\n"
    drawn = [Image.open(out / f"scan-{number}.blocks.png") for number in (1, 2)]
    assert [image.size for image in drawn] == [SIZE, SIZE]
    # Lower edges of the two images: boxes of text are fitted to their ink, those of images stay.
    edges = [[image.getpixel((300, bottom)) != (255, 255, 255) for bottom in (110, 230)] for image in drawn]
    assert edges == [[False, True], [True, False]]

"""The exam's pages with their truth: sources set by three renderers, drawn by pdfium, in files and back.

Every page is a PNG with a JSON of its name: {"renderer", "template", "columns", "dpi", "size": [width, height],
"blocks": [{"label", "box": [left, top, right, bottom], "order", "text", "level" of headings, "cells" of tables}]}.
"""

import itertools
import json
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pypdfium2
from PIL import Image

from training import exam_chromium, exam_groff, exam_libreoffice
from training.exam_sources import PLAN, make_page
from training.exam_truth import Found, TruthError, find_parts, read_sheet
from training.render_text import require_packages

RENDERERS: dict[str, Any] = {"libreoffice": exam_libreoffice, "chromium": exam_chromium, "groff": exam_groff}
PROGRAMS = {"soffice": "libreoffice", "chromium": "chromium", "groff": "groff"}
FONT_PACKAGES = ("fonts-ebgaramond", "fonts-sil-gentium-basic", "fonts-vollkorn", "fonts-cabin")
SEED = 7000
SPARE = 4  # pages drawn in excess by each renderer, for those that it breaks


@dataclass(frozen=True)
class ExamPage:
    """A drawn page with its truth."""

    name: str
    image: Image.Image
    truth: dict[str, Any]


def require_renderers(programs: Sequence[str] = tuple(PROGRAMS)) -> None:
    """Install missing programs and fonts as root with apt-get; otherwise raise SystemExit naming them."""
    require_packages()
    wanted = [package for program in programs for package in _packages(program) if shutil.which(program) is None]
    known = subprocess.run(["fc-list", ":", "family"], capture_output=True, text=True, check=False).stdout
    fonts = [name for name in FONT_PACKAGES if name.split("-")[-1][:5] not in known.lower().replace(" ", "")]
    if "fonts-sil-gentium-basic" in fonts and "Gentium Book Basic" in known:
        fonts.remove("fonts-sil-gentium-basic")
    missing = [*wanted, *fonts]
    if not missing:
        return
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise SystemExit(f"{', '.join(missing)} are missing. Install them: sudo {' '.join(command)}")
    print("Installing", " ".join(missing), flush=True)
    subprocess.run(["apt-get", "update", "-q"], check=True, stdout=subprocess.DEVNULL)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)


def _packages(program: str) -> Sequence[str]:
    return RENDERERS[PROGRAMS[program]].PACKAGES if program in PROGRAMS else (f"{program}-ocr",)


def render_pages(count: int) -> list[ExamPage]:
    """`count` pages, the renderers in turn. Raises SystemExit if a renderer fails, or breaks more pages than SPARE."""
    pages: list[ExamPage] = []
    with tempfile.TemporaryDirectory() as folder:
        for place, name in enumerate(RENDERERS):
            mine = range(place, count, len(RENDERERS))
            truths = _truths(name, place, len(mine) + SPARE, Path(folder))
            found = list(itertools.islice(truths, len(mine)))
            if len(found) < len(mine):
                raise SystemExit(f"{name} broke more than {SPARE} of {len(mine)} pages")
            pages += [ExamPage(f"page-{i + 1:03}", *truth) for i, truth in zip(mine, found, strict=True)]
    return sorted(pages, key=lambda page: page.name)


def _truths(name: str, seed: int, count: int, folder: Path) -> Iterator[tuple[Image.Image, dict[str, Any]]]:
    """Drawn pages of one renderer with their truth, without those that it broke, such as a table over two columns."""
    renderer, rng = RENDERERS[name], random.Random(SEED + seed)
    sources = [
        make_page(rng, *PLAN[i % len(PLAN)], renderer.FAMILIES, with_formulas=renderer.SETS_FORMULAS)
        for i in range(count)
    ]
    for source, (pdf, index) in zip(sources, renderer.render(sources, folder), strict=True):
        look = source.look
        with pypdfium2.PdfDocument(pdf) as document:
            sheet = read_sheet(document, index, look.dpi)
        try:
            found = find_parts(source, sheet)
        except TruthError as error:
            print(f"{name} broke a page: {error}")
            continue
        blocks = [_block(order, one) for order, one in enumerate(found)]
        truth = {"renderer": name, "template": look.template, "columns": look.columns, "dpi": look.dpi}
        yield sheet.image, truth | {"family": look.family, "size": list(sheet.image.size), "blocks": blocks}


def _block(order: int, found: Found) -> dict[str, Any]:
    block: dict[str, Any] = {"label": found.part.label, "box": list(found.box), "order": order, "text": found.text}
    if found.part.level:
        block["level"] = found.part.level
    if found.part.cells:
        block["cells"] = [list(row) for row in found.part.cells]
    return block


def save_pages(pages: Sequence[ExamPage], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for page in pages:
        page.image.save(folder / f"{page.name}.png")
        (folder / f"{page.name}.json").write_text(json.dumps(page.truth, indent=1))


def load_pages(folder: Path) -> list[ExamPage]:
    """The pages that `save_pages` wrote. Raises SystemExit if there are none."""
    pages = [
        ExamPage(file.stem, Image.open(file.with_suffix(".png")).convert("RGB"), json.loads(file.read_text()))
        for file in sorted(folder.glob("*.json"))
        if file.with_suffix(".png").exists()
    ]
    if not pages:
        raise SystemExit(f"{folder} holds no NAME.png with a NAME.json")
    return pages

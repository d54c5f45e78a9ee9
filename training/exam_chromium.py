"""Pages of the exam set by Chromium: HTML to PDF without a window."""

import html
import shutil
import subprocess
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from training.exam_images import draw_figure
from training.exam_sources import FORMULA, HEADING, IMAGE, TABLE, TITLE, Look, Page, Part

PACKAGES = ("chromium",)
FAMILIES = ("Open Sans", "Caladea", "Cantarell", "TeX Gyre Pagella", "EB Garamond", "Vollkorn", "Cabin")
MAX_SECONDS = 300
SETS_FORMULAS = True
SOFT_HYPHEN_FROM = 8  # letters of a word that may be broken in its middle

FORMULAS = (
    "<mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup>",
    "<mi>x</mi><mo>=</mo><mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mi>c</mi></mfrac>",
    "<munderover><mo>&sum;</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover>"
    "<msub><mi>a</mi><mi>i</mi></msub><mo>=</mo><mn>0</mn>",
    "<mi>y</mi><mo>=</mo><msqrt><mrow><mi>x</mi><mo>-</mo><mn>1</mn></mrow></msqrt>",
    "<mi>f</mi><mo>(</mo><mi>t</mi><mo>)</mo><mo>=</mo><mi>&alpha;</mi><mo>+</mo><mi>&beta;</mi><mi>t</mi>",
    "<mi>p</mi><mo>=</mo><mfrac><mn>1</mn><mrow><mn>1</mn><mo>+</mo><msup><mi>e</mi><mi>z</mi></msup></mrow></mfrac>",
)


def render(pages: Sequence[Page], folder: Path) -> list[tuple[Path, int]]:
    """One PDF for each size of paper, written to `folder`; the PDF and the sheet of every page, in order.

    Raises SystemExit if Chromium fails.
    """
    places: dict[int, tuple[Path, int]] = {}
    for paper in {page.look.paper for page in pages}:
        chosen = [i for i, page in enumerate(pages) if page.look.paper == paper]
        name = f"chromium-{round(paper[0])}"
        source, pdf = folder / f"{name}.html", folder / f"{name}.pdf"
        source.write_text(_document([pages[i] for i in chosen], paper, folder))
        _print(source, pdf)
        places |= {i: (pdf, sheet) for sheet, i in enumerate(chosen)}
    return [places[i] for i in range(len(pages))]


def _print(source: Path, pdf: Path) -> None:
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    profile = pdf.with_suffix(".profile")
    command += [f"--user-data-dir={profile}", f"--print-to-pdf={pdf}", source.resolve().as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=MAX_SECONDS, check=False)
    shutil.rmtree(profile, ignore_errors=True)
    if not pdf.exists():
        raise SystemExit(f"Chromium made no PDF of {source}: {done.stderr[-500:]}")


def _document(pages: Sequence[Page], paper: tuple[float, float], folder: Path) -> str:
    names = (f"chromium-{round(paper[0])}-{i}.png" for i in count())

    def image(part: Part) -> str:
        name = next(names)
        draw_figure(part.seed, part.aspect).save(folder / name)
        return name

    sheets = "".join(_sheet(page, [_part(part, page.look, image) for part in page.body]) for page in pages)
    return f"""<!doctype html><meta charset=utf-8><style>
@page {{ size: {paper[0]}pt {paper[1]}pt; margin: 0 }}
* {{ margin: 0; padding: 0 }}
.sheet {{ position: relative; width: {paper[0]}pt; height: {paper[1] - 0.5}pt; overflow: hidden; break-after: page }}
.flow {{ position: absolute; overflow: hidden; column-fill: auto }}
.header, .footer, .number, .note {{ position: absolute }}
h1, .authors {{ column-span: all }}
h1, h2, h3 {{ break-after: avoid; line-height: 1.2 }}
figure, table, ul, ol, math {{ break-inside: avoid }}
img {{ display: block; margin: auto }}
table {{ border-collapse: collapse; margin: 6pt auto }}
td, th {{ padding: 2pt 6pt; text-align: left }}
math {{ display: block math; margin: 8pt 0 }}
li {{ margin-left: 16pt }}
ul {{ list-style-type: "\\2022  " }}
</style>{sheets}"""


def _sheet(page: Page, body: Sequence[str]) -> str:
    look, margin = page.look, page.look.margin
    wide, high = look.paper
    below = margin + (70 if page.footnote else 0)
    style = (
        f"font: {look.size}pt/{look.leading:.2f} '{look.family}'; left: {margin}pt; top: {margin}pt; "
        f"width: {look.text_width}pt; height: {high - margin - below}pt; columns: {look.columns}; "
        f"column-gap: {look.gutter}pt; text-align: {'justify' if look.justified else 'left'}"
    )
    small = f"font: {look.size - 1.5}pt/1.25 '{look.family}'; left: {margin}pt; width: {look.text_width}pt"
    rule = "; border-bottom: 0.7pt solid; padding-bottom: 3pt" if look.rule else ""
    around = ""
    if page.header:
        around += f'<div class=header style="{small}; top: {margin - 30}pt{rule}">{_text(page.header, look)}</div>'
    if page.footer:
        around += f'<div class=footer style="{small}; bottom: {margin - 28}pt">{_text(page.footer, look)}</div>'
    if page.number:
        align = "right" if page.footer else "center"
        place = f"{small}; bottom: {margin - 28}pt; text-align: {align}"
        around += f'<div class=number style="{place}">{page.number.text}</div>'
    note = ""
    if page.footnote:
        place = f"{small}; top: {high - below + 12}pt; max-height: 52pt; overflow: hidden"
        line = f"position: absolute; left: {margin}pt; top: {high - below + 8}pt; width: 90pt; border-top: 0.6pt solid"
        note = f'<div style="{line}"></div><div class=note style="{place}">{_text(page.footnote, look)}</div>'
    flow = f'<div class=flow style="{style}">{"".join(body)}</div>'
    return f'<div class=sheet style="width: {wide}pt">{flow}{note}{around}</div>'


def _text(part: Part, look: Look) -> str:
    words = part.text.split(" ") if look.hyphens else [part.text]
    broken = (
        f"{word[: len(word) // 2]}&shy;{word[len(word) // 2 :]}"
        if word.isalpha() and len(word) >= SOFT_HYPHEN_FROM
        else html.escape(word)
        for word in words
    )
    return " ".join(broken).replace("\n", "<br>")


def _part(part: Part, look: Look, image: Callable[[Part], str]) -> str:
    if part.label in (TITLE, HEADING):
        size = look.size * (1.8, 1.3, 1.05)[part.level - 1]
        align = look.head_align if part.level == 1 else "left"
        style = f"font: bold {size:.1f}pt/1.2 '{look.head_family}'; text-align: {align}; padding: 8pt 0 5pt"
        return f'<h{part.level} style="{style}">{html.escape(part.text)}</h{part.level}>'
    if part.label == IMAGE:
        wide = look.column_width * 0.9
        return f'<figure style="padding: 6pt 0"><img src="{image(part)}" style="width: {wide:.0f}pt"></figure>'
    if part.label == TABLE:
        return _table(part, look)
    if part.label == FORMULA:
        return f"<math style='font-size: {look.size + 2}pt'>{FORMULAS[part.formula]}</math>"
    if part.ordered is not None:
        items = "".join(f"<li>{html.escape(item)}" for item in part.text.split("\n"))
        tag = "ol" if part.ordered else "ul"
        return f'<{tag} style="padding: 4pt 0; text-align: left">{items}</{tag}>'
    style = f"text-align: {part.align}; padding-bottom: 12pt" if part.alone else "padding-bottom: 7pt"
    if part.label == "figure_title":
        style = f"text-align: center; font-size: {look.size - 1}pt; padding: 3pt 0 7pt"
    elif not part.alone and look.indented:
        style = f"text-indent: {look.size * 1.6:.0f}pt"
    kind = " class=authors" if part.alone and look.template == "article" else ""
    return f'<p{kind} style="{style}">{_text(part, look)}</p>'


def _table(part: Part, look: Look) -> str:
    rule = "border: 0.7pt solid"
    whole = {"all": "", "rows": "", "head": "border-top: 0.9pt solid; border-bottom: 0.9pt solid"}[part.ruled]
    rows = []
    for i, cells in enumerate(part.cells):
        line = {
            "all": rule,
            "rows": "border-bottom: 0.7pt solid",
            "head": "border-bottom: 0.7pt solid" if not i else "",
        }
        tag = "td" if i else "th"
        rows.append(
            "<tr>" + "".join(f'<{tag} style="{line[part.ruled]}">{html.escape(cell)}</{tag}>' for cell in cells)
        )
    return f'<table style="{whole}; font-size: {look.size - 0.5}pt">{"".join(rows)}</table>'

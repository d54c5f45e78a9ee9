"""Pages of the exam set by groff with its ms macros: eqn, tbl, troff and its own PDF driver."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from training.exam_images import draw_figure
from training.exam_sources import FORMULA, HEADING, IMAGE, TABLE, TITLE, Look, Page, Part

PACKAGES = ("groff", "ghostscript", "fonts-urw-base35")
FAMILIES = ("T", "H", "P")  # Nimbus Roman, Nimbus Sans and P052; training has its other families
MAX_SECONDS = 60
SETS_FORMULAS = True
ESCAPES = str.maketrans(
    {"\\": "\\[rs]", "'": "\\[aq]", '"': "\\[dq]", "`": "\\[ga]", "^": "\\[ha]", "~": "\\[ti]"}
    | {"\u00a3": "\\[Po]", "\u20ac": "\\[Eu]"}
)
FORMULAS = (
    "E = m c sup 2",
    "x = { a + b } over c",
    "sum from { i = 1 } to n a sub i = 0",
    "y = sqrt { x - 1 }",
    "f ( t ) = alpha + beta t",
    "p = 1 over { 1 + e sup z }",
)


def render(pages: Sequence[Page], folder: Path) -> list[tuple[Path, int]]:
    """One PDF for each page, written to `folder`; the PDF and the sheet, always the first, of every page, in order.

    Raises SystemExit if groff fails.
    """
    places = []
    for i, page in enumerate(pages):
        source, pdf = folder / f"groff-{i}.ms", folder / f"groff-{i}.pdf"
        source.write_text(_source(page, folder, f"groff-{i}"))
        wide, high = page.look.paper
        command = ["groff", "-Tpdf", "-ms", "-e", "-t", f"-P-p{high / 72}i,{wide / 72}i", source.name]
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=MAX_SECONDS, check=False)
        if done.returncode or not done.stdout:
            raise SystemExit(f"groff made no PDF of {source}: {done.stderr.decode(errors='replace')[-500:]}")
        pdf.write_bytes(done.stdout)
        places.append((pdf, 0))
    return places


def _source(page: Page, folder: Path, name: str) -> str:
    look = page.look
    lines = [
        f".pl {look.paper[1]}p",
        f".nr PS {look.size * 1000:.0f}",
        f".nr VS {look.size * look.leading * 1000:.0f}",
        f".nr LL {look.text_width:.1f}p",
        f".nr PO {look.margin:.1f}p",
        f".nr HM {look.margin:.1f}p",
        f".nr FM {look.margin:.1f}p",
        f".nr FL {look.text_width:.1f}p",
        f".nr PI {look.size * 1.6:.0f}p",
        f".nr PD {0 if look.indented else look.size * 0.6:.1f}p",
        f".nr HY {6 if look.hyphens else 0}",
        f".fam {look.family}",
        f".ds FAM {look.family}",
        ".nr GROWPS 0",
        *(f".ds {side}{place}" for side in "LCR" for place in "HF"),
        f".ds LH {_text(page.header.text) if page.header else ''}",
        f".ds LF {_text(page.footer.text) if page.footer else ''}",
        f".ds {'R' if page.footer else 'C'}F {page.number.text if page.number else ''}",
        ".P1",
        f".ad {'b' if look.justified else 'l'}",
    ]
    wide = 0
    if look.columns > 1:
        lead = [part for part in page.body[:2] if part.label == TITLE or part.alone]
        wide = len(lead)
    body: list[str] = []
    for i, part in enumerate(page.body):
        if i == wide and look.columns > 1:
            body += [f".MC {look.column_width - 1:.1f}p {look.gutter:.1f}p", _adjust(look)]
        body += _part(part, look, folder, f"{name}-{i}")
        if page.footnote and i == wide + 1:
            body += [".FS", _text(page.footnote.text), ".FE"]
    return "\n".join([*lines, ".LP", _adjust(look), *body, ""])


def _adjust(look: Look) -> str:
    return ".ad b" if look.justified else ".ad l"


def _text(text: str) -> str:
    return text.translate(ESCAPES)


def _line(text: str) -> str:
    """A line of text, which a dot or a quote at its beginning would make a request."""
    return f"\\&{_text(text)}"


def _part(part: Part, look: Look, folder: Path, name: str) -> list[str]:
    if part.label in (TITLE, HEADING):
        return _heading(part, look)
    if part.label == IMAGE:
        wide = look.column_width * 0.85
        high = wide * part.aspect
        draw_figure(part.seed, part.aspect).save(folder / f"{name}.pdf")
        place = f"\\h'{(look.column_width - wide) / 2:.1f}p'\\X'pdf: pdfpic {name}.pdf -L {wide:.1f}p {high:.1f}p'"
        return [".LP", f".ne {high + 40:.0f}p", ".nf", place, f".sp {high:.1f}p", ".fi"]
    if part.label == TABLE:
        return _table(part)
    if part.label == FORMULA:
        return [".EQ", FORMULAS[part.formula], ".EN"]
    if part.ordered is not None:
        marks = [f"{i}." if part.ordered else "\\(bu" for i in range(1, 99)]
        items = part.text.split("\n")
        return [line for mark, item in zip(marks, items, strict=False) for line in (f".IP {mark} 16p", _line(item))]
    if part.label == "figure_title":
        return [
            ".LP",
            ".ad c",
            f".ps {look.size - 1:.1f}",
            _line(part.text),
            ".br",
            f".ps {look.size:.1f}",
            _adjust(look),
        ]
    if part.alone:
        align = {"left": "l", "center": "c", "right": "r"}[part.align]
        lines = [line for text in part.text.split("\n") for line in (_line(text), ".br")]
        return [".LP", f".ad {align}", *lines, ".sp 0.6", _adjust(look)]
    return [".PP" if look.indented else ".LP", _line(part.text)]


def _heading(part: Part, look: Look) -> list[str]:
    size = look.size * (1.7, 1.25, 1.0)[part.level - 1]
    align = "c" if part.level == 1 and look.head_align == "center" else "l"
    return [
        ".LP",
        f".ne {size * 4:.0f}p",
        f".sp {size * 0.5:.1f}p",
        f".ad {align}",
        ".nh",
        f".fam {look.head_family}",
        ".ft B",
        f".ps {size:.1f}",
        f".vs {size * 1.2:.1f}p",
        _line(part.text),
        ".br",
        ".ft",
        f".fam {look.family}",
        f".ps {look.size:.1f}",
        f".vs {look.size * look.leading:.1f}p",
        f".hy {6 if look.hyphens else 0}",
        f".sp {size * 0.3:.1f}p",
        _adjust(look),
    ]


def _table(part: Part) -> list[str]:
    columns = len(part.cells[0])
    box = {"all": "allbox center", "rows": "center", "head": "center"}[part.ruled]
    lines = [".LP", f".ne {len(part.cells) * 22}p", ".TS", f"{box} tab(\t);", "l " * columns + "."]
    for i, cells in enumerate(part.cells):
        if (part.ruled == "rows" and i) or (part.ruled == "head" and i < 2):
            lines.append("_")
        lines.append("\t".join(_line(cell) for cell in cells))
    return [*lines, *(["_"] if part.ruled == "head" else []), ".TE", ".sp 0.4"]

"""Contents of the exam's pages: parts in reading order and the look that a renderer sets them in.

Knows words, templates and looks; the renderers (`exam_chromium.py`, `exam_libreoffice.py`, `exam_groff.py`) know how a
source is written. Words are held out of training. Nothing here is shared with the pages that training draws.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from training.render_text import STREETS, Writer

A4, LETTER = (595.3, 841.9), (612.0, 792.0)  # points
TITLE, HEADING, TEXT, CAPTION = "doc_title", "paragraph_title", "text", "figure_title"
TABLE, IMAGE, FORMULA = "table", "image", "display_formula"
HEADER, FOOTER, NUMBER, FOOTNOTE = "header", "footer", "number", "footnote"
FORMULAS = 6  # formulas that the renderers know, by number


@dataclass(frozen=True)
class Part:
    """One block of a page as it is written in the source."""

    label: str
    text: str = ""  # words with one blank between; a list's items or an address's lines are parted by newlines
    level: int = 0  # a heading's: 1 is the title
    ordered: bool | None = None  # whether a list is numbered; None for what is no list
    cells: tuple[tuple[str, ...], ...] = ()
    ruled: str = "all"  # a table's rules: all, rows or head
    seed: int = 0  # an image's
    aspect: float = 0.5  # an image's height over its width
    formula: int = 0
    alone: bool = False  # an author, a date, a sender: not a paragraph of running text
    align: str = ""  # left, center or right


@dataclass(frozen=True)
class Look:
    """How a page is set. Lengths are points."""

    template: str
    paper: tuple[float, float]
    columns: int
    family: str
    head_family: str
    size: float
    leading: float  # line pitch over size
    justified: bool
    indented: bool  # paragraphs begin with an indent, not after a space
    hyphens: bool
    margin: float
    head_align: str  # titles are set left or center
    rule: bool  # a line under the header
    dpi: int

    @property
    def gutter(self) -> float:
        return 18.0

    @property
    def text_width(self) -> float:
        return self.paper[0] - 2 * self.margin

    @property
    def column_width(self) -> float:
        return (self.text_width - self.gutter * (self.columns - 1)) / self.columns


@dataclass(frozen=True)
class Page:
    """Everything that one page of the exam is made of."""

    look: Look
    header: Part | None
    body: tuple[Part, ...]  # in reading order, usually more than fits
    footnote: Part | None
    footer: Part | None
    number: Part | None

    def parts(self) -> list[Part]:
        """All parts in reading order."""
        around = (self.header, *self.body, self.footnote, self.footer, self.number)
        return [part for part in around if part is not None]


class Composer:
    """Held-out words as sentences, headings, lists and tables that fit a look."""

    def __init__(self, rng: random.Random, look: Look) -> None:
        self.rng, self.look = rng, look
        self.writer = Writer(rng, held_out=True)

    def words(self, low: int, high: int) -> str:
        return " ".join(self.writer.word() for _ in range(self.rng.randint(low, high)))

    def sentence(self) -> str:
        rng, writer = self.rng, self.writer
        pieces = [self.words(3, 7)]
        for _ in range(rng.choice((0, 1, 1, 2))):
            extra = rng.choice((writer.name, writer.number, writer.date, writer.price, lambda: f'"{self.words(1, 3)}"'))
            pieces.append(rng.choice((f"{extra()}", f"({extra()})", f"{self.words(1, 3)},")))
            pieces.append(self.words(2, 6))
        text = " ".join(pieces)
        return text[0].upper() + text[1:] + rng.choice("......?;:!")

    def paragraph(self, low: int = 3, high: int = 7) -> Part:
        sentences = [self.sentence() for _ in range(self.rng.randint(low, high))]
        return Part(TEXT, " ".join(sentences)[:-1] + ".")

    def heading(self, level: int, number: str = "") -> Part:
        text = self.words(1, 5)
        text = text.title() if self.rng.random() < 0.4 else text.capitalize()
        return Part(HEADING if level > 1 else TITLE, f"{number} {text}".strip(), level=level)

    def bullets(self) -> Part:
        ordered = self.rng.random() < 0.4
        items = [self.words(2, 14).capitalize() + "." for _ in range(self.rng.randint(3, 6))]
        return Part(TEXT, "\n".join(items), ordered=ordered)

    def table(self, columns: int, rows: int | None = None) -> Part:
        rng, writer = self.rng, self.writer
        makers: list[Callable[[], str]] = [
            lambda: str(int(10 ** rng.uniform(0, 4))),
            lambda: f"{10 ** rng.uniform(0, 3):.2f}",
            lambda: f"{rng.randint(0, 1000) / 10}%",
            lambda: writer.word().title(),
        ]
        chosen = [lambda: writer.word().title(), *(rng.choice(makers) for _ in range(columns - 1))]
        head = [writer.word().title() for _ in range(columns)]
        body = [[make() for make in chosen] for _ in range(rows or rng.randint(2, 6))]
        return Part(TABLE, cells=tuple(map(tuple, [head, *body])), ruled=rng.choice(("all", "all", "rows", "head")))

    def image(self) -> Part:
        return Part(IMAGE, seed=self.rng.getrandbits(30), aspect=self.rng.uniform(0.35, 0.7))

    def caption(self, kind: str, number: int) -> Part:
        mark = self.rng.choice((":", ".", " -"))
        return Part(CAPTION, f"{kind} {number}{mark} {self.words(3, 9).capitalize()}.")

    def formula(self) -> Part:
        return Part(FORMULA, formula=self.rng.randrange(FORMULAS))

    def address(self, name: str) -> str:
        rng, writer = self.rng, self.writer
        street = f"{rng.randint(1, 999)} {rng.choice(writer.names)} {rng.choice(STREETS)}"
        return f"{name}\n{street}\n{rng.choice(writer.names)} {rng.randint(10000, 99999)}"


def choose_look(rng: random.Random, template: str, columns: int, families: tuple[str, ...]) -> Look:
    family = rng.choice(families)
    size = rng.choice((10.0, 10.5, 11.0, 12.0)) if columns == 1 else rng.choice((9.5, 10.0, 10.5))
    return Look(
        template=template,
        paper=rng.choice((A4, A4, LETTER)),
        columns=columns,
        family=family,
        head_family=rng.choice((family, rng.choice(families))),
        size=size,
        leading=rng.uniform(1.15, 1.5),
        justified=rng.random() < 0.6,
        indented=rng.random() < 0.45,
        hyphens=rng.random() < 0.5,
        margin=rng.uniform(50, 80),
        head_align=rng.choice(("left", "center")),
        rule=rng.random() < 0.4,
        dpi=rng.choice((100, 110, 120, 130, 144, 150)),
    )


def make_page(
    rng: random.Random, template: str, columns: int, families: tuple[str, ...], *, with_formulas: bool
) -> Page:
    """A page of one of TEMPLATES with a random look in one of the renderer's font families."""
    look = choose_look(rng, template, columns, families)
    composer = Composer(rng, look)
    body = [part for part in TEMPLATES[template](composer) if with_formulas or part.label != FORMULA]
    running = template not in ("letter", "invoice")
    header = Part(HEADER, composer.words(2, 5).capitalize()) if running and rng.random() < 0.6 else None
    footer = Part(FOOTER, f"{composer.words(2, 4).title()}, {rng.randint(1980, 2039)}")
    number = Part(NUMBER, str(rng.randint(2, 400)))
    note = composer.paragraph(1, 2) if columns == 1 and running and rng.random() < 0.4 else None
    return Page(
        look=look,
        header=header,
        body=tuple(body),
        footnote=replace(note, label=FOOTNOTE) if note else None,
        footer=footer if running and rng.random() < 0.4 else None,
        number=number if running and rng.random() < 0.8 else None,
    )


def article(composer: Composer) -> list[Part]:
    """A paper: title, authors, sections of two levels with all that papers hold."""
    rng, look = composer.rng, composer.look
    first = rng.random() < 0.7
    numbered = rng.random() < 0.5
    body = []
    if first:
        names = ", ".join(composer.writer.name() for _ in range(rng.randint(1, 3)))
        body = [composer.heading(1), Part(TEXT, names, alone=True, align=look.head_align)]
    else:
        body = [composer.paragraph(2, 5)]
    section, sub, shown = rng.randint(1, 6), 0, rng.randint(1, 9)
    for _ in range(4 * look.columns):
        if rng.random() < 0.6 or sub > 2:
            section, sub = section + 1, 0
            body.append(composer.heading(2, f"{section}" if numbered else ""))
        else:
            sub += 1
            body.append(composer.heading(3, f"{section}.{sub}" if numbered else ""))
        for _ in range(rng.randint(1, 3)):
            body.append(composer.paragraph(2, 4 if look.columns > 1 else 6))
        body += inset(composer, shown)
        shown += 1
    return body


def inset(composer: Composer, number: int) -> list[Part]:
    """What stands between paragraphs: a list, a table or a figure with its caption, a formula, or nothing."""
    rng = composer.rng
    kind = rng.choice(("list", "table", "figure", "formula", "", ""))
    if kind == "table":
        columns = rng.randint(2, 3 if composer.look.columns > 1 else 4)
        return [composer.caption("Table", number), composer.table(columns), composer.paragraph(2, 4)]
    if kind == "figure":
        return [composer.image(), composer.caption(rng.choice(("Figure", "Fig.")), number), composer.paragraph(2, 4)]
    if kind == "formula":
        return [composer.formula(), composer.paragraph(1, 3)]
    return [composer.bullets(), composer.paragraph(1, 3)] if kind == "list" else []


def report(composer: Composer) -> list[Part]:
    """A report: a title or a chapter, few headings, long paragraphs, one table and one figure."""
    rng = composer.rng
    body = [composer.heading(1)] if rng.random() < 0.6 else []
    body += [composer.paragraph(3, 6), composer.heading(2), composer.paragraph(2, 5)]
    shown = [
        [composer.caption("Table", rng.randint(1, 30)), composer.table(rng.randint(3, 5))],
        [composer.image(), composer.caption("Figure", rng.randint(1, 30))],
        [composer.bullets()],
    ]
    rng.shuffle(shown)
    for one in shown:
        body += [*one, composer.paragraph(2, 4)]
        if rng.random() < 0.5:
            body += [composer.heading(2), composer.paragraph(3, 6)]
    return body


def letter(composer: Composer) -> list[Part]:
    """A letter: sender, date, address, subject, paragraphs, a closing line and a name."""
    rng, writer = composer.rng, composer.writer
    side = rng.choice(("left", "right"))
    body = [
        Part(TEXT, composer.address(f"{rng.choice(writer.names)} Ltd."), alone=True, align=side),
        Part(TEXT, writer.date(), alone=True, align=side),
        Part(TEXT, composer.address(writer.name()), alone=True, align="left"),
        replace(composer.heading(2), text=f"Subject: {composer.words(2, 6)}"),
        Part(TEXT, f"Dear {writer.name()},", alone=True, align="left"),
    ]
    body += [composer.paragraph(2, 5) for _ in range(rng.randint(2, 4))]
    if rng.random() < 0.3:
        body += [composer.bullets(), composer.paragraph(1, 2)]
    return [*body, Part(TEXT, "Yours sincerely,", alone=True, align="left"), _signature(composer)]


def _signature(composer: Composer) -> Part:
    return Part(TEXT, composer.writer.name(), alone=True, align="left")


def invoice(composer: Composer) -> list[Part]:
    """An invoice: title, vendor, numbers and dates, items, totals, terms."""
    rng, writer = composer.rng, composer.writer
    items = [
        (composer.words(1, 2).capitalize(), str(rng.randint(1, 20)), f"{10 ** rng.uniform(0, 3):.2f}", writer.number())
        for _ in range(rng.randint(3, 9))
    ]
    total = f"Subtotal: {writer.price()}\nTax: {rng.randint(5, 25)}%\nTotal due: {writer.price()}"
    facts = f"Invoice No. {rng.randint(100, 99999)}\nDate: {writer.date()}\nDue: {writer.date()}"
    return [
        Part(TITLE, rng.choice(("Invoice", "INVOICE", "Statement of account")), level=1),
        Part(TEXT, composer.address(f"{rng.choice(writer.names)} & Sons"), alone=True, align="left"),
        Part(TEXT, facts, alone=True, align=rng.choice(("left", "right"))),
        Part(TABLE, cells=(("Item", "Qty", "Price", "Amount"), *items), ruled=rng.choice(("all", "rows", "head"))),
        Part(TEXT, total, alone=True, align="right"),
        composer.heading(2),
        composer.paragraph(1, 3),
    ]


TEMPLATES: dict[str, Callable[[Composer], list[Part]]] = {
    "article": article,
    "report": report,
    "letter": letter,
    "invoice": invoice,
}
PLAN = [("article", 1), ("article", 2), ("report", 1), ("article", 3), ("letter", 1), ("article", 2), ("invoice", 1)]
"""Template and columns of the pages, in turn."""

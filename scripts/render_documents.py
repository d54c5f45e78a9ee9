"""Pictures of receipts, invoices, forms and small tables with known truth: what the modes are trained and measured on.

Contents come from the same split word list as plain text (`render_text.py`). Of every choice of layout some values are
held out of training: how items are set, which words label an amount, where a label stands to its value.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.paddleocr_vl import prompts
from scripts.render_text import BUILT_IN, STREETS, Page, Writer, edges, load_font, paint

KINDS = ("receipt", "invoice", "form", "table")
MARGIN = 8  # pixels around the print
GAP = 10  # pixels at least between two texts of a line
TRIES = 30  # to make contents that fit


@dataclass(frozen=True)
class Style:
    """How a document is set; shared by all pictures of one batch, which so come out about equally large."""

    font: str
    size: int  # pixels per em
    width: int  # pixels
    pitch: float  # lines per em
    items: int
    held_out: bool  # words and layouts


@dataclass(frozen=True)
class Run:
    text: str
    at: float = 0.0  # the share of the width where it begins, is centred or ends
    align: str = "l"  # begins: l, is centred: c, ends: r


Line = list[Run]
Rule = tuple[float, float, float, float]  # x0, y0, x1, y1


@dataclass(frozen=True)
class Sheet:
    """A document before it is painted."""

    kind: str
    width: int
    height: int
    font: ImageFont.FreeTypeFont
    marks: list[tuple[float, float, str]]  # x, y of the top, text
    rules: list[Rule]
    text: str  # what the model is to answer under `prompt`
    centres: np.ndarray  # (pieces of text, 2)
    truth: dict[str, Any] | list[list[str]] = field(default_factory=dict)
    """Of a table its cells, row by row, merged ones with their text in each place; else the mode's JSON object."""

    @property
    def prompt(self) -> str:
        return prompts.TABLE if self.kind == "table" else prompts.OCR


def choose_style(rng: random.Random, fonts: Sequence[str], *, held_out: bool) -> Style:
    size = rng.randint(18, 24)
    width = min(520, rng.randint(15, 25) * size)
    return Style(rng.choice(fonts), size, width, rng.uniform(1.2, 1.5), rng.randint(1, 4), held_out)


def make_sheet(rng: random.Random, kind: str, style: Style) -> Sheet:
    if kind == "table":
        return fitted(partial(table, rng, style))
    contents = {"receipt": receipt, "invoice": invoice, "form": form}[kind]
    return fitted(lambda: set_lines(style, kind, *contents(rng, style)))


class TooWideError(Exception):
    pass


def fitted(make: Any) -> Sheet:
    for _ in range(TRIES):
        try:
            sheet: Sheet = make()
        except TooWideError:
            continue
        return sheet
    raise TooWideError


def draw_sheet(rng: random.Random, sheet: Sheet, width: int | None = None, height: int | None = None) -> Page:
    """Painted on a canvas of its own size or a larger one, there at a random place."""
    width, height = width or sheet.width, height or sheet.height
    dx, dy = rng.randint(0, width - sheet.width), rng.randint(0, height - sheet.height)
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    for x, y, text in sheet.marks:
        draw.text((round(x) + dx, round(y) + dy), text, font=sheet.font, fill=255)
    for x0, y0, x1, y1 in sheet.rules:
        draw.line((round(x0) + dx, round(y0) + dy, round(x1) + dx, round(y1) + dy), fill=255)
    image = paint(rng, np.asarray(mask, dtype=np.float32) / 255)
    return Page(image, sheet.text, sheet.centres + np.array([dx, dy], dtype=np.float32))


# --- contents -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Money:
    """How a document writes its amounts."""

    symbol: str  # "" where it names no currency
    before: bool  # the symbol stands before the number
    comma: bool  # 1.234,50 rather than 1,234.50
    everywhere: bool  # not just at the total

    def show(self, cents: int, *, total: bool = False) -> str:
        text = f"{cents / 100:,.2f}"
        if self.comma:
            text = text.translate(str.maketrans(",.", ".,"))
        if not self.symbol or not (total or self.everywhere):
            return text
        space = " " if self.symbol.isalpha() or not self.before else ""
        return f"{self.symbol}{space}{text}" if self.before else f"{text}{space}{self.symbol}"


def choose_money(rng: random.Random, font: str) -> Money:
    symbol = rng.choice(["$", "$", "£", "€", "USD", "EUR", ""])
    if font == BUILT_IN and symbol in "£€":
        symbol = "$"
    comma = symbol in ("€", "EUR") and rng.random() < 0.6
    before = symbol in ("$", "£") or (not comma and rng.random() < 0.5)
    return Money(symbol, before, comma, rng.random() < 0.5 and not symbol.isalpha())


def some(rng: random.Random, held_out: bool, training: Sequence[Any], kept: Sequence[Any]) -> Any:
    """A value of layout: one of training's, or, in evaluation, mostly one that training never saw."""
    return rng.choice(kept) if held_out and rng.random() < 0.7 else rng.choice(training)


def title(writer: Writer, most: int = 2) -> str:
    return " ".join(writer.word() for _ in range(writer.rng.randint(1, most))).capitalize()


def receipt(rng: random.Random, style: Style) -> tuple[list[Line], dict[str, Any]]:
    writer, money = Writer(rng, held_out=style.held_out), choose_money(rng, style.font)
    merchant = shop(writer)
    date = plain_date(rng)
    setting = some(
        rng, style.held_out, ["name price", "qty name price", "columns"], ["name qty price", "qty x name price"]
    )
    items: list[dict[str, Any]] = []
    for _ in range(style.items):
        each, count = rng.randint(50, 4000), rng.choice([1, 1, 1, 2, 3, 4])
        items.append({"name": title(writer), "qty": count, "price": each * count})
    subtotal = sum(item["price"] for item in items)
    rate = rng.choice([5, 7, 10, 19, 20])
    tax = round(subtotal * rate / 100)
    head: Any = some(rng, style.held_out, [(0.5, "c"), (0.0, "l")], [(1.0, "r")])
    lines: list[Line] = [[Run(merchant, *head)]]
    if rng.random() < 0.5:
        lines.append([Run(f"{rng.randint(1, 999)} {rng.choice(writer.names)} {rng.choice(STREETS)}", *head)])
    if rng.random() < 0.3:
        lines.append([Run(f"Tel. {rng.randint(200, 999)}-{rng.randint(0, 9999):04}", *head)])
    lines.append(
        some(
            rng,
            style.held_out,
            [
                [Run(f"Date: {date}")],
                [Run("Date"), Run(date, 1, "r")],
                [Run(date), Run(clock(rng), 1, "r")],
            ],
            [[Run(f"Date {date} {clock(rng)}")], [Run(f"Sold on {date}")]],
        )
    )
    if setting == "columns":
        lines.append([Run("Item"), Run("Qty", 0.66, "c"), Run("Price", 1, "r")])
    for item in items:
        name, count, price = item["name"], item["qty"], Run(money.show(item["price"]), 1, "r")
        lines.append(
            {
                "name price": [Run(name), price],
                "qty name price": [Run(f"{count} {name}"), price],
                "columns": [Run(name), Run(str(count), 0.66, "c"), price],
                "name qty price": [Run(f"{name} x{count}"), price],
                "qty x name price": [Run(f"{count} x {name}"), price],
            }[setting]
        )
        if setting == "name price":
            item["qty"] = None
    lines += sums(rng, style, money, subtotal, tax, rate)
    if rng.random() < 0.3:
        paid = rng.choice([1, 2, 5]) * 10 ** rng.randint(3, 4) + subtotal + tax
        lines += [
            [Run("Cash"), Run(money.show(paid), 1, "r")],
            [Run("Change"), Run(money.show(paid - subtotal - tax), 1, "r")],
        ]
    elif rng.random() < 0.4:
        lines.append([Run(f"Card **** {rng.randint(0, 9999):04}")])
    if rng.random() < 0.4:
        lines.append([Run(rng.choice(["Thank you!", "Thank you for your visit", "Please come again"]), 0.5, "c")])
    truth = {
        "merchant": merchant,
        "date": date,
        "currency": money.symbol or None,
        "subtotal": subtotal / 100,
        "tax": tax / 100,
        "total": (subtotal + tax) / 100,
        "items": [item | {"price": item["price"] / 100} for item in items],
    }
    return lines, truth


def invoice(rng: random.Random, style: Style) -> tuple[list[Line], dict[str, Any]]:
    writer, money = Writer(rng, held_out=style.held_out), choose_money(rng, style.font)
    vendor, customer = shop(writer), rng.choice([person(writer), shop(writer)])
    number = rng.choice(
        [
            f"{rng.randint(100, 99999)}",
            f"INV-{rng.randint(10, 9999):04}",
            f"{rng.randint(2015, 2035)}-{rng.randint(1, 999):03}",
        ]
    )
    date, due = plain_date(rng), plain_date(rng)
    items: list[dict[str, Any]] = []
    for _ in range(min(3, style.items)):
        each, count = rng.randint(100, 30000), rng.choice([1, 2, 3, 5, 10, 12])
        items.append(
            {"description": title(writer), "quantity": count, "unit_price": each / 100, "amount": each * count / 100}
        )
    subtotal = round(100 * sum(item["amount"] for item in items))
    rate = rng.choice([5, 7, 10, 19, 20])
    tax = round(subtotal * rate / 100)
    named = some(
        rng,
        style.held_out,
        ["Invoice No: {}", "Invoice #: {}", "Invoice Number: {}"],
        ["Invoice No. {}", "Invoice: {}", "Invoice # {}"],
    ).format(number)
    dated = some(rng, style.held_out, ["Date: {}", "Invoice Date: {}"], ["Issued: {}", "Date {}"]).format(date)
    payable = some(rng, style.held_out, ["Due Date: {}", "Due: {}"], ["Payment due: {}", "Due date {}"]).format(due)
    to = some(rng, style.held_out, ["Bill To: {}", "Customer: {}"], ["Billed to: {}", "To: {}"]).format(customer)
    lines: list[Line] = [[Run(vendor)]]
    if rng.random() < 0.4:
        lines.append([Run(f"{rng.randint(1, 999)} {rng.choice(writer.names)} {rng.choice(STREETS)}")])
    if rng.random() < 0.4:
        lines.append([Run(rng.choice(["INVOICE", "Invoice"]), *rng.choice([(0.5, "c"), (0.0, "l"), (1.0, "r")]))])
    lines += some(
        rng,
        style.held_out,
        [
            [[Run(named)], [Run(dated)], [Run(payable)], [Run(to)]],
            [[Run(to)], [Run(named)], [Run(dated)], [Run(payable)]],
            [[Run(named), Run(dated, 1, "r")], [Run(payable)], [Run(to)]],
        ],
        [
            [[Run(dated)], [Run(named)], [Run(to)], [Run(payable)]],
            [[Run(named)], [Run(dated), Run(payable, 1, "r")], [Run(to)]],
        ],
    )
    full = rng.random() < 0.8 and style.width > 20 * style.size
    first, count, each = some(
        rng,
        style.held_out,
        [("Description", "Qty", "Price"), ("Item", "Qty", "Price")],
        [("Item", "Quantity", "Rate"), ("Description", "Qty", "Unit")],
    )
    places = (0.6, 0.79) if full else (0.7, 0.79)
    lines.append(
        [Run(first), Run(count, places[0], "r"), *([Run(each, places[1], "r")] if full else []), Run("Amount", 1, "r")]
    )
    for item in items:
        cells = [Run(item["description"]), Run(str(item["quantity"]), places[0], "r")]
        if full:
            cells.append(Run(money.show(round(100 * item["unit_price"])), places[1], "r"))
        else:
            item["unit_price"] = None
        lines.append([*cells, Run(money.show(round(100 * item["amount"])), 1, "r")])
    lines += sums(rng, style, money, subtotal, tax, rate)
    truth = {
        "vendor": vendor,
        "customer": customer,
        "invoice_number": number,
        "date": date,
        "due_date": due,
        "currency": money.symbol or None,
        "subtotal": subtotal / 100,
        "tax": tax / 100,
        "total": (subtotal + tax) / 100,
        "line_items": items,
    }
    return lines, truth


def form(rng: random.Random, style: Style) -> tuple[list[Line], dict[str, Any]]:
    writer = Writer(rng, held_out=style.held_out)
    makers: dict[str, Callable[[], str]] = {
        "Name": lambda: person(writer),
        "First name": lambda: rng.choice(writer.names),
        "Address": lambda: f"{rng.randint(1, 999)} {rng.choice(writer.names)} {rng.choice(STREETS)}",
        "Phone": lambda: f"{rng.randint(200, 999)}-{rng.randint(200, 999)}-{rng.randint(0, 9999):04}",
        "Email": lambda: f"{writer.word()}@{writer.word()}.com",
        "Date": lambda: plain_date(rng),
        "Date of birth": lambda: plain_date(rng),
        "City": lambda: rng.choice(writer.names),
        "Country": lambda: rng.choice(writer.names),
        "Occupation": lambda: title(writer, 1),
        "Passport No": lambda: f"{rng.choice('ABCDEFGH')}{rng.randint(100000, 9999999)}",
        "Signature": lambda: person(writer),
        "Department": lambda: title(writer, 1),
        "Amount": writer.price,
    }
    labels = rng.sample(sorted(makers), 3 + style.items)
    fields: list[dict[str, str | None]] = []
    lines: list[Line] = [[Run(title(writer, 3), *rng.choice([(0.0, "l"), (0.5, "c")]))]] if rng.random() < 0.7 else []
    place = rng.uniform(0.35, 0.5) if some(rng, style.held_out, [False, False, True], [True]) else None
    for label in labels:
        value = None if rng.random() < 0.12 else makers[label]()
        if style.font == BUILT_IN and value:
            value = value.translate({ord("£"): "$", ord("€"): "$"})
        fields.append({"label": label, "value": value})
        if value is None:
            lines.append([Run(f"{label}:")])
        else:
            lines.append([Run(f"{label}: {value}")] if place is None else [Run(f"{label}:"), Run(value, place)])
    return lines, {"fields": fields}


def sums(rng: random.Random, style: Style, money: Money, subtotal: int, tax: int, rate: int) -> list[Line]:
    names = some(
        rng,
        style.held_out,
        [("Subtotal", "Tax", "Total"), ("SUBTOTAL", "TAX", "TOTAL"), ("Sub-total", f"VAT {rate}%", "Total")],
        [
            ("Subtotal:", "Sales tax:", "Total:"),
            ("Sub total", f"Tax ({rate}%)", "TOTAL DUE"),
            ("Net", "VAT", "Amount due"),
        ],
    )
    values = [money.show(subtotal), money.show(tax), money.show(subtotal + tax, total=True)]
    return [
        [Run(name, 0.35 if style.items % 2 else 0.0), Run(value, 1, "r")]
        for name, value in zip(names, values, strict=True)
    ]


SHOPS = """
    Store|Market|Foods|Shop|Ltd.|Inc.|Cafe|& Sons|Bakery|Supply|Works
""".strip().split("|")


def shop(writer: Writer) -> str:
    rng = writer.rng
    first = rng.choice(writer.names) if rng.random() < 0.5 else writer.word().capitalize()
    name = f"{first} {rng.choice(SHOPS)}"
    return name.upper() if rng.random() < 0.25 else name


def person(writer: Writer) -> str:
    return f"{writer.rng.choice(writer.names)} {writer.rng.choice(writer.names)}"


def plain_date(rng: random.Random) -> str:
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(2005, 2035)
    named = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[month - 1]
    return rng.choice(
        [
            f"{day:02}/{month:02}/{year}",
            f"{year}-{month:02}-{day:02}",
            f"{named} {day}, {year}",
            f"{day} {named} {year}",
            f"{day:02}.{month:02}.{year}",
        ]
    )


def clock(rng: random.Random) -> str:
    return f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"


# --- setting --------------------------------------------------------------------------------------------------------


def set_lines(style: Style, kind: str, lines: list[Line], truth: dict[str, Any]) -> Sheet:
    """Lines of runs, read from left to right with a space between runs. Raises TooWideError."""
    font = load_font(style.font, style.size)
    ascent, descent = font.getmetrics()
    pitch = max(style.size * style.pitch, min(ascent + descent, 1.3 * style.size))
    inner = style.width - 2 * MARGIN
    marks: list[tuple[float, float, str]] = []
    places: list[tuple[float, float]] = []
    for number, line in enumerate(lines):
        y = MARGIN + number * pitch + (pitch - ascent - descent) / 2
        middle = y + ascent - 0.35 * style.size
        end = 0.0
        for run in line:
            xs = edges(font, run.text)
            x = MARGIN + inner * run.at - xs[-1] * {"l": 0.0, "c": 0.5, "r": 1.0}[run.align]
            if x < (end + GAP if end else MARGIN - 1) or x + xs[-1] > style.width - MARGIN + 1:
                raise TooWideError
            if end:
                places.append(((end + x) / 2, middle))  # the space between two runs
            marks.append((x, y, run.text))
            places += [(round(x) + at, middle) for at in (xs[1:] + xs[:-1]) / 2]
            end = x + xs[-1]
        places.append((end, middle))  # the newline
    text = "\n".join(" ".join(run.text for run in line) for line in lines)
    height = round(2 * MARGIN + len(lines) * pitch)
    return Sheet(kind, style.width, height, font, marks, [], text, np.array(places[:-1], dtype=np.float32), truth)


def table(rng: random.Random, style: Style) -> Sheet:
    """A table and its OTSL (Lysak et al. 2023, arXiv:2305.03393). Raises TooWideError."""
    font = load_font(style.font, style.size)
    ascent, descent = font.getmetrics()
    writer = Writer(rng, held_out=style.held_out)
    rows, columns = style.items + rng.randint(1, 2), rng.randint(2, 4)
    marks_of = cell_texts(rng, writer, rows, columns)
    owner = merge_cells(rng, rows, columns)
    pad = rng.uniform(4, 10)
    natural = [
        max(
            edges(font, marks_of[r][c])[-1]
            for r in range(rows)
            if (owner[r][c] == (r, c) and span(owner, r, c)[1] == 1) or r == rows - 1
        )
        for c in range(columns)
    ]
    widths = [width + 2 * pad + rng.uniform(0, 12) for width in natural]
    pitch = max(style.size * style.pitch, ascent + descent) + rng.uniform(0, 6)
    if sum(widths) > style.width - 2 * MARGIN:
        raise TooWideError
    xs, ys = MARGIN + np.cumsum([0.0, *widths]), MARGIN + pitch * np.arange(rows + 1)
    aligns = ["l"] + [rng.choice("lcr") for _ in range(columns - 1)]
    marks, pieces, places, cells = [], [], [], []
    for r in range(rows):
        cells.append([marks_of[owner[r][c][0]][owner[r][c][1]] for c in range(columns)])
        for c in range(columns):
            own = owner[r][c]
            middle = ((xs[c] + xs[c + 1]) / 2, (ys[r] + ys[r + 1]) / 2)
            if own != (r, c):
                pieces.append(
                    {(True, False): "<lcel>", (False, True): "<ucel>"}.get((own[0] == r, own[1] == c), "<xcel>")
                )
                places.append(middle)
                continue
            text, (down, across) = marks_of[r][c], span(owner, r, c)
            if not text:
                pieces.append("<ecel>")
                places.append(middle)
                continue
            letters = edges(font, text)
            left, right = xs[c] + pad, xs[c + across] - pad
            if left + letters[-1] > right + 1:
                raise TooWideError
            align = "c" if across > 1 else aligns[c]
            x = {"l": left, "c": (left + right - letters[-1]) / 2, "r": right - letters[-1]}[align]
            y = (ys[r] + ys[r + down] - ascent - descent) / 2
            line = y + ascent - 0.35 * style.size
            marks.append((x, y, text))
            pieces += ["<fcel>", *text]
            places += [(x, line), *((round(x) + at, line) for at in (letters[1:] + letters[:-1]) / 2)]
        pieces.append("<nl>")
        places.append((xs[-1], ys[r] + pitch / 2))
    rules = ruling(some(rng, style.held_out, ["all", "all", "none", "header"], ["rows", "outer"]), owner, xs, ys)
    size = round(xs[-1] + MARGIN), round(ys[-1] + MARGIN)
    return Sheet("table", *size, font, marks, rules, "".join(pieces), np.array(places, dtype=np.float32), cells)


def cell_texts(rng: random.Random, writer: Writer, rows: int, columns: int) -> list[list[str]]:
    makers: list[Callable[[], str]] = [
        lambda: title(writer, 1),
        lambda: title(writer, 2),
        lambda: str(int(10 ** rng.uniform(0, 4))),
        lambda: f"{10 ** rng.uniform(0, 3):.2f}",
        lambda: f"{rng.randint(0, 1000) / 10}%",
        lambda: str(rng.randint(1950, 2035)),
        lambda: rng.choice(["Yes", "No", "A", "B", "C", "n/a", "-"]),
    ]
    chosen = [rng.choice(makers[:2]), *(rng.choice(makers[1:]) for _ in range(columns - 1))]
    empty = rng.choice([0, 0, 0.12])
    body = [["" if rng.random() < empty else make() for make in chosen] for _ in range(rows - 1)]
    return [[title(writer, 1) for _ in range(columns)], *body]


def merge_cells(rng: random.Random, rows: int, columns: int) -> list[list[tuple[int, int]]]:
    """The row and column of the cell that each place belongs to: in one table of four, one merged pair."""
    owner = [[(r, c) for c in range(columns)] for r in range(rows)]
    kind = rng.random()
    if kind < 0.15 and columns > 2 and rows > 2:
        at = rng.randint(1, columns - 2)
        owner[0][at + 1] = (0, at)
    elif kind < 0.25 and rows > 2:
        at = rng.randint(1, rows - 2)
        owner[at + 1][0] = (at, 0)
    return owner


def span(owner: list[list[tuple[int, int]]], r: int, c: int) -> tuple[int, int]:
    """Rows and columns of a cell."""
    down = sum(owner[other][c] == (r, c) for other in range(len(owner)))
    return down, sum(place == (r, c) for place in owner[r])


def ruling(kind: str, owner: list[list[tuple[int, int]]], xs: np.ndarray, ys: np.ndarray) -> list[Rule]:
    rows, columns = len(owner), len(owner[0])
    edge: list[Rule] = [(xs[0], ys[0], xs[-1], ys[0]), (xs[0], ys[-1], xs[-1], ys[-1])]
    if kind == "none":
        return []
    if kind == "header":
        return [*edge, (xs[0], ys[1], xs[-1], ys[1])]
    if kind == "rows":
        return edge + [
            (xs[0], ys[r], xs[-1], ys[r]) for r in range(1, rows) if all(owner[r][c][0] == r for c in range(columns))
        ]
    edge += [(xs[0], ys[0], xs[0], ys[-1]), (xs[-1], ys[0], xs[-1], ys[-1])]
    if kind == "outer":
        return edge
    inside: list[Rule] = []
    for r in range(rows):
        for c in range(columns):
            if r and owner[r][c] != owner[r - 1][c]:
                inside.append((xs[c], ys[r], xs[c + 1], ys[r]))
            if c and owner[r][c] != owner[r][c - 1]:
                inside.append((xs[c], ys[r], xs[c], ys[r + 1]))
    return edge + inside

"""Receipts, invoices, forms and tables with known truth, for training and measuring the modes.

Contents come from the same split word list as plain text (`render_text.py`). Some values of every layout choice are
held out of training: how items are set, which words label an amount, where a label is placed relative to its value.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from training.render_sheets import Line, Run, Sheet, Style, fitted, set_lines, some, title
from training.render_tables import table
from training.render_text import BUILT_IN, STREETS, Writer

KINDS = ("receipt", "invoice", "form", "table")


def choose_style(rng: random.Random, fonts: Sequence[str], *, held_out: bool) -> Style:
    size = rng.randint(18, 24)
    width = min(520, rng.randint(15, 25) * size)
    return Style(rng.choice(fonts), size, width, rng.uniform(1.2, 1.5), rng.randint(1, 4), held_out)


def make_sheet(rng: random.Random, kind: str, style: Style) -> Sheet:
    if kind == "table":
        return fitted(partial(table, rng, style))
    contents = {"receipt": receipt, "invoice": invoice, "form": form}[kind]
    return fitted(lambda: set_lines(style, kind, *contents(rng, style)))


@dataclass(frozen=True)
class Money:
    """How a document writes its amounts."""

    symbol: str  # "" for no currency
    before: bool  # the symbol precedes the number
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


def receipt(rng: random.Random, style: Style) -> tuple[list[Line], dict[str, Any]]:
    writer, money = Writer(rng, held_out=style.held_out), choose_money(rng, style.font)
    merchant, date = shop(writer), plain_date(rng)
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
    lines = receipt_head(rng, writer, style, merchant, date)
    if setting == "columns":
        lines.append([Run("Item"), Run("Qty", 0.66, "c"), Run("Price", 1, "r")])
    lines += [receipt_row(item, setting, money) for item in items]
    lines += sums(rng, style, money, subtotal, tax, rate)
    lines += receipt_end(rng, money, subtotal + tax)
    printed = {"qty": None} if setting == "name price" else {}
    truth = {
        "merchant": merchant,
        "date": date,
        "currency": money.symbol or None,
        "subtotal": subtotal / 100,
        "tax": tax / 100,
        "total": (subtotal + tax) / 100,
        "items": [item | printed | {"price": item["price"] / 100} for item in items],
    }
    return lines, truth


def receipt_head(rng: random.Random, writer: Writer, style: Style, merchant: str, date: str) -> list[Line]:
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
    return lines


def receipt_row(item: dict[str, Any], setting: str, money: Money) -> Line:
    name, count, price = item["name"], item["qty"], Run(money.show(item["price"]), 1, "r")
    return {
        "name price": [Run(name), price],
        "qty name price": [Run(f"{count} {name}"), price],
        "columns": [Run(name), Run(str(count), 0.66, "c"), price],
        "name qty price": [Run(f"{name} x{count}"), price],
        "qty x name price": [Run(f"{count} x {name}"), price],
    }[setting]


def receipt_end(rng: random.Random, money: Money, total: int) -> list[Line]:
    lines: list[Line] = []
    if rng.random() < 0.3:
        paid = rng.choice([1, 2, 5]) * 10 ** rng.randint(3, 4) + total
        lines += [
            [Run("Cash"), Run(money.show(paid), 1, "r")],
            [Run("Change"), Run(money.show(paid - total), 1, "r")],
        ]
    elif rng.random() < 0.4:
        lines.append([Run(f"Card **** {rng.randint(0, 9999):04}")])
    if rng.random() < 0.4:
        lines.append([Run(rng.choice(["Thank you!", "Thank you for your visit", "Please come again"]), 0.5, "c")])
    return lines


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
    lines = invoice_head(rng, writer, style, vendor, labelled(rng, style, number, date, due, customer))
    full = rng.random() < 0.8 and style.width > 20 * style.size
    lines += invoice_rows(rng, style, money, items, full=full)
    lines += sums(rng, style, money, subtotal, tax, rate)
    printed = {} if full else {"unit_price": None}
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
        "line_items": [item | printed for item in items],
    }
    return lines, truth


def labelled(rng: random.Random, style: Style, number: str, date: str, due: str, customer: str) -> tuple[Run, ...]:
    """Number, date, due date and customer, each after its label."""
    named = some(
        rng,
        style.held_out,
        ["Invoice No: {}", "Invoice #: {}", "Invoice Number: {}"],
        ["Invoice No. {}", "Invoice: {}", "Invoice # {}"],
    ).format(number)
    dated = some(rng, style.held_out, ["Date: {}", "Invoice Date: {}"], ["Issued: {}", "Date {}"]).format(date)
    payable = some(rng, style.held_out, ["Due Date: {}", "Due: {}"], ["Payment due: {}", "Due date {}"]).format(due)
    to = some(rng, style.held_out, ["Bill To: {}", "Customer: {}"], ["Billed to: {}", "To: {}"]).format(customer)
    return Run(named), Run(dated), Run(payable), Run(to)


def invoice_head(rng: random.Random, writer: Writer, style: Style, vendor: str, labels: tuple[Run, ...]) -> list[Line]:
    named, dated, payable, to = labels
    lines: list[Line] = [[Run(vendor)]]
    if rng.random() < 0.4:
        lines.append([Run(f"{rng.randint(1, 999)} {rng.choice(writer.names)} {rng.choice(STREETS)}")])
    if rng.random() < 0.4:
        lines.append([Run(rng.choice(["INVOICE", "Invoice"]), *rng.choice([(0.5, "c"), (0.0, "l"), (1.0, "r")]))])
    lines += some(
        rng,
        style.held_out,
        [
            [[named], [dated], [payable], [to]],
            [[to], [named], [dated], [payable]],
            [[named, Run(dated.text, 1, "r")], [payable], [to]],
        ],
        [
            [[dated], [named], [to], [payable]],
            [[named], [dated, Run(payable.text, 1, "r")], [to]],
        ],
    )
    return lines


def invoice_rows(
    rng: random.Random, style: Style, money: Money, items: Sequence[dict[str, Any]], *, full: bool
) -> list[Line]:
    """The head of the columns and a row for each item; `full`: with unit prices."""
    first, count, each = some(
        rng,
        style.held_out,
        [("Description", "Qty", "Price"), ("Item", "Qty", "Price")],
        [("Item", "Quantity", "Rate"), ("Description", "Qty", "Unit")],
    )
    places = (0.6, 0.79) if full else (0.7, 0.79)
    lines: list[Line] = [
        [Run(first), Run(count, places[0], "r"), *([Run(each, places[1], "r")] if full else []), Run("Amount", 1, "r")]
    ]
    for item in items:
        cells = [Run(item["description"]), Run(str(item["quantity"]), places[0], "r")]
        if full:
            cells.append(Run(money.show(round(100 * item["unit_price"])), places[1], "r"))
        lines.append([*cells, Run(money.show(round(100 * item["amount"])), 1, "r")])
    return lines


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

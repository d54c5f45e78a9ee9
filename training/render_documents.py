"""Receipts, invoices, forms and tables with known truth, for training and measuring the modes.

Contents come from the same split word list as plain text (`render_text.py`). For every choice of layout, some variants
are held out of training: how items are laid out, which words label an amount, where a label is relative to its value.
"""

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from training.render_money import Money, choose_money, total_lines
from training.render_sheets import Line, Run, Sheet, Style, choose_variant, make_fitting, title, typeset
from training.render_tables import table
from training.render_text import BUILT_IN, STREETS, Writer

KINDS = ("receipt", "invoice", "form", "table")
SHOPS = """
    Store|Market|Foods|Shop|Ltd.|Inc.|Cafe|& Sons|Bakery|Supply|Works
""".strip().split("|")


def choose_style(rng: random.Random, fonts: Sequence[str], *, held_out: bool) -> Style:
    size = rng.randint(18, 24)
    width = min(520, rng.randint(15, 25) * size)
    return Style(
        font=rng.choice(fonts),
        size=size,
        width=width,
        pitch=rng.uniform(1.2, 1.5),
        items=rng.randint(1, 4),
        held_out=held_out,
    )


def make_sheet(rng: random.Random, kind: str, style: Style) -> Sheet:
    """A sheet of one of KINDS. Raises TooWideError."""
    if kind == "table":
        return make_fitting(partial(table, rng, style))
    contents = {"receipt": receipt, "invoice": invoice, "form": form}[kind]
    return make_fitting(lambda: typeset(style, kind, *contents(rng, style)))


def receipt(rng: random.Random, style: Style) -> tuple[list[Line], dict[str, Any]]:
    """The lines of a receipt and its truth."""
    writer, money = Writer(rng, held_out=style.held_out), choose_money(rng, style.font)
    merchant = shop(writer)
    date = plain_date(rng)
    item_layout = choose_variant(
        rng, style.held_out, ["name price", "qty name price", "columns"], ["name qty price", "qty x name price"]
    )
    items: list[dict[str, Any]] = []
    for _ in range(style.items):
        each, count = rng.randint(50, 4000), rng.choice([1, 1, 1, 2, 3, 4])
        items.append({"name": title(writer), "qty": count, "price": each * count})
    subtotal = sum(item["price"] for item in items)
    rate = rng.choice([5, 7, 10, 19, 20])
    tax = round(subtotal * rate / 100)
    lines = receipt_head(writer, style, merchant, date)
    lines += receipt_item_lines(item_layout, items, money)
    if item_layout == "name price":
        for item in items:
            item["qty"] = None  # not printed
    lines += total_lines(rng, style, money, subtotal=subtotal, tax=tax, rate=rate)
    lines += receipt_foot(rng, money, subtotal + tax)
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


def receipt_head(writer: Writer, style: Style, merchant: str, date: str) -> list[Line]:
    """Merchant, perhaps address and telephone, and date."""
    rng = writer.rng
    position: Any = choose_variant(rng, style.held_out, [(0.5, "c"), (0.0, "l")], [(1.0, "r")])
    lines: list[Line] = [[Run(merchant, *position)]]
    if rng.random() < 0.5:
        lines.append([Run(street(writer), *position)])
    if rng.random() < 0.3:
        lines.append([Run(f"Tel. {rng.randint(200, 999)}-{rng.randint(0, 9999):04}", *position)])
    date_line: Line = choose_variant(
        rng,
        style.held_out,
        [
            [Run(f"Date: {date}")],
            [Run("Date"), Run(date, 1, "r")],
            [Run(date), Run(clock(rng), 1, "r")],
        ],
        [[Run(f"Date {date} {clock(rng)}")], [Run(f"Sold on {date}")]],
    )
    return [*lines, date_line]


def receipt_item_lines(layout: str, items: Sequence[dict[str, Any]], money: Money) -> list[Line]:
    lines: list[Line] = []
    if layout == "columns":
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
            }[layout]
        )
    return lines


def receipt_foot(rng: random.Random, money: Money, total: int) -> list[Line]:
    """Perhaps the payment and a closing line; total: cents."""
    lines: list[Line] = []
    if rng.random() < 0.3:
        paid = rng.choice([1, 2, 5]) * 10 ** rng.randint(3, 4) + total
        lines.append([Run("Cash"), Run(money.show(paid), 1, "r")])
        lines.append([Run("Change"), Run(money.show(paid - total), 1, "r")])
    elif rng.random() < 0.4:
        lines.append([Run(f"Card **** {rng.randint(0, 9999):04}")])
    if rng.random() < 0.4:
        lines.append([Run(rng.choice(["Thank you!", "Thank you for your visit", "Please come again"]), 0.5, "c")])
    return lines


def invoice(rng: random.Random, style: Style) -> tuple[list[Line], dict[str, Any]]:
    """The lines of an invoice and its truth."""
    writer, money = Writer(rng, held_out=style.held_out), choose_money(rng, style.font)
    vendor, customer = shop(writer), rng.choice([person(writer), shop(writer)])
    number = rng.choice(
        [
            f"{rng.randint(100, 99999)}",
            f"INV-{rng.randint(10, 9999):04}",
            f"{rng.randint(2015, 2035)}-{rng.randint(1, 999):03}",
        ]
    )
    truth: dict[str, Any] = {
        "vendor": vendor,
        "customer": customer,
        "invoice_number": number,
        "date": plain_date(rng),
        "due_date": plain_date(rng),
        "currency": money.symbol or None,
    }
    items: list[dict[str, Any]] = []
    for _ in range(min(3, style.items)):
        each, count = rng.randint(100, 30000), rng.choice([1, 2, 3, 5, 10, 12])
        items.append(
            {"description": title(writer), "quantity": count, "unit_price": each / 100, "amount": each * count / 100}
        )
    subtotal = round(100 * sum(item["amount"] for item in items))
    rate = rng.choice([5, 7, 10, 19, 20])
    tax = round(subtotal * rate / 100)
    lines = invoice_head(writer, style, truth)
    shows_unit_price = rng.random() < 0.8 and style.width > 20 * style.size
    lines += invoice_item_lines(rng, style, items, money, shows_unit_price=shows_unit_price)
    if not shows_unit_price:
        for item in items:
            item["unit_price"] = None
    lines += total_lines(rng, style, money, subtotal=subtotal, tax=tax, rate=rate)
    truth |= {
        "subtotal": subtotal / 100,
        "tax": tax / 100,
        "total": (subtotal + tax) / 100,
        "line_items": items,
    }
    return lines, truth


def invoice_head(writer: Writer, style: Style, fields: dict[str, Any]) -> list[Line]:
    """Vendor, perhaps address and title, then number, dates and customer with their labels."""
    rng, held_out = writer.rng, style.held_out
    number_label = choose_variant(
        rng,
        held_out,
        ["Invoice No: {}", "Invoice #: {}", "Invoice Number: {}"],
        ["Invoice No. {}", "Invoice: {}", "Invoice # {}"],
    )
    date_label = choose_variant(rng, held_out, ["Date: {}", "Invoice Date: {}"], ["Issued: {}", "Date {}"])
    due_label = choose_variant(rng, held_out, ["Due Date: {}", "Due: {}"], ["Payment due: {}", "Due date {}"])
    customer_label = choose_variant(rng, held_out, ["Bill To: {}", "Customer: {}"], ["Billed to: {}", "To: {}"])
    number = number_label.format(fields["invoice_number"])
    date, due = date_label.format(fields["date"]), due_label.format(fields["due_date"])
    customer = customer_label.format(fields["customer"])
    lines: list[Line] = [[Run(fields["vendor"])]]
    if rng.random() < 0.4:
        lines.append([Run(street(writer))])
    if rng.random() < 0.4:
        lines.append([Run(rng.choice(["INVOICE", "Invoice"]), *rng.choice([(0.5, "c"), (0.0, "l"), (1.0, "r")]))])
    lines += choose_variant(
        rng,
        held_out,
        [
            [[Run(number)], [Run(date)], [Run(due)], [Run(customer)]],
            [[Run(customer)], [Run(number)], [Run(date)], [Run(due)]],
            [[Run(number), Run(date, 1, "r")], [Run(due)], [Run(customer)]],
        ],
        [
            [[Run(date)], [Run(number)], [Run(customer)], [Run(due)]],
            [[Run(number)], [Run(date), Run(due, 1, "r")], [Run(customer)]],
        ],
    )
    return lines


def invoice_item_lines(
    rng: random.Random, style: Style, items: Sequence[dict[str, Any]], money: Money, *, shows_unit_price: bool
) -> list[Line]:
    """The column headings and one line for each item."""
    description, quantity, unit_price = choose_variant(
        rng,
        style.held_out,
        [("Description", "Qty", "Price"), ("Item", "Qty", "Price")],
        [("Item", "Quantity", "Rate"), ("Description", "Qty", "Unit")],
    )
    quantity_end, unit_price_end = 0.6 if shows_unit_price else 0.7, 0.79
    heading = [Run(description), Run(quantity, quantity_end, "r")]
    if shows_unit_price:
        heading.append(Run(unit_price, unit_price_end, "r"))
    lines: list[Line] = [[*heading, Run("Amount", 1, "r")]]
    for item in items:
        cells = [Run(item["description"]), Run(str(item["quantity"]), quantity_end, "r")]
        if shows_unit_price:
            cells.append(Run(money.show(round(100 * item["unit_price"])), unit_price_end, "r"))
        lines.append([*cells, Run(money.show(round(100 * item["amount"])), 1, "r")])
    return lines


def form(rng: random.Random, style: Style) -> tuple[list[Line], dict[str, Any]]:
    """The lines of a form and its truth: labels, some without a value."""
    writer = Writer(rng, held_out=style.held_out)
    makers: dict[str, Callable[[], str]] = {
        "Name": lambda: person(writer),
        "First name": lambda: rng.choice(writer.names),
        "Address": lambda: street(writer),
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
    anchor = rng.uniform(0.35, 0.5) if choose_variant(rng, style.held_out, [False, False, True], [True]) else None
    for label in labels:
        value = None if rng.random() < 0.12 else makers[label]()
        if style.font == BUILT_IN and value:
            value = value.translate({ord("£"): "$", ord("€"): "$"})
        fields.append({"label": label, "value": value})
        if value is None:
            lines.append([Run(f"{label}:")])
        else:
            lines.append([Run(f"{label}: {value}")] if anchor is None else [Run(f"{label}:"), Run(value, anchor)])
    return lines, {"fields": fields}


def shop(writer: Writer) -> str:
    rng = writer.rng
    first = rng.choice(writer.names) if rng.random() < 0.5 else writer.word().capitalize()
    name = f"{first} {rng.choice(SHOPS)}"
    return name.upper() if rng.random() < 0.25 else name


def person(writer: Writer) -> str:
    return f"{writer.rng.choice(writer.names)} {writer.rng.choice(writer.names)}"


def street(writer: Writer) -> str:
    rng = writer.rng
    return f"{rng.randint(1, 999)} {rng.choice(writer.names)} {rng.choice(STREETS)}"


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

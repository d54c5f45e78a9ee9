"""Receipts and invoices in six languages and ten ways to write numbers, as the transcript of a perfect reading would
have them, with their truth.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from training.paper_styles import MONTHS, OTHER, SHORT, STYLES
from training.paper_words import WORDINGS, Wording


@dataclass(frozen=True)
class Paper:
    """A document with its truth."""

    mode: str
    language: str
    style: str
    text: str
    truth: dict[str, Any]


class Maker:
    """Makes one paper."""

    def __init__(self, rng: random.Random, language: str) -> None:
        self.rng, self.language = rng, language
        self.words: Wording = WORDINGS[language]
        self.style = rng.choice(STYLES[language])
        self.sign = rng.choice(self.style.signs)
        self.everywhere = rng.random() < 0.4
        self.lines: list[str] = []
        self.wide = rng.choice([" ", " ", " ", "\t"])  # between the columns of a line

    def pick(self, alternatives: str) -> str:
        return self.rng.choice(alternatives.split("|"))

    def amount(self, value: Decimal, *, total: bool = False) -> str:
        number = self.style.number(value)
        signed = self.sign.replace("#", number) if total or self.everywhere else number
        if value >= 0:
            return signed
        return self.rng.choice([f"-{signed}", f"-{signed}", f"{number}-" if signed == number else f"-{signed}"])

    def price(self, low: int, high: int) -> Decimal:
        """An amount in whole units of a currency without cents, else with them."""
        cents = self.rng.randint(low, high)
        return Decimal(cents * 10 if cents < 10**5 else cents) if not self.style.decimal else Decimal(cents) / 100

    def rounded(self, value: Decimal) -> Decimal:
        return value.quantize(Decimal(1) if not self.style.decimal else Decimal("0.01"))

    def date(self) -> str:
        rng = self.rng
        day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(2019, 2029)
        shape = self.pick(self.words.months)
        names = MONTHS.get(self.language, "").split() or [""] * 12
        short = SHORT.get(self.language, "").split() or [""] * 12
        parts = {
            "MMMM": names[month - 1], "MMM": short[month - 1], "yy": f"{year % 100:02}", "y": str(year),
            "dd": f"{day:02}", "mm": f"{month:02}", "d": str(day), "m": str(month), "e": str(year - 2018),
        }  # fmt: skip
        return _filled(shape, parts)

    def label(self, words: str, rate: int) -> str:
        return self.pick(words).replace("{rate}", self._rate(rate))

    def _rate(self, rate: int) -> str:
        return self.rng.choice([str(rate), str(rate), f"{rate}{self.style.decimal or OTHER[self.style.group]}0"])

    def total(self, label: str, value: Decimal) -> None:
        """The line of the total."""
        self.row(label, self.amount(value, total=True))

    @property
    def currency(self) -> str | None:
        """The sign at the total; where amounts have none, a code in a label."""
        named = [code for line in self.lines for code in ("EUR", "PLN") if code in line.split()]
        return self.sign.replace("#", "").strip() or next(iter(named), None)

    def row(self, *cells: str) -> None:
        self.lines.append(self.wide.join(cells))


def _filled(shape: str, parts: dict[str, str]) -> str:
    found, place = "", 0
    while place < len(shape):
        key = next((own for own in parts if shape.startswith(own, place)), None)
        is_word = shape[place:].startswith("de ") and key == "d"
        if key is None or is_word:
            found, place = found + shape[place], place + 1
            if is_word:
                found, place = found + shape[place], place + 1
            continue
        found, place = found + parts[key], place + len(key)
    return found


# --- receipts --------------------------------------------------------------------------------------------------------


def receipt(rng: random.Random, language: str) -> Paper:
    maker = Maker(rng, language)
    words = maker.words
    shop = maker.pick(words.shops)
    head = [shop]
    if rng.random() < 0.25:
        head.insert(0, maker.pick(words.greetings if rng.random() < 0.6 else words.phone))
    head += [maker.pick(part) for part in (words.streets, words.phone, words.tax_id, words.noise) if rng.random() < 0.5]
    date = maker.date()
    clock = f"{rng.randint(7, 22):02}:{rng.randint(0, 59):02}"
    maker.lines += [*head, maker.pick(words.receipt_date).replace("{date}", date).replace("{time}", clock)]
    items = _receipt_items(maker)
    subtotal, tax, total = _receipt_sums(maker, items)
    if rng.random() < 0.4:
        maker.lines.append(maker.pick(words.thanks))
    truth: dict[str, Any] = {
        "merchant": shop,
        "date": date,
        "currency": maker.currency,
        "subtotal": subtotal,
        "tax": tax,
    }
    truth |= {"total": total, "items": [{"name": name, "qty": count, "price": price} for name, count, price in items]}
    return Paper("receipt", language, maker.style.name, "\n".join(maker.lines), truth)


def _receipt_items(maker: Maker) -> list[tuple[str, Decimal | None, Decimal]]:
    rng, words = maker.rng, maker.words
    layout = rng.choice(["name", "count first", "line below", "times", "leader", "flag", "weight"])
    names = rng.sample(words.goods.split("|"), rng.randint(2, 5))
    found: list[tuple[str, Decimal | None, Decimal]] = []
    for name in names:
        each, count = maker.price(80, 9000 if rng.random() < 0.85 else 240000), rng.choice([1, 1, 2, 3, 4])
        amount, printed = each * count, maker.amount(each * count)
        shown: Decimal | None = Decimal(count)
        if layout == "count first":
            maker.row(f"{count} x {name}" if rng.random() < 0.5 else f"{count}x {name}", printed)
        elif layout == "line below" and count > 1:
            maker.lines.append(name)
            maker.row(f"{count} x {maker.style.number(each)}", printed)
        elif layout == "times":
            maker.row(name, f"{count} x {maker.style.number(each)}", printed)
        elif layout == "weight" and maker.style.decimal:
            weight = Decimal(rng.randint(110, 2900)) / 1000
            amount = maker.rounded(each * weight)
            kilos = str(weight).replace(".", maker.style.decimal)
            maker.row(f"{name} {kilos} kg x {maker.style.number(each)}/kg", maker.amount(amount))
            shown = weight
        else:
            shown = None
            flag = f" {rng.choice('AB')}" if layout == "flag" else ""
            maker.lines.append(
                f"{name} {'.' * rng.randint(4, 12)} {printed}"
                if layout == "leader"
                else f"{name}{maker.wide}{printed}{flag}"
            )
        found.append((name, shown, amount))
    if rng.random() < 0.2:
        name, amount = maker.pick(words.discount), -maker.price(20, 79)
        maker.row(name, maker.amount(amount))
        found.append((name, None, amount))
    return found


def _receipt_sums(
    maker: Maker, items: list[tuple[str, Decimal | None, Decimal]]
) -> tuple[Decimal | None, Decimal | None, Decimal]:
    rng, words = maker.rng, maker.words
    added = sum((price for _, _, price in items), Decimal())
    rate = rng.choice([5, 7, 8, 10, 19, 20, 21])
    way = rng.choice(["on top", "inside", "none"])
    subtotal = tax = None
    total = added
    if way == "on top":
        subtotal, tax = added, maker.rounded(added * rate / 100)
        total = added + tax
        maker.row(maker.pick(words.subtotal), maker.amount(subtotal))
        maker.row(maker.label(words.tax, rate), maker.amount(tax))
    if rng.random() < 0.25:
        maker.lines.append(maker.pick(words.count).replace("{n}", str(len(items))))
    maker.total(maker.pick(words.total), total)
    if way == "inside":
        tax = maker.rounded(added * rate / (100 + rate))
        maker.row(maker.label(words.tax_inside, rate), maker.amount(tax))
    if rng.random() < 0.5:
        paid = total + maker.price(100, 2000)
        maker.row(maker.pick(words.cash), maker.amount(paid))
        maker.row(maker.pick(words.change), maker.amount(paid - total))
    return subtotal, tax, total


# --- invoices --------------------------------------------------------------------------------------------------------


def invoice(rng: random.Random, language: str) -> Paper:
    maker = Maker(rng, language)
    words = maker.words
    vendor, customer = maker.pick(words.shops), maker.pick(words.people)
    number = rng.choice(
        [
            f"{rng.randint(100, 99999)}", f"INV-{rng.randint(10, 9999):04}",
            f"{rng.randint(2019, 2029)}/{rng.randint(1, 999):03}",
            f"RE{rng.randint(1000, 99999)}", f"F{rng.randint(19, 29)}-{rng.randint(1, 999):03}",
        ]
    )  # fmt: skip
    date, due = maker.date(), maker.date()
    maker.lines.append(vendor)
    maker.lines += [maker.pick(part) for part in (words.streets, words.phone, words.tax_id) if rng.random() < 0.5]
    if rng.random() < 0.6:
        maker.lines.append(maker.pick(words.invoice_title))
    _invoice_head(maker, number, date, due, customer)
    rows = _invoice_rows(maker)
    subtotal = sum((row[3] for row in rows), Decimal())
    rate = rng.choice([5, 7, 8, 10, 19, 20, 21])
    tax = maker.rounded(subtotal * rate / 100)
    maker.row(maker.pick(words.net), maker.amount(subtotal))
    maker.row(maker.label(words.invoice_tax, rate), maker.amount(tax))
    maker.total(maker.pick(words.gross), subtotal + tax)
    if rng.random() < 0.3:
        maker.lines.append(maker.pick(words.thanks))
    truth: dict[str, Any] = {
        "vendor": vendor,
        "customer": customer,
        "invoice_number": number,
        "date": date,
        "due_date": due,
    }
    truth |= {"currency": maker.currency, "subtotal": subtotal, "tax": tax, "total": subtotal + tax}
    keys = ("description", "quantity", "unit_price", "amount")
    return Paper(
        "invoice", language, maker.style.name, "\n".join(maker.lines),
        truth | {"line_items": [dict(zip(keys, row, strict=True)) for row in rows]},
    )  # fmt: skip


def _invoice_head(maker: Maker, number: str, date: str, due: str, customer: str) -> None:
    rng, words = maker.rng, maker.words
    facts = [
        (maker.pick(words.number), number),
        (maker.pick(words.date), date),
        (maker.pick(words.due_date), due),
    ]
    layout = rng.choice(["lines", "lines", "row", "block", "shared"])
    if layout == "row":
        maker.lines += ["\t".join(label for label, _ in facts), "\t".join(value for _, value in facts)]
    elif layout == "block":
        maker.lines += [*(label for label, _ in facts), *(value for _, value in facts)]
    elif layout == "shared":
        maker.lines += [
            "   ".join(f"{label} {value}" for label, value in facts[:2]),
            f"{facts[2][0]} {facts[2][1]}",
        ]
    else:
        maker.lines += [f"{label} {value}" for label, value in facts]
    label = maker.pick(words.customer)
    below = label.endswith(":") and rng.random() < 0.4
    maker.lines += [label, customer] if below else [f"{label} {customer}"]
    if rng.random() < 0.3:
        maker.lines.append(maker.pick(words.streets))


def _invoice_rows(maker: Maker) -> list[tuple[str, Decimal, Decimal, Decimal]]:
    rng, words = maker.rng, maker.words
    heads = maker.pick(words.heads).split(";")
    units, positions = rng.random() < 0.25, rng.random() < 0.2
    pipes = rng.random() < 0.15
    gap = " | " if pipes else maker.wide
    shown: Callable[[str], str] = (lambda text: f"| {text} |") if pipes else (lambda text: text)
    maker.lines.append(shown(gap.join([*(["Pos"] if positions else []), *heads])))
    rows = []
    for index, name in enumerate(rng.sample(words.services.split("|"), rng.randint(1, 4))):
        each = maker.price(500, 40000)
        count = Decimal(rng.choice([1, 2, 3, 5, 10, 12])) if rng.random() < 0.8 else Decimal(rng.randint(3, 39)) / 2
        amount = maker.rounded(each * count)
        printed = str(count.normalize() if count != count.to_integral() else int(count))
        printed = printed.replace(".", maker.style.decimal or OTHER[maker.style.group])
        printed = f"{printed} {maker.pick(words.unit)}" if units else printed
        cells = [*([str(index + 1)] if positions else []), name, printed, maker.amount(each), maker.amount(amount)]
        maker.lines.append(shown(gap.join(cells)))
        rows.append((name, count, each, amount))
    return rows


def papers(count: int, seed: int) -> list[Paper]:
    """So many papers, the same for a seed: receipts and invoices by turns, each language equally often."""
    rng = random.Random(seed)
    languages = list(WORDINGS)
    return [(receipt, invoice)[index % 2](rng, languages[index // 2 % len(languages)]) for index in range(count)]

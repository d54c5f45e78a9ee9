"""The labels that documents put before their values, and how they are found on a line.

Phrases match as whole words, in any case and spacing. If two begin at the same character, the longer one wins, so that
`Sub total` is never a `total`.
"""

import bisect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

PHRASES = {
    field: tuple(phrases.split(", "))
    for field, phrases in {
        "merchant": "merchant, store name, 商户名称, 商户, 店名",
        "vendor": "vendor, seller, supplier, sold by, from, 销售方, 供应商",
        "customer": "bill to, billed to, invoice to, sold to, ship to, customer, client, buyer, to, 购买方, 客户",
        "invoice_number": (
            "invoice no., invoice no, invoice number, invoice #, invoice num, invoice id, inv no, inv #, "
            "bill no, "
            "rechnungsnummer, rechnung nr, tax invoice, invoice, 发票号码, 发票号, 单号"
        ),
        "date": (
            "invoice date, date of issue, issue date, date issued, issued on, issued, sold on, dated, date, "
            "开票日期, 日期"
        ),
        "due_date": "payment due date, payment due, due date, date due, due on, due by, pay by, due, 到期日, 付款期限",
        "subtotal": (
            "sub total, subtotal, net amount, net total, total net, net, total before tax, zwischensumme, netto, "
            "小计, 不含税金额"
        ),
        "tax": (
            "sales tax, total tax, tax amount, tax total, vat amount, vat, gst, hst, pst, tax, mwst, ust, "
            "tva, iva, 税额, 税"
        ),
        "total": (
            "grand total, total due, total amount due, total amount, total to pay, total payable, amount "
            "due, amount payable, balance due, invoice total, total, gesamtbetrag, gesamt, summe, "
            "价税合计, 应付金额, 合计, 总计, 总额, 实付"
        ),
        "currency": "currency, 币种",
        "paid": (
            "cash, change, card, visa, mastercard, amex, paid, amount paid, tendered, balance, rounding, "
            "discount, tip, 现金, 找零, 实收, 优惠"
        ),
    }.items()
}
"""Field -> its labels. `paid` is not a field of an answer: it marks lines that are neither items nor sums."""

COLUMNS = {
    field: tuple(phrases.split(", "))
    for field, phrases in {
        "name": "description, item, items, product, article, service, name, 品名, 项目, 商品, 名称",
        "quantity": "quantity, qty, count, units, pcs, 数量",
        "unit_price": "unit price, price each, unit cost, price per unit, rate, unit, each, 单价",
        "amount": "line total, amount, total, price, sum, cost, 金额",
    }.items()
}
"""Column of a list of items -> its heads, which are also names of the properties that it fills."""

NEXT_LABEL = re.compile(r"\s(?=[A-Z]\w*(?:\s[a-z]\w*){0,3}\s?:(?:\s|$))")
"""The space before an unlisted label: a capitalised word, up to three lower-case ones, a colon."""

SEPARATOR = re.compile(r"[\s:：#.\-–_*]*")


@dataclass(frozen=True)
class Label:
    """A label that was found on a line."""

    field: str
    start: int  # start of the phrase on its line
    end: int  # start of its value
    stop: int  # start of the next label, or end of the line


class Labels:
    """Finds labels on lines."""

    def __init__(self, extra: Mapping[str, Sequence[str]]) -> None:
        """Accept `extra` phrases by field, those of a caller's own schema."""
        every = [*PHRASES.items(), *extra.items()]
        self._fields = {_key(phrase): field for field, phrases in every for phrase in phrases}
        self._pattern = one_of(phrase for _, phrases in every for phrase in phrases)

    def on(self, line: str) -> list[Label]:
        """Labels at the line's start, and later ones that a colon, a second word or a following date confirms."""
        found: list[tuple[str, int, int]] = []
        for match in self._pattern.finditer(line):
            field = self._fields[_key(match[0])]
            first = not line[: match.start()].strip(" •*-·\t")
            colon = bool(re.match(r"\s?[:：#]", line[match.end() :]))
            several = " " in normal(match[0]) and found != []
            dated = field in ("date", "due_date") and bool(re.match(r"\s\d", line[match.end() :]))
            if first or colon or several or dated:
                end = SEPARATOR.match(line, match.end()).end()  # type: ignore[union-attr]  # it always matches
                found.append((field, match.start(), end))
        others = [match.end() for match in NEXT_LABEL.finditer(line)]
        stops = sorted([*(start for _, start, _ in found), *others, len(line)])
        return [Label(field, start, end, _first_from(stops, end)) for field, start, end in found]


def _first_from(positions: Sequence[int], start: int) -> int:
    """The first of ascending positions from `start` on, else the last."""
    return positions[min(bisect.bisect_left(positions, start), len(positions) - 1)]


def normal(phrase: str) -> str:
    return re.sub(r"[\s\-_]+", " ", phrase.lower().rstrip(".")).strip()


def _key(phrase: str) -> str:
    return normal(phrase).replace(" ", "")


def one_of(phrases: Iterable[str]) -> re.Pattern[str]:
    """A pattern of all phrases, the longest first; a space also matches a hyphen, an underscore or nothing."""
    alternatives = []
    for phrase in sorted(map(normal, phrases), key=len, reverse=True):
        body = r"[\s\-_]?".join(re.escape(word) for word in phrase.split(" "))
        # Ignoring case only in ASCII: elsewhere different letters are equal then (the dotted I, the long s).
        alternatives.append(rf"(?<!\w)(?ai:{body})(?!\w)" if phrase.isascii() else body)
    return re.compile("|".join(alternatives))


def words_of(name: str) -> str:
    """The words of a property's name: `invoiceNo`, `invoice_no` -> `invoice no`."""
    return normal(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name))


def field_of(name: str) -> str | None:
    """The known field that a property's name means."""
    return _FIELDS.get(words_of(name))


def column_of(name: str) -> str | None:
    """The column of a list of items that a property's name means."""
    return _COLUMNS.get(words_of(name))


_FIELDS = {
    normal(phrase): field for field, phrases in PHRASES.items() for phrase in (*phrases, field) if field != "paid"
}
_COLUMNS = {normal(head): column for column, heads in COLUMNS.items() for head in (*heads, column)}

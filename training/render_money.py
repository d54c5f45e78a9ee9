"""Amounts of money on receipts and invoices, and the lines of their totals."""

import random
from dataclasses import dataclass

from training.render_sheets import Line, Run, Style, choose_variant
from training.render_text import BUILT_IN


@dataclass(frozen=True)
class Money:
    """How a document writes its amounts."""

    symbol: str  # "" where no currency is named
    before: bool  # the symbol precedes the number
    comma: bool  # 1.234,50 rather than 1,234.50
    everywhere: bool  # the symbol is shown at every amount, not only at the total

    def show(self, cents: int, *, total: bool = False) -> str:
        """The amount as printed."""
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
    everywhere = rng.random() < 0.5 and not symbol.isalpha()
    return Money(symbol=symbol, before=before, comma=comma, everywhere=everywhere)


def total_lines(rng: random.Random, style: Style, money: Money, *, subtotal: int, tax: int, rate: int) -> list[Line]:
    """Subtotal, tax and total; amounts in cents, rate in percent."""
    names = choose_variant(
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

"""A value of an answer with its place on the page."""

import json
from dataclasses import dataclass
from decimal import Decimal

from modes.page import Span

Json = str | int | float | Decimal | bool | None
"""A plain value of an answer."""


@dataclass(frozen=True)
class Value:
    """A value of the answer, and where on the page it is printed."""

    value: Json
    span: Span | None = None  # in the transcript; None for null and for a schema's own words
    others: tuple[Decimal, ...] = ()  # what the printed number may mean as well

    @property
    def literal(self) -> str:
        """The value as JSON, with the decimals that are printed."""
        return str(self.value) if isinstance(self.value, Decimal) else json.dumps(self.value, ensure_ascii=False)

    @property
    def number(self) -> Decimal | None:
        return self.value if isinstance(self.value, Decimal) else None

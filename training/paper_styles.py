"""Ten ways to write amounts, and the names of months, by language."""

from dataclasses import dataclass
from decimal import Decimal

OTHER = {".": ",", ",": ".", "，": "."}
"""The decimal mark beside a mark of thousands."""

MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "pl": "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia",
}
SHORT = {
    "en": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
    "de": "Jan. Feb. Mär. Apr. Mai Jun. Jul. Aug. Sep. Okt. Nov. Dez.",
    "fr": "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
    "es": "ene feb mar abr may jun jul ago sep oct nov dic",
    "pl": "sty lut mar kwi maj cze lip sie wrz paź lis gru",
}


@dataclass(frozen=True)
class Style:
    """A way to write amounts."""

    name: str
    decimal: str  # "" : no decimals
    group: str
    signs: tuple[str, ...]  # currencies; `$#`: before, `# €`: after, `#`: none
    lakh: bool = False
    digits: str = "0123456789"

    def number(self, value: Decimal) -> str:
        whole, _, cents = f"{abs(value):.2f}".partition(".")
        groups = [whole[max(0, end - 3) : end] for end in range(len(whole), 0, -3)]
        if self.lakh and len(whole) > 3:
            rest = whole[:-3]
            groups = [whole[-3:], *(rest[max(0, end - 2) : end] for end in range(len(rest), 0, -2))]
        text = self.group.join(reversed(groups)) + (self.decimal + cents if self.decimal else "")
        return text.translate(str.maketrans("0123456789", self.digits))


STYLES: dict[str, tuple[Style, ...]] = {
    "en": (
        Style("1,234.50", ".", ",", ("$#", "£#", "#", "USD #", "RM #", "A$#")),
        Style("1,23,456.78", ".", ",", ("₹ #", "Rs. #", "#"), lakh=True),
        Style("1234.50", ".", "", ("$#", "#", "# USD")),
    ),
    "de": (
        Style("1.234,50", ",", ".", ("# €", "#", "# EUR", "€ #")),
        Style("1'234.50", ".", "'", ("CHF #", "Fr. #", "#")),
        Style("1234,50", ",", "", ("# €", "#")),
    ),
    "fr": (
        Style("1 234,50", ",", " ", ("# €", "# EUR")),
        Style("1\u202f234,50", ",", "\u202f", ("# €", "#", "#€")),
    ),
    "es": (
        Style("1.234,50", ",", ".", ("# €", "#", "#€")),
        Style("1,234.50", ".", ",", ("$#", "$ #")),
        Style("1.234", "", ".", ("$ #", "$#")),
    ),
    "pl": (
        Style("1 234,50", ",", " ", ("# zł", "# PLN")),
        Style("1234,50", ",", "", ("# zł", "#")),
    ),
    "ja": (
        Style("1,234", "", ",", ("#円", "¥#", "#")),
        Style("１，２３４", "", "，", ("#円", "￥#"), digits="０１２３４５６７８９"),
    ),
}
"""The styles of each language's papers; ten names in all."""

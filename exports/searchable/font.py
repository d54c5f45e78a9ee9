"""A font for text that is there to be found and copied, never to be seen: it has a box for any character.

boxes.ttf has two glyphs, half an em and an em wide; scripts/box_font.py made it. Characters of a document get codes of
its own, and a ToUnicode map says what each code stands for.
"""

import ctypes
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from pypdfium2 import PdfDocument, PdfiumError, raw

FILE = Path(__file__).with_name("boxes.ttf")
HALF, FULL = 1, 2  # numbers of the glyphs
IN_A_SECTION = 100  # entries that a map may have in one
CMAP = """/CIDInit /ProcSet findresource begin
12 dict begin
begincmap
/CIDSystemInfo << /Registry (Adobe) /Ordering (UCS) /Supplement 0 >> def
/CMapName /Adobe-Identity-UCS def
/CMapType 2 def
1 begincodespacerange
<0000> <FFFF>
endcodespacerange
{sections}
endcmap
CMapName currentdict /CMap defineresource pop
end
end
"""


def em(character: str) -> float:
    """A character's width."""
    return 1.0 if unicodedata.east_asian_width(character) in "WF" else 0.5


class Font:
    """The font in a document, with the characters that it will need."""

    def __init__(self, document: PdfDocument, characters: Iterable[str]) -> None:
        self._document = document
        self._codes = {character: code for code, character in enumerate(sorted(set(characters)), start=1)}
        glyphs = b"\0\0" + b"".join(bytes((0, FULL if em(one) == 1 else HALF)) for one in self._codes)
        file = FILE.read_bytes()
        self._font = raw.FPDFText_LoadCidType2Font(
            document, _bytes(file), len(file), self._to_unicode(), _bytes(glyphs), len(glyphs)
        )
        if not self._font:
            raise PdfiumError("the font cannot be added")

    def text(self, text: str, size: float) -> raw.FPDF_PAGEOBJECT:
        """A text object, invisible, at the origin."""
        made = raw.FPDFPageObj_CreateTextObj(self._document, self._font, size)
        codes = (ctypes.c_uint32 * len(text))(*(self._codes[character] for character in text))
        if not raw.FPDFText_SetCharcodes(made, codes, len(text)):
            raise PdfiumError("a text cannot be added")
        raw.FPDFTextObj_SetTextRenderMode(made, raw.FPDF_TEXTRENDERMODE_INVISIBLE)
        return made

    @staticmethod
    def width(text: str) -> float:
        """In ems."""
        return sum(map(em, text))

    def _to_unicode(self) -> bytes:
        lines = [f"<{code:04X}> <{one.encode('utf-16-be').hex().upper()}>" for one, code in self._codes.items()]
        sections = []
        for start in range(0, len(lines), IN_A_SECTION):
            part = lines[start : start + IN_A_SECTION]
            sections.append("\n".join((f"{len(part)} beginbfchar", *part, "endbfchar")))
        return CMAP.format(sections="\n".join(sections)).encode() + b"\0"


def _bytes(data: bytes) -> ctypes.Array[ctypes.c_ubyte]:
    return (ctypes.c_ubyte * len(data)).from_buffer_copy(data)

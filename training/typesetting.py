"""Print: words set into lines in the fonts of a family, and printed on a mask with the centre of every character."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.render_text import font_paths

Family = tuple[str, str, str, str]
"""File names of the regular, bold, italic and bold italic font."""


def families(names: str) -> list[Family]:
    """One family for each line: its fonts, the last one repeated up to four."""
    found = []
    for line in names.strip().splitlines():
        fonts = line.split()
        regular, bold, italic, bold_italic = fonts + [fonts[-1]] * (4 - len(fonts))
        found.append((regular, bold, italic, bold_italic))
    return found


REGULAR, BOLD, ITALIC, BOLD_ITALIC = range(4)
# Print that answers write in ASCII: bullets and dashes as hyphens, quotation marks upright.
AS_TYPED = str.maketrans("•–—“”‘’", "---\"\"''")


@dataclass(frozen=True)
class Word:
    """A word at its place on the line."""

    printed: str
    style: int
    x: float  # pixels


@dataclass(frozen=True)
class Line:
    words: list[Word]
    end: float  # x of the right end of its last word


@dataclass(frozen=True)
class Look:
    """How one image of a batch is set: fonts at the scale it is drawn at, and how its lines are laid out."""

    fonts: list[ImageFont.FreeTypeFont]  # by style
    align: str  # justified, left, center, right
    hyphenates: bool
    indent: float  # pixels before the first line of a paragraph, or before the lines of an item
    style: int
    mixed: float  # share of words that begin a span in another style
    curly: bool  # quotation marks
    features: list[str] | None = None  # OpenType's, for fonts laid out by Raqm; fonts without them ignore them


@lru_cache(maxsize=1500)
def block_font(name: str, size: int, engine: ImageFont.Layout) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_paths()[name], size, layout_engine=engine)


def styled(rng: random.Random, words: Iterator[str], look: Look) -> Iterator[tuple[str, int]]:
    """The words as printed, each with its style; now and then a few in another one."""
    style, left = look.style, 0
    for word in words:
        left -= 1
        if left < 0:
            style = look.style
            if rng.random() < look.mixed:
                style, left = rng.choice([BOLD, ITALIC, ITALIC, BOLD_ITALIC]), rng.randint(0, 4)
        yield (curled(word) if look.curly else word), style


def curled(word: str) -> str:
    """The word with the quotation marks and the dash of book print."""
    for straight, opening, closing in (('"', "“", "”"), ("'", "‘", "’")):
        if word.startswith(straight):
            word = opening + word[1:]
        word = word.replace(straight, closing)
    return "–" if word == "-" else word


class Typesetter:
    """Sets words into lines of a width, all in pixels at the scale of the look's fonts."""

    def __init__(self, rng: random.Random, look: Look, words: Iterator[tuple[str, int]], width: float) -> None:
        self.rng = rng
        self.look = look
        self.words = words
        self.width = width

    def paragraph(self, count: int, mark: str = "") -> list[Line]:
        """Up to `count` lines, fewer where the words end; a mark stands before the first, the others hang below it."""
        lines: list[Line] = []
        hang = max(self.look.indent, self.length(mark, self.look.style) * 1.3) if mark else 0.0
        for number in range(count):
            start = hang or (0.0 if number else self.look.indent)
            chosen, full = self.fill(self.width - start, last=number == count - 1)
            if not chosen:
                break
            line = self.place(chosen, start, justified=full and self.look.align == "justified")
            if mark and not number:
                line = Line([Word(mark, self.look.style, 0.0), *line.words], line.end)
            lines.append(line)
        return lines

    def fill(self, room: float, *, last: bool) -> tuple[list[tuple[str, int]], bool]:
        """The words of one line, at least one unless none is left, and whether another would not have fitted."""
        stop = room * self.rng.uniform(0.1, 1) if last and self.rng.random() < 0.7 else room
        chosen: list[tuple[str, int]] = []
        used = 0.0
        for word in self.words:
            blank = self.length(" ", word[1]) if chosen else 0.0
            after = used + blank + self.length(*word)
            if after > room:
                return chosen + self.divide(word, room - used - blank, forced=not chosen), True
            if chosen and after > stop:
                self.put_back(word)
                return chosen, False
            chosen.append(word)
            used = after
        return chosen, False

    def divide(self, word: tuple[str, int], room: float, *, forced: bool) -> list[tuple[str, int]]:
        """The part of a word that still fits the line, with a hyphen, or nothing; the rest is for the next line."""
        text, style = word
        fitting = [n for n in range(2, len(text) - 2) if text.isalpha() and self.length(text[:n] + "-", style) <= room]
        if fitting and (forced or self.look.hyphenates):
            cut = self.rng.choice(fitting)
            self.put_back((text[cut:], style))
            return [(text[:cut] + "-", style)]
        if forced:
            return [word]
        self.put_back(word)
        return []

    def put_back(self, word: tuple[str, int]) -> None:
        self.words = itertools.chain([word], self.words)

    def place(self, chosen: Sequence[tuple[str, int]], start: float, *, justified: bool) -> Line:
        """The words from `start` on, at their natural distance, stretched to the width or centred."""
        lengths = [self.length(*word) for word in chosen]
        blanks = [self.length(" ", style) for _, style in chosen[1:]]
        spare = self.width - start - sum(lengths) - sum(blanks)
        if justified and blanks:
            blanks = [blank + spare / len(blanks) for blank in blanks]
        if self.look.align == "center":
            start += spare / 2
        words, x = [], start
        for (text, style), length, blank in zip(chosen, lengths, [*blanks, 0.0], strict=True):
            words.append(Word(text, style, x))
            x += length + blank
        return Line(words, x)

    def length(self, text: str, style: int) -> float:
        return self.look.fonts[style].getlength(text, features=self.look.features)


class Print:
    """A mask that lines are printed on, with the pieces of their text and the centre of each."""

    def __init__(self, size: tuple[int, int], pad: int, em: float, look: Look) -> None:
        self.mask = Image.new("L", size)
        self.pen = ImageDraw.Draw(self.mask)
        self.pad = pad
        self.em = em
        self.look = look
        self.pieces: list[str] = []
        self.centres: list[tuple[float, float]] = []

    def draw(self, line: Line, y: float) -> None:
        """Print a line with its baseline `y` below the first one, and a newline at its end."""
        baseline = self.pad + y
        middle = baseline - 0.35 * self.em
        end = None
        for word in line.words:
            font, features, x = self.look.fonts[word.style], self.look.features, self.pad + word.x
            if end is not None:
                self.add(" ", (end + x) / 2, middle)
            self.pen.text((x, baseline), word.printed, font=font, fill=255, anchor="ls", features=features)
            length = font.getlength(word.printed, features=features)
            ends = np.cumsum([0.0] + [font.getlength(one, features=features) for one in word.printed])
            ends *= length / ends[-1]
            for character, centre in zip(word.printed, (ends[1:] + ends[:-1]) / 2, strict=True):
                self.add(character, x + centre, middle)
            end = x + length
        self.add("\n", self.pad + line.end, middle)

    def add(self, piece: str, x: float, y: float) -> None:
        self.pieces.append(piece)
        self.centres.append((x, y))

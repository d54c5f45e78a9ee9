"""Images of printed English with known text, for training and measuring the embedded checkpoint.

Words and fonts come from the Debian packages below. Words are split by hash, so that training and evaluation share
none; whole font families are held out of training.
"""

import hashlib
import os
import random
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/share/texmf/fonts"))
WORD_LIST = Path("/usr/share/dict/american-english")
PACKAGES = [
    "wamerican",
    "fonts-dejavu-core",
    "fonts-liberation",
    "fonts-freefont-ttf",
    "fonts-roboto-unhinted",
    "fonts-roboto-slab",
    "fonts-lato",
    "fonts-crosextra-carlito",
    "fonts-inter",
    "fonts-noto-core",
    "fonts-linuxlibertine",
    "fonts-lmodern",
    "fonts-urw-base35",
    "fonts-hack",
    "fonts-open-sans",
    "fonts-crosextra-caladea",
    "fonts-cantarell",
    "fonts-texgyre",
    "fonts-firacode",
]

BUILT_IN = "Pillow"  # the font that comes with Pillow, available on every machine
TRAINING_FONTS = (
    f"{BUILT_IN} DejaVuSans DejaVuSans-Bold DejaVuSerif DejaVuSansMono LiberationSans-Regular LiberationSans-Bold "
    "LiberationSans-Italic LiberationSerif-Regular LiberationSerif-Bold LiberationSerif-Italic LiberationMono-Regular "
    "LiberationSansNarrow-Regular FreeSans FreeSerif FreeMonoBold Roboto-Regular Roboto-Bold Roboto-Light "
    "RobotoSlab-Regular Lato-Regular Lato-Bold Carlito-Regular Carlito-Bold Inter-Regular Inter-SemiBold "
    "NotoSans-Regular NotoSans-Bold NotoSerif-Regular LinLibertine_R LinBiolinum_R lmroman10-regular lmsans10-regular "
    "URWBookman-Light C059-Roman URWGothic-Book NimbusSansNarrow-Regular Hack-Regular"
).split()
HELD_OUT_FONTS = [
    "OpenSans-Regular",
    "OpenSans-Bold",
    "Caladea-Regular",
    "Cantarell-Regular",
    "texgyrepagella-regular",
    "FiraCode-Regular",
]

PIECE = re.compile(r"<(?:fcel|ecel|lcel|ucel|xcel|nl)>|.", re.DOTALL)
ANSWER_CHARACTERS = "".join(map(chr, range(32, 127))) + "£€"


@dataclass(frozen=True)
class Layout:
    """The size, number of lines and type size that all images of a batch share."""

    width: int  # pixels
    height: int  # pixels
    lines: int
    type_size: float  # pixels per em


@dataclass(frozen=True)
class Page:
    """A painted image with its text and the position of every piece of that text."""

    image: Image.Image  # RGB
    text: str
    centres: np.ndarray  # (pieces, 2) fp32: x and y of the centre of every piece, pixels

    @property
    def pieces(self) -> list[str]:
        """The text split into the embedded checkpoint's tokens: single characters and table markers."""
        return PIECE.findall(self.text)


def require_packages() -> None:
    """Install missing fonts and words where apt-get and root are available; otherwise raise SystemExit naming them."""
    missing = [name for name in TRAINING_FONTS + HELD_OUT_FONTS if name not in font_paths()]
    if not missing and WORD_LIST.exists():
        return
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *PACKAGES]
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise SystemExit(f"Fonts or words are missing ({', '.join(missing)}). Install them: sudo {' '.join(command)}")
    print("Installing fonts and words:", " ".join(PACKAGES), flush=True)
    subprocess.run(["apt-get", "update", "-q"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    )
    font_paths.cache_clear()


@lru_cache
def font_paths() -> dict[str, str]:
    """Path of every font on this machine, by its file name without the suffix."""
    files = (path for folder in FONT_FOLDERS for path in folder.rglob("*.[ot]t[fc]"))
    found = {path.stem: str(path) for path in files}
    return found | {BUILT_IN: BUILT_IN}


@lru_cache(maxsize=2000)
def load_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    if name == BUILT_IN:
        font = ImageFont.load_default(size)
        assert isinstance(font, ImageFont.FreeTypeFont)
        return font
    return ImageFont.truetype(font_paths()[name], size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=100_000)
def advance(font: ImageFont.FreeTypeFont, character: str) -> float:
    """Pixels from one character to the next; kerning, a pixel here and there, is ignored for speed."""
    return font.getlength(character)


def edges(font: ImageFont.FreeTypeFont, text: str) -> np.ndarray:
    """x of the left edge of every character and of the end of the text: (len(text) + 1,), pixels."""
    return np.cumsum([0.0] + [advance(font, character) for character in text])


@lru_cache
def words(held_out: bool) -> tuple[list[str], list[str]]:
    """Common words and proper names, either of the training set or held out of it."""
    lines = [word for word in WORD_LIST.read_text().split() if word.isascii() and word.isalpha() and len(word) <= 12]
    chosen = [word for word in lines if is_held_out(word) == held_out]
    return [word for word in chosen if word.islower()], [word for word in chosen if word.istitle() and len(word) > 2]


def is_held_out(word: str) -> bool:
    """Whether two hashes of the word, in lower case, select it: one word in a hundred."""
    digests = (hashlib.new(name, word.lower().encode(), usedforsecurity=False).digest() for name in ("sha1", "sha256"))
    return all(digest[0] % 10 == 0 for digest in digests)


# Vocabulary besides the word list; training and evaluation share it.
MONTHS = """
    Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec January February March April June July August
""".split()
STREETS = """
    Street Road Avenue Lane Drive St. Rd. Ave. Blvd. Court Way
""".split()
LABELS = """
    Total Subtotal Tax Date Invoice No. Order Qty Price Amount Due Name Phone Email Item Page Ref
""".split()


class Writer:
    """Random text, mostly natural: words, names, numbers, dates, prices, addresses; one string in twenty is noise."""

    def __init__(self, rng: random.Random, *, held_out: bool) -> None:
        self.rng = rng
        self.held_out = held_out
        self.common, self.names = words(held_out)

    def phrase(self) -> str:
        rng = self.rng
        if rng.random() < 0.05:
            return "".join(rng.choices(ANSWER_CHARACTERS.replace(" ", ""), k=rng.randint(2, 9)))
        kinds = (self.sentence, self.name, self.number, self.date, self.price, self.address, self.labelled, self.code)
        return rng.choices(kinds, weights=(52, 8, 8, 6, 8, 5, 9, 4))[0]()

    def word(self) -> str:
        # The shorter of two: short words are more frequent in running text than in the word list.
        return min(self.rng.choice(self.common), self.rng.choice(self.common), key=len)

    def sentence(self) -> str:
        rng = self.rng
        chosen = [self.word() for _ in range(rng.randint(1, 9))]
        if rng.random() < 0.1:
            return " ".join(chosen).upper()
        if rng.random() < 0.15:
            return " ".join(chosen).title()
        text = " ".join(word + ("," if rng.random() < 0.06 else "") for word in chosen)
        if rng.random() < 0.6:
            text = text.capitalize() if rng.random() < 0.8 else text
            text = text.rstrip(",") + rng.choice([".", ".", ".", ".", "?", "!", ";", ":"])
        return rng.choice(['"{}"', "({})", "'{}'"]).format(text) if rng.random() < 0.06 else text

    def name(self) -> str:
        first, last = self.rng.choice(self.names), self.rng.choice(self.names)
        return self.rng.choice([f"{first} {last}", f"Mr. {last}", f"Dr. {last}", f"{first[0]}. {last}", f"{last} Ltd."])

    def number(self) -> str:
        value = int(10 ** self.rng.uniform(0, 6))
        return self.rng.choice(
            [str(value), f"{value:,}", f"{value / 100:.2f}", f"{value % 1000 / 10:.1f}%", f"#{value}"]
        )

    def date(self) -> str:
        rng = self.rng
        day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1950, 2039)
        named = rng.choice(MONTHS)
        clock = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
        forms = [f"{day:02}/{month:02}/{year}", f"{year}-{month:02}-{day:02}", f"{named} {day}, {year}"]
        return rng.choice([*forms, f"{day} {named} {year}", f"{day:02}.{month:02}.{year}", clock])

    def price(self) -> str:
        value = 10 ** self.rng.uniform(0, 4)
        return self.rng.choice(
            [f"${value:,.2f}", f"${value:.2f}", f"£{value:.2f}", f"€{value:.2f}", f"{value:.2f} USD"]
        )

    def address(self) -> str:
        rng = self.rng
        street = f"{rng.randint(1, 9999)} {rng.choice(self.names)} {rng.choice(STREETS)}"
        return rng.choice([street, f"{street}, {rng.choice(self.names)} {rng.randint(10000, 99999)}"])

    def labelled(self) -> str:
        value = self.rng.choice([self.price, self.number, self.date, self.name, self.word])()
        return f"{self.rng.choice(LABELS)}{self.rng.choice([':', ':', '', ' -'])} {value}"

    def code(self) -> str:
        rng = self.rng
        user, host = self.word(), self.word()
        phone = f"{rng.randint(200, 999)}-{rng.randint(200, 999)}-{rng.randint(0, 9999):04}"
        serial = f"{''.join(rng.choices('ABCDEFGHJKLMNPQRSTUVWXYZ', k=2))}-{rng.randint(0, 99999):05}"
        return rng.choice([f"{user}@{host}.com", f"www.{host}.org", phone, f"+1 {phone}", serial])

    def line(self, font: ImageFont.FreeTypeFont, width: float) -> str:
        """One line of at most `width` pixels, but at least one character."""
        text = self.phrase()
        while self.rng.random() < 0.75 and edges(font, text)[-1] < width:
            text += " " + self.phrase()
        fitting = max(1, int(np.searchsorted(edges(font, text), width, side="right")) - 1)
        if fitting < len(text) and " " in text[:fitting]:
            fitting = text.rindex(" ", 0, fitting)
        return text[:fitting].strip()


def choose_layout(rng: random.Random, *, lines: int | None = None, max_width: int = 450) -> Layout:
    """A random layout of `lines`, or of one to six lines."""
    lines = lines or rng.choice((1, 1, 1, 2, 2, 3, 3, 4, 5, 6))
    type_size = rng.uniform(14, 26)
    width = rng.randint(60, max_width) if lines == 1 else rng.randint(min(140, max_width), max_width)
    spacing = rng.uniform(1.2, 1.6)
    height = int(lines * type_size * spacing + rng.uniform(4, 24))
    return Layout(width=width, height=height, lines=lines, type_size=type_size)


def draw_page(rng: random.Random, layout: Layout, fonts: list[str], *, held_out: bool) -> Page:
    """One image of the layout's size, with its number of lines unless the font is too tall for that many."""
    size = round(min(26, max(14, layout.type_size + rng.uniform(-1, 1))))
    name = rng.choice(fonts)
    font = load_font(name, size)
    ascent, descent = font.getmetrics()
    box = min(ascent + descent, round(size * 1.3))
    lines = max(1, min(layout.lines, (layout.height - 2) // box))
    pitch = min((layout.height - 2) / lines, box * rng.uniform(1, 1.25))
    writer = Writer(rng, held_out=held_out)
    mask = Image.new("L", (layout.width, layout.height))
    draw = ImageDraw.Draw(mask)
    left = rng.uniform(2, min(24, layout.width / 8))
    y = rng.uniform(0, max(0, layout.height - pitch * lines)) + (pitch - (ascent + descent)) / 2
    texts, centres = [], []
    for _ in range(lines):
        text = writer.line(font, layout.width - left - 3)
        if name == BUILT_IN:
            text = text.translate({ord("£"): "$", ord("€"): "$"})  # the font has neither
        draw.text((round(left), round(y)), text, font=font, fill=255)
        x = round(left) + edges(font, text)
        xs = np.append((x[1:] + x[:-1]) / 2, x[-1])  # the newline sits at the line's end
        centres.append(np.stack([xs, np.full(len(xs), y + ascent - 0.35 * size)], axis=1))
        texts.append(text)
        y += pitch
    image = paint(rng, np.asarray(mask, dtype=np.float32) / 255)
    return Page(image, "\n".join(texts), np.concatenate(centres)[:-1].astype(np.float32))


def paint(rng: random.Random, mask: np.ndarray) -> Image.Image:
    """Colour a mask (H, W; 1 is ink): mostly black on white, some colour, some dark themes, little blur and noise."""
    ink, paper = np.zeros(3), np.full(3, 255.0)
    if rng.random() < 0.5:
        ink = np.array([rng.uniform(0, 90) for _ in range(3)])
        paper = np.array([rng.uniform(205, 255) for _ in range(3)])
    if rng.random() < 0.05:
        ink, paper = paper, ink
    pixels = paper + (ink - paper) * mask[:, :, None]
    if rng.random() < 0.15:
        noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(1, 8), pixels.shape)
        pixels = np.clip(pixels + noise, 0, 255)
    image = Image.fromarray(pixels.astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.6))) if rng.random() < 0.1 else image

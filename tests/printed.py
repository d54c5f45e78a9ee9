"""Sheets with text as a printer would put it there, and where its ink is."""

from PIL import Image, ImageDraw, ImageFont

from models.detection import Box, hull

WORDS = "The quick brown fox jumps over a lazy dog, and so do many others; no word is read."


class Sheet:
    """A page that is printed on, piece by piece. `boxes` are those of the ink of every line of text."""

    def __init__(self, width: int = 800, height: int = 1000, *, paper: int = 255, ink: int = 20) -> None:
        self.image = Image.new("RGB", (width, height), (paper,) * 3)
        self.pen = ImageDraw.Draw(self.image)
        self.ink = (ink,) * 3
        self.boxes: list[Box] = []

    def line(self, left: float, top: float, text: str, size: int = 18) -> Box:
        """The box of a printed line's ink."""
        font = ImageFont.load_default(size)
        self.pen.text((left, top), text, font=font, fill=self.ink)
        mask = Image.new("L", self.image.size)
        ImageDraw.Draw(mask).text((left, top), text, font=font, fill=255)
        self.boxes.append(Box(*(mask.point(lambda level: level > 100 and 255).getbbox() or (0, 0, 0, 0))))
        return self.boxes[-1]

    def paragraph(self, left: int, top: int, lines: int = 4, *, words: str = WORDS, indent: int = 0) -> Box:
        """The box of lines of one width, 26 pixels apart, but for the last, which is short."""
        texts = [words] * (lines - 1) + [words[: len(words) // 3]]
        printed = [
            self.line(left + (indent if place == 0 else 0), top + 26 * place, text[: len(text) - (4 if indent else 0)])
            for place, text in enumerate(texts)
        ]
        return hull(printed)

"""What is left of an image whose file is damaged: the rows before those that could not be decoded."""

from PIL import Image, ImageChops

MAX_LOST = 0.5  # share of the rows; where more is lost, the file is refused
WHITE = (255, 255, 255)  # rows of this colour at the end are paper, as far as one can see


def mended(image: Image.Image) -> Image.Image | None:
    """The image with white for the rows at its end that have one colour, as decoders leave what they cannot read.

    None where too much is lost, or nothing is to be seen.
    """
    last = image.getpixel((image.width - 1, image.height - 1))
    seen = ImageChops.difference(image, Image.new("RGB", image.size, last)).getbbox()
    if seen is None or (last != WHITE and image.height - seen[3] > image.height * MAX_LOST):
        return None
    whole = image.copy()
    whole.paste("white", (0, seen[3], image.width, image.height))
    return whole

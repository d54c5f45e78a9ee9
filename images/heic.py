"""HEIC, as telephones photograph: read where pillow-heif is installed, else told by its name.

No bento and no image brings it: its wheels hold x265, an encoder under the GPL.
"""

from functools import cache

BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
AVIF_BRANDS = (b"avif", b"avis")
MAX_BOX = 256  # bytes of a box of brands that are looked at; usual ones have 24 to 48
FORMAT = "HEIF"  # as Pillow names it


def is_heic(data: bytes) -> bool:
    """Whether a file is HEIC; AVIF has the same box with other brands, and sometimes with the same first one."""
    box = data[: min(MAX_BOX, int.from_bytes(data[:4], "big"))]
    return box[4:8] == b"ftyp" and box[8:12] in BRANDS and not any(brand in box for brand in AVIF_BRANDS)


@cache
def can_read() -> bool:
    """Whether Pillow reads it, which it learns here."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    return True

"""What can go wrong between a reference in a request and its images; `api/errors.py` translates it for clients.

ImageError
├── InvalidImage          the reference, the file or its content; trying again changes nothing
│   ├── DecoderEnded      ... a file that hung or crashed its decoder
│   └── Unreachable       ... an address that does not answer now; a later request may get it
└── DecoderUnavailable    no decoder can be started; not the fault of any image

Decoders and loaders raise the same errors; a decoder does not know the request, so `loading` adds the `param`.
"""


class ImageError(Exception):
    """Base of everything that loading an image raises."""


class InvalidImage(ImageError):  # noqa: N818 - reads as what it is
    """An image or document that cannot be used; the message tells the client why."""

    def __init__(self, message: str, param: str | None = None) -> None:
        """`param`: the part of the request at fault; None until a loader sets it."""
        super().__init__(message)
        self.param = param


class DecoderEnded(InvalidImage):
    """A file that hung or crashed its decoder, which was ended; it may be an attack."""


class Unreachable(InvalidImage):
    """An address that does not answer, and may do so later."""


class DecoderUnavailable(ImageError):  # noqa: N818
    """A decoder cannot be started."""

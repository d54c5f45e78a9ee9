"""Context of the routes: what they serve, and under which names."""

import re
import time
from dataclasses import dataclass, field

from fastapi import Request

from api import __version__
from api.errors import ApiError
from api.metrics import Metrics
from engine.engine import Engine
from images import decoding
from images.loading import Decoder, ImageLimits
from models.choice import Served

FAMILY = re.compile(r"paddleocr-?vl", re.IGNORECASE)  # any PaddleOCR-VL name is answered by whichever is loaded


@dataclass(frozen=True, kw_only=True)
class Serving:
    """The app's context: the engine, the names it answers to, and what an operator allows.

    Set as `app.state.serving` before the first request.
    """

    engine: Engine
    model: str  # the checkpoint's name, which every answer carries
    limits: ImageLimits
    revision: str = "unknown"  # the checkpoint's
    layout: Served | None = None  # the model that finds a page's blocks; None: none is served
    orientation: Served | None = None  # the one that tells how a page was turned
    unwarping: Served | None = None  # the one that flattens a photographed page
    other_names: tuple[str, ...] = ()  # further names of the checkpoint
    strict_names: bool = False  # no other PaddleOCR-VL name is answered
    strict_fields: bool = False  # an unknown field is an error
    log_texts: bool = False  # the log holds prompts and answers
    request_seconds: float | None = None  # from a request's arrival to its answer's end; None: unlimited
    decoder: Decoder = decoding  # decodes images and documents; by default in this process
    started: int = field(default_factory=lambda: int(time.time()))  # Unix seconds
    began: float = field(default_factory=time.monotonic)  # the same, on the monotonic clock
    reported: set[str] = field(default_factory=set)  # unknown fields that the log has named
    metrics: Metrics = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", Metrics(self.model))
        self.metrics.watch(self.engine)

    @property
    def names(self) -> tuple[str, ...]:
        return (self.model, *self.other_names)

    @property
    def fingerprint(self) -> str:
        """`system_fingerprint`: what an answer depends on besides the request."""
        pages = [model.revision for model in (self.layout, self.orientation, self.unwarping) if model is not None]
        return "-".join([self.revision, *pages, __version__])

    def check_model(self, requested: str | None) -> None:
        """Raises ApiError (404) for a name that is neither served nor, unless names are strict, any PaddleOCR-VL."""
        if requested is None or requested in self.names or (not self.strict_names and FAMILY.search(requested)):
            return
        served = ", ".join(map(repr, self.names))
        family = "" if self.strict_names else "; any PaddleOCR-VL name means it too"
        message = f"The model {requested!r} does not exist. Served here: {served}{family}."
        raise ApiError(404, message, param="model", code="model_not_found")


def serving_of(request: Request) -> Serving:
    serving: Serving = request.app.state.serving
    return serving

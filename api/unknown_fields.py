"""Fields of a request that no model declares: named in a header and once in the log, or refused."""

import itertools
import logging

from api.errors import invalid
from api.schema.requests import RequestModel, undeclared_fields
from api.serving import Serving

logger = logging.getLogger(__name__)

IGNORED = "x-ignored-fields"
MAX_REPORTED = 1000  # unknown fields of a request, and in the log
MAX_NAME = 100  # characters of a field's name that the log and the memory hold


def unknown_fields(body: RequestModel, serving: Serving) -> dict[str, str]:
    """The header that names ignored fields; the log names each once. Raises ApiError if fields are strict."""
    some = itertools.islice(undeclared_fields(body), MAX_REPORTED)
    names = sorted({name[:MAX_NAME].encode("ascii", "replace").decode() for name in some})
    if not names:
        return {}
    if serving.strict_fields:
        raise invalid(f"{names[0]} is not known here; leave it out", names[0])
    new = [name for name in names if name not in serving.reported]
    if new and len(serving.reported) < MAX_REPORTED:
        serving.reported.update(new)
        logger.warning("Requests hold fields that are ignored: %s", _one_line(new))
    return {IGNORED: _one_line(names)}


def _one_line(names: list[str]) -> str:
    return "".join(c if c.isprintable() else "?" for c in ", ".join(names))[:1000]

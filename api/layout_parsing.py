"""PaddleX's routes for whole pages, /layout-parsing and /restructure-pages, in PaddleX's shapes.

Source: PaddleX 3.7, inference/serving/basic_serving/_pipeline_apps/paddleocr_vl.py. What it answers with HTTP status
422 and an error message of its own is 400 or 422 here, in the same envelope.
"""

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from answers.pages import PageWishes
from api.error_handlers import http_error, name_rejection, refusal
from api.errors import ApiError, invalid, translated
from api.paddlex import PageImages, settings_of, whole_result
from api.reading import Wanted, read_document, sampling
from api.schema.layout_parsing import LayoutParsingRequest, PaddleXError, RestructureRequest, ratios
from api.sent_pages import restructured
from api.serving import Serving, serving_of
from api.unknown_fields import unknown_fields
from images.errors import ImageError
from images.source import ImageSource
from layout.options import Kind, LayoutOptions
from layout.tasks import BOUNDS
from models.protocol import PixelBounds

T = TypeVar("T")
V = TypeVar("V")

PDF, IMAGE = 0, 1  # values of fileType
PROMPTED: tuple[Kind, ...] = ("ocr", "table", "chart", "formula", "seal")  # kinds whose bounds a request may set


class PaddleXRoute(APIRoute):
    """A route whose errors are PaddleX's: {"logId", "errorCode", "errorMsg"}, the code being the HTTP status."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_as_paddlex(request: Request) -> Response:
            try:
                return await handle(request)
            except HTTPException as error:  # the body has not been read
                return _failed(request, http_error(request, error), None)
            except RequestValidationError as error:
                failure = refusal(error)
            except ApiError as error:
                failure = error
            except ImageError as error:
                failure = translated(error)
            return _failed(request, failure, await _log_id_of(request))

        return handle_as_paddlex


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": PaddleXError} for status in (408, 413, 422, 429, 500, 503, 504)
}
router = APIRouter(route_class=PaddleXRoute, responses=ERRORS)


def _failed(request: Request, error: ApiError, log_id: str | None) -> Response:
    name_rejection(request, error)
    status = 422 if error.status == 400 else error.status
    body = {"logId": log_id or str(uuid.uuid4()), "errorCode": status, "errorMsg": error.error["message"]}
    return JSONResponse(body, status, error.headers)


async def _log_id_of(request: Request) -> str | None:
    """The request's own, if it has one that can be sent back."""
    try:
        body = await request.json()
    except ValueError:
        body = None
    given = body.get("logId") if isinstance(body, dict) else None
    return given.encode(errors="replace").decode() if isinstance(given, str) else None


@router.post("/layout-parsing")
async def layout_parsing(body: LayoutParsingRequest, request: Request) -> Response:
    serving = serving_of(request)
    headers = unknown_fields(body, serving)
    wishes = wishes_of(body, serving)
    params = sampling(
        serving.engine.defaults,
        max_tokens=body.max_new_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        repetition_penalty=body.repetition_penalty,
    )
    images = PageImages(wishes.orient or wishes.unwarp)
    wanted = Wanted(
        reference=reference_of(body.file),
        param="file",
        wishes=wishes,
        params=params,
        choose=lambda sources: _checked(body, sources),
        seen=images.add if body.visualize else None,
        id=body.log_id,
        password=body.password,
    )
    document = await read_document(request, serving, wanted)

    def answered() -> Response:
        result = whole_result(body, document, settings_of(body, wishes), images, serving)
        return _answered(body.log_id, result, headers)

    return await asyncio.to_thread(answered)


@router.post("/restructure-pages")
async def restructure_pages(body: RestructureRequest, request: Request) -> Response:
    headers = unknown_fields(body, serving_of(request))

    def answered() -> Response:
        result = {"layoutParsingResults": restructured(body)}
        try:
            return _answered(body.log_id, result, headers)
        except RecursionError as error:
            raise invalid("pages are nested too deeply", "pages") from error
        except ValueError as error:  # what came with the pages goes back as it is
            message = f"pages hold what no JSON can: half of a surrogate pair, NaN or Infinity ({type(error).__name__})"
            raise invalid(message, "pages") from error

    return await asyncio.to_thread(answered)


def _answered(log_id: str | None, result: dict[str, Any], headers: dict[str, str]) -> Response:
    body = {"logId": log_id or str(uuid.uuid4()), "errorCode": 0, "errorMsg": "Success", "result": result}
    return JSONResponse(body, headers=headers)


def reference_of(file: str) -> str:
    """An address or a data URI as it is; anything else is base64."""
    known = ("http://", "https://", "data:")
    return file if file[:8].lower().startswith(known) else f"data:application/octet-stream;base64,{file}"


def _checked(body: LayoutParsingRequest, sources: Sequence[ImageSource]) -> Sequence[ImageSource]:
    is_pdf = sources[0].kind == "pdf"
    if body.file_type is not None and is_pdf != (body.file_type == PDF):
        names = {PDF: "a PDF", IMAGE: "an image"}
        raise invalid(
            f"fileType {body.file_type} says {names[body.file_type]}; the file is {names[not is_pdf]}", "fileType"
        )
    return sources


def wishes_of(body: LayoutParsingRequest, serving: Serving) -> PageWishes:
    """How pages are to be cut into blocks. Raises ApiError for what this server has no model for."""
    layout = serving.engine.layout
    served = layout is not None
    if body.use_layout_detection and not served:
        raise invalid("useLayoutDetection needs a layout model; the setting LAYOUT chooses one", "useLayoutDetection")
    cut = served if body.use_layout_detection is None else body.use_layout_detection
    if cut and body.prompt_label is not None:
        raise invalid("promptLabel is for whole pages; it needs useLayoutDetection: false", "promptLabel")
    if body.use_doc_orientation_classify and not (layout and layout.orients):
        message = "useDocOrientationClassify needs its model; the setting ORIENTATION chooses one"
        raise invalid(message, "useDocOrientationClassify")
    if body.use_doc_unwarping and not (layout and layout.unwarps):
        raise invalid("useDocUnwarping needs its model; the setting UNWARPING chooses one", "useDocUnwarping")
    return PageWishes(
        layout=cut,
        options=options_of(body, layout.labels if layout else ()),
        label=body.prompt_label or "ocr",
        orient=body.use_doc_orientation_classify,
        unwarp=body.use_doc_unwarping,
        keep_images=True,
    )


def options_of(body: LayoutParsingRequest, labels: Sequence[str]) -> LayoutOptions:
    """`labels`: the network's, by their numbers. Raises ApiError."""
    read = {"chart": body.use_chart_recognition, "seal": body.use_seal_recognition}
    read |= dict.fromkeys(("image", "header_image", "footer_image"), body.use_ocr_for_image_block)
    return LayoutOptions(
        threshold=_by_label("layoutThreshold", body.layout_threshold, labels),
        nms=body.layout_nms,
        unclip=ratios(_by_label("layoutUnclipRatio", body.layout_unclip_ratio, labels)),
        merge_boxes=_by_label("layoutMergeBboxesMode", body.layout_merge_bboxes_mode, labels),
        shape=body.layout_shape_mode,
        merge_blocks=body.merge_layout_blocks,
        read=frozenset(label for label, wanted in read.items() if wanted),
        bounds=_bounds(body),
        uncovered_ink=True,
    )


def _by_label(field: str, asked: T | dict[str, V], labels: Sequence[str]) -> T | dict[str, V]:
    """What a request wants, by label where it says so by label or by the number of one. Raises ApiError."""
    if not isinstance(asked, dict):
        return asked
    numbered = {str(number): label for number, label in enumerate(labels)}
    named: dict[str, V] = {}
    for key, value in asked.items():
        label = numbered.get(key, key)
        if label not in labels:
            known = f"it has {', '.join(labels)}, numbered from 0" if labels else "none is served"
            raise invalid(f"{field}: {key!r:.80} is no label of the layout model; {known}", field)
        if label in named:
            raise invalid(f"{field} has {label!r} twice, by its name and its number", field)
        named[label] = value
    return named


def _bounds(body: LayoutParsingRequest) -> dict[Kind, PixelBounds]:
    """Bounds that the request sets, for all kinds or for one. Raises ApiError where none fits them."""
    bounds: dict[Kind, PixelBounds] = {}
    for kind in PROMPTED:
        low = body.vlm_extra_args.get(f"{kind}_min_pixels", body.min_pixels)
        high = body.vlm_extra_args.get(f"{kind}_max_pixels", body.max_pixels)
        if low is None and high is None:
            continue
        pair = PixelBounds(
            low or min(BOUNDS.min_pixels, high or BOUNDS.min_pixels), high or max(BOUNDS.max_pixels, low or 0)
        )
        if pair.min_pixels > pair.max_pixels:
            raise invalid(f"minPixels {pair.min_pixels} is over maxPixels {pair.max_pixels}, for {kind}", "minPixels")
        bounds[kind] = pair
    return bounds

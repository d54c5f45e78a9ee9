"""Mistral's route for whole documents, /v1/ocr: LiteLLM's `ocr()` and the mistralai package work by their address."""

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from answers.pages import PageWishes
from api.errors import invalid, responses
from api.mistral import answer_of
from api.reading import Wanted, read_document, sampling
from api.schema.ocr import DocumentUrl, ImageDocument, OcrAnswer, OcrRequest
from api.serving import serving_of
from api.unknown_fields import unknown_fields
from images.source import ImageSource
from layout.options import LayoutOptions
from modes.schemas import Node, SchemaError, parse

router = APIRouter()

THEIRS = "mistral-ocr"  # the beginning of Mistral's own names, which clients send that cannot be told another


@router.post("/v1/ocr", response_model=OcrAnswer, responses=responses(400, 404, 408, 413, 429, 500, 503, 504))
async def ocr(body: OcrRequest, request: Request) -> Response:
    serving = serving_of(request)
    if serving.strict_names or not (body.model or "").startswith(THEIRS):
        serving.check_model(body.model)
    headers = unknown_fields(body, serving)
    node = _node(body)
    reference, param = _address(body)
    wanted = Wanted(
        reference=reference,
        param=param,
        wishes=PageWishes(
            layout=serving.engine.layout is not None,
            options=LayoutOptions(whole_glyphs=True, uncovered_ink=True),
            keep_images=True,
        ),
        params=sampling(serving.engine.defaults),
        choose=lambda sources: _chosen(body, sources),
        node=node,
        id=body.id,
        password=body.document.password if isinstance(body.document, DocumentUrl) else None,
    )
    document = await read_document(request, serving, wanted)
    answer = await asyncio.to_thread(answer_of, body, document, serving.model)
    return Response(answer.model_dump_json(), media_type="application/json", headers=headers)


def _address(body: OcrRequest) -> tuple[str, str]:
    """Address or data URI of the document, and the field that holds it."""
    if isinstance(body.document, DocumentUrl):
        return body.document.document_url, "document.document_url"
    assert isinstance(body.document, ImageDocument)
    return body.document.image_url.url, "document.image_url"


def _chosen(body: OcrRequest, sources: Sequence[ImageSource]) -> Sequence[ImageSource]:
    if body.pages is None:
        return sources
    beyond = [page for page in body.pages if page >= len(sources)]
    if beyond:
        raise invalid(f"page {beyond[0]} does not exist: the document has {len(sources)}, counted from 0", "pages")
    return [sources[page] for page in body.pages]


def _node(body: OcrRequest) -> Node | None:
    """The schema to fill. Raises ApiError."""
    if body.document_annotation_format is None:
        return None
    try:
        return parse(body.document_annotation_format.json_schema.schema_)
    except SchemaError as error:
        raise invalid(str(error), "document_annotation_format.json_schema.schema") from error

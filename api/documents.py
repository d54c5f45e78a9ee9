"""Whether a request's images are read as a document, block by block, and how; the fields that are about it."""

from answers.block_extraction import BlockExtraction, question_about
from answers.document import DocumentReading
from answers.document_text import DocumentText
from answers.pages import PageWishes, looks_like_page
from api.errors import invalid
from api.grounding import node_to_fill
from api.sampling import bounds, sampling, structure_of
from api.schema.requests import ChatRequest
from engine.engine import Engine
from engine.handles import Hold
from engine.request import SamplingParams
from images.source import Detail, ImageSource
from layout.markdown.options import MarkdownOptions
from layout.options import LayoutOptions
from models.protocol import PixelBounds
from modes.choose import Prompt, Task
from modes.registry import ALL_MODES, MODES, RAW

MODES_OF_DOCUMENTS = " and ".join(name for name, mode in MODES.items() if mode.layout != "never")
STRAIGHTENING = {"upright": "tells which side is up", "unwarp": "flattens pages"}
"""Fields for images of any mode: what the model does that each needs."""
OPTIONS = LayoutOptions(whole_glyphs=True, uncovered_ink=True)


def document_of(body: ChatRequest, task: Task, engine: Engine) -> PageWishes | None:
    """How the request's images are read as pages of a document; None where they are not. Raises ApiError."""
    mode = ALL_MODES[task.mode]
    field = _asking(body, task)
    _check_straightening(body, task, engine)
    if body.layout and task.finished and node_to_fill(body, task, structure_of(body)) is not None:
        return _to_extract(body, task, engine)
    if mode.layout == "never" or not task.finished:
        if field is not None:
            raise invalid(f"{field} goes with the modes {MODES_OF_DOCUMENTS}; this is {task.mode}", field)
        return None
    if field is not None and field != "mode":
        _check_served(field, body, engine)
    if engine.layout is None or body.layout is False:
        return None
    likely = mode.layout == "always" or all(map(looks_like_page, sources_of(task)))
    if field is None and not likely:
        return None
    other = _other_form(body)
    if other is not None:
        if field is not None:
            raise invalid(
                f"{other} does not go with {field}: a document is one text in Markdown, block by block", other
            )
        return None
    return _wishes(body, task)


def _wishes(body: ChatRequest, task: Task) -> PageWishes:
    return PageWishes(
        layout=True,
        options=OPTIONS,
        orient=body.upright,
        unwarp=body.unwarp,
        keep_images=body.images != "none",
        shown=body.ocr.page_images,
        never_unread=not any(source.page for source in sources_of(task)),
    )


def _to_extract(body: ChatRequest, task: Task, engine: Engine) -> PageWishes:
    """How pages are read whose blocks are to fill a schema. Raises ApiError for fields that go with a text only."""
    _check_served("layout", body, engine)
    asking = {"n": body.n > 1, "ignore_eos": body.ignore_eos, "min_tokens": bool(body.min_tokens)}
    asking |= {"images": body.images != "none", "running": body.running}
    field = next((field for field, asks in asking.items() if asks), None)
    if field is not None:
        raise invalid(f"{field} does not go with layout: true and a schema: the answer is one object", field)
    return _wishes(body, task)


def _asking(body: ChatRequest, task: Task) -> str | None:
    """The first field that asks for a document by itself."""
    always = ALL_MODES[task.mode].layout == "always"
    asking = {
        "layout": body.layout is True,
        "images": body.images != "none",
        "running": body.running,
        "table_format": body.table_format is not None and always,
        "mode": body.mode is not None and always,
    }
    return next((field for field, asks in asking.items() if asks), None)


def _check_served(field: str, body: ChatRequest, engine: Engine) -> None:
    """Raises ApiError where `field`, which needs a layout model, has none."""
    if body.layout is False:
        raise invalid(f"{field} does not go with layout: false", field)
    if engine.layout is None:
        raise invalid(f"{field} needs a layout model, and this server has none; its operator sets LAYOUT", field)


def _check_straightening(body: ChatRequest, task: Task, engine: Engine) -> None:
    """Raises ApiError where images are to be turned or flattened, and there are none, or no model for it is served."""
    for field, what in STRAIGHTENING.items():
        if not getattr(body, field):
            continue
        if task.mode == RAW or not sources_of(task):
            raise invalid(f"{field} is for images that are read; this is {task.mode}", field)
        layout = engine.layout
        if layout is None or not (layout.orients if field == "upright" else layout.unwarps):
            raise invalid(f"{field} needs a model that {what}, and this server has none", field)


def _other_form(body: ChatRequest) -> str | None:
    """The first field that asks for what a document's answer cannot be."""
    structure = structure_of(body)
    if structure is not None:
        return structure.param
    others = {
        "grounded": body.grounded,
        "doubtful": body.doubtful != "keep",
        "n": body.n > 1,
        "ignore_eos": body.ignore_eos,
        "min_tokens": body.min_tokens,
    }
    return next((field for field, asks in others.items() if asks), None)


def sources_of(task: Task) -> list[ImageSource]:
    """Its images in order."""
    return [image for prompt in task.prompts for image in prompt.images]


async def begun(
    body: ChatRequest, task: Task, wishes: PageWishes, engine: Engine, hold: Hold
) -> DocumentText | BlockExtraction:
    """The answer to a document, its first block queued. Raises ApiError, ImageError, EngineError."""

    def params(mode: str) -> SamplingParams:
        return sampling(body, Prompt(messages=[], images=[], mode=mode), None, engine.defaults)[0]

    def own_bounds(own: PixelBounds, detail: Detail) -> PixelBounds:
        return bounds(body.mm_processor_kwargs, detail, own)

    params(task.mode)  # what conflicts is refused here, not block by block
    reading = DocumentReading(
        engine=engine, hold=hold, sources=sources_of(task), wishes=wishes, params=params, bounds=own_bounds
    )
    await reading.begin()
    node = node_to_fill(body, task, structure_of(body))
    if node is not None:
        question, as_null = question_about(sources_of(task)[0], wishes, engine), body.doubtful == "null"
        return BlockExtraction(engine=engine, reading=reading, question=question, node=node, doubtful_as_null=as_null)
    options = MarkdownOptions(
        images=body.images, running=body.running, table_format=body.table_format or MarkdownOptions.table_format
    )
    return DocumentText(reading=reading, options=options, streaming=body.stream)

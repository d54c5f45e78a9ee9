"""Responses, in OpenAI's and vLLM's shapes."""

from typing import Literal

from pydantic import BaseModel

FinishReason = Literal["stop", "length", "tool_calls"]


class PromptTokensDetails(BaseModel):
    cached_tokens: int = 0  # computed for an earlier request


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails()


class TopLogprob(BaseModel):
    token: str
    logprob: float  # natural logarithm
    bytes: list[int]  # the token in UTF-8, which may be part of a character


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob] = []


class Logprobs(BaseModel):
    content: list[TokenLogprob]
    refusal: None = None


class OcrWord(BaseModel):
    text: str
    confidence: float  # geometric mean of the probabilities of its tokens


class OcrLine(OcrWord):
    words: list[OcrWord]


class OcrField(BaseModel):
    """A value of an extracted object, with its source.

    Confidence: the probability that it was read right, times that of the model's choice, and half where it is doubtful;
    null if the value is not on the page.
    """

    path: str  # such as items[0].price
    value: str | bool | int | float | None
    normalized: str | None  # ISO date, ISO currency, decimal; null where the page leaves it open
    status: Literal["ok", "doubtful"]  # doubtful: the page has other candidates, or a check does not hold
    candidates: list[str | bool | int | float]  # what a doubtful value may be as well
    confidence: float | None
    line: str | None  # the transcript's line around the value


class OcrCheck(BaseModel):
    """A sum or product of printed values; one that does not hold is reported, not corrected."""

    rule: str
    left: float
    right: float
    holds: bool


class OcrPage(BaseModel):
    page: int  # from 1
    width: int  # pixels of the upright page
    height: int
    angle: int  # degrees, counter-clockwise, by which it was turned upright
    error: str | None  # why the layout network could not look at it; its blocks were found by ink alone


class OcrRaw(BaseModel):
    """What the Markdown of a block is made of. Images are data URIs, and there only where the text shows them."""

    text: str  # as the model wrote it
    read: bool  # false: the block is kept as an image
    image: str | None
    figures: dict[str, str]  # tokens in a table's text -> images that they stand for


class OcrBlock(BaseModel):
    """A part of a page that was read by one prompt, or is kept as an image."""

    page: int  # from 1
    order: int  # in the page's reading order, from 1
    label: str  # the layout network's
    box: list[int]  # left, top, right, bottom in pixels of the upright page; around all of its parts
    parts: list[list[int]] | None  # boxes that were read as one, where there are several
    confidence: float | None
    text: list[int] | None  # [start, end) in the content, in characters (code points); null where it has none there
    cut: Literal["length", "repetition"] | None  # why its text ends early
    error: str | None  # why it could not be read
    raw: OcrRaw | None = None  # if asked for


class OcrProgress(BaseModel):
    """How far a stream is; pages that are read as one image have no blocks."""

    page: int  # the one being read, from 1
    pages: int
    block: int  # blocks of the page that are read
    blocks: int


class ShownPage(OcrPage):
    image: str | None  # the upright page as a data URI, if asked for; at most 1400 pixels a side


class OcrStep(BaseModel):
    """A step of a stream: a page that begins, with its blocks, or a block that is read."""

    progress: OcrProgress
    page: ShownPage | None = None
    blocks: list[OcrBlock] | None = None


class OcrReport(BaseModel):
    """Facts for OCR clients that have no place in OpenAI's shape."""

    mode: str
    layout: bool  # whether pages were read block by block, as a layout network found them
    confidence: float | None  # geometric mean of the probabilities of all tokens
    warnings: list[str] = []  # what was read all the same, and may be wrong
    lines: list[OcrLine] | None = None  # lines of the transcript, if asked for
    keep_chars: int | None = None  # characters to keep of a streamed answer that ends in repetition
    fields: list[OcrField] | None = None  # values of an extracted object, in its order
    checks: list[OcrCheck] | None = None
    pages: list[OcrPage] | None = None  # a document's, or images that were turned upright or flattened
    blocks: list[OcrBlock] | None = None


class CalledFunction(BaseModel):
    name: str | None = None  # in the first chunk of a stream
    arguments: str  # JSON


class ToolCall(BaseModel):
    id: str | None = None  # in the first chunk of a stream, as the type
    type: Literal["function"] | None = "function"
    function: CalledFunction


class ToolCallDelta(ToolCall):
    index: int = 0
    type: Literal["function"] | None = None


class AnswerMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str | None  # null where a tool is called
    refusal: None = None
    tool_calls: list[ToolCall] | None = None


class Choice(BaseModel):
    index: int
    message: AnswerMessage
    logprobs: Logprobs | None = None
    finish_reason: FinishReason
    stop_reason: str | None = None  # the stop string that was met, or "repetition"
    ocr: OcrReport


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int  # Unix seconds
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: Usage


class Delta(BaseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChunkChoice(BaseModel):
    index: int
    delta: Delta
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None = None
    stop_reason: str | None = None
    ocr: OcrReport | OcrStep | None = None


class ChatCompletionChunk(BaseModel):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int  # Unix seconds
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: Usage | None = None


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    error: ErrorDetail


class ModelCard(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int  # Unix seconds: when this server started
    owned_by: str = "paddleocr"
    root: str  # the checkpoint that answers under this name
    max_model_len: int | None  # tokens of prompt and answer together, as vLLM gives it; None until it is known
    layout: str | None  # the model that finds a page's blocks before this one reads them


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]


class TokenizeResponse(BaseModel):
    count: int
    max_model_len: int | None
    tokens: list[int]
    token_strs: list[str] | None = None


class DetokenizeResponse(BaseModel):
    prompt: str


class Version(BaseModel):
    version: str


Status = Literal["healthy", "loading", "draining", "unhealthy"]


class Queue(BaseModel):
    """Counts of prompts and answers; a request with n answers counts n times."""

    running: int
    waiting: int
    slots: int
    free_slots: int


class PageModel(BaseModel):
    """A model that prepares pages for the OCR model."""

    model: str
    revision: str


class Health(BaseModel):
    status: Status
    reason: str | None  # for not being healthy
    model_loaded: bool
    model: str
    device: str | None
    dtype: str | None
    memory_used_mb: float  # MiB: the process's resident memory, or what it holds on a GPU
    memory_planned_mb: float | None  # at most, by the memory plan; None until the model is loaded
    revision: str
    layout: PageModel | None  # None: none is served, as for the next two
    orientation: PageModel | None
    unwarping: PageModel | None
    version: str
    uptime_seconds: int
    queue: Queue

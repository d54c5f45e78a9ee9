"""Requests, in OpenAI's and vLLM's shapes.

Every declared field works or is refused by name; an undeclared one is accepted and reported (`undeclared_fields`).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from modes.registry import MODE_NAMES
from modes.tables import TableFormat

MAX_CHOICES = 16
MAX_STOP_STRINGS = 16
MAX_TOP_LOGPROBS = 20
MAX_TEXT_TO_TOKENIZE = 2**20  # characters
MAX_SEED = 2**63 - 1
LARGEST_PIXELS = 2_822_400  # the most that any release's own settings allow an image (v1)


def _is_unicode(text: str) -> str:
    """JSON can spell half of a surrogate pair, which is no character and cannot be encoded."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("the text holds half of a surrogate pair")
    return text


def _refuse(value: Any) -> None:
    """Empty values ask for nothing."""
    if value not in (None, False, "", [], {}):
        raise ValueError("not supported here; leave it out")


def _stop_strings(value: Any) -> Any:
    """One or a list; an empty one stops at nothing."""
    several = [value] if isinstance(value, str) else value
    return [own for own in several if own != ""] if isinstance(several, list) else several


Text = Annotated[str, AfterValidator(_is_unicode)]
Refused = Annotated[Any, AfterValidator(_refuse), WithJsonSchema({"type": "null", "description": "not supported"})]


class RequestModel(BaseModel):
    model_config = ConfigDict(extra="allow")


class RequestBody(RequestModel):
    """A whole request. A client that sends null for a field means its default, as at OpenAI."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, body: Any) -> Any:
        return {name: value for name, value in body.items() if value is not None} if isinstance(body, dict) else body


def undeclared_fields(value: Any, path: str = "") -> Iterator[str]:
    """Names of the fields that no model declares, such as `messages.name`."""
    if isinstance(value, RequestModel):
        yield from (path + name for name in value.model_extra or {})
        for name in type(value).model_fields:
            yield from undeclared_fields(getattr(value, name), f"{path}{name}.")
    elif isinstance(value, list):
        for item in value:
            yield from undeclared_fields(item, path)


class TextPart(RequestModel):
    type: Literal["text"]
    text: Text


class ImageUrl(RequestModel):
    url: Text
    detail: Annotated[Literal["low", "high", "auto"], BeforeValidator(lambda value: value or "auto")] = "auto"


class ImagePart(RequestModel):
    type: Literal["image_url"]
    image_url: Annotated[ImageUrl, BeforeValidator(lambda value: {"url": value} if isinstance(value, str) else value)]


class File(RequestModel):
    file_data: Text
    filename: Text | None = None
    password: Text | None = None  # a PDF's
    file_id: Refused = None


class FilePart(RequestModel):
    type: Literal["file"]
    file: File

    @model_validator(mode="before")
    @classmethod
    def _flat_is_a_file(cls, part: Any) -> Any:
        """A part whose file is not in a `file` of its own, as llama-index writes it."""
        if not isinstance(part, dict) or "file" in part or not {"file_data", "file_id"} & set(part):
            return part
        flat = {name: part[name] for name in ("file_data", "filename", "password", "file_id") if name in part}
        return {"type": part.get("type"), "file": flat}


Part = Annotated[TextPart | ImagePart | FilePart, Field(discriminator="type")]


class FormerFunction(RequestModel):
    name: Text
    arguments: Text = ""


class FormerCall(RequestModel):
    """A call that an earlier answer made, as clients send it back when they ask again."""

    type: Literal["function"] = "function"
    function: FormerFunction
    id: Text | None = None


class Message(RequestModel):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: list[Part] = Field(default=None, validate_default=True)  # clients omit it
    tool_calls: list[FormerCall] | None = None  # an assistant's
    tool_call_id: Text | None = None  # a tool's
    audio: Refused = None

    @field_validator("content", mode="before")
    @classmethod
    def _text_is_one_part(cls, content: Any, info: ValidationInfo) -> Any:
        if content is None and info.data.get("role") in ("assistant", "tool"):  # as OpenAI's own clients send it
            return []
        return [{"type": "text", "text": content}] if isinstance(content, str) else content

    @model_validator(mode="after")
    def _calls_come_from_assistants(self) -> "Message":
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"a {self.role} message calls no tools; only an assistant message has tool_calls")
        return self

    @model_validator(mode="after")
    def _images_come_from_users(self) -> "Message":
        if self.role != "user" and any(not isinstance(part, TextPart) for part in self.content):
            raise ValueError(f"a {self.role} message cannot hold an image or file; put it into a user message")
        return self


class StreamOptions(RequestModel):
    include_usage: bool = False
    continuous_usage_stats: bool = False


class ImageOptions(RequestModel):
    """`mm_processor_kwargs`, as PaddleOCR's client and vLLM name it."""

    min_pixels: int | None = Field(default=None, ge=1, le=LARGEST_PIXELS)
    max_pixels: int | None = Field(default=None, ge=1, le=LARGEST_PIXELS)


class JsonSchema(RequestModel):
    name: Text | None = None
    description: Text | None = None
    strict: bool | None = None  # the schema is always held to
    schema_: dict[str, Any] = Field(default={"type": "object"}, alias="schema")


class TextFormat(RequestModel):
    type: Literal["text"]


class JsonObjectFormat(RequestModel):
    type: Literal["json_object"]


class JsonSchemaFormat(RequestModel):
    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]
Choices = Annotated[list[Annotated[Text, Field(min_length=1)]], Field(min_length=1)]


class StructuredOutputs(RequestModel):
    """vLLM's way to ask for a structure; its older `guided_*` fields mean the same."""

    json_: dict[str, Any] | Text | None = Field(default=None, alias="json")
    json_object: bool | None = None
    regex: Text | None = None
    choice: Choices | None = None
    grammar: Text | None = None


class RepetitionDetection(RequestModel):
    """When an answer counts as a loop and is ended; names as vLLM has them."""

    max_pattern_size: int = Field(default=64, ge=1, le=1024)  # tokens
    min_pattern_size: int = Field(default=1, ge=1)  # tokens
    min_count: int | None = Field(default=None, ge=2)  # copies in a row; the default depends on the mode


class Function(RequestModel):
    name: Annotated[Text, Field(min_length=1, max_length=64)]
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None  # the schema is always held to


class Tool(RequestModel):
    type: Literal["function"]
    function: Function


class FunctionName(RequestModel):
    name: Text


class NamedTool(RequestModel):
    type: Literal["function"]
    function: FunctionName


if TYPE_CHECKING:
    ModeName = str
else:
    ModeName = Literal[MODE_NAMES]


class OcrOptions(RequestModel):
    words: bool = False  # confidence line by line and word by word
    progress: bool = False  # a stream tells of each page and block that is read
    page_images: bool = False  # ... and shows the page
    raw: bool = False  # what a document's blocks were made of, to put pages together elsewhere


class ChatRequest(RequestBody):
    messages: list[Message] = Field(min_length=1)
    model: Text | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=-1)
    min_p: float | None = Field(default=None, ge=0, le=1)
    n: int = Field(default=1, ge=1, le=MAX_CHOICES)
    stop: Annotated[
        list[Annotated[Text, Field(min_length=1)]], Field(max_length=MAX_STOP_STRINGS), BeforeValidator(_stop_strings)
    ] = []
    seed: int | None = Field(default=None, ge=-MAX_SEED - 1, le=MAX_SEED)
    presence_penalty: float = Field(default=0, ge=-2, le=2)
    frequency_penalty: float = Field(default=0, ge=-2, le=2)
    repetition_penalty: float | None = Field(default=None, ge=0.01, le=10)
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] = {}
    logprobs: bool = False
    top_logprobs: int = Field(default=0, ge=0, le=MAX_TOP_LOGPROBS)
    ignore_eos: bool = False
    min_tokens: int = Field(default=0, ge=0)
    skip_special_tokens: bool = True
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: dict[str, Any] | Text | None = None
    guided_regex: Text | None = None
    guided_choice: Choices | None = None
    guided_grammar: Text | None = None
    mm_processor_kwargs: ImageOptions = ImageOptions()
    repetition_detection: RepetitionDetection | Literal[False] = RepetitionDetection()
    ocr: OcrOptions = OcrOptions()
    mode: ModeName | None = None  # how the image is read; by default what the words ask for
    table_format: TableFormat | None = None  # for the modes table and document; by default auto
    layout: bool | None = None  # pages are read block by block; by default those that look like pages
    images: Literal["none", "inline"] = "none"  # figures of a document: left out, or in the text as data URIs
    running: bool = False  # a document's text has headers, footers and page numbers
    upright: bool = False  # images and pages are turned upright first
    unwarp: bool = False  # ... and flattened
    grounded: bool | None = None  # values of a schema stand on the page; the default where a mode extracts
    tools: list[Tool] = []  # one that must be called is another way to send a schema
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool = True  # there is one call in any case
    doubtful: Literal["keep", "null"] = "keep"  # values that the evidence speaks against: given and marked, or null
    user: Text | None = None  # these two go into the log's line on the request
    metadata: dict[Text, Text] | None = None
    # Taken at the values that ask for nothing.
    store: Literal[False] = False
    modalities: list[Literal["text"]] = ["text"]
    functions: Refused = None
    function_call: Refused = None
    audio: Refused = None
    prediction: Refused = None
    web_search_options: Refused = None
    # vLLM's, which would change the answer.
    use_beam_search: Refused = None
    stop_token_ids: Refused = None
    include_stop_str_in_output: Refused = None
    bad_words: Refused = None
    allowed_token_ids: Refused = None
    prompt_logprobs: Refused = None
    truncate_prompt_tokens: Refused = None
    echo: Refused = None
    continue_final_message: Refused = None
    chat_template: Refused = None


class TokenizeRequest(RequestModel):
    """As vLLM has it: a bare `prompt`, or `messages` as the chat route would send them to the model."""

    model: Text | None = None
    prompt: Annotated[Text, Field(max_length=MAX_TEXT_TO_TOKENIZE)] | None = None
    messages: list[Message] | None = Field(default=None, min_length=1)
    mm_processor_kwargs: ImageOptions = ImageOptions()
    return_token_strs: bool = False


class DetokenizeRequest(RequestModel):
    model: Text | None = None
    tokens: list[int] = Field(max_length=MAX_TEXT_TO_TOKENIZE)

"""Requests and responses, in OpenAI's shapes. Every field that is accepted works; the rest is refused by name."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

MAX_STOP_STRINGS = 16
MAX_SEED = 2**63 - 1
LARGEST_PIXELS = 2_822_400  # the most that any release's own settings allow a picture (v1)


def _is_unicode(text: str) -> str:
    """JSON can spell half of a surrogate pair, which is no character and cannot be encoded."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("the text holds half of a surrogate pair")
    return text


Text = Annotated[str, AfterValidator(_is_unicode)]


class RequestModel(BaseModel):
    model_config = ConfigDict(extra="forbid")


# --- requests ---------------------------------------------------------------------------------------------------------


class TextPart(RequestModel):
    type: Literal["text"]
    text: Text


class ImageUrl(RequestModel):
    url: Text


class ImagePart(RequestModel):
    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(RequestModel):
    role: Literal["system", "developer", "user", "assistant"]
    content: list[Part]

    @field_validator("content", mode="before")
    @classmethod
    def _text_is_one_part(cls, content: Any) -> Any:
        return [{"type": "text", "text": content}] if isinstance(content, str) else content

    @model_validator(mode="after")
    def _pictures_come_from_users(self) -> "Message":
        if self.role != "user" and any(isinstance(part, ImagePart) for part in self.content):
            raise ValueError(f"a {self.role} message cannot hold a picture; put it into a user message")
        return self


class StreamOptions(RequestModel):
    include_usage: bool = False


class PictureOptions(RequestModel):
    """`mm_processor_kwargs`, as PaddleOCR's client and vLLM name it."""

    min_pixels: int | None = Field(default=None, ge=1, le=LARGEST_PIXELS)
    max_pixels: int | None = Field(default=None, ge=1, le=LARGEST_PIXELS)


class ChatRequest(RequestModel):
    messages: list[Message] = Field(min_length=1)
    model: Text | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=-1)
    seed: int | None = Field(default=None, ge=-MAX_SEED - 1, le=MAX_SEED)
    stop: list[Text] = Field(default=[], max_length=MAX_STOP_STRINGS)
    stream: bool = False
    stream_options: StreamOptions | None = None
    skip_special_tokens: bool = True
    mm_processor_kwargs: PictureOptions = PictureOptions()
    # These are taken only at the value that changes nothing, which some clients send.
    n: Literal[1, None] = None
    frequency_penalty: Literal[0, None] = None
    presence_penalty: Literal[0, None] = None
    repetition_penalty: Literal[1, None] = None
    logprobs: Literal[False, None] = None
    store: Literal[False, None] = None

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, body: Any) -> Any:
        """A client that sends null for a field means its default, as at OpenAI."""
        return {name: value for name, value in body.items() if value is not None} if isinstance(body, dict) else body

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop_is_a_list(cls, stop: Any) -> Any:
        return [stop] if isinstance(stop, str) else stop

    @field_validator("stop")
    @classmethod
    def _stops_are_not_empty(cls, stop: list[str]) -> list[str]:
        if "" in stop:
            raise ValueError("a stop string must have at least one character")
        return stop

    @field_validator("stream_options")
    @classmethod
    def _options_need_a_stream(cls, options: StreamOptions | None, info: ValidationInfo) -> StreamOptions | None:
        if not info.data.get("stream"):
            raise ValueError("stream_options needs stream: true")
        return options


# --- responses --------------------------------------------------------------------------------------------------------

FinishReason = Literal["stop", "length"]


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    index: int = 0
    message: AnswerMessage
    logprobs: None = None
    finish_reason: FinishReason


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int  # Unix seconds
    model: str
    choices: list[Choice]
    usage: Usage


class Delta(BaseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(BaseModel):
    index: int = 0
    delta: Delta
    logprobs: None = None
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(BaseModel):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int  # Unix seconds
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None


class ModelCard(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int  # Unix seconds: when this server started
    owned_by: str = "paddleocr"
    max_model_len: int  # tokens of prompt and answer together, as vLLM gives it


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]


Status = Literal["healthy", "loading", "draining", "unhealthy"]


class Health(BaseModel):
    status: Status
    model_loaded: bool
    model: str
    device: str | None
    dtype: str | None
    memory_used_mb: float

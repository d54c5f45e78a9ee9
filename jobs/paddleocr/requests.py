"""What POST /api/v2/ocr/jobs takes. Every option that PaddleOCR's client can send works or is refused by name.

Source: paddleocr 3.7, _api_client/.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from api.schema.layout_parsing import LayoutParsingRequest
from api.schema.requests import undeclared_fields
from jobs.job import is_web_url, ranges
from jobs.texts import KeptText, Name, check_json

SERVED = "PaddleOCR-VL"  # what the names of all models begin with that the server reads pages with
NOT_OPTIONS = ("file", "fileType", "logId")  # fields of /layout-parsing that the job itself decides


def _is_served(name: str) -> str:
    if not name.startswith(SERVED):
        raise ValueError("this model is not served here; PaddleOCR-VL, PaddleOCR-VL-1.5 and PaddleOCR-VL-1.6 are")
    return name


def _are_options(payload: dict[str, Any]) -> dict[str, Any]:
    """Fields of /layout-parsing, checked as the server checks them."""
    check_json(payload)
    for name in NOT_OPTIONS:
        if name in payload:
            raise ValueError(f"{name} is no option of a job; leave it out")
    try:
        body = LayoutParsingRequest.model_validate({**payload, "file": ""})
    except ValidationError as error:
        fault = error.errors()[0]
        name, said = ".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")
        raise ValueError(f"{name}: {said}") from None
    for name in undeclared_fields(body):
        raise ValueError(f"{name} is not known here; leave it out")
    return payload


def _are_ranges(text: str) -> str:
    ranges(text)
    return text


class JobRequest(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid")

    file_url: Annotated[KeptText, AfterValidator(is_web_url)] | None = None
    model: Annotated[KeptText, AfterValidator(_is_served)]
    optional_payload: Annotated[dict[str, Any], AfterValidator(_are_options)] = Field(default={})
    page_ranges: Annotated[KeptText, AfterValidator(_are_ranges)] | None = None
    batch_id: Name | None = None

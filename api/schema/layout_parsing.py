"""Requests of /layout-parsing and /restructure-pages, as PaddleX 3.7 serves them.

Source: inference/serving/schemas/paddleocr_vl.py. Every field works or is refused by name.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel

from api.schema.requests import LARGEST_PIXELS, RequestModel, Text
from layout.options import Merge, Ratio, Shape

PROMPTS = ("ocr", "table", "chart", "formula", "seal", "spotting")
EXTRA_ARGUMENTS = tuple(f"{kind}_{end}_pixels" for kind in PROMPTS[:5] for end in ("min", "max"))
"""What `vlmExtraArgs` may hold."""

Share = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(gt=0, le=10)]
Pixels = Annotated[int, Field(gt=0, le=LARGEST_PIXELS)]


def _no_formats(formats: list[str]) -> list[str]:
    if formats:
        raise ValueError(f"{formats[0]!r} cannot be made here; leave it out")
    return formats


Formats = Annotated[list[str], AfterValidator(_no_formats)]


class CamelModel(RequestModel):
    model_config = ConfigDict(alias_generator=to_camel)


class Style(CamelModel):
    """What both routes make of pages."""

    prettify_markdown: bool = True
    show_formula_number: bool = False
    return_markdown_images: bool = True
    merge_tables: bool = True
    relevel_titles: bool = True
    output_formats: Formats = Field(default=[])
    log_id: Text | None = None


class PaddleXError(BaseModel):
    """What both routes answer with to a request that fails."""

    logId: str  # noqa: N815 - PaddleX's names
    errorCode: int  # noqa: N815 - the HTTP status
    errorMsg: str  # noqa: N815


class LayoutParsingRequest(Style):
    file: Text  # an address, a data URI, or base64
    password: Text | None = None  # a PDF's
    file_type: Literal[0, 1] | None = None  # PDF, image; the file itself decides
    use_doc_orientation_classify: bool = False
    use_doc_unwarping: bool = False
    use_layout_detection: bool | None = None  # by default where a layout model is served
    use_chart_recognition: bool = False
    use_seal_recognition: bool = False
    use_ocr_for_image_block: bool = False
    layout_threshold: Share | dict[str, Share] | None = None
    layout_nms: bool = True
    layout_unclip_ratio: Factor | tuple[Factor, Factor] | dict[str, Factor | tuple[Factor, Factor]] | None = None
    layout_merge_bboxes_mode: Merge | dict[str, Merge] | None = None
    layout_shape_mode: Shape = "auto"
    prompt_label: Literal["ocr", "formula", "table", "chart", "seal", "spotting"] | None = None
    format_block_content: bool = False
    repetition_penalty: float | None = Field(default=None, ge=0.01, le=10)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    min_pixels: Pixels | None = None
    max_pixels: Pixels | None = None
    max_new_tokens: int | None = Field(default=None, gt=0)
    merge_layout_blocks: bool = True
    markdown_ignore_labels: list[Text] | None = None
    vlm_extra_args: dict[str, Pixels] = Field(default={})
    restructure_pages: bool = False
    visualize: bool = True

    @field_validator("*", mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any, info: ValidationInfo) -> Any:
        """Clients send null for what they leave to the server."""
        if value is None and info.field_name is not None:
            return cls.model_fields[info.field_name].get_default()
        return value

    @field_validator("vlm_extra_args")
    @classmethod
    def _arguments_are_known(cls, arguments: dict[str, int]) -> dict[str, int]:
        if unknown := sorted(set(arguments) - set(EXTRA_ARGUMENTS)):
            raise ValueError(f"{unknown[0]!r} is not known; {', '.join(EXTRA_ARGUMENTS)} are")
        return arguments


class SentPage(CamelModel):
    """A page of /layout-parsing that comes back."""

    pruned_result: dict[str, Any]
    markdown_images: dict[str, str] | None = None


class RestructureRequest(Style):
    pages: list[SentPage] = Field(min_length=1)
    concatenate_pages: bool = False


def ratios(asked: Any) -> Ratio | Mapping[str, Ratio]:
    """`layout_unclip_ratio` as LayoutOptions has it."""
    if asked is None:
        return (1.0, 1.0)
    if isinstance(asked, dict):
        return {label: _pair(ratio) for label, ratio in asked.items()}
    return _pair(asked)


def _pair(ratio: float | tuple[float, float]) -> Ratio:
    return ratio if isinstance(ratio, tuple) else (ratio, ratio)

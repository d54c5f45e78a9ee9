"""What simple-content-ocr's API and its queue take: a document by its address, and hints on how to read it.

Source: tendant/simple-content-ocr, src/simple_ocr/models/job.py; hints as its specification of job processing has them.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from jobs.job import PRIORITIES, is_web_url
from jobs.kinds import KNOWN
from jobs.texts import KeptText, Name

READ = re.compile(r"image/.+|application/pdf|(application|binary)/octet-stream")
"""Media types of documents; the bytes decide what a document is."""
OUTPUT = "markdown"
YES, NO = ("true", "1", "yes"), ("false", "0", "no", "")


def _is_read(media_type: str) -> str:
    if not READ.fullmatch(media_type.partition(";")[0].strip().lower()):
        raise ValueError(f"documents of this type cannot be read; {KNOWN} can")
    return media_type


Texts = Annotated[dict[Name, Annotated[KeptText, Field(max_length=2048)]], Field(max_length=64)]


class OcrRequest(BaseModel):
    """A document that is to be read. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")

    job_id: Name
    content_id: Name
    object_id: Name
    source_url: Annotated[KeptText, Field(max_length=8192), AfterValidator(is_web_url)]
    mime_type: Annotated[Name, AfterValidator(_is_read)]
    owner_id: Name | None = None
    tenant_id: Name | None = None
    created_at: Name | None = None  # goes with the job, as metadata does
    metadata: Texts = Field(default={})
    hints: Texts = Field(default={})

    @model_validator(mode="after")
    def _hints_are_known(self) -> "OcrRequest":
        if self.hint("priority") not in (None, *PRIORITIES):
            raise ValueError(f"hints.priority must be {', '.join(PRIORITIES)}")
        if self.hint("force") not in (None, *YES, *NO):
            raise ValueError("hints.force must be true or false")
        if self.hint("output_format") not in (None, OUTPUT):
            raise ValueError(f"hints.output_format must be {OUTPUT}; GET /v1/jobs?id=JOB_ID has other formats")
        if (seconds := self.hint("timeout_seconds")) is not None and not re.fullmatch(r"[1-9]\d{0,4}", seconds):
            raise ValueError("hints.timeout_seconds must be a whole number of seconds, for each page")
        return self

    def hint(self, name: str) -> str | None:
        found = self.hints.get(name)
        return None if found is None else found.strip().lower()

    @property
    def force(self) -> bool:
        """Whether the document is read again although it has been."""
        return self.hint("force") in YES

    @property
    def page_seconds(self) -> int | None:
        """How long a page may take each time that it is asked for."""
        found = self.hint("timeout_seconds")
        return None if found is None else int(found)

    @property
    def unknown_hints(self) -> list[str]:
        return sorted(set(self.hints) - {"priority", "force", "output_format", "timeout_seconds"})

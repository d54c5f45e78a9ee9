"""What POST /v1/jobs takes, as JSON or as a form with files."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from starlette.datastructures import FormData, UploadFile

from api.errors import invalid
from jobs.formats import FORMATS
from jobs.job import JobOptions, Priority, is_web_url
from jobs.texts import KeptText, Name

MAX_DOCUMENTS = 1000  # in one request
MAX_FIELDS = 100  # fields of a form
FILE = "file"
OFFERED = [name for name, made in FORMATS.items() if made.offered]


def _are_formats(names: list[str]) -> list[str]:
    for name in names:
        if name not in OFFERED:
            raise ValueError(f"{name!r:.40} is none; {', '.join(OFFERED)} are")
    return list(dict.fromkeys(names))


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _one_is_a_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Address = Annotated[KeptText, AfterValidator(is_web_url)]


class SubmitRequest(JobOptions):
    """Documents that are to be read, and how. Fields that are not known are refused."""

    url: Annotated[list[Address], BeforeValidator(_one_is_a_list), Field(max_length=MAX_DOCUMENTS)] = Field(default=[])
    formats: Annotated[list[str], BeforeValidator(_split), AfterValidator(_are_formats), Field(min_length=1)] = Field(
        default=["markdown", "json"]
    )
    id: Name | None = None
    batch: Name | None = None
    priority: Priority = "normal"
    webhook: Address | None = None
    metadata: Annotated[dict[Name, Annotated[KeptText, Field(max_length=512)]], Field(max_length=16)] = Field(
        default={}
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            raise ValueError("the body must be a JSON object")
        if "payload" in body:
            raise ValueError("payload is not known here")
        return {name: value for name, value in body.items() if value is not None}

    def options(self) -> JobOptions:
        options = self.model_dump(include=set(JobOptions.model_fields))
        if "zip" in self.formats and "images" not in self.model_fields_set:
            options["images"] = "link"  # to the images in it
        return JobOptions(**options)


@asynccontextmanager
async def reading(request: Request) -> AsyncIterator[tuple[SubmitRequest, list[UploadFile]]]:
    """The request and its files, until they are done with. Raises ApiError, RequestValidationError, HTTPException."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=MAX_DOCUMENTS, max_fields=MAX_FIELDS) as form:
            yield _of_form(form)
        return
    if kind != "application/json":
        raise invalid("send application/json with url, or multipart/form-data with file", None)
    try:
        body = await request.json()
    except ValueError as error:
        raise invalid(f"the body is not JSON: {error}", None) from error
    yield _validated(body), []


def _of_form(form: FormData) -> tuple[SubmitRequest, list[UploadFile]]:
    files = [value for value in form.getlist(FILE) if isinstance(value, UploadFile)]
    body: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name != FILE:
                raise invalid(f"{name!r:.80} is no field for a file; {FILE} is", name)
        elif name == "url":
            body.setdefault("url", []).append(value)
        elif name in body:
            raise invalid(f"{name} is there twice", name)
        else:
            body[name] = _form_value(name, value)
    return _validated(body), files


def _form_value(name: str, text: str) -> Any:
    """A field's text, or what it says as JSON where the field is no text: layout=true, metadata={"case": "7"}."""
    if name in ("layout", "running", "upright", "unwarp", "metadata"):
        try:
            return json.loads(text)
        except ValueError:
            raise invalid(f"{name} must be JSON such as true, got {text!r:.80}", name) from None
    return text


def _validated(body: Any) -> SubmitRequest:
    try:
        return SubmitRequest.model_validate(body)
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]
        raise RequestValidationError(faults) from error

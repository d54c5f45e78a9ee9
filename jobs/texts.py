"""Texts of clients that a database can keep: PostgreSQL has no NUL, and half of a surrogate pair cannot be encoded."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from api.schema.requests import Text

NUL = "\0"


def _can_be_kept(text: str) -> str:
    if NUL in text:
        raise ValueError("the text holds a NUL")
    return text


KeptText = Annotated[Text, AfterValidator(_can_be_kept)]
Name = Annotated[KeptText, Field(min_length=1, max_length=200)]


def check_json(value: Any) -> None:
    """Raises ValueError if a text anywhere in it cannot be kept."""
    if isinstance(value, str):
        _can_be_kept(value)
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("a text holds half of a surrogate pair") from None
    elif isinstance(value, dict):
        for name, inner in value.items():
            check_json(name)
            check_json(inner)
    elif isinstance(value, list):
        for inner in value:
            check_json(inner)

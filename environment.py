"""Environment variables -> one frozen, validated object of settings. A bad value is named with what would be right."""

import re
import socket
from collections.abc import Collection, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, SecretStr, ValidationError

from api.keys import Keys, parse_keys

T = TypeVar("T", bound=BaseModel)


class SettingsError(SystemExit):
    """A setting has a value that cannot be; ends the process with the message."""


def is_address(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        raise ValueError("Use an IP address, such as 0.0.0.0, 127.0.0.1 or ::") from None


def is_folder(value: Path) -> Path:
    """One that is there, or can be made."""
    parent = next(folder for folder in (value.absolute(), *value.absolute().parents) if folder.exists())
    if not parent.is_dir():
        raise ValueError(f"Use a folder; {parent} is a file")
    return value


def split(value: Any) -> Any:
    return [name for part in value.split(",") if (name := part.strip())] if isinstance(value, str) else value


def are_keys(value: SecretStr) -> SecretStr:
    parse_keys(value.get_secret_value())
    return value


def has_keys(value: Path) -> Path:
    try:
        Keys(value)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"Use a file that can be read: {error}") from None
    return value


def are_origins(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(origin == "*" or re.fullmatch(r"https?://[^/\s]+", origin) for origin in value):
        raise ValueError("Use origins such as https://example.org, without a path, or *")
    return value


def is_web_address(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]\S*", value):
        raise ValueError("Use an address such as http://localhost:4318")
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(split)]
Folder = Annotated[Path, AfterValidator(is_folder)]
Address = Annotated[str, AfterValidator(is_address)]
ApiKeys = Annotated[SecretStr, AfterValidator(are_keys)]
KeysFile = Annotated[Path, AfterValidator(has_keys)]
WebAddress = Annotated[str, AfterValidator(is_web_address)]


def load(model: type[T], environment: Mapping[str, str], secret: Collection[str] = ()) -> T:
    """Settings from variables that have the names of the model's fields, in capitals. Raises SettingsError.

    `secret`: fields whose values no message shows.
    """
    values = {name: environment[name.upper()] for name in model.model_fields if environment.get(name.upper())}
    try:
        return model.model_validate(values)
    except ValidationError as error:
        fault = error.errors()[0]
        said = fault["msg"].removeprefix("Value error, ")
        if not fault["loc"]:
            raise SettingsError(f"{said}.") from None
        name = str(fault["loc"][0])
        shown = "a value that is not shown" if name in secret else f"value {fault['input']!r}"
        raise SettingsError(f"Setting {name.upper()} has {shown}. {said}.") from None


def every_address() -> str:
    """`::`, whose sockets take IPv4 as well, or `0.0.0.0` on a machine where they do not.

    Many resolve localhost to an address of IPv6 first.
    """
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
            if not probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
                return "::"
    except OSError:
        pass
    return "0.0.0.0"  # noqa: S104 - a server is there to be reached

"""Choice of the served models and their public names. The caller hands in the `bentoml.models` module as the store.

A role is a setting and an argument of a build by the same name: `model`, `layout`, `orientation`, `unwarping`.
"""

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.checkpoint import EMBEDDED_NAME, Kind, StoreError
from models.detection import SEGMENTATION
from models.hub import fetch
from models.store import import_embedded, kind_of

# Role -> the kind of checkpoint that it takes.
ROLES = {
    "model": Kind.OCR,
    "layout": Kind.LAYOUT,
    "orientation": Kind.ORIENTATION,
    "unwarping": Kind.UNWARPING,
}
EMBEDDED = "embedded"
OFF = "off"
SEGMENTATION_REVISION = "1"  # counts changes that let pages be parted otherwise
WORDS = {"model": (), "layout": (EMBEDDED, OFF), "orientation": (OFF,), "unwarping": (OFF,)}
# A tag of the store, or a hub id at a commit.
REFERENCE = re.compile(r"[a-z0-9][-._a-z0-9]*:[-._a-z0-9]+|[\w.-]+/[\w.-]+@[0-9a-f]{40}", re.ASCII)

Log = Callable[[str], None]  # receives a line for the operator


@dataclass(frozen=True)
class Served:
    """A checkpoint that is served."""

    name: str  # as clients see it: the hub id that it came from, else its name in the store
    revision: str  # the hub's, else the store's version
    folder: Path | None = None  # None for the embedded layout, which needs no checkpoint
    tag: str | None = None  # in the store; None likewise


def checked_choice(role: str, value: str) -> str:
    """`value` itself. Raises ValueError for one that is neither a model's name nor a word that the role knows."""
    if value in WORDS[role] or REFERENCE.fullmatch(value):
        return value
    or_words = "".join(f", or {word}" for word in WORDS[role])
    raise ValueError(
        f"Use a tag of the model store, NAME:VERSION, or HUB_ID@COMMIT with the commit's 40 digits{or_words}"
    )


def choose(store: Any, arguments: Mapping[str, str], settings: Mapping[str, str | None], log: Log) -> dict[str, Served]:
    """Role -> the checkpoint to serve, for the roles that have one; `model` always has.

    `arguments` are those of `--arg ROLE=`, empty where not given; `settings` those of the environment. The embedded
    layout, which tells blocks by their ink alone, stands in only for the embedded OCR checkpoint: with real weights, an
    operator chooses. Raises SystemExit.
    """
    wanted = {role: _wanted(role, arguments[role], settings[role]) for role in ROLES}
    served = {"model": _model(store, wanted["model"], log)}
    if wanted["layout"] is None and served["model"].name == EMBEDDED_NAME:
        wanted["layout"] = EMBEDDED
    for role in ("layout", "orientation", "unwarping"):
        choice = wanted[role] or OFF
        if choice not in WORDS[role]:
            served[role] = _stored(store, role, choice, log)
        elif choice == EMBEDDED:
            served[role] = Served(SEGMENTATION, SEGMENTATION_REVISION)
    return served


def remarks(served: Mapping[str, Served]) -> list[tuple[int, str]]:
    """What the log should say of the choice: levels of `logging` with lines."""
    lines = []
    if served["model"].name == EMBEDDED_NAME:
        text = f"Serving the embedded checkpoint, {EMBEDDED_NAME}: it reads small clean English print only."
        lines.append((logging.WARNING, text))
    layout = served.get("layout")
    if layout is None:
        lines.append((logging.INFO, "No layout model is served: a page is read as one image. LAYOUT chooses one."))
    elif layout.folder is None:
        text = "Pages are parted by their ink, without a layout model: well for printed pages, hardly for photographs."
        lines.append((logging.WARNING, text))
    return lines + [(logging.INFO, f"{role.upper()}: {one.name} at {one.revision}") for role, one in served.items()]


def _wanted(role: str, argument: str, setting: str | None) -> str | None:
    """The choice for a role; None: there is none."""
    if argument and setting and argument != setting:
        raise SystemExit(
            f"{role.upper()} is {setting}, but this is built or started with --arg {role}={argument}. Leave one out."
        )
    return argument or setting or None


def _model(store: Any, choice: str | None, log: Log) -> Served:
    if choice:
        return _stored(store, "model", choice, log)
    if "BENTOML_CONTAINERIZED" in os.environ:
        raise SystemExit(
            "No model is chosen. An image needs an explicit choice: set MODEL to a tag of a mounted store or to "
            "HUB_ID@COMMIT, or build it with --arg model=TAG."
        )
    try:
        return _served(store.get(import_embedded(store)))
    except (StoreError, OSError) as error:
        raise SystemExit(f"The model {EMBEDDED_NAME} cannot be put into the store: {error}") from error


def _stored(store: Any, role: str, choice: str, log: Log) -> Served:
    """A model that is in the store by then, of the kind that the role takes."""
    try:
        tag = fetch(store, choice, log) if "/" in choice else choice  # a tag has no slash; a hub id at a commit has
        model = store.get(tag)
    except (StoreError, OSError) as error:
        raise SystemExit(f"The model {choice} cannot be put into the store: {error}") from error
    except store.BentoMLException:
        raise SystemExit(
            f"{role.upper()} is {choice}, and the model store has no {choice}. See `bentoml models list`; "
            "scripts/import_model.py puts models there. A bento that was built with models has these alone: build it "
            f"with --arg {role}={choice}."
        ) from None
    kind = kind_of(model)
    if kind != ROLES[role]:
        right = next(other for other, its in ROLES.items() if its == kind)
        raise SystemExit(
            f"{role.upper()} is {choice}, which is of kind {kind}. It must be of kind {ROLES[role]}; "
            f"scripts/import_model.py --list shows kinds, and the setting for this one is {right.upper()}."
        )
    return _served(model)


def _served(model: Any) -> Served:
    metadata = model.info.metadata
    revision = metadata.get("revision")
    return Served(
        name=str(metadata["source"]) if revision else str(model.tag.name),
        revision=str(revision or model.tag.version),
        folder=Path(model.path),
        tag=str(model.tag),
    )

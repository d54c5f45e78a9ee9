"""Choice of the served model and its public name. The caller hands in the `bentoml.models` module as the store."""

import os
from collections.abc import Callable
from typing import Any

from models.checkpoint import EMBEDDED_NAME, StoreError
from models.hub import fetch
from models.store import import_embedded


def chosen_tag(store: Any, argument: str, setting: str | None, log: Callable[[str], None]) -> str:
    """The tag to serve, of a model that is in the store by then; without a choice, the embedded checkpoint's.

    `argument` is that of `--arg model=`, `setting` is MODEL. Raises SystemExit.
    """
    if argument and setting and argument != setting:
        raise SystemExit(
            f"MODEL is {setting}, but this is built or started with --arg model={argument}. Leave one out."
        )
    chosen = argument or setting
    if not chosen and "BENTOML_CONTAINERIZED" in os.environ:
        raise SystemExit(
            "No model is chosen. An image needs an explicit choice: set MODEL to a tag of a mounted store or to "
            "HUB_ID@COMMIT, or build it with --arg model=TAG."
        )
    try:
        if not chosen:
            return import_embedded(store)
        if "/" in chosen:  # a tag has no slash: this is a hub id at a commit
            return fetch(store, chosen, log)
        return _stored_tag(store, chosen)
    except (StoreError, OSError) as error:
        raise SystemExit(f"The model {chosen or EMBEDDED_NAME} cannot be put into the store: {error}") from error


def _stored_tag(store: Any, tag: str) -> str:
    try:
        return str(store.get(tag).tag)
    except store.BentoMLException:
        raise SystemExit(
            f"The model store has no {tag}. See `bentoml models list`; scripts/import_model.py puts models there."
        ) from None


def served_name(model: Any) -> str:
    """The name that clients see: the hub id that the model came from, else its name in the store."""
    metadata = model.info.metadata
    return str(metadata["source"]) if metadata.get("revision") else str(model.tag.name)


def revision(model: Any) -> str:
    """The version of the model: the hub's revision, else the store's version."""
    return str(model.info.metadata.get("revision") or model.tag.version)

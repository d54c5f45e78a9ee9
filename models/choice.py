"""Choice of the model to serve, and its name for clients. The caller hands in the `bentoml.models` module."""

import os
from collections.abc import Callable
from typing import Any

from models.checkpoint import StoreError
from models.hub import fetch
from models.store import import_embedded


def chosen_tag(store: Any, argument: str, setting: str | None, log: Callable[[str], None]) -> str:
    """The tag to serve, of a model that is in the store: by `--arg model=`, else by MODEL. Raises SystemExit."""
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
        return str(store.get(chosen).tag)
    except (StoreError, OSError) as error:
        raise SystemExit(f"The model {chosen or ''} cannot be put into the store: {error}") from error
    except store.BentoMLException:
        raise SystemExit(
            f"The model store has no {chosen}. See `bentoml models list`; scripts/import_model.py puts models there."
        ) from None


def served_name(model: Any) -> str:
    """The name that clients see: the hub id that the model came from, else its name in the store."""
    metadata = model.info.metadata
    return str(metadata["source"]) if metadata.get("revision") else str(model.tag.name)


def revision(model: Any) -> str:
    """The version of the model: the hub's revision, else the store's version."""
    return str(model.info.metadata.get("revision") or model.tag.version)

#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Puts a checkpoint into BentoML's model store: scripts/import_model.py SOURCE

SOURCE is `tiny` (the embedded checkpoint), a local folder, or a hub id like PaddlePaddle/PaddleOCR-VL-1.5. Its config
tells its kind: PaddleOCR-VL, or a network that prepares pages for it (PP-DocLayout, PP-LCNet, UVDoc). The tag
names the exact revision or content, so that a service which refers to it never changes silently. Every file from a hub
is checked against the checksum that the hub lists. `--list` shows the imported models, `--verify` checks their files.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bentoml

from models.checkpoint import Description, StoreError, checked_tag, describe, describe_embedded
from models.hub import EXAMPLE, HUB_ID, import_revision
from models.store import faults, is_stored, kind_of, put, stored_models

COLUMNS = ("tag", "kind", "source", "revision", "parameters", "dtype", "size", "created")


def main(arguments: Sequence[str] | None = None, store: Any = bentoml.models) -> int:
    options = parse(arguments)
    try:
        if options.list:
            return show(store)
        if options.verify is not None:
            return verify(store, options.verify)
        return import_model(store, options.source, options.revision, options.name)
    except (StoreError, OSError, store.BentoMLException) as error:
        print(f"import_model: {error}", file=sys.stderr)
        return 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Put a checkpoint into BentoML's model store.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("source", nargs="?", metavar="SOURCE", help=f"'tiny', a local folder, or a hub id like {EXAMPLE}")
    what.add_argument("--list", action="store_true", help="show the imported models")
    what.add_argument(
        "--verify",
        nargs="?",
        const="",
        metavar="TAG",
        help="compare every file of this model, or of all imported ones, with its sha256 at import",
    )
    parser.add_argument("--revision", help="of a hub id: branch, tag or commit (default: main)")
    parser.add_argument("--name", help="the tag's name, before the colon (default: by SOURCE)")
    options = parser.parse_args(arguments)
    if options.source is None and (options.revision or options.name):
        parser.error("--revision and --name need a SOURCE")
    return options


def import_model(store: Any, source: str, revision: str | None, name: str | None) -> int:
    """Import one model. Raises StoreError, OSError."""
    if name:
        checked_tag(f"{name}:1")  # fail before a download
    is_hub_id = source != "tiny" and not Path(source).is_dir() and HUB_ID.fullmatch(source) is not None
    if revision and not is_hub_id:
        raise StoreError(f"--revision is for hub ids, and {source!r} is not one. Leave it out.")
    if is_hub_id:
        tag, known = import_revision(store, source, revision or "main", print, name)
    else:
        description = find(source, name)
        known = is_stored(store, description)
        tag = put(store, description)
    model = store.get(tag)
    _, kind, _, _, parameters, dtype, size, _ = row(model)
    done = "Already in the store, nothing to do" if known else "Imported"
    labels = len(model.info.metadata.get("labels", ()))
    print(f"{done}: {tag} ({kind}, {parameters} parameters, {dtype}, {size}{f', {labels} labels' if labels else ''})")
    return 0


def find(source: str, name: str | None) -> Description:
    """The model on this machine named by SOURCE. Raises StoreError."""
    if source == "tiny":
        description = describe_embedded()
    elif Path(source).is_dir():
        description = describe(Path(source))
    else:
        raise StoreError(f"{source!r} is not a folder. Use 'tiny', a local folder, or a hub id like {EXAMPLE}.")
    return description.named(name) if name else description


def show(store: Any) -> int:
    rows = [COLUMNS, *(row(model) for model in stored_models(store))]
    widths = [max(len(line[column]) for line in rows) for column in range(len(COLUMNS))]
    for line in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    return 0


def row(model: Any) -> tuple[str, ...]:
    metadata = model.info.metadata
    size = sum(path.stat().st_size for path in Path(model.path).iterdir())
    return (
        str(model.tag),
        str(kind_of(model)),
        metadata["source"],
        metadata["revision"] or "-",
        f"{metadata['parameters'] / 1e6:.1f} M",
        metadata["dtype"],
        f"{size / 1e6:.1f} MB",
        f"{model.creation_time.astimezone():%Y-%m-%d %H:%M}",
    )


def verify(store: Any, tag: str) -> int:
    """1 if a file of the model, or of any model, has changed since import. Raises StoreError for an unknown tag."""
    models = [model for model in stored_models(store) if tag in ("", str(model.tag))]
    if tag and not models:
        raise StoreError(f"{tag!r} was not imported. scripts/import_model.py --list shows the imported models.")
    bad = False
    for model in models:
        found = faults(model)
        bad = bad or bool(found)
        print(f"{model.tag}: {f'{len(found)} bad' if found else 'good'}")
        for fault in found:
            print(f"  {fault}")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())

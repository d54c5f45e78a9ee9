"""Images of a page, which /layout-parsing gives inside its JSON and the job API as addresses of files."""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

INPUT, OUTPUTS = "inputImage", "outputImages"
FILE_NAME = re.compile(r"page_([1-9]\d{0,5})_([\w.-]{1,200})")


@dataclass
class PageResult:
    """A page of `layoutParsingResults` whose images are names of files."""

    number: int  # from 1
    result: dict[str, Any]
    info: dict[str, Any]  # `dataInfo` of it

    def name_images(self, *, several: bool) -> None:
        """Let Markdown and keys name images so that they can be saved beside each other.

        PaddleX's names have a folder in them, which PaddleOCR's client refuses. `several`: the document has more pages,
        whose images must not overwrite this one's.
        """
        prefix = f"page_{self.number}_" if several else ""
        shown = self.result["markdown"]
        names = {name: f"{prefix}{_flat(name)}" for name in shown.get("images", {})}
        shown["text"] = _replaced(shown["text"], names)
        for row in self.result["prunedResult"]["parsing_res_list"]:
            row["block_content"] = _replaced(row["block_content"], names)
        if names:
            shown["images"] = {names[name]: file for name, file in shown["images"].items()}
        if OUTPUTS in self.result:
            self.result[OUTPUTS] = {f"{prefix}{name}": file for name, file in self.result[OUTPUTS].items()}


def moved_out(page: dict[str, Any]) -> PageResult:
    """A page as the reader keeps it, with the names of files in the place of its images."""
    number, result = page["page"], page["result"]

    def name(key: str) -> str:
        return f"page_{number}_{key}"

    moved = {**result, "markdown": {**result["markdown"]}, "prunedResult": {**result["prunedResult"]}}
    if "images" in moved["markdown"]:
        moved["markdown"]["images"] = {key: name(_flat(key)) for key in moved["markdown"]["images"]}
    if OUTPUTS in result:
        moved[OUTPUTS] = {key: name(f"{key}.jpg") for key in result[OUTPUTS]}
    if INPUT in result:
        moved[INPUT] = name("input.jpg")
    return PageResult(number, moved, page["info"])


def image_of(page: dict[str, Any], key: str) -> bytes | None:
    """The JPEG with a name of `moved_out`, without the part that tells the page; None if there is none."""
    result = page["result"]
    files: dict[str, str] = {_flat(name): data for name, data in result["markdown"].get("images", {}).items()}
    files |= {f"{name}.jpg": data for name, data in result.get(OUTPUTS, {}).items()}
    if INPUT in result:
        files["input.jpg"] = result[INPUT]
    return base64.b64decode(files[key]) if key in files else None


def addressed(line: dict[str, Any], address: Callable[[str], str]) -> dict[str, Any]:
    """A line of the result with the address of each file in the place of its name."""
    for page in line["result"]["layoutParsingResults"]:
        for files in (page["markdown"].get("images", {}), page.get(OUTPUTS, {})):
            files |= {key: address(name) for key, name in files.items()}
        if INPUT in page:
            page[INPUT] = address(page[INPUT])
    return line


def _flat(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _replaced(text: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        text = text.replace(old, new)
    return text

"""Documents as PaddleOCR's services return them: pages by the server's /layout-parsing, joined into lines of JSON."""

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from api.schema.layout_parsing import RestructureRequest
from api.sent_pages import restructured
from jobs.document import Document
from jobs.failures import ours
from jobs.job import DOCUMENT, Job
from jobs.paddleocr.images import moved_out
from jobs.reading import PageFile
from jobs.servers import Servers

LAYOUT_PARSING = "layout_parsing"  # the reader's name
PATH = "/layout-parsing"
RESTRUCTURE, FORMATTED, WITH_IMAGES = "restructurePages", "formatBlockContent", "returnMarkdownImages"
STYLE = ("prettifyMarkdown", "showFormulaNumber", "mergeTables", "relevelTitles")  # what /restructure-pages takes, too


class LayoutParsingReader:
    """Reads pages with the fields of /layout-parsing that a job has in `payload["fields"]`."""

    async def ask(self, servers: Servers, job: Job, page: PageFile, headers: Mapping[str, str]) -> dict[str, Any]:
        fields = {name: value for name, value in _fields(job).items() if value is not None} | {WITH_IMAGES: True}
        if _across_pages(job):  # done once all pages are there; formatting comes after it
            fields |= {RESTRUCTURE: False, FORMATTED: False}
        body = fields | {"file": base64.b64encode(page.data).decode()}
        answer = await servers.ask(PATH, json.dumps(body).encode(), headers, job.rank)
        try:
            (result,) = answer["result"]["layoutParsingResults"]
            return {"page": page.number, "result": result, "info": answer["result"]["dataInfo"]}
        except (LookupError, TypeError, ValueError) as error:
            message = f"the answer of {PATH} is none; VLLM_URL must name this project's server"
            raise ours("server_answer", message) from error

    def join(self, job: Job, pages: Iterable[dict[str, Any]]) -> Document:
        """The document, whose pages are what `result` of each line is. Values of images are names of files."""
        kept = [moved_out(page) for page in pages]
        several = len(kept) > 1
        for page in kept:
            page.name_images(several=several)
            page.result["prunedResult"]["page_count"] = len(kept)
        results = [page.result for page in kept]
        if _across_pages(job):
            _restructure(results, _fields(job))
        if _fields(job).get(WITH_IMAGES) is False:
            for result in results:
                result["markdown"].pop("images", None)
        lines: list[dict[str, Any]] = [{"layoutParsingResults": [result]} for result in results]
        if lines:  # once is enough: clients merge it over all lines
            lines[0]["dataInfo"] = _data_info([page.info for page in kept])
        return Document(
            mode=DOCUMENT,
            markdown="\n\n".join(result["markdown"]["text"] for result in results),
            pages=[{"result": line} for line in lines],
            blocks=[],
        )


def _fields(job: Job) -> dict[str, Any]:
    fields: dict[str, Any] = job.options.payload["fields"]
    return fields


def _across_pages(job: Job) -> bool:
    return bool(_fields(job).get(RESTRUCTURE))


def _restructure(results: list[dict[str, Any]], fields: Mapping[str, Any]) -> None:
    """Join tables that go on over pages and level titles, as /restructure-pages does."""
    formatted = bool(fields.get(FORMATTED))
    for result in results:
        result["prunedResult"]["model_settings"]["format_block_content"] = formatted
    pages = [
        {"prunedResult": result["prunedResult"], "markdownImages": result["markdown"].get("images", {})}
        for result in results
    ]
    style = {name: fields[name] for name in STYLE if fields.get(name) is not None}
    body = RestructureRequest.model_validate({"pages": pages, **style})
    for result, made in zip(results, restructured(body, formatted_rows=formatted), strict=True):
        result |= made


def _data_info(infos: list[dict[str, Any]]) -> dict[str, Any]:
    """PaddleX's `dataInfo` of the whole document, of those of its pages."""
    sizes = [{"width": size["width"], "height": size["height"]} for info in infos for size in info.get("pages", [info])]
    if infos[0]["type"] == "image" and len(infos) == 1:
        return infos[0]
    return {"type": infos[0]["type"], "numPages": len(sizes), "pages": sizes}

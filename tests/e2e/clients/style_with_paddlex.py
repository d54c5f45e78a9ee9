"""PaddleX's own Markdown and way to join pages for the documents in argv[1], results to stdout; run in .venv-clients.

Documents are a JSON list of objects: pages (lists of blocks as in `parsing_res_list`), width, settings, style. Results
are each document's Markdown and JSON by page, and its joined pages.
"""

import json
import sys
from pathlib import Path
from typing import Any

from paddlex.inference.pipelines.paddleocr_vl.pipeline import _PaddleOCRVLPipeline
from paddlex.inference.pipelines.paddleocr_vl.result import PaddleOCRVLBlock, PaddleOCRVLResult

TEXT_LABELS = ("block_label", "block_content", "global_block_id", "global_group_id")


def result(page: list[dict[str, Any]], document: dict[str, Any]) -> dict[str, Any]:
    return {
        "input_path": "",
        "page_index": 0,
        "page_count": len(document["pages"]),
        "width": document["width"],
        "height": 1000,
        "imgs_in_doc": [],
        "model_settings": {**document["settings"], "use_doc_preprocessor": False},
        "layout_det_res": {},
        "parsing_res_list": page,
    }


def block(row: dict[str, Any]) -> PaddleOCRVLBlock:
    made = PaddleOCRVLBlock(row["block_label"], row["block_bbox"], row["block_content"])
    if "image" in row:
        made.image = {"path": row["image"], "img": None}
    return made


def answered(document: dict[str, Any]) -> dict[str, Any]:
    style = document["style"]
    alone = [PaddleOCRVLResult(result([block(row) for row in page], document)) for page in document["pages"]]
    shown = [one._to_markdown(**style)["markdown_texts"] for one in alone]
    rows = [one.json["res"]["parsing_res_list"] for one in alone]
    sent = [[{name: row[name] for name in row if name != "image"} for row in page] for page in document["pages"]]
    pages = [{"res": result(page, document)} for page in sent]
    joined = list(_PaddleOCRVLPipeline.restructure_pages(None, pages, **document["restructure"]))
    return {
        "markdown": shown,
        "rows": rows,
        "joined": [
            [
                {
                    **{name: getattr(one, name.removeprefix("block_")) for name in TEXT_LABELS[:2]},
                    **{name: getattr(one, name) for name in TEXT_LABELS[2:]},
                    "title_level": getattr(one, "title_level", None),
                }
                for one in page["parsing_res_list"]
            ]
            for page in joined
        ],
    }


def main() -> None:
    json.dump([answered(document) for document in json.loads(Path(sys.argv[1]).read_text())], sys.stdout)


main()

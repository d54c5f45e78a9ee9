"""PaddleX's own boxes for pages with options, and its tokens for figures, from argv[1] to stdout; see .venv-clients.

The task has labels; pages, a list of size, rows (label index, score, box, order), polygons (null without) and options,
the keyword arguments of LayoutAnalysisProcess.apply, with keys of mappings as text; and tables, a list of table (box)
and found (label, box). Results are for each page label, box and outline of what is kept, for each table the boxes by
token and a digest of its image, in which the figures are blank.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from paddlex.inference.models.layout_analysis.processors import LayoutAnalysisProcess
from paddlex.inference.pipelines.layout_parsing.utils import gather_imgs
from paddlex.inference.pipelines.paddleocr_vl.uilts import tokenize_figure_of_table


def selected(page: dict[str, Any], labels: list[str]) -> list[Any]:
    options = {
        name: {int(key): one for key, one in value.items()} if isinstance(value, dict) else value
        for name, value in page["options"].items()
    }
    polygons = page["polygons"] and [np.array(polygon, dtype=np.float64) for polygon in page["polygons"]]
    rows = np.array(page["rows"], dtype=np.float64).reshape(-1, 7)
    boxes = LayoutAnalysisProcess(labels=labels, scale_size=[800, 800]).apply(
        rows, tuple(page["size"]), **options, polygon_points=polygons
    )
    return [
        [
            box["label"],
            box["coordinate"],
            np.asarray(box["polygon_points"]).tolist() if "polygon_points" in box else None,
        ]
        for box in boxes
    ]


def tokens(task: dict[str, Any]) -> dict[str, Any]:
    left, top, right, bottom = task["table"]
    rows, columns = np.indices((600, 600))
    page = np.stack([rows * 7 + columns * 13] * 3, axis=-1).astype(np.uint8)
    found = [{"label": label, "coordinate": box, "score": 1.0} for label, box in task["found"]]
    figures = gather_imgs(page, found)
    image, by_token, _ = tokenize_figure_of_table(page[top:bottom, left:right], task["table"], figures)
    boxes = {figure["path"]: figure["coordinate"] for figure in figures}
    for path in by_token.values():
        x, y, end_x, end_y = boxes[path]
        image[y - top : end_y - top + 1, x - left : end_x - left + 1] = 0
    digest = hashlib.sha1(image.tobytes()).hexdigest()
    return {"tokens": {token: boxes[path] for token, path in by_token.items()}, "image": digest}


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    pages = [selected(page, task["labels"]) for page in task["pages"]]
    json.dump({"pages": pages, "tables": [tokens(table) for table in task["tables"]]}, sys.stdout)


main()

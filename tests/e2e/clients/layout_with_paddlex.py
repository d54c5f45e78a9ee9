"""PaddleX's own rules for pages in argv[1], results to stdout; run in .venv-clients. No network, no Paddle.

Pages are a JSON list of objects: pipeline, size, rows (label index, score, box, order: what the network gives),
and found and kept, blocks {label, coordinate, polygon_points?} as they go into each of the next two steps.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import paddlex
import yaml
from paddlex.inference.models.layout_analysis.processors import LayoutAnalysisProcess
from paddlex.inference.pipelines.paddleocr_vl.uilts import filter_overlap_boxes, merge_blocks

CONFIGS = Path(paddlex.__file__).parent / "configs" / "pipelines"
APART = ["image", "header_image", "footer_image", "chart", "seal", "table"]


def selected(page: dict[str, Any], labels: list[str], config: dict[str, Any]) -> list[Any]:
    boxes = LayoutAnalysisProcess(labels=labels, scale_size=[800, 800]).apply(
        np.array(page["rows"], dtype=np.float64).reshape(-1, 7),
        tuple(page["size"]),
        threshold=config["threshold"],
        layout_nms=config["layout_nms"],
        layout_unclip_ratio=config["layout_unclip_ratio"],
        layout_merge_bboxes_mode=config["layout_merge_bboxes_mode"],
        layout_shape_mode="rect",
    )
    return [[box["label"], *box["coordinate"]] for box in boxes]


def filtered(found: list[dict[str, Any]]) -> list[Any]:
    kept = filter_overlap_boxes({"boxes": found}, "auto")["boxes"]
    return [[box["label"], *box["coordinate"]] for box in kept]


def merged(kept: list[dict[str, Any]], size: tuple[int, int]) -> list[Any]:
    """Label, box, digest of the image of each block; no digest if the block's image is part of another one's."""
    rows, columns = np.indices(size[::-1])
    pixels = np.stack([rows * 7 + columns * 13] * 3, axis=-1).astype(np.uint8)
    blocks = []
    for block in kept:
        left, top, right, bottom = block["coordinate"]
        blocks.append(
            {"label": block["label"], "box": block["coordinate"], "img": pixels[top:bottom, left:right].copy()}
        )
    return [
        [block["label"], *block["box"], None if block["img"] is None else hashlib.sha1(block["img"]).hexdigest()]
        for block in merge_blocks(blocks, non_merge_labels=APART)
    ]


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text())
    configs = {
        name: yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["SubModules"]["LayoutDetection"]
        for name in ("PaddleOCR-VL", "PaddleOCR-VL-1.6")
    }
    results = [
        {
            "selected": selected(page, task["labels"], configs[page["pipeline"]]),
            "filtered": filtered(page["found"]),
            "merged": merged(page["kept"], tuple(page["size"])),
        }
        for page in task["pages"]
    ]
    json.dump(results, sys.stdout)


main()

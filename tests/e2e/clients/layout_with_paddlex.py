"""PaddleX's own rules for pages in argv[1], results to stdout; run in .venv-clients. No network, no Paddle.

Pages are a JSON list of objects: pipeline, size, rows (label index, score, box, order: what the network gives),
and found and kept, blocks {label, coordinate, polygon_points?} as they go into each of the next two steps. Results are
those of each page, and by label the prompt, bounds and image that a block goes to the model with.
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
from paddlex.inference.pipelines.paddleocr_vl.pipeline import _PaddleOCRVLPipeline
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


def read(labels: list[str], kept_as_images: list[str]) -> dict[str, list[Any]]:
    """Prompt, bounds and size of the image by label; those of a block whose ink fills a part of it."""
    pixels = np.full((50, 60, 3), 255, dtype=np.uint8)
    pixels[10:20, 10:40] = 0
    names = ("ocr", "table", "chart", "formula", "seal")
    config: dict[str, Any] = {f"{name}_min_pixels": 112896 for name in names} | {
        f"{name}_max_pixels": 1003520 for name in names
    }
    config |= {"image_labels": kept_as_images, "use_chart_recognition": True, "use_seal_recognition": True}
    blocks = [{"label": label, "img": pixels, "box": [0, 0, 60, 50]} for label in labels]
    collect = _PaddleOCRVLPipeline._paddleocr_vl_collect_page_vlm_entries_core
    entries, _, _ = collect(None, 0, blocks, [], config)
    return {labels[place]: [prompt, bounds, image.shape[1::-1]] for _, place, image, prompt, bounds, _ in entries}


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
    labels = [*task["labels"], "spotting"]
    reading = {"default": read(labels, APART[:-1]), "all": read(labels, [])}
    json.dump({"pages": results, **reading}, sys.stdout)


main()

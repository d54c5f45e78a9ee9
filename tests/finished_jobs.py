"""Jobs that have ended without a worker: what it would have kept of each page is put into the store."""

import base64
import json
from typing import Any

from jobs.failures import of_input
from jobs.formats import FORMATS, result_name
from jobs.job import Job
from jobs.main import Parts
from jobs.readers import readers
from jobs.steps import page_name

TABLE = "<table><tr><td>Name</td><td>Sum</td></tr><tr><td>{}</td><td>1</td></tr></table>"


def finish(parts: Parts, job_id: str, pages: list[dict[str, Any]]) -> Job:
    """The job, which is done with these pages, each as its reader keeps it."""
    records = parts.queue.records
    job = records.begin(job_id, 1)
    assert job is not None
    records.split(job.id, 1, pages=len(pages), size=100)
    for page in pages:
        parts.store.put(page_name(job.id, page["page"]), json.dumps(page).encode())
    document = readers("model")[job.reader].join(job, pages)
    for wanted in job.options.formats:
        parts.store.put(result_name(job.id, wanted), FORMATS[wanted].make(job, document, parts.store))
    records.progress(job.id, 1, len(pages))
    records.end(job.id, 1, "done", pages=len(pages))
    return job


def fail(parts: Parts, job_id: str, message: str, page: int | None = None) -> None:
    """Let a job fail for its document."""
    parts.queue.records.begin(job_id, 1)
    parts.queue.records.end(job_id, 1, "failed", of_input("invalid_document", message, page))


def parsed_page(number: int, cell: str, *, kind: str = "pdf") -> dict[str, Any]:
    """A page with a title, a figure and a table, as the server's /layout-parsing has it when it is asked for alone."""
    image = "imgs/img_in_image_box_10_10_50_50.jpg"
    rows = [
        {"block_label": "paragraph_title", "block_content": "1.1 Aims", "block_bbox": [10, 0, 90, 8]},
        {"block_label": "image", "block_content": "", "block_bbox": [10, 10, 50, 50]},
        {"block_label": "table", "block_content": TABLE.format(cell), "block_bbox": [0, 60, 100, 90]},
    ]
    size = {"width": 100, "height": 140}
    result = {
        "prunedResult": {
            "page_count": 1,
            **size,
            "model_settings": {"use_layout_detection": True, "markdown_ignore_labels": []},
            "parsing_res_list": [{**row, "block_id": place} for place, row in enumerate(rows)],
        },
        "markdown": {"text": f'<img src="{image}" />\n\n{cell}', "images": {image: _jpeg(number, "figure")}},
        "outputImages": {"layout_det_res": _jpeg(number, "boxes")},
        "inputImage": _jpeg(number, "page"),
    }
    info = {"type": "image", **size} if kind == "image" else {"type": "pdf", "numPages": 1, "pages": [size]}
    return {"page": number, "result": result, "info": info}


def _jpeg(page: int, what: str) -> str:
    return base64.b64encode(f"{what} of page {page}".encode()).decode()

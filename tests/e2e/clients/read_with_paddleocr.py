"""IMAGE URL: has PaddleOCR's own client read the image with every prompt label that it has; prints JSON."""

import json
import logging
import sys
from typing import Any

from paddleocr import PaddleOCRVL

LABELS = ["ocr", "table", "formula", "chart", "spotting", "seal"]
MAX_NEW_TOKENS = 256  # the client's own 4096 takes long if a small checkpoint does not find an end


class Requests(logging.Handler):
    """A log handler that keeps what the client's HTTP library logs about each request."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def read(pipeline: Any, image: str, label: str, requests: Requests) -> dict[str, Any]:
    requests.lines.clear()
    (result,) = pipeline.predict(image, prompt_label=label, max_new_tokens=MAX_NEW_TOKENS)
    (block,) = result.json["res"]["parsing_res_list"]
    return {"label": block["block_label"], "text": block["block_content"], "requests": requests.lines.copy()}


def main(image: str, url: str) -> None:
    requests = Requests()
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).addHandler(requests)
        logging.getLogger(name).setLevel(logging.INFO)
    pipeline = PaddleOCRVL(use_layout_detection=False, vl_rec_backend="vllm-server", vl_rec_server_url=url)
    answers = {label: read(pipeline, image, label, requests) for label in LABELS}
    pipeline.close()
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])

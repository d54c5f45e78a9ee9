"""FILE URL: has mistralai and LiteLLM's ocr() read a document by /v1/ocr; prints JSON."""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import litellm
from mistralai.client import Mistral

SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "letter",
        "schema": {"type": "object", "properties": {"date": {"type": "string"}}, "required": ["date"]},
    },
}


def main(file: str, url: str) -> None:
    kind = "application/pdf" if file.endswith(".pdf") else "image/png"
    uri = f"data:{kind};base64,{base64.b64encode(Path(file).read_bytes()).decode()}"
    document = {"type": "document_url", "document_url": uri}
    with Mistral(api_key="none", server_url=url.removesuffix("/v1")) as client:
        read = client.ocr.process(
            model="paddleocr-vl",
            document=document,
            include_image_base64=True,
            table_format="html",
            extract_header=True,
            extract_footer=True,
            confidence_scores_granularity="word",
            document_annotation_format=SCHEMA,
        )
        image = client.ocr.process(model="paddleocr-vl", document={"type": "image_url", "image_url": uri})
    lite = litellm.ocr(model="mistral/paddleocr-vl", document=document, api_base=url, api_key="none")
    answers: dict[str, Any] = {
        "mistral": read.model_dump(mode="json"),
        "image": image.model_dump(mode="json"),
        "litellm": lite.model_dump(mode="json"),
    }
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])

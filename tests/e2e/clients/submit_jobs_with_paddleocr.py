"""FOLDER TOKEN FILE_URL: has PaddleOCR's client for its job API, at PADDLEOCR_BASE_URL, read document.pdf and
image.png of the folder in every way that it has; prints JSON."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paddleocr import AsyncPaddleOCRClient, Model, PaddleOCRClient, PaddleOCRVLOptions
from paddleocr._api_client.errors import PaddleOCRAPIError

EVERYTHING = {  # every option that is no model of its own
    "use_doc_orientation_classify": False,
    "use_doc_unwarping": False,
    "use_layout_detection": True,
    "use_chart_recognition": True,
    "use_seal_recognition": True,
    "use_ocr_for_image_block": True,
    "layout_threshold": 0.3,
    "layout_nms": True,
    "layout_unclip_ratio": [1.0, 1.0],
    "layout_merge_bboxes_mode": "union",
    "layout_shape_mode": "rect",
    "format_block_content": True,
    "repetition_penalty": 1.0,
    "temperature": 0.0,
    "top_p": 1.0,
    "min_pixels": 112896,
    "max_pixels": 1003520,
    "max_new_tokens": 256,
    "vlm_extra_args": {"table_max_pixels": 1003520},
    "merge_layout_blocks": True,
    "markdown_ignore_labels": ["number"],
    "prettify_markdown": True,
    "show_formula_number": True,
    "restructure_pages": True,
    "merge_tables": True,
    "relevel_titles": True,
    "return_markdown_images": True,
    "visualize": False,
}


def shown(result: Any) -> dict[str, Any]:
    pages = [
        {"text": page.markdown_text, "outputs": sorted(page.output_images), "input": page.input_image_url}
        for page in result.pages
    ]
    return {"pages": pages, "info": result.data_info}


def refusal(work: Callable[[], Any]) -> dict[str, str]:
    try:
        work()
    except PaddleOCRAPIError as error:
        return {"type": type(error).__name__, "message": str(error)}
    raise AssertionError("it was accepted")


async def read_asynchronously(token: str, document: str) -> dict[str, Any]:
    async with AsyncPaddleOCRClient(token=token) as client:
        return shown(await client.parse_document(file_path=document, page_ranges="2", batch_id="a batch"))


def main(folder: str, token: str, file_url: str) -> None:
    document, image = f"{folder}/document.pdf", f"{folder}/image.png"
    saved = Path(folder) / "saved"
    saved.mkdir()
    answers: dict[str, Any] = {}
    with PaddleOCRClient(token=token, client_platform="tests") as client:
        by_url = client.submit_document_parsing(file_url=file_url, batch_id="a batch", model=Model.PADDLE_OCR_VL)
        options = PaddleOCRVLOptions(**EVERYTHING)
        everything = client.submit_document_parsing(file_path=image, options=options, batch_id="a batch")
        whole = client.parse_document(file_path=document)
        answers["file"] = shown(whole)
        client.save_document_parsing_result_resources(whole, str(saved))
        answers["saved"] = {path.name: path.read_bytes()[:2].hex() for path in saved.iterdir()}
        answers["url"] = shown(client.wait_document_parsing_result(by_url))
        answers["everything"] = shown(client.wait_document_parsing_result(everything))
        answers["async"] = asyncio.run(read_asynchronously(token, document))
        answers["batch"] = [vars(job) for job in client.get_batch_status("a batch").jobs]
        for job in answers["batch"]:
            job["progress"] = vars(job["progress"])

        def submit(path: str = image, model: Model = Model.PADDLE_OCR_VL_16, **more: Any) -> Any:
            pages = more.pop("page_ranges", None)
            options = PaddleOCRVLOptions(**more) if more else None
            return client.submit_document_parsing(file_path=path, model=model, options=options, page_ranges=pages)

        answers["refused"] = {
            "unknown": refusal(lambda: submit(extra_options={"useMagic": True})),
            "formats": refusal(lambda: submit(output_formats=["docx"])),
            "value": refusal(lambda: submit(layout_shape_mode="star")),
            "model": refusal(lambda: submit(model=Model.PP_STRUCTURE_V3)),
            "ocr": refusal(lambda: client.submit_ocr(file_path=image)),
            "pages": refusal(lambda: submit(page_ranges="0-3")),
            "file": refusal(lambda: submit(path=__file__)),
            "job": refusal(lambda: client.get_status("job_none")),
            "key": refusal(lambda: PaddleOCRClient(token="none").get_status(by_url.job_id)),
        }
        failing = submit(path=document, page_ranges="7")
        answers["failed"] = refusal(lambda: client.wait_document_parsing_result(failing))
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])

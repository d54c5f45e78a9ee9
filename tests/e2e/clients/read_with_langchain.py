"""IMAGE URL: has LangChain's ChatOpenAI read the image, whole and streamed; prints JSON."""

import base64
import json
import sys
from pathlib import Path

from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI


def main(image: str, url: str) -> None:
    # With another base_url, ChatOpenAI requests a stream's usage only if stream_usage is set.
    model = ChatOpenAI(base_url=url, api_key="none", model="PaddlePaddle/PaddleOCR-VL", stream_usage=True)
    uri = f"data:image/png;base64,{base64.b64encode(Path(image).read_bytes()).decode()}"
    parts = [{"type": "text", "text": "OCR:"}, {"type": "image_url", "image_url": {"url": uri}}]
    question = [HumanMessage(parts)]
    whole = model.invoke(question)
    first, *rest = model.stream(question)
    streamed = sum(rest, first)
    answers = {"text": whole.text, "usage": whole.usage_metadata, "reason": whole.response_metadata["finish_reason"]}
    answers |= {"streamed": streamed.text, "streamed_usage": streamed.usage_metadata, "chunks": 1 + len(rest)}
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])

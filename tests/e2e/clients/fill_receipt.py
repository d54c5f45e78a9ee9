"""CLIENT IMAGE URL: has a client fill a receipt's model from the image in its default way; prints the model as JSON."""

import base64
import os
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

MODEL = "PaddlePaddle/PaddleOCR-VL"
WORDS = "Extract the receipt"


class Item(BaseModel):
    name: str
    qty: float | None
    price: float


class Receipt(BaseModel):
    merchant: str
    date: str
    total: float
    items: list[Item]


def openai_messages(image: Path) -> list[Any]:
    uri = f"data:image/png;base64,{base64.b64encode(image.read_bytes()).decode()}"
    parts = [{"type": "text", "text": WORDS}, {"type": "image_url", "image_url": {"url": uri}}]
    return [{"role": "user", "content": parts}]


def with_instructor(image: Path, url: str) -> Any:
    import instructor
    from openai import OpenAI

    client = instructor.from_openai(OpenAI(base_url=url, api_key="none"))
    return client.chat.completions.create(model=MODEL, messages=openai_messages(image), response_model=Receipt)


def with_pydantic_ai(image: Path, url: str) -> Any:
    from pydantic_ai import Agent, BinaryContent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=url, api_key="none"))
    agent = Agent(model, output_type=Receipt)
    return agent.run_sync([WORDS, BinaryContent(data=image.read_bytes(), media_type="image/png")]).output


def with_langchain(image: Path, url: str) -> Any:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(base_url=url, api_key="none", model=MODEL)
    return model.with_structured_output(Receipt).invoke(openai_messages(image))


def with_haystack(image: Path, url: str) -> Any:
    from haystack.components.generators.chat import OpenAIChatGenerator
    from haystack.dataclasses import ChatMessage, ImageContent
    from haystack.utils import Secret

    generator = OpenAIChatGenerator(
        api_key=Secret.from_token("none"), api_base_url=url, model=MODEL, generation_kwargs={"response_format": Receipt}
    )
    question = ChatMessage.from_user(content_parts=[WORDS, ImageContent.from_file_path(image)])
    return Receipt.model_validate_json(generator.run([question])["replies"][0].text)


def with_llama_index(image: Path, url: str) -> Any:
    from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
    from llama_index.llms.openai_like import OpenAILike

    llm = OpenAILike(model=MODEL, api_base=url, api_key="none", is_chat_model=True, is_function_calling_model=True)
    question = ChatMessage(role="user", blocks=[TextBlock(text=WORDS), ImageBlock(path=image)])
    return llm.as_structured_llm(Receipt).chat([question]).raw


CLIENTS = {
    "instructor": with_instructor,
    "pydantic_ai": with_pydantic_ai,
    "langchain": with_langchain,
    "haystack": with_haystack,
    "llama_index": with_llama_index,
}

if __name__ == "__main__":
    client, image, url = sys.argv[1:]
    sys.stdout.write(CLIENTS[client](Path(image), url).model_dump_json() + os.linesep)

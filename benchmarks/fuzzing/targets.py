"""The code under test: image and PDF decoding, addresses, chat requests, schemas and grammars."""

import asyncio
import json
from pathlib import Path

import httpx
from PIL import Image
from transformers import AutoTokenizer

from api.app import create_app
from api.chat import task_of
from api.errors import ApiError
from api.grounding import node_to_fill, structure_to_hold
from api.sampling import sampling, structure_of
from api.schema.requests import ChatRequest, TextPart
from api.serving import Serving
from engine.config import EngineConfig
from engine.engine import Engine
from engine.errors import EngineError
from engine.request import SamplingParams, Structure
from engine.structured import Structures
from images import addresses
from images.errors import DecoderEnded, DecoderUnavailable, ImageError
from images.loading import ImageLimits, load_images, read_images
from images.processes import DecoderProcesses
from images.source import ImageSource
from modes.choose import Turn
from modes.schemas import SchemaError, parse, shape_in

CHECKPOINT = Path(__file__).resolve().parents[2] / "models" / "tiny"
LIMITS = ImageLimits(max_image_bytes=2**20, max_image_pixels=4_000_000, max_pages=4)


class Refusal(Exception):  # noqa: N818 - not an error: the right response to invalid input
    """An error reported to the client."""


class Finding(Exception):  # noqa: N818
    """An outcome that no input should cause."""


class Targets:
    """The functions that read untrusted input. Each returns for a valid input and raises Refusal for an invalid one."""

    def __init__(self, decoder_seconds: float) -> None:
        """`decoder_seconds`: the limit for one image or page."""
        self.decoders = DecoderProcesses(
            count=2,
            seconds=decoder_seconds,
            max_pixels=LIMITS.max_image_pixels,
            max_bytes=LIMITS.max_image_bytes,
        )
        self.decoders.start()
        # The engine is never started: a valid request is answered that the model is still loading.
        engine = Engine(EngineConfig(model=CHECKPOINT))
        app = create_app(max_request_bytes=2**20)
        app.state.serving = Serving(engine=engine, model="paddleocr-vl-tiny", limits=LIMITS)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.loop = asyncio.new_event_loop()
        self.client = httpx.AsyncClient(transport=transport, base_url="http://here")
        tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
        self.structures = Structures(tokenizer, len(tokenizer), frozenset({tokenizer.eos_token_id}))

    def close(self) -> None:
        self.loop.run_until_complete(self.client.aclose())
        self.loop.close()
        self.structures.shutdown()
        self.decoders.close()

    def file(self, data: bytes) -> None:
        """An image or a document."""
        try:
            for image in read_images(data, "param", LIMITS, self.decoders):
                image.open()
        except ImageError as error:
            if isinstance(error, DecoderEnded | DecoderUnavailable):
                raise Finding(str(error)) from error
            raise Refusal from error

    def address(self, data: bytes) -> None:
        url = data.decode(errors="surrogateescape")  # invalid UTF-8 becomes lone surrogates
        try:
            if url.startswith("data:"):
                self.loop.run_until_complete(load_images(url, "param", LIMITS, self.decoders))
            else:
                addresses.http_url(addresses.split(url))
        except (ImageError, addresses.AddressError) as error:
            raise Refusal from error

    def request(self, data: bytes) -> None:
        """A request body: through the app up to the engine, then through all that precedes a prompt."""
        headers = {"Content-Type": "application/json"}
        answer = self.loop.run_until_complete(self.client.post("/v1/chat/completions", content=data, headers=headers))
        if answer.status_code != 503 or answer.json()["error"]["code"] != "engine_unavailable":
            if answer.status_code >= 500 or "message" not in answer.json()["error"]:
                raise Finding(f"{answer.status_code}: {answer.text[:300]}")
            raise Refusal
        body = ChatRequest.model_validate(json.loads(data))
        images = [ImageSource(lambda: Image.new("RGB", (8, 8)))]
        turns = [
            Turn(message.role, " ".join(part.text for part in message.content if isinstance(part, TextPart)), images)
            for message in body.messages
        ]
        try:
            task, structure = task_of(body, turns), structure_of(body)
            if node_to_fill(body, task, structure) is None:
                held = structure_to_hold(body, task, structure)
                for params in sampling(body, task.prompts[0], held, SamplingParams())[:1]:
                    if params.structure is not None:
                        self.structures.compile(params.structure)
        except (ApiError, EngineError) as error:
            raise Refusal from error

    def schema(self, data: bytes) -> None:
        """A JSON schema: as a form to fill from a page, and as a grammar that constrains the model."""
        text = data.decode(errors="replace")
        shape_in(text)
        try:
            schema = json.loads(text)
        except (ValueError, RecursionError):
            raise Refusal from None
        refused = 0
        if isinstance(schema, dict):
            try:
                parse(schema)
            except SchemaError:
                refused += 1
        refused += self._refuses(Structure("json_schema", text, "param"))
        if refused:
            raise Refusal

    def grammar(self, data: bytes) -> None:
        """`kind|definition`."""
        kind, _, definition = data.decode(errors="replace").partition("|")
        if kind not in ("regex", "choice", "grammar") or self._refuses(Structure(kind, definition, "param")):  # type: ignore[arg-type]
            raise Refusal

    def _refuses(self, structure: Structure) -> bool:
        """Whether compiling or the first mask of the structure raises EngineError."""
        try:
            grammar = self.structures.compile(structure)
            grammar.begin_mask()
            allowed = grammar.mask().nonzero()[0]
            if len(allowed):
                grammar.accept(int(allowed[0]))
        except EngineError:
            return True
        return False

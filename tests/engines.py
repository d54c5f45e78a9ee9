"""Engines over a small random checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.config import EngineConfig
from engine.engine import Engine
from models.paddleocr_vl.model import PaddleOCRVL


@contextmanager
def running_engine(checkpoint: Path, **config: Any) -> Iterator[Engine]:
    """A real engine on the CPU in fp32, ready; shut down at the end."""
    settings: dict[str, Any] = {"device": "cpu", "dtype": "float32", "max_model_len": 512, "slots": 4} | config
    engine = Engine(EngineConfig(model=checkpoint, **settings))
    engine.start()
    assert engine.wait_until_settled(60) == "ready", engine.error
    try:
        yield engine
    finally:
        engine.shutdown(grace=5)


def network(engine: Engine) -> PaddleOCRVL:
    """The network that a ready engine runs."""
    assert engine.runner is not None
    model = engine.runner.model
    assert isinstance(model, PaddleOCRVL)
    return model

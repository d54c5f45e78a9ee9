"""The README's examples of whole pages, as they stand, against a real server whose layout network finds given boxes."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.engine import Engine
from tests.checkpoints import write_script
from tests.documents import detections, finds
from tests.engines import running_engine
from tests.http.sockets import served

ROOT = Path(__file__).resolve().parents[2]
TEXT = "One two three."
EXAMPLES = re.findall(r"^```(python|sh)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    checkpoint = write_script(tmp_path_factory.mktemp("scripted") / "model", "One", " two", " three.")
    with pytest.MonkeyPatch.context() as patch, running_engine(checkpoint) as engine:
        finds(patch, detections(["doc_title"]))
        known = SimpleNamespace(model_type="pp_doclayout_v3", labels=("doc_title",), orients=False, unwarps=False)
        patch.setattr(Engine, "layout", known)
        with served(engine) as address:
            yield address


def output_of(example: str, url: str, *program: str) -> str:
    """What an example prints that is told this server's address."""
    text = example.replace("http://localhost:8001", url).replace("localhost:8001", url)
    done = subprocess.run(program, cwd=ROOT, input=text, capture_output=True, text=True, check=True)
    return done.stdout


def test_the_chat_prints_markdown(url: str) -> None:
    (example,) = [text for language, text in EXAMPLES if language == "python"]
    assert output_of(example, url, sys.executable, "-").startswith(f"# {TEXT}")


def test_paddlexs_and_mistrals_routes_answer_with_markdown(url: str) -> None:
    (example,) = [text for language, text in EXAMPLES if language == "sh" and "/v1/ocr" in text]
    decoder, printed = json.JSONDecoder(), output_of(example, url, "bash")
    parsed, end = decoder.raw_decode(printed)
    read, _ = decoder.raw_decode(printed[end:])
    assert parsed["result"]["layoutParsingResults"][0]["markdown"]["text"].startswith(f"# {TEXT}")
    assert read["pages"][0]["markdown"].startswith(f"# {TEXT}")

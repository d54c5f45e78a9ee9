"""The checkpoint with random weights as llama.cpp's files: `python -m benchmarks.random_gguf LLAMA_CPP FOLDER`.

LLAMA_CPP is its source, whose own converter writes f16.gguf, q8_0.gguf and mmproj.gguf (F16) into FOLDER. It would read
the vocabulary from a file of SentencePiece's, which the random checkpoint does not have: here from tokenizer.json.
"""

import importlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.child_processes import ROOT
from benchmarks.random_checkpoint import counting_checkpoint

FILES = {
    "f16.gguf": ["--outtype", "f16"],
    "q8_0.gguf": ["--outtype", "q8_0"],
    "mmproj.gguf": ["--outtype", "f16", "--mmproj"],
}


def convert(source: Path, checkpoint: Path, folder: Path) -> None:
    sys.path[:0] = [str(source), str(source / "gguf-py")]
    converter = importlib.import_module("convert_hf_to_gguf")
    decoder: Any = importlib.import_module("conversion.ernie").PaddleOCRModel
    gguf: Any = importlib.import_module("gguf")
    size = json.loads((checkpoint / "config.json").read_text())["vocab_size"]

    class Vocabulary(gguf.LlamaHfVocab):  # type: ignore[misc]
        """As large as the checkpoint says, with tokens that stand for nothing."""

        vocab_size: int

        def __init__(self, folder: Path) -> None:
            super().__init__(folder)
            self.known = self.vocab_size
            self.vocab_size = size

        def all_tokens(self) -> Iterator[tuple[bytes, float, Any]]:
            yield from super().all_tokens()
            for number in range(self.known, size):
                yield f"<unused {number}>".encode(), -1000.0, gguf.TokenType.UNUSED

    gguf.LlamaHfVocab = Vocabulary
    decoder.set_vocab = decoder._set_vocab_llama_hf
    folder.mkdir(parents=True, exist_ok=True)
    for name, arguments in FILES.items():
        sys.argv = ["convert_hf_to_gguf", str(checkpoint), *arguments, "--outfile", str(folder / name)]
        converter.main()


def with_architecture(checkpoint: Path, folder: Path) -> Path:
    """The checkpoint with the name by which the converter knows the vision tower."""
    for file in checkpoint.iterdir():
        (folder / file.name).symlink_to(file)
    config = json.loads((checkpoint / "config.json").read_text())
    config["vision_config"]["architectures"] = ["PaddleOCRVisionModel"]
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit("usage: python -m benchmarks.random_gguf LLAMA_CPP FOLDER")
    source, folder = map(Path, sys.argv[1:])
    checkpoint = counting_checkpoint(ROOT / "build" / "counting-0.9b", "0.9b")
    with tempfile.TemporaryDirectory() as changed:
        convert(source.resolve(), with_architecture(checkpoint.resolve(), Path(changed)), folder.resolve())


if __name__ == "__main__":
    main()

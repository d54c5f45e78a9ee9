"""A checkpoint is data: no file in its folder is run, and no file of the server could run one."""

import ast
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from models.checkpoint import StoreError, describe
from models.paddleocr_vl.processor import Processor
from tests.checkpoints import write_checkpoint, write_settings
from tests.imports import imported, modules

RUNS_CODE = {"eval", "exec", "compile", "__import__"}
PICKLES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


@pytest.mark.parametrize(("name", "file"), list(modules()))
def test_no_file_of_the_server_reads_pickles_or_runs_text(name: str, file: Path) -> None:
    assert not imported(file) & PICKLES
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in RUNS_CODE | {"torch.load", "np.load", "numpy.load", "yaml.load"}, name
            trusted = [word.value for word in node.keywords if word.arg == "trust_remote_code"]
            assert all(isinstance(value, ast.Constant) and value.value is False for value in trusted), name


CODE = "from pathlib import Path\nPath({proof!r}).touch()\nclass Evil: ...\n"


def test_python_files_of_a_checkpoint_are_not_run(tmp_path: Path) -> None:
    """`auto_map` names them; transformers would run them if told to trust them, or ask on a terminal."""
    proof = tmp_path / "was_run"
    folder = write_settings(tmp_path / "checkpoint")
    (folder / "evil.py").write_text(CODE.format(proof=str(proof)))
    classes = ("Config", "Model", "Processor", "ImageProcessor", "Tokenizer")
    for file in folder.glob("*config.json"):
        settings = json.loads(file.read_text()) | {"auto_map": {f"Auto{name}": "evil.Evil" for name in classes}}
        file.write_text(json.dumps(settings | {"tokenizer_class": "Evil"}))
    assert Processor(folder).tokenizer.encode("a")
    assert not proof.exists()


class Bomb:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.proof,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_pickle_under_any_name_is_not_a_checkpoint(tmp_path: Path, name: str) -> None:
    proof = tmp_path / "was_run"
    folder = write_checkpoint(tmp_path / "checkpoint")
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Bomb(proof)))
    with pytest.raises(StoreError):
        describe(folder)
    assert not proof.exists()
    pickle.loads((folder / name).read_bytes())
    assert proof.exists()  # proves that the bomb works

"""Functions for a CPU: their machine code is kept between starts."""

import ctypes
from pathlib import Path
from typing import Any

import pytest
from llvmlite import binding

from models.paddleocr_vl.llvm import DIGEST_BYTES, INT64, Body, Module, number


class Parameters(ctypes.Structure):
    """The address of a number."""

    _fields_ = [("x", ctypes.c_void_p)]


def add_one() -> int:
    """What a new module's function makes of 41."""

    def emit(b: Body) -> None:
        b.write(b.add(b.read(b.x, number(0), INT64), number(1)), b.x, number(0), INT64)

    module = Module(Parameters)
    module.add("add_one", emit)
    module.compile()
    x = ctypes.c_int64(41)
    module.function("add_one")(ctypes.byref(Parameters(ctypes.addressof(x))))
    return x.value


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The modules that were compiled, rather than found."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    seen: list[str] = []
    parse = binding.parse_assembly

    def watch(source: str, *rest: Any) -> Any:
        seen.extend([source] if source else [])
        return parse(source, *rest)

    monkeypatch.setattr(binding, "parse_assembly", watch)
    return seen


def test_what_was_compiled_is_not_compiled_again(compiled: list[str]) -> None:
    assert (add_one(), add_one()) == (42, 42)
    assert len(compiled) == 1


@pytest.mark.parametrize("size", [0, DIGEST_BYTES, DIGEST_BYTES + 100])
def test_code_that_is_not_whole_is_compiled_again(compiled: list[str], tmp_path: Path, size: int) -> None:
    add_one()
    (file,) = (tmp_path / "paddleocr-vl").glob("kernels-*.o")
    file.write_bytes(file.read_bytes()[:size])
    assert (add_one(), add_one()) == (42, 42)
    assert len(compiled) == 2


def test_code_is_compiled_where_it_cannot_be_kept(compiled: list[str], tmp_path: Path) -> None:
    (tmp_path / "paddleocr-vl").write_text("a file")
    assert (add_one(), add_one()) == (42, 42)
    assert len(compiled) == 2

"""NVRTC by its C interface: where its library is found, and what it says. A library with that interface stands in."""

import ctypes
from pathlib import Path

import pytest
import torch

from models.paddleocr_vl import nvrtc
from models.paddleocr_vl.nvrtc import KernelError, Module, compiled
from tests.emulator import compile_library

MAJOR = "99"  # a CUDA that no machine has

# It refuses sources that hold "wrong", and compiles all others to their options.
SOURCE = """
#include <string>
extern "C" {
static std::string source, given, log;
static int read(const std::string& text, char* to) { text.copy(to, text.size()); return 0; }
int nvrtcCreateProgram(void**, const char* text, const char*, int, const char**, const char**) {
    source = text;
    return 0;
}
int nvrtcCompileProgram(void*, int count, const char** options) {
    given.clear();
    for (int i = 0; i < count; i++) given += options[i], given += ";";
    log = "kernels.cu(1): error";
    return source.find("wrong") == std::string::npos ? 0 : 6;
}
int nvrtcGetProgramLogSize(void*, size_t* size) { *size = log.size() + 1; return 0; }
int nvrtcGetProgramLog(void*, char* to) { return read(log, to); }
int nvrtcGetCUBINSize(void*, size_t* size) { *size = given.size() + 1; return 0; }
int nvrtcGetCUBIN(void*, char* to) { return read(given, to); }
int nvrtcDestroyProgram(void**) { return 0; }
}
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which pip puts NVIDIA's libraries, beside PyTorch's; empty."""
    monkeypatch.setattr(torch, "__file__", str(tmp_path / "torch" / "__init__.py"))
    monkeypatch.setattr(torch.version, "cuda", f"{MAJOR}.1")
    folder = tmp_path / "nvidia" / f"cu{MAJOR}" / "lib"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def _installed(packages: Path) -> None:
    source = packages / "nvrtc.cpp"
    source.write_text(SOURCE)
    compile_library(source, packages / f"libnvrtc.so.{MAJOR}")


def test_without_a_gpu_no_kernel_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(KernelError, match="there is no GPU"):
        Module("", {})


@pytest.mark.usefixtures("packages")
def test_a_missing_library_is_named_with_the_version_that_pytorch_needs() -> None:
    with pytest.raises(KernelError, match=rf"NVRTC for CUDA {MAJOR} is not there: none of libnvrtc\.so\.{MAJOR} can"):
        compiled("", [])


def test_a_library_that_cannot_be_loaded_is_named(packages: Path) -> None:
    broken = packages / f"libnvrtc.so.{MAJOR}"
    broken.write_text("no library")
    with pytest.raises(KernelError, match=f"none of .*{broken} can be loaded"):
        compiled("", [])


@pytest.mark.usefixtures("_installed")
def test_a_library_in_a_package_beside_pytorch_compiles() -> None:
    image: ctypes.Array[ctypes.c_char] = compiled("right", ["--gpu-architecture=sm_61", "-DHEADS=16"])
    assert image.value == b"--gpu-architecture=sm_61;-DHEADS=16;"


@pytest.mark.usefixtures("_installed")
def test_an_error_of_the_compiler_is_told() -> None:
    with pytest.raises(KernelError, match=r"NVRTC cannot compile: kernels\.cu\(1\): error"):
        compiled("wrong", [])


def test_the_library_that_nvrtc_opens_by_its_bare_name_is_loaded_before_it(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (f"libnvrtc.so.{MAJOR}", f"libnvrtc-builtins.so.{MAJOR}.1"):
        (packages / name).touch()
    loaded: list[str] = []
    monkeypatch.setattr(ctypes, "CDLL", loaded.append)
    nvrtc._library()
    assert loaded == [str(packages / f"libnvrtc-builtins.so.{MAJOR}.1"), f"libnvrtc.so.{MAJOR}"]

"""A launcher of CUDA kernels without a GPU: their source, compiled for the CPU."""

import ctypes
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from models.paddleocr_vl.nvrtc import KernelError
from tests.recording import Recorder

EMULATOR = Path(__file__).parent / "emulator.cpp"


class EmulatedModule:
    """The kernels of one source, as nvrtc.Module has them."""

    def __init__(self, source: Path, defines: Mapping[str, str | int], folder: Path) -> None:
        library = folder / "kernels.so"
        compile_library(EMULATOR, library, {**defines, "KERNELS": f'"{source}"'})
        self._emulate = ctypes.CDLL(str(library)).emulate

    def launch(self, name: str, grid: tuple[int, int, int], threads: int, parameters: bytes) -> None:
        if self._emulate(name.encode(), *grid, threads, parameters):
            raise KernelError(f"there is no kernel {name}")
        if Recorder.current is not None:
            Recorder.current.calls.append((self.launch, (name, grid, threads, parameters), {}, None))


def compile_library(source: Path, library: Path, macros: Mapping[str, str | int] | None = None) -> None:
    """Compile C++ for this machine's CPU."""
    if shutil.which("g++") is None:
        raise RuntimeError("Tests of CUDA kernels need g++. Install it: package g++, or Xcode on macOS.")
    defined = [f"-D{name}={value}" for name, value in (macros or {}).items()]
    options = ["-std=c++17", "-O1", "-fno-strict-aliasing", "-shared", "-fPIC", "-w"]
    subprocess.run(["g++", *options, *defined, source, "-o", library], check=True)

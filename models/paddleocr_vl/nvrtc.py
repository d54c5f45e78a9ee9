"""CUDA kernels from source: compiled by NVRTC, which comes with PyTorch's CUDA builds, and launched by the driver.

Both libraries have had the same C interface since CUDA 8. PyTorch's own wrapper is private, compiles one kernel at a
time, and imports its extension builder.
"""

import ctypes
import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

# cuda.h: CU_LAUNCH_PARAM_BUFFER_POINTER, CU_LAUNCH_PARAM_BUFFER_SIZE, CU_LAUNCH_PARAM_END
BUFFER, BUFFER_SIZE, END = 1, 2, 0
MAX_PARAMETERS = 4096  # bytes, of any kernel


class KernelError(RuntimeError):
    """Kernels cannot be compiled, loaded or launched here; the message is the library's."""


class Module:
    """The kernels of one source, on the current device, for one thread."""

    def __init__(self, source: str, defines: Mapping[str, str | int]) -> None:
        """`defines`: macros of the source. Raises KernelError."""
        if not torch.cuda.is_available():
            raise KernelError("there is no GPU")
        card = torch.cuda.get_device_properties(torch.cuda.current_device())
        options = [f"-D{name}={value}" for name, value in defines.items()]
        image = compiled(source, [f"--gpu-architecture=sm_{card.major}{card.minor}", *options])
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._driver.cuLaunchKernel.argtypes = [ctypes.c_void_p, *[ctypes.c_uint] * 7, *[ctypes.c_void_p] * 3]
        self._device = torch.cuda.current_device()
        self._module = ctypes.c_void_p()
        torch.cuda.synchronize()  # makes the device's context this thread's
        self._check(self._driver.cuModuleLoadData(ctypes.byref(self._module), image))
        self._functions: dict[str, int] = {}
        self._buffer, self._size = ctypes.create_string_buffer(MAX_PARAMETERS), ctypes.c_size_t()
        given = (BUFFER, ctypes.addressof(self._buffer), BUFFER_SIZE, ctypes.addressof(self._size), END)
        self._given = (ctypes.c_void_p * len(given))(*given)

    def launch(self, name: str, grid: tuple[int, int, int], threads: int, parameters: bytes) -> None:
        """Launch a kernel on the current stream; `parameters`: packed as C would. Raises KernelError."""
        function = self._functions.get(name) or self._function(name)
        ctypes.memmove(self._buffer, parameters, len(parameters))  # the driver copies it once more
        self._size.value = len(parameters)
        stream = torch._C._cuda_getCurrentRawStream(self._device)  # without an object for it
        self._check(self._driver.cuLaunchKernel(function, *grid, threads, 1, 1, 0, stream, None, self._given))

    def _function(self, name: str) -> int:
        function = ctypes.c_void_p()
        self._check(self._driver.cuModuleGetFunction(ctypes.byref(function), self._module, name.encode()))
        assert function.value is not None
        self._functions[name] = function.value
        return function.value

    def _check(self, status: int) -> None:
        if status:
            text = ctypes.c_char_p()
            self._driver.cuGetErrorString(status, ctypes.byref(text))
            raise KernelError(f"CUDA error: {(text.value or b'unknown').decode()}")


def compiled(source: str, options: Sequence[str]) -> Any:
    """The machine code of a source. Raises KernelError with the compiler's log."""
    nvrtc = _library()
    program = ctypes.c_void_p()
    if nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None):
        raise KernelError("NVRTC does not accept the source")
    try:
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        status = nvrtc.nvrtcCompileProgram(program, len(options), given)
        if status:
            raise KernelError(f"NVRTC cannot compile: {_text(nvrtc, 'nvrtcGetProgramLog', program).value.decode()}")
        return _text(nvrtc, "nvrtcGetCUBIN", program)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _text(nvrtc: ctypes.CDLL, getter: str, program: ctypes.c_void_p) -> Any:
    """What NVRTC returns by a pair of functions, one of which tells its size."""
    size = ctypes.c_size_t()
    getattr(nvrtc, f"{getter}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, getter)(program, text)
    return text


def _library() -> ctypes.CDLL:
    """NVRTC of the CUDA version that PyTorch is built for: loaded already, or in a package beside PyTorch's.

    It opens a second library by its bare name, which is found only once that has been loaded.
    """
    major = (torch.version.cuda or "0").partition(".")[0]
    packages = Path(torch.__file__).parent.parent / "nvidia"
    for helper in sorted(glob.glob(str(packages / "*" / "lib" / f"libnvrtc-builtins.so.{major}*"))):
        ctypes.CDLL(helper)
    places = [f"libnvrtc.so.{major}", *sorted(glob.glob(str(packages / "*" / "lib" / f"libnvrtc.so.{major}*")))]
    for place in places:
        try:
            return ctypes.CDLL(place)
        except OSError:
            continue
    raise KernelError(f"NVRTC for CUDA {major} is not there: none of {', '.join(places)} can be loaded")

"""Rotation of heads by their positions, for CPUs with AVX2 or AVX-512, in one pass over memory."""

import ctypes
import functools

import torch
from torch import Tensor

from models.paddleocr_vl.cpu_recording import Kernel, Part
from models.paddleocr_vl.llvm import FLOAT, Body, Module, lanes, number
from models.paddleocr_vl.rope import Rotate

SMALLEST_VECTOR = 4  # numbers


class Parameters(ctypes.Structure):
    """Addresses of arrays, and sizes. "values": of the dtype of x."""

    _fields_ = [
        ("x", ctypes.c_void_p),  # (rows, heads, D) values, a token's heads in order
        ("cos", ctypes.c_void_p),  # (rows, D) fp32
        ("sin", ctypes.c_void_p),  # likewise, negative for the first half of a head
        ("stride", ctypes.c_int64),  # numbers from one row of x to the next
        ("rows", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("threads", ctypes.c_int64),
    ]


def rotation(head_dim: int, values: torch.dtype) -> Rotate:
    """`rope.rotate` for heads of a size and tensors of a dtype. Raises RuntimeError where it cannot be compiled."""
    run = kernel(head_dim, values)

    def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> None:
        rows, heads, _ = x.shape
        sizes = x.stride(0), rows, heads, torch.get_num_threads()
        run(Parameters(x.data_ptr(), cos.data_ptr(), sin.data_ptr(), *sizes), x, cos, sin)

    return rotate


@functools.cache
def kernel(head_dim: int, values: torch.dtype) -> Kernel:
    """Raises RuntimeError where it cannot be compiled."""
    half, most = head_dim // 2, lanes()
    if half % SMALLEST_VECTOR:
        raise RuntimeError(f"heads of {head_dim} numbers do not fill vectors")
    module = Module(Parameters, values)
    width = next(width for width in (most, most // 2, SMALLEST_VECTOR) if half % width == 0)
    part = module.add("part", functools.partial(_rotate, half, width))
    module.add("rotate", lambda b: b.on_rows(part))
    module.compile()
    return Kernel(module.function("rotate"), [Part(module.function("part"), by_rows=True)])


def _rotate(half: int, width: int, b: Body) -> None:
    """This thread's rows."""
    with b.loop(*b.part(b.rows), number(1)) as row, b.narrower(width):
        angles = b.mul(row, number(2 * half))
        cos, sin = (b.at(angle, angles, FLOAT) for angle in (b.cos, b.sin))
        with b.loop(number(0), b.heads, number(1)) as head:
            x = b.value(b.x, b.add(b.mul(row, b.stride), b.mul(head, number(2 * half))))
            for lane in range(0, half, width):
                places = number(lane), number(half + lane)
                found = [b.values_at(x, place) for place in places]
                for place, own, other in zip(places, found, reversed(found), strict=True):
                    turned = b.fmul(own, b.floats_at(cos, place))
                    b.write_values(b.math("fma", other, b.floats_at(sin, place), turned), x, place)

"""Weights rounded and laid out in blocks, in two passes over them, for CPUs with AVX2 or AVX-512.

PyTorch took some ten, which were a fifth of a first start.
"""

import ctypes
import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from llvmlite import ir
from torch import nn
from torch.nn import functional as F

from models.paddleocr_vl.cpu_blocks import LARGEST, LARGEST_NORM, Blocks, missing_sizes
from models.paddleocr_vl.cpu_tiles import BLOCK, FOURS, NARROW_PAIRS, PAIRS, SMALLEST, Numbers, whole_numbers
from models.paddleocr_vl.llvm import FLOAT, INT8, INT16, INT32, Body, Module, number


class Parameters(ctypes.Structure):
    """Addresses of arrays, and sizes."""

    _fields_ = [
        ("weight", ctypes.c_void_p),  # (blocks * 16, inputs)
        ("packed", ctypes.c_void_p),  # (blocks, inputs / together, 16, together) int8 or int16
        ("scale", ctypes.c_void_p),  # (blocks * 16,) fp32, of each output: its step,
        ("norms", ctypes.c_void_p),  # likewise: the norm of its whole numbers
        ("sums", ctypes.c_void_p),  # likewise: their sum
        ("largest", ctypes.c_double),  # whole number
        ("most", ctypes.c_double),  # norm of an output's whole numbers
        ("inputs", ctypes.c_int64),
        ("blocks", ctypes.c_int64),
    ]


@torch.no_grad()
def blocks_of(linear: nn.Linear, bits: int, together: int = 2) -> Blocks:
    """The weight of a layer in blocks; `together`: its inputs that one instruction multiplies for each output.

    Raises RuntimeError where nothing can be compiled.
    """
    missing, short = missing_sizes(linear, bits)
    weight = F.pad(linear.weight, (0, short, 0, missing)) if missing or short else linear.weight.contiguous()
    outputs, inputs = weight.shape
    numbers = FOURS if together == FOURS.together else PAIRS if bits == PAIRS.bits else NARROW_PAIRS
    integer = torch.int16 if bits == PAIRS.bits else torch.int8
    packed = torch.empty(outputs // BLOCK, inputs // together, BLOCK, together, dtype=integer)
    scale, norms, sums = torch.empty(3, outputs).unbind()
    addresses = (tensor.data_ptr() for tensor in (weight, packed, scale, norms, sums))
    most = LARGEST_NORM if bits == PAIRS.bits else math.inf
    sizes = LARGEST[bits], most, inputs, outputs // BLOCK
    function(numbers, weight.dtype)(ctypes.byref(Parameters(*addresses, *sizes)))
    return Blocks(packed, scale.clone(), float(norms.amax()), sums.clone() if numbers is FOURS else None)


@functools.cache
def function(numbers: Numbers, values: torch.dtype) -> Callable[[Any], None]:
    """What packs weights of a dtype on the thread that calls it. Raises RuntimeError where it cannot be compiled."""
    module = Module(Parameters, values)
    module.add("pack", functools.partial(_pack, numbers))
    module.compile()
    return module.function("pack")


def _pack(numbers: Numbers, b: Body) -> None:
    with b.loop(number(0), b.mul(b.blocks, number(BLOCK)), number(1)) as output:
        block, lane = b.sdiv(output, number(BLOCK)), b.srem(output, number(BLOCK))
        weights = b.value(b.weight, b.mul(output, b.inputs))
        first = b.at(b.packed, b.mul(block, b.mul(b.inputs, number(numbers.bytes))), INT8)
        packed = b.at(first, b.mul(lane, number(numbers.bytes * numbers.together // BLOCK)), INT8)
        step = _step(b, weights)
        b.write(step, b.scale, output, FLOAT)
        steps = b.all_lanes(step)
        squares, total = (b.variable(b.floats, b.constant(0.0)) for _ in range(2))
        with b.loop(number(0), b.inputs, number(b.lanes)) as place:
            # By division, as PyTorch would round: by a reciprocal, one text of 580 differed from fp32's.
            whole = b.math("nearbyint", b.fdiv(b.values_at(weights, place), steps))
            b.store(b.math("fma", whole, whole, b.load(squares, typ=b.floats)), squares)
            b.store(b.fadd(whole, b.load(total, typ=b.floats)), total)
            _scatter(b, numbers, whole_numbers(b, whole), packed, place)
        norm = b.math("sqrt", b.across("fadd", b.load(squares, typ=b.floats)))
        b.write(norm, b.norms, output, FLOAT)
        b.write(b.across("fadd", b.load(total, typ=b.floats)), b.sums, output, FLOAT)


def _step(b: Body, weights: ir.Value) -> ir.Value:
    """The step of an output's whole numbers, of which neither one nor their norm becomes too large."""
    largest, squares = (b.variable(b.floats, b.constant(0.0)) for _ in range(2))
    with b.loop(number(0), b.inputs, number(b.lanes)) as place:
        found = b.values_at(weights, place)
        b.store(b.larger(b.load(largest, typ=b.floats), b.math("fabs", found)), largest)
        b.store(b.math("fma", found, found, b.load(squares, typ=b.floats)), squares)
    norm = b.math("sqrt", b.across("fadd", b.load(squares, typ=b.floats)))
    by_size = b.fdiv(b.across("fmaximum", b.load(largest, typ=b.floats)), b.largest)
    step = b.math("maximum", by_size, b.fdiv(norm, b.most))
    return b.math("maximum", step, ir.Constant(FLOAT, SMALLEST))


def _scatter(b: Body, numbers: Numbers, whole: ir.Value, packed: ir.Value, place: ir.Value) -> None:
    """Write a vector of an output's whole numbers, some together, between those of the block's other outputs."""
    kind = INT16 if numbers is PAIRS else INT8
    together = INT32 if numbers.together * kind.width == 32 else INT16
    few = b.lanes // numbers.together
    groups = b.bitcast(b.trunc(whole, ir.VectorType(kind, b.lanes)), ir.VectorType(together, few))
    for group in range(few):
        at = b.mul(b.add(place, number(group * numbers.together)), number(numbers.bytes))
        one = b.extract_element(groups, ir.Constant(INT32, group))
        b.write(one, b.at(packed, at, INT8), number(0), together)

"""Products by weights of 4, 8 and 16 bits with what surrounds them, for CPUs with AVX2 or AVX-512.

Both sides of a product are whole numbers (models/paddleocr_vl/cpu_tiles.py): weights with one step per output; inputs
of 16 bits with one per row, or of 8 bits, which count from a row's smallest number up. Weights lie in blocks of 16
outputs, so that a vector's lanes are outputs.

Of few rows, as in decoding, the time is that of reading memory in order: while all rows meet one block, the next is
fetched.
"""

import ctypes
import functools
import math

import torch
from llvmlite import ir
from torch import Tensor

from models.paddleocr_vl.cpu_blocks import STEPS, Blocks
from models.paddleocr_vl.cpu_panels import Tiles, silu
from models.paddleocr_vl.cpu_recording import Kernel, Part, empty
from models.paddleocr_vl.cpu_tiles import (
    BLOCK,
    FOURS,
    NARROW_PAIRS,
    NIBBLES,
    PAIRS,
    SMALLEST,
    TILES,
    Numbers,
    largest_norm,
    rounded,
    step_of,
    whole_numbers,
)
from models.paddleocr_vl.llvm import FLOAT, INT8, INT16, Body, Module, has_vnni, lanes, number

UNWIDENED_ROWS = 64  # up to which 8 bits are widened whenever rows meet a block, and not once for all rows


class Parameters(ctypes.Structure):
    """Addresses of arrays, and sizes. "values": of the dtype of x."""

    _fields_ = [
        ("x", ctypes.c_void_p),  # (rows, inputs) values
        ("norm", ctypes.c_void_p),  # (inputs,) values, the weight of an RMS norm of x, or none
        ("eps", ctypes.c_double),
        ("most", ctypes.c_double),  # norm of a row's rounded inputs
        ("rounded", ctypes.c_void_p),  # (rows, inputs) int16 or uint8
        ("steps", ctypes.c_void_p),  # (rows,) fp32, of rounded inputs
        ("starts", ctypes.c_void_p),  # (rows,) fp32: what the uint8 0 is
        ("widened", ctypes.c_void_p),  # (threads, inputs * 16) int16: blocks that many rows meet, or none
        ("weight", ctypes.c_void_p),  # (blocks, ...) as `Blocks` has it
        ("scale", ctypes.c_void_p),  # (blocks * 16,) fp32
        ("sums", ctypes.c_void_p),  # (blocks * 16,) fp32, of an output's whole numbers, for inputs of uint8
        ("bias", ctypes.c_void_p),  # (blocks * 16,) fp32 that is added, or none
        ("residual", ctypes.c_void_p),  # (rows, blocks * 16) values that are added, or none
        ("y", ctypes.c_void_p),  # (rows, blocks * 16) values
        ("gated", ctypes.c_void_p),  # (rows, blocks * 8) values, or none
        ("gelu", ctypes.c_int64),  # 1: GELU of the outputs, by tanh
        ("rows", ctypes.c_int64),
        ("inputs", ctypes.c_int64),
        ("blocks", ctypes.c_int64),
        ("threads", ctypes.c_int64),
    ]


class Multiply:
    """Products by one weight, in blocks, with the steps and biases of its outputs."""

    def __init__(self, blocks: Blocks, bias: Tensor | None, values: torch.dtype) -> None:
        """`values`: the dtype of all tensors that it is given. Raises RuntimeError where nothing can be compiled."""
        self._blocks, self._bias = blocks, bias  # their memory is read below
        weight = blocks.weight
        self._addresses = address(weight), address(blocks.scale), address(blocks.sums), address(bias)
        self._outputs = len(weight) * BLOCK
        self._numbers = numbers_of(weight)
        self._most = largest_norm(blocks.norm, weight[0].nbytes // self._numbers.bytes)
        self._few = few_rows(self._numbers)
        self._run = kernel(self._numbers, values)

    def __call__(
        self,
        x: Tensor,
        norm: Tensor | None = None,
        eps: float = 0.0,
        residual: Tensor | None = None,
        gates: bool = False,
        gelu: bool = False,
    ) -> Tensor:
        """x (N, in) -> (N, out), all contiguous.

        x may be normalised by the weight and epsilon of an RMS norm first, and `residual` (N, out) is added, after
        GELU if that is asked for. `gates`: silu(first half) * second half, (N, out / 2).
        """
        rows, inputs = x.shape
        y = empty((rows, self._outputs), x.dtype)
        gated = empty((rows, self._outputs // 2), x.dtype) if gates else None
        whole = empty((rows, inputs), torch.uint8 if self._numbers is FOURS else torch.int16)
        steps = empty((2, rows), torch.float32)
        threads, widened = torch.get_num_threads(), None
        if rows > self._few:
            widened = empty((threads, inputs * BLOCK), torch.int16)
        parameters = Parameters(
            x.data_ptr(),
            address(norm),
            eps,
            self._most,
            whole.data_ptr(),
            steps.data_ptr(),
            steps.data_ptr() + rows * steps.itemsize,
            address(widened),
            *self._addresses,
            address(residual),
            y.data_ptr(),
            address(gated),
            gelu,
            rows,
            inputs,
            self._outputs // BLOCK,
            threads,
        )
        self._run(parameters, x, norm, residual, self._blocks.weight, y)
        return y if gated is None else gated


def numbers_of(weight: Tensor) -> Numbers:
    """The kinds of whole numbers that a weight in blocks is made for."""
    if weight.dtype == torch.uint8:
        return NIBBLES
    if weight.shape[-1] == FOURS.together:
        return FOURS
    return PAIRS if weight.dtype == torch.int16 else NARROW_PAIRS


def few_rows(numbers: Numbers) -> float:
    """Rows up to which blocks are not widened before rows meet them; those of 4 bits only for a single tile."""
    return {NARROW_PAIRS: UNWIDENED_ROWS, NIBBLES: TILES[lanes()][0]}.get(numbers, math.inf)


def address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@functools.cache
def kernel(numbers: Numbers, values: torch.dtype) -> Kernel:
    """Products on this CPU, of tensors of a dtype. Raises RuntimeError where they cannot be compiled."""
    if numbers is FOURS and not has_vnni():
        raise RuntimeError("the CPU has no VNNI")
    module = Module(Parameters, values)
    prepare = module.add("round", _round_to_8_bits if numbers is FOURS else _round)
    gate = module.add("gate", _gate)
    multiply = module.add("multiply", functools.partial(_multiply, numbers))
    module.add("product", functools.partial(_product, prepare, multiply, gate))
    module.compile()
    parts = {"round": True, "multiply": False, "gate": True}
    return Kernel(module.function("product"), [Part(module.function(name), rows) for name, rows in parts.items()])


def _multiply(numbers: Numbers, b: Body) -> None:
    few = few_rows(numbers)
    if few == math.inf:
        Tiles(b, numbers, widened=False).emit()
        return
    with b.if_else(b.icmp_signed("<=", b.rows, number(int(few)))) as (if_few, if_many):
        with if_few:
            Tiles(b, numbers, widened=False).emit()
        with if_many:
            Tiles(b, numbers, widened=True).emit()


def _product(prepare: ir.Function, multiply: ir.Function, gate: ir.Function, b: Body) -> None:
    b.on_rows(prepare)
    b.on_all_threads(multiply)
    with b.if_given(b.gated):
        b.on_rows(gate)


def _weighted(b: Body, x: ir.Value, place: ir.Value) -> ir.Value:
    """Inputs, times the weights of a norm if there is one."""
    found = b.variable(b.floats, b.values_at(x, place))
    with b.if_given(b.norm):
        b.store(b.fmul(b.load(found, typ=b.floats), b.values_at(b.norm, place)), found)
    return b.load(found, typ=b.floats)


def _root_mean_square(b: Body, x: ir.Value) -> ir.Value:
    """The root of a row's mean square, by which its norm divides."""
    squares = b.variable(b.floats, b.constant(0.0))
    with b.loop(number(0), b.inputs, number(b.lanes)) as place:
        values = b.values_at(x, place)
        b.store(b.math("fma", values, values, b.load(squares, typ=b.floats)), squares)
    mean = b.fdiv(b.across("fadd", b.load(squares, typ=b.floats)), b.sitofp(b.inputs, FLOAT))
    return b.math("sqrt", b.fadd(mean, b.eps))


def _round(b: Body) -> None:
    """Round this thread's rows, as they are or normalised, to 16 bits."""
    with b.loop(*b.part(b.rows), number(1)) as row:
        first = b.mul(row, b.inputs)
        x, whole = b.value(b.x, first), b.at(b.rounded, first, INT16)
        inputs = functools.partial(_weighted, b, x)
        step = step_of(b, inputs, b.inputs, b.most)
        factor = b.all_lanes(b.fdiv(ir.Constant(FLOAT, 1.0), step))
        b.write(b.fmul(step, _factor_of_norm(b, x)), b.steps, row, FLOAT)
        with b.loop(number(0), b.inputs, number(b.lanes)) as place:
            b.write(rounded(b, b.fmul(inputs(place), factor)), whole, place, INT16)


def _round_to_8_bits(b: Body) -> None:
    """Likewise, to the steps from a row's smallest number to its largest. NaN gives NaN."""
    with b.loop(*b.part(b.rows), number(1)) as row:
        first = b.mul(row, b.inputs)
        x, whole = b.value(b.x, first), b.at(b.rounded, first, INT8)
        inputs = functools.partial(_weighted, b, x)
        least, most = (b.variable(b.floats, inputs(number(0))) for _ in range(2))
        with b.loop(number(0), b.inputs, number(b.lanes)) as place:
            values = inputs(place)
            b.store(b.math("minimum", b.load(least, typ=b.floats), values), least)
            b.store(b.math("maximum", b.load(most, typ=b.floats), values), most)
        start = b.across("fminimum", b.load(least, typ=b.floats))
        span = b.fsub(b.across("fmaximum", b.load(most, typ=b.floats)), start)
        step = b.math("maximum", b.fmul(span, ir.Constant(FLOAT, 1 / STEPS)), ir.Constant(FLOAT, SMALLEST))
        factor = b.all_lanes(b.fdiv(ir.Constant(FLOAT, 1.0), step))
        of_norm, from_start = _factor_of_norm(b, x), b.all_lanes(start)
        b.write(b.fmul(step, of_norm), b.steps, row, FLOAT)
        b.write(b.fmul(start, of_norm), b.starts, row, FLOAT)
        with b.loop(number(0), b.inputs, number(b.lanes)) as place:
            found = whole_numbers(b, b.fmul(b.fsub(inputs(place), from_start), factor))
            b.write(b.trunc(found, ir.VectorType(INT8, b.lanes)), whole, place, INT8)


def _factor_of_norm(b: Body, x: ir.Value) -> ir.Value:
    """What a row is multiplied by for its norm, 1 if there is none."""
    factor = b.variable(FLOAT, ir.Constant(FLOAT, 1.0))
    with b.if_given(b.norm):
        b.store(b.fdiv(ir.Constant(FLOAT, 1.0), _root_mean_square(b, x)), factor)
    return b.load(factor, typ=FLOAT)


def _gate(b: Body) -> None:
    """silu(first half) * second half of this thread's rows."""
    half = b.mul(b.blocks, number(BLOCK // 2))
    with b.if_given(b.gated), b.loop(*b.part(b.rows), number(1)) as row:
        first = b.mul(row, half)
        gates = b.value(b.y, b.mul(first, number(2)))
        ups, gated = b.value(gates, half), b.value(b.gated, first)
        with b.loop(number(0), half, number(b.lanes)) as place:
            gate = b.values_at(gates, place)
            b.write_values(b.fmul(silu(b, gate, gate), b.values_at(ups, place)), gated, place)

"""Products by weights of 8 and of 16 bits with what surrounds them, for CPUs with AVX2 or AVX-512.

Decoding has few rows, and reads each weight once: its time is that of reading memory in order. So weights lie in blocks
of 16 outputs. A vector's lanes are outputs, and nothing is summed across lanes. While all rows meet one block, the next
is fetched.

- 8 bits: one scale per output. Inputs are rounded to up to 16 bits with one scale per row, to as many as sums of all
  products leave room for in 32 bits. `vpmaddwd` adds the products of two inputs and two weights. Nothing saturates, and
  what inputs lose is little beside the weights' rounding, even where one channel is far larger than the others.
- 16 bits: fp16, converted as it is read, with fp32 inputs and sums.
"""

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import torch
from llvmlite import ir
from torch import Tensor

from models.paddleocr_vl.llvm import BYTES, FLOAT, HALF, INT8, INT16, INT32, INT64, LINE, Body, Module, number

BLOCK = 16  # outputs
MULTIPLE = 16  # sizes of a weight are multiples of it
TILES = {8: (4, 3, 2, 1), 16: (8, 4, 2, 1)}  # lanes -> rows that meet a block together: their sums fill registers
CHAINS = 8  # sums at least, since each waits for the one before
LARGEST_WEIGHT = 127
LARGEST_INPUT = 32767
SMALLEST = 1e-12  # largest input of a row that is not taken for 0


class Parameters(ctypes.Structure):
    """Addresses of arrays, and sizes."""

    _fields_ = [
        ("x", ctypes.c_void_p),  # (rows, inputs) fp32
        ("norm", ctypes.c_void_p),  # (inputs,) fp32, the weight of an RMS norm of x, or none
        ("eps", ctypes.c_double),
        ("prepared", ctypes.c_void_p),  # (rows, inputs): int16, or fp32 after the norm
        ("steps", ctypes.c_void_p),  # (rows,) fp32, of rounded inputs
        ("weight", ctypes.c_void_p),  # (blocks, inputs / 2, 16, 2) int8 or (blocks, inputs, 16) fp16
        ("scale", ctypes.c_void_p),  # (blocks * 16,) fp32
        ("residual", ctypes.c_void_p),  # (rows, blocks * 16) fp32 that is added, or none
        ("y", ctypes.c_void_p),  # (rows, blocks * 16) fp32
        ("gated", ctypes.c_void_p),  # (rows, blocks * 8) fp32, or none
        ("rows", ctypes.c_int64),
        ("inputs", ctypes.c_int64),
        ("blocks", ctypes.c_int64),
        ("threads", ctypes.c_int64),
    ]


def blocks_of_8_bits(weight: Tensor) -> Tensor:
    """A weight (out, in) int8, both multiples of 16, as products take it: (out / 16, in / 2, 16, 2)."""
    outputs, inputs = weight.shape
    return weight.view(outputs // BLOCK, BLOCK, inputs // 2, 2).transpose(1, 2).contiguous()


def blocks_of_16_bits(weight: Tensor) -> Tensor:
    """A weight (out, in) fp16, both multiples of 16, as products take it: (out / 16, in, 16)."""
    outputs, inputs = weight.shape
    return weight.view(outputs // BLOCK, BLOCK, inputs).transpose(1, 2).contiguous()


class Multiply:
    """Products by one weight, in blocks, with the scales of its outputs if it has 8 bits."""

    def __init__(self, weight: Tensor, scale: Tensor | None = None) -> None:
        """Raises RuntimeError where nothing can be compiled."""
        self._weight, self._scale = weight, scale  # their memory is read below
        self._addresses = (weight.data_ptr(), None if scale is None else scale.data_ptr())
        self._blocks = len(weight)
        self._run = functions()["product_of_16_bits" if scale is None else "product_of_8_bits"]

    def __call__(
        self,
        x: Tensor,
        norm: Tensor | None = None,
        eps: float = 0.0,
        residual: Tensor | None = None,
        gates: bool = False,
    ) -> Tensor:
        """x (N, in) fp32 -> (N, out) fp32, all contiguous.

        x may be normalised by the weight and epsilon of an RMS norm first, and `residual` (N, out) is added. `gates`:
        silu(first half) * second half, (N, out / 2).
        """
        rows, inputs = x.shape
        y = x.new_empty(rows, self._blocks * BLOCK)
        gated = x.new_empty(rows, self._blocks * BLOCK // 2) if gates else None
        weight, scale = self._addresses
        prepared = steps = None
        if scale is not None:
            prepared, steps = x.new_empty(x.shape, dtype=torch.int16), x.new_empty(rows)
        elif norm is not None:
            prepared = torch.empty_like(x)
        self._run(
            ctypes.byref(
                Parameters(
                    x.data_ptr(),
                    address(norm),
                    eps,
                    x.data_ptr() if prepared is None else prepared.data_ptr(),
                    address(steps),
                    weight,
                    scale,
                    address(residual),
                    y.data_ptr(),
                    address(gated),
                    rows,
                    inputs,
                    self._blocks,
                    torch.get_num_threads(),
                )
            )
        )
        return y if gated is None else gated


def address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@functools.cache
def functions() -> dict[str, Callable[[Any], None]]:
    """Products on this CPU, by name. Raises RuntimeError where they cannot be compiled."""
    module = Module(Parameters)
    gate = module.add("gate", _gate)
    for bits, prepare, tiles in ((8, _round, Tiles8), (16, _normalise, Tiles16)):
        first = module.add(f"prepare_{bits}_bits", prepare)
        multiply = module.add(f"multiply_{bits}_bits", functools.partial(_multiply, tiles))
        module.add(f"product_of_{bits}_bits", functools.partial(_product, first, multiply, gate))
    module.compile()
    return {name: module.function(name) for name in ("product_of_8_bits", "product_of_16_bits")}


def _multiply(tiles: type["Tiles8 | Tiles16"], b: Body) -> None:
    tiles(b).emit()


def _product(prepare: ir.Function, multiply: ir.Function, gate: ir.Function, b: Body) -> None:
    b.on_rows(prepare)
    b.on_all_threads(multiply)
    with b.if_given(b.gated):
        b.on_rows(gate)


# --- before and after -------------------------------------------------------------------------------------------------


def _reciprocal_of_root(b: Body, x: ir.Value) -> ir.Value:
    """1 / sqrt(mean of squares + eps) of a row."""
    squares = b.variable(b.floats, b.constant(0.0))
    with b.loop(number(0), b.inputs, number(b.lanes)) as place:
        values = b.floats_at(x, place)
        b.store(b.vector_math("fma", values, values, b.load(squares, typ=b.floats)), squares)
    mean = b.fdiv(b.across("fadd", b.load(squares, typ=b.floats)), b.sitofp(b.inputs, FLOAT))
    root = b.call_named("llvm.sqrt.f32", FLOAT, b.fadd(mean, b.eps))
    return b.fdiv(ir.Constant(FLOAT, 1.0), root)


def _weighted(b: Body, x: ir.Value, place: ir.Value) -> ir.Value:
    """Inputs, times the weights of a norm if there is one."""
    found = b.variable(b.floats, b.floats_at(x, place))
    with b.if_given(b.norm):
        b.store(b.fmul(b.load(found, typ=b.floats), b.floats_at(b.norm, place)), found)
    return b.load(found, typ=b.floats)


def _round(b: Body) -> None:
    """Round this thread's rows, as they are or normalised."""
    most = b.sdiv(number(2**31 - 1), b.mul(number(LARGEST_WEIGHT), b.inputs))
    most = b.sitofp(b.select(b.icmp_signed("<", most, number(LARGEST_INPUT)), most, number(LARGEST_INPUT)), FLOAT)
    with b.loop(*b.part(b.rows), number(1)) as row:
        first = b.mul(row, b.inputs)
        x, rounded = b.at(b.x, first, FLOAT), b.at(b.prepared, first, INT16)
        largest = b.variable(b.floats, b.constant(SMALLEST))
        with b.loop(number(0), b.inputs, number(b.lanes)) as place:
            size = b.vector_math("fabs", _weighted(b, x, place))
            b.store(b.vector_math("maximum", b.load(largest, typ=b.floats), size), largest)  # NaN stays NaN
        of_row = b.across("fmaximum", b.load(largest, typ=b.floats))
        step = b.variable(FLOAT, b.fdiv(of_row, most))
        with b.if_given(b.norm):
            b.store(b.fmul(b.load(step, typ=FLOAT), _reciprocal_of_root(b, x)), step)
        b.write(b.load(step, typ=FLOAT), b.steps, row, FLOAT)
        factor = b.all_lanes(b.fdiv(most, of_row))
        with b.loop(number(0), b.inputs, number(b.lanes)) as place:
            whole = b.fptosi(b.vector_math("nearbyint", b.fmul(_weighted(b, x, place), factor)), b.integers)
            b.write(b.trunc(whole, ir.VectorType(INT16, b.lanes)), rounded, place, INT16)


def _normalise(b: Body) -> None:
    """Normalise this thread's rows if there is a norm."""
    with b.if_given(b.norm), b.loop(*b.part(b.rows), number(1)) as row:
        first = b.mul(row, b.inputs)
        x, normalised = b.at(b.x, first, FLOAT), b.at(b.prepared, first, FLOAT)
        factor = b.all_lanes(_reciprocal_of_root(b, x))
        with b.loop(number(0), b.inputs, number(b.lanes)) as place:
            b.write(b.fmul(_weighted(b, x, place), factor), normalised, place, FLOAT)


def _gate(b: Body) -> None:
    """silu(first half) * second half of this thread's rows."""
    half = b.mul(b.blocks, number(BLOCK // 2))
    with b.loop(*b.part(b.rows), number(1)) as row:
        first = b.mul(row, half)
        gates = b.at(b.y, b.mul(first, number(2)), FLOAT)
        ups, gated = b.at(gates, half, FLOAT), b.at(b.gated, first, FLOAT)
        with b.loop(number(0), half, number(b.lanes)) as place:
            gate = b.floats_at(gates, place)
            silu = b.fdiv(gate, b.fadd(b.constant(1.0), b.exp(b.fneg(gate))))
            b.write(b.fmul(silu, b.floats_at(ups, place)), gated, place, FLOAT)


# --- products ---------------------------------------------------------------------------------------------------------


class Tiles:
    """This thread's blocks of outputs, tiles of rows, and inputs: loops in this order. Sums stay in registers."""

    kind: ir.Type  # weights
    inputs_of_sum: int  # inputs whose products one sum takes in at once
    input_kind: ir.Type
    weights: Callable[[ir.Value, ir.Value], ir.Value]  # a vector of them, ready to be multiplied
    inputs: Callable[[ir.Value, ir.Value], ir.Value]  # those of a row, in all lanes
    multiplied: Callable[[ir.Value, ir.Value, ir.Value], ir.Value]  # weights, inputs, sums -> new sums
    plus: Callable[[ir.Value, ir.Value], ir.Value]  # sum of two sums
    result: Callable[[ir.Value, ir.Value, ir.Value], ir.Value]  # sums, row and output -> fp32

    def __init__(self, b: Body, sums: ir.Type) -> None:
        self.b, self.sums, self._vectors = b, sums, BLOCK // b.lanes

    def emit(self) -> None:
        b = self.b
        done = b.variable(INT64, number(0))
        with b.loop(*b.part(b.blocks), number(1)) as block:
            b.store(number(0), done)
            for rows in TILES[b.lanes]:
                start = b.load(done, typ=INT64)
                stop = b.add(start, b.mul(b.sdiv(b.sub(b.rows, start), number(rows)), number(rows)))
                b.store(stop, done)
                with b.loop(start, stop, number(rows)) as row:
                    self._tile(block, [b.add(row, number(each)) for each in range(rows)])

    def _tile(self, block: ir.Value, rows: list[ir.Value]) -> None:
        b = self.b
        sets = max(1, CHAINS // (self._vectors * len(rows)))  # groups of sums, each with other inputs
        zero = ir.Constant(self.sums, None)
        totals = [[[b.variable(self.sums, zero) for _ in range(self._vectors)] for _ in rows] for _ in range(sets)]
        step = self.inputs_of_sum * max(2, sets)
        size = b.mul(b.inputs, number(BLOCK))  # weights of a block
        inputs = [b.at(b.prepared, b.mul(row, b.inputs), self.input_kind) for row in rows]
        weights = b.at(b.weight, b.mul(block, size), self.kind)
        fetch = self._share_of_next(weights, size, rows, step)
        with b.loop(number(0), b.inputs, number(step)) as place:
            fetch()
            for each in range(step // self.inputs_of_sum):
                here = b.add(place, number(each * self.inputs_of_sum))
                self._add(weights, inputs, here, totals[each % sets])
        for at, row in enumerate(rows):
            for vector in range(self._vectors):
                total = functools.reduce(self.plus, (b.load(group[at][vector], typ=self.sums) for group in totals))
                self._finish(total, row, b.add(b.mul(block, number(BLOCK)), number(vector * b.lanes)))

    def _share_of_next(self, weights: ir.Value, size: ir.Value, rows: list[ir.Value], step: int) -> Callable[[], None]:
        """What fetches, in each step, a part of the next block: all tiles of this one together fetch it once."""
        b = self.b
        lines = step * BLOCK * BYTES[self.kind] // LINE  # lines of a step's own weights
        share = b.sdiv(number(step * BLOCK * len(rows)), b.rows)
        start = b.add(size, b.sdiv(b.mul(size, rows[0]), b.rows))
        place = b.variable(INT64, start)

        def fetch() -> None:
            begin = b.load(place, typ=INT64)
            for line in range(lines):
                b.prefetch(b.at(weights, b.add(begin, b.sdiv(b.mul(share, number(line)), number(lines))), self.kind))
            b.store(b.add(begin, share), place)

        return fetch

    def _add(self, weights: ir.Value, rows: list[ir.Value], place: ir.Value, totals: list[list[ir.Value]]) -> None:
        b = self.b
        start = b.mul(place, number(BLOCK))
        vectors = [
            self.weights(weights, b.add(start, number(vector * b.lanes * self.inputs_of_sum)))
            for vector in range(self._vectors)
        ]
        for row, own in zip(rows, totals, strict=True):
            x = self.inputs(row, place)
            for weight, total in zip(vectors, own, strict=True):
                b.store(self.multiplied(weight, x, b.load(total, typ=self.sums)), total)

    def _finish(self, total: ir.Value, row: ir.Value, output: ir.Value) -> None:
        b = self.b
        place = b.add(b.mul(row, b.mul(b.blocks, number(BLOCK))), output)
        result = b.variable(b.floats, self.result(total, row, output))
        with b.if_given(b.residual):
            b.store(b.fadd(b.load(result, typ=b.floats), b.floats_at(b.residual, place)), result)
        b.write(b.load(result, typ=b.floats), b.y, place, FLOAT)


class Tiles8(Tiles):
    kind, input_kind, inputs_of_sum = INT8, INT16, 2

    def __init__(self, b: Body) -> None:
        super().__init__(b, b.integers)
        self._pairs = ir.VectorType(INT16, 2 * b.lanes)
        self._sum_of_pairs = "llvm.x86.avx512.pmaddw.d.512" if b.lanes == 16 else "llvm.x86.avx2.pmadd.wd"
        self.plus = b.add

    def weights(self, block: ir.Value, place: ir.Value) -> ir.Value:
        return self.b.sext(self.b.read(block, place, INT8, 2 * self.b.lanes), self._pairs)

    def inputs(self, row: ir.Value, place: ir.Value) -> ir.Value:
        pair = self.b.load(self.b.at(row, place, INT16), typ=INT32)
        pair.align = BYTES[INT16]
        return self.b.bitcast(self.b.all_lanes(pair), self._pairs)

    def multiplied(self, weights: ir.Value, inputs: ir.Value, sums: ir.Value) -> ir.Value:
        return self.b.add(sums, self.b.call_named(self._sum_of_pairs, self.sums, weights, inputs))

    def result(self, total: ir.Value, row: ir.Value, output: ir.Value) -> ir.Value:
        step = self.b.all_lanes(self.b.read(self.b.steps, row, FLOAT))
        rounded = self.b.fmul(self.b.sitofp(total, self.b.floats), step)
        return self.b.fmul(rounded, self.b.floats_at(self.b.scale, output))


class Tiles16(Tiles):
    kind, input_kind, inputs_of_sum = HALF, FLOAT, 1

    def __init__(self, b: Body) -> None:
        super().__init__(b, b.floats)
        self.plus = b.fadd

    def weights(self, block: ir.Value, place: ir.Value) -> ir.Value:
        return self.b.fpext(self.b.read(block, place, HALF, self.b.lanes), self.sums)

    def inputs(self, row: ir.Value, place: ir.Value) -> ir.Value:
        return self.b.all_lanes(self.b.read(row, place, FLOAT))

    def multiplied(self, weights: ir.Value, inputs: ir.Value, sums: ir.Value) -> ir.Value:
        return self.b.vector_math("fma", weights, inputs, sums)

    def result(self, total: ir.Value, row: ir.Value, output: ir.Value) -> ir.Value:  # noqa: ARG002 - it is the result
        return total

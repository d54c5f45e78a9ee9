"""Sums of products of whole numbers for a few rows and a block of outputs, and the rounding to them.

`vpmaddwd` adds the products of two inputs and two weights of 16 bits each, twice as many in an instruction as of fp32,
and sums have 32 bits. They cannot overflow, since a sum of products is at most the product of both sides' norms (Cauchy
and Schwarz), and steps are chosen so that this stays below 2**31. So 0.02 to 0.04 % of a product's norm is lost, a
fifth of what bf16 loses, however far one number is above the others.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from llvmlite import ir

from models.paddleocr_vl.cpu_blocks import FOUR, GROUP, MULTIPLE
from models.paddleocr_vl.llvm import BYTES, FLOAT, INT8, INT16, INT32, Body, number

BLOCK = MULTIPLE  # outputs
TILES = {8: (4, 3, 2, 1), 16: (8, 4, 2, 1)}  # lanes -> rows that meet a block together: their sums fill registers
CHAINS = 8  # sums at least, since each waits for the one before
LARGEST = 32767  # number of 16 bits, but for one that has no negative
LARGEST_SUM = 2.0**31 - 1
SMALLEST = 1e-12  # largest number of a row that is not taken for 0


@dataclass(frozen=True)
class Numbers:
    """The kinds of whole numbers on both sides of a product."""

    inputs: ir.Type
    together: int  # products of inputs that lie in order, which one instruction adds for each output
    bits: int  # bits of a weight
    piece: int = 16  # inputs, of which a row has a multiple

    @property
    def bytes(self) -> int:
        """Bytes of a block's weights for one input."""
        return BLOCK * self.bits // 8


PAIRS, NARROW_PAIRS = Numbers(INT16, 2, 16), Numbers(INT16, 2, 8)
FOURS = Numbers(INT8, FOUR, 8)  # inputs are not negative; needs VNNI
NIBBLES = Numbers(INT16, 2, 5, GROUP)  # steps and offsets of a group included
HALF = BLOCK * GROUP // 2  # bytes of the weights of a group, before its steps


def largest_norm(of_other: float, inputs: int) -> float:
    """The norm that a row may have before it is rounded, given that of the other side after it was."""
    return LARGEST_SUM / max(of_other, 1.0) - inputs**0.5  # rounding lengthens a row by half of that root at most


def step_of(b: Body, read: Callable[[ir.Value], ir.Value], count: ir.Value, most: ir.Value) -> ir.Value:
    """The step of a row's rounded numbers, of which neither one nor their norm, `most`, becomes too large.

    `read` gives the vector at a place. NaN gives NaN, by the norm.
    """
    largest, squares = (b.variable(b.floats, b.constant(start)) for start in (SMALLEST, 0.0))
    with b.loop(number(0), count, number(b.lanes)) as place:
        values = read(place)
        size = b.math("fabs", values)
        b.store(b.larger(b.load(largest, typ=b.floats), size), largest)
        b.store(b.math("fma", values, values, b.load(squares, typ=b.floats)), squares)
    return larger_step(
        b, b.across("fmaximum", b.load(largest, typ=b.floats)), b.across("fadd", b.load(squares, typ=b.floats)), most
    )


def larger_step(b: Body, largest: ir.Value, squares: ir.Value, most: ir.Value) -> ir.Value:
    """The step of numbers by the largest one, the sum of squares and `most`; of vectors, a step for each lane."""
    one = b.constant(1 / LARGEST) if isinstance(largest.type, ir.VectorType) else ir.Constant(FLOAT, 1 / LARGEST)
    return b.math("maximum", b.fmul(largest, one), b.fdiv(b.math("sqrt", squares), most))


def whole_numbers(b: Body, values: ir.Value) -> ir.Value:
    """A vector of numbers, in steps, as whole ones of 32 bits."""
    return b.fptosi(b.math("nearbyint", values), b.integers)


def rounded(b: Body, values: ir.Value) -> ir.Value:
    """A vector of numbers, in steps, as whole ones of 16 bits."""
    return b.trunc(whole_numbers(b, values), ir.VectorType(INT16, b.lanes))


def widen(b: Body, weights: ir.Value, numbers: Numbers, to: ir.Value, inputs: ir.Value) -> None:
    """Write a block of weights as `PAIRS` has them."""
    with b.loop(number(0), inputs, number(numbers.piece)) as place:
        own = b.at(weights, b.mul(place, number(numbers.bytes)), INT8)
        found = [vector for vectors in _weights(b, own, numbers, numbers.piece) for vector in vectors]
        start = b.mul(place, number(BLOCK))
        for index, vector in enumerate(found):
            b.write(vector, to, b.add(start, number(index * 2 * b.lanes)), INT16)


def _weights(b: Body, weights: ir.Value, numbers: Numbers, inputs: int) -> Iterator[list[ir.Value]]:
    """Vectors of weights from an address on, for so many inputs: those that one instruction each takes, in order."""
    if numbers is NIBBLES:
        yield from _nibbles(b, weights)
        return
    kind = INT16 if numbers is PAIRS else INT8
    count = numbers.together * b.lanes
    for first in range(0, BLOCK * inputs, BLOCK * numbers.together):
        found = [
            b.read(weights, number(first + place), kind, count) for place in range(0, BLOCK * numbers.together, count)
        ]
        yield [b.sext(vector, _pairs(b)) for vector in found] if numbers is NARROW_PAIRS else found


def _nibbles(b: Body, weights: ir.Value) -> Iterator[list[ir.Value]]:
    """Those of a group: step * weight - offset; two pairs of inputs share their bytes."""
    bits, mask = (ir.Constant(_pairs(b), [value] * (2 * b.lanes)) for value in (4, 15))
    steps, offsets = ([_twice(b, weights, first + lane) for lane in range(0, BLOCK, b.lanes)] for first in (0, BLOCK))
    for first in range(0, HALF, 2 * BLOCK):
        found = [
            b.zext(b.read(weights, number(first + place), INT8, 2 * b.lanes), _pairs(b))
            for place in range(0, 2 * BLOCK, 2 * b.lanes)
        ]
        for own in ([b.and_(vector, mask) for vector in found], [b.lshr(vector, bits) for vector in found]):
            yield [b.sub(b.mul(x, step), offset) for x, step, offset in zip(own, steps, offsets, strict=True)]


def _twice(b: Body, weights: ir.Value, place: int) -> ir.Value:
    """Numbers of 16 bits behind the weights of a group, each of them twice in order, as a pair of inputs meets it."""
    found = b.zext(b.read(b.at(weights, number(HALF), INT8), number(place), INT16, b.lanes), b.integers)
    both = b.or_(found, b.shl(found, ir.Constant(b.integers, [16] * b.lanes)))
    return b.bitcast(both, _pairs(b))


def _pairs(b: Body) -> ir.VectorType:
    """As many whole numbers of 16 bits as a vector has."""
    return ir.VectorType(INT16, 2 * b.lanes)


def sums_of_products(
    b: Body,
    rows: Sequence[ir.Value],
    weights: ir.Value,
    inputs: ir.Value,
    numbers: Numbers = PAIRS,
    fetch: Callable[[], None] = lambda: None,
) -> list[list[ir.Value]]:
    """Those of each row with a block of outputs, in vectors of 32 bits.

    `rows`: addresses of `inputs` numbers. `weights`: as `Blocks` has them. `fetch` emits what is to be done after every
    `between_fetches(b, numbers, len(rows))` inputs.
    """
    vectors = BLOCK // b.lanes
    sets = _sets(b, numbers, len(rows))
    zero = ir.Constant(b.integers, None)
    totals = [[[b.variable(b.integers, zero) for _ in range(vectors)] for _ in rows] for _ in range(sets)]
    step = between_fetches(b, numbers, len(rows))
    with b.loop(number(0), inputs, number(step)) as place:
        fetch()
        own = b.at(weights, b.mul(place, number(numbers.bytes)), INT8)
        for index, found in enumerate(_weights(b, own, numbers, step)):
            _add(b, rows, found, b.add(place, number(numbers.together * index)), numbers, totals[index % sets])
    return [
        [
            functools.reduce(b.add, (b.load(group[row][vector], typ=b.integers) for group in totals))
            for vector in range(vectors)
        ]
        for row in range(len(rows))
    ]


def between_fetches(b: Body, numbers: Numbers, rows: int) -> int:
    """Inputs whose products are added between two tests for the end."""
    return numbers.piece if numbers is NIBBLES else numbers.together * max(2, _sets(b, numbers, rows))


def _sets(b: Body, numbers: Numbers, rows: int) -> int:
    """Groups of sums, each with other inputs, so that there are chains enough."""
    return min(numbers.piece // numbers.together, max(1, CHAINS * b.lanes // (BLOCK * rows)))


def _add(
    b: Body,
    rows: Sequence[ir.Value],
    vectors: Sequence[ir.Value],
    place: ir.Value,
    numbers: Numbers,
    totals: list[list[ir.Value]],
) -> None:
    """Add the products of the inputs at a place, and of vectors of weights."""
    for row, own in zip(rows, totals, strict=True):
        few = b.load(b.at(row, place, numbers.inputs), typ=INT32)
        few.align = BYTES[numbers.inputs]
        x = b.bitcast(b.all_lanes(few), ir.VectorType(numbers.inputs, numbers.together * b.lanes))
        for weight, total in zip(vectors, own, strict=True):
            b.store(_added(b, b.load(total, typ=b.integers), x, weight), total)


def _added(b: Body, total: ir.Value, x: ir.Value, weights: ir.Value) -> ir.Value:
    """Sums and the products of inputs and weights of as many outputs."""
    bits = 32 * b.lanes
    if x.type.element == INT8:
        return b.call_named(f"llvm.x86.avx512.vpdpbusd.{bits}", b.integers, total, x, weights)
    name = "llvm.x86.avx512.pmaddw.d.512" if bits == 512 else "llvm.x86.avx2.pmadd.wd"
    return b.add(total, b.call_named(name, b.integers, weights, x))

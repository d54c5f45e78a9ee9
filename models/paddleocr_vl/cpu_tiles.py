"""Sums of products of whole numbers for a few rows and a block of outputs, and the rounding to them.

`vpmaddwd` adds the products of two inputs and two weights of 16 bits each, twice as many in an instruction as of fp32,
and sums have 32 bits. They cannot overflow, since a sum of products is at most the product of both sides' norms (Cauchy
and Schwarz), and steps are chosen so that this stays below 2**31. So 0.02 to 0.04 % of a product's norm is lost, a
fifth of what bf16 loses, however far one number is above the others.
"""

import functools
from collections.abc import Callable, Sequence

from llvmlite import ir

from models.paddleocr_vl.llvm import BYTES, FLOAT, INT8, INT16, INT32, Body, number

BLOCK = 16  # outputs
TILES = {8: (4, 3, 2, 1), 16: (8, 4, 2, 1)}  # lanes -> rows that meet a block together: their sums fill registers
CHAINS = 8  # sums at least, since each waits for the one before
LARGEST = 32767  # number of 16 bits, but for one that has no negative
LARGEST_SUM = 2.0**31 - 1
SMALLEST = 1e-12  # largest number of a row that is not taken for 0


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


def pairs(b: Body) -> ir.VectorType:
    """As many whole numbers of 16 bits as a vector has."""
    return ir.VectorType(INT16, 2 * b.lanes)


def sums_of_products(
    b: Body,
    rows: Sequence[ir.Value],
    weights: ir.Value,
    inputs: ir.Value,
    kind: ir.Type = INT16,
    fetch: Callable[[], None] = lambda: None,
) -> list[list[ir.Value]]:
    """Those of each row with a block of outputs, in vectors of 32 bits.

    `rows`: addresses of `inputs` numbers of 16 bits. `weights`: (inputs / 2, 16, 2) of a kind. `fetch` emits what is to
    be done after every 2 * `unrolled(b, len(rows))` inputs, of which `inputs` is a multiple.
    """
    vectors = BLOCK // b.lanes
    sets = _sets(b, len(rows))
    zero = ir.Constant(b.integers, None)
    totals = [[[b.variable(b.integers, zero) for _ in range(vectors)] for _ in rows] for _ in range(sets)]
    with b.loop(number(0), inputs, number(2 * unrolled(b, len(rows)))) as place:
        fetch()
        for each in range(unrolled(b, len(rows))):
            _add(b, rows, weights, b.add(place, number(2 * each)), kind, totals[each % sets])
    return [
        [
            functools.reduce(b.add, (b.load(group[row][vector], typ=b.integers) for group in totals))
            for vector in range(vectors)
        ]
        for row in range(len(rows))
    ]


def unrolled(b: Body, rows: int) -> int:
    """Pairs of inputs whose products are added between two tests for the end."""
    return max(2, _sets(b, rows))


def _sets(b: Body, rows: int) -> int:
    """Groups of sums, each with other inputs, so that there are chains enough."""
    return max(1, CHAINS * b.lanes // (BLOCK * rows))


def _add(
    b: Body, rows: Sequence[ir.Value], weights: ir.Value, place: ir.Value, kind: ir.Type, totals: list[list[ir.Value]]
) -> None:
    sum_of_pairs = "llvm.x86.avx512.pmaddw.d.512" if b.lanes == 16 else "llvm.x86.avx2.pmadd.wd"
    start = b.mul(place, number(BLOCK))
    vectors = []
    for vector in range(BLOCK // b.lanes):
        found = b.read(weights, b.add(start, number(vector * b.lanes * 2)), kind, 2 * b.lanes)
        vectors.append(b.sext(found, pairs(b)) if kind == INT8 else found)
    for row, own in zip(rows, totals, strict=True):
        pair = b.load(b.at(row, place, INT16), typ=INT32)
        pair.align = BYTES[INT16]
        x = b.bitcast(b.all_lanes(pair), pairs(b))
        for weight, total in zip(vectors, own, strict=True):
            b.store(b.add(b.load(total, typ=b.integers), b.call_named(sum_of_pairs, b.integers, weight, x)), total)

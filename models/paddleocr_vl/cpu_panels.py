"""Products of rounded inputs and a weight in blocks, and what is done with sums as they leave registers.

Many rows are taken in panels that stay in a core's cache while all blocks meet them.
"""

from collections.abc import Callable

from llvmlite import ir

from models.paddleocr_vl.cpu_tiles import (
    BLOCK,
    FOURS,
    PAIRS,
    TILES,
    Numbers,
    between_fetches,
    sums_of_products,
    widen,
)
from models.paddleocr_vl.llvm import BYTES, FLOAT, INT8, INT16, INT64, LINE, Body, number

PANEL_BYTES = 3 << 17  # inputs of a panel: most of a small second cache
PANEL_ROWS = 12  # is what a panel's rows are a multiple of: most are met by the largest tile
GELU_SCALE, GELU_CUBE = 0.7978845608028654, 0.044715  # sqrt(2 / pi), and the factor of x**3: arXiv:1606.08415


def silu(b: Body, x: ir.Value, exponent: ir.Value) -> ir.Value:
    """x / (1 + exp(-exponent))"""
    return b.fdiv(x, b.fadd(b.constant(1.0), b.exp(b.fneg(exponent))))


def _gelu(b: Body, x: ir.Value) -> ir.Value:
    """GELU by tanh: x (1 + tanh(u)) / 2 = x / (1 + exp(-2 u))."""
    square = b.fmul(x, x)
    factor = b.math("fma", square, b.constant(2 * GELU_SCALE * GELU_CUBE), b.constant(2 * GELU_SCALE))
    return silu(b, x, b.fmul(x, factor))


class Tiles:
    """This thread's panels of rows, blocks of outputs, tiles of rows, and inputs: loops in this order.

    Sums stay in registers.
    """

    def __init__(self, b: Body, numbers: Numbers, widened: bool) -> None:
        """`widened`: each block of fewer bits is widened to 16 before rows meet it."""
        self.b, self._stored, self._widened = b, numbers, widened
        self.numbers = PAIRS if widened else numbers

    def emit(self) -> None:
        b = self.b
        most = b.add(b.sdiv(number(PANEL_BYTES // BYTES[self.numbers.inputs]), b.inputs), number(PANEL_ROWS))
        panels = self._rounded_up(b.rows, most)
        rows = b.mul(self._rounded_up(b.rows, b.mul(panels, number(PANEL_ROWS))), number(PANEL_ROWS))
        done = b.variable(INT64, number(0))
        with b.loop(*b.part(b.mul(panels, b.blocks)), number(1)) as task:
            panel, block = b.sdiv(task, b.blocks), b.srem(task, b.blocks)
            first = b.mul(panel, rows)
            end = b.smaller(b.add(first, rows), b.rows)
            b.store(first, done)
            stored = b.at(b.weight, b.mul(block, b.mul(b.inputs, number(self._stored.bytes))), INT8)
            weights = self._widened_weights(stored) if self._widened else stored
            for at_once in TILES[b.lanes]:
                start = b.load(done, typ=INT64)
                stop = b.add(start, b.mul(b.sdiv(b.sub(end, start), number(at_once)), number(at_once)))
                b.store(stop, done)
                with b.loop(start, stop, number(at_once)) as row:
                    tile = [b.add(row, number(each)) for each in range(at_once)]
                    fetch = self._share_of_next(stored, at_once, b.sub(row, first), b.sub(end, first))
                    self._tile(weights, block, tile, fetch)

    def _widened_weights(self, stored: ir.Value) -> ir.Value:
        """The weights of a block, widened to 16 bits."""
        b = self.b
        own = b.at(b.widened, b.mul(b.thread(), b.mul(b.inputs, number(BLOCK))), INT16)
        widen(b, stored, self._stored, own, b.inputs)
        return own

    def _rounded_up(self, x: ir.Value, by: ir.Value) -> ir.Value:
        """x / by"""
        return self.b.sdiv(self.b.add(x, self.b.sub(by, number(1))), by)

    def _tile(self, weights: ir.Value, block: ir.Value, rows: list[ir.Value], fetch: Callable[[], None]) -> None:
        """Let a few rows meet a block; `fetch`: see `sums_of_products`."""
        b = self.b
        inputs = [b.at(b.rounded, b.mul(row, b.inputs), self.numbers.inputs) for row in rows]
        sums = sums_of_products(b, inputs, weights, b.inputs, self.numbers, fetch)
        for row, vectors in zip(rows, sums, strict=True):
            for vector, total in enumerate(vectors):
                output = b.add(b.mul(block, number(BLOCK)), number(vector * b.lanes))
                self._finish(b.sitofp(total, b.floats), row, output)

    def _share_of_next(self, stored: ir.Value, rows: int, done: ir.Value, of_panel: ir.Value) -> Callable[[], None]:
        """What fetches, in each step, a part of the next block: all tiles of this one together fetch it once.

        `done` of the panel's rows have met this one.
        """
        b = self.b
        size = b.mul(b.inputs, number(self._stored.bytes))  # bytes of a block
        step = between_fetches(b, self.numbers, rows) * self._stored.bytes  # bytes between two calls
        lines = max(1, step // LINE)
        share = b.sdiv(number(step * rows), of_panel)
        place = b.variable(INT64, b.add(size, b.sdiv(b.mul(size, done), of_panel)))

        def fetch() -> None:
            begin = b.load(place, typ=INT64)
            for line in range(lines):
                b.prefetch(b.at(stored, b.add(begin, b.sdiv(b.mul(share, number(line)), number(lines))), INT8))
            b.store(b.add(begin, share), place)

        return fetch

    def _finish(self, total: ir.Value, row: ir.Value, output: ir.Value) -> None:
        """`total`: sums of products of whole numbers."""
        b = self.b
        place = b.add(b.mul(row, b.mul(b.blocks, number(BLOCK))), output)
        total = b.fmul(total, b.all_lanes(b.read(b.steps, row, FLOAT)))
        if self.numbers is FOURS:
            start = b.all_lanes(b.read(b.starts, row, FLOAT))
            total = b.math("fma", start, b.floats_at(b.sums, output), total)
        result = b.variable(b.floats, b.fmul(total, b.floats_at(b.scale, output)))
        with b.if_given(b.bias):
            b.store(b.fadd(b.load(result, typ=b.floats), b.floats_at(b.bias, output)), result)
        with b.if_then(b.icmp_signed("!=", b.gelu, number(0))):
            b.store(_gelu(b, b.load(result, typ=b.floats)), result)
        with b.if_given(b.residual):
            b.store(b.fadd(b.load(result, typ=b.floats), b.values_at(b.residual, place)), result)
        b.write_values(b.load(result, typ=b.floats), b.y, place)

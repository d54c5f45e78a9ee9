"""Attention inside images, for CPUs with AVX2 or AVX-512, by whole numbers (models/paddleocr_vl/cpu_tiles.py).

Keys and values of an image are rounded and laid out once; then a few queries meet a chunk of keys, which stays in a
core's cache, and what they have summed so far is scaled whenever a larger score is found (FlashAttention, Dao et al.
2022, arXiv:2205.14135). In fp32 no instruction does as much, so that PyTorch's own takes twice the time.
"""

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import torch
from llvmlite import ir
from torch import Tensor

from models.paddleocr_vl.cpu_blocks import LARGEST_NORM
from models.paddleocr_vl.cpu_image_keys import NARROW, Heads, Parameters, in_whole_blocks
from models.paddleocr_vl.cpu_tiles import (
    BLOCK,
    TILES,
    larger_step,
    largest_norm,
    rounded,
    step_of,
    sums_of_products,
)
from models.paddleocr_vl.llvm import FLOAT, INT16, INT32, Body, Module, number
from models.paddleocr_vl.slices import parts
from models.protocol import Sliced

QUERIES = 32  # queries of a task
CHUNK = 1024  # keys
MOST = largest_norm(LARGEST_NORM + 200, CHUNK)  # before rounding, of what meets values: up to 160 000 of them
NEVER = float("-inf")  # the score of what is not attended to, and the largest of none
FACTS = 4
STEP, WEIGHT_STEP, LARGEST_SCORE, TOTAL = range(FACTS)  # facts of a query: steps, and what all keys give


class CpuImageAttention:
    """Attention for one shape of heads."""

    def __init__(self, heads: int, head_dim: int, values: torch.dtype) -> None:
        """`values`: the dtype of all tensors. Raises RuntimeError where nothing can be compiled."""
        self._heads, self._head_dim = heads, head_dim
        self._prepare, self._attend = functions(heads, head_dim, values)

    def full_by_whole_numbers(self, q: Tensor, k: Tensor, v: Tensor, queries: int | None) -> Sliced[Tensor]:
        """`FullAttention` where q, k and v are parts of one tensor."""
        images, heads, length, head_dim = q.shape
        assert (heads, head_dim) == (self._heads, self._head_dim)
        assert q.stride() == k.stride() == v.stride()
        assert q.stride()[1::2] == (head_dim, 1)
        room, dims = (-(-size // BLOCK) * BLOCK for size in (length, head_dim))
        threads = torch.get_num_threads()
        whole = functools.partial(q.new_empty, dtype=torch.int16)
        floats = functools.partial(q.new_empty, dtype=torch.float32)
        y = q.new_empty(images, length, heads, head_dim)
        arrays = (
            *(q, k, v),
            *(whole(images, heads, room, head_dim), floats(images, heads, room)),
            *(whole(images, heads, dims, room), floats(images, heads, dims)),
            *(whole(threads, QUERIES, head_dim), floats(threads, QUERIES, CHUNK)),
            *(whole(threads, QUERIES, CHUNK), floats(threads, QUERIES, dims)),
            *(floats(threads, QUERIES, FACTS), y),
        )
        addresses = [array.data_ptr() for array in arrays]
        for index, part in enumerate(parts(length, queries)):
            sizes = (MOST, q.stride(2), q.stride(0), images, length, part.start, part.stop, threads)
            own = Parameters(*addresses, *sizes)
            if index == 0:
                self._prepare(ctypes.byref(own))
            self._attend(ctypes.byref(own))
            yield
        return y.transpose(1, 2)


@functools.cache
def functions(heads: int, head_dim: int, values: torch.dtype) -> tuple[Callable[[Any], None], Callable[[Any], None]]:
    """What prepares keys and values of a dtype, and what attends to them.

    Raises RuntimeError where they cannot be compiled.
    """
    if head_dim % NARROW:
        raise RuntimeError(f"heads of {head_dim} numbers do not fill vectors")
    module = Module(Parameters, values)
    shape = Queries(heads, head_dim)
    for name, work in (("prepare", shape.prepare), ("attend", shape.attend)):
        module.add_on_threads(name, module.add(f"{name}_part", work))
    module.compile()
    return module.function("prepare"), module.function("attend")


class Queries(Heads):
    """Queries of one shape of heads, a few at a time."""

    def attend(self, b: Body) -> None:
        """This thread's tasks: a few queries of a head each."""
        queries = b.sub(b.stop, b.first)
        tasks = b.sdiv(b.add(queries, number(QUERIES - 1)), number(QUERIES))  # tasks of a head
        own = Own(b, self.head_dim, self.dims)
        with b.loop(*b.part(b.mul(b.mul(b.images, number(self.heads)), tasks)), number(1)) as task:
            head = b.sdiv(task, tasks)
            first = b.add(b.first, b.mul(b.srem(task, tasks), number(QUERIES)))
            self._begin(b, own, self.head(b, b.q, head), first)
            with b.loop(number(0), b.length, number(CHUNK)) as chunk:
                count = b.smaller(b.sub(b.length, chunk), number(CHUNK))
                self._score(b, own, head, chunk, count)
                with b.loop(number(0), number(QUERIES), number(1)) as query:
                    self._weigh(b, own, query, count)
                self._sum(b, own, head, chunk, count)
            self._finish(b, own, head, first)

    def _begin(self, b: Body, own: "Own", q: ir.Value, first: ir.Value) -> None:
        """Round the queries; those beyond the last are copies of it."""
        last = b.sub(b.stop, number(1))
        with b.loop(number(0), number(QUERIES), number(1)) as query, b.narrower(NARROW):
            x = b.value(q, b.mul(b.smaller(b.add(first, query), last), b.stride))
            step = step_of(b, functools.partial(b.values_at, x), number(self.head_dim), b.most)
            for lane, found in self.whole(b, x, step):
                b.write(found, own.query(query), number(lane), INT16)
            own.write(query, STEP, step)
            own.write(query, LARGEST_SCORE, ir.Constant(FLOAT, NEVER))
            own.write(query, TOTAL, ir.Constant(FLOAT, 0.0))
            for lane in range(0, self.dims, NARROW):
                b.write(b.constant(0.0), own.sums_of(query), number(lane), FLOAT)

    def _score(self, b: Body, own: "Own", head: ir.Value, chunk: ir.Value, count: ir.Value) -> None:
        """Scores of a chunk of keys, and of what fills its last block, which become NEVER."""
        room = self.room(b)
        keys = b.at(b.keys, b.mul(b.add(b.mul(head, room), chunk), number(self.head_dim)), INT16)
        steps = b.at(b.key_steps, b.add(b.mul(head, room), chunk), FLOAT)
        at_once = TILES[b.lanes][0]
        scale = ir.Constant(FLOAT, self.head_dim**-0.5)
        with b.loop(number(0), count, number(BLOCK)) as key:
            block = b.at(keys, b.mul(key, number(self.head_dim)), INT16)
            own_steps = [b.floats_at(steps, b.add(key, number(lane))) for lane in range(0, BLOCK, b.lanes)]
            with b.loop(number(0), number(QUERIES), number(at_once)) as query:
                queries = [b.add(query, number(each)) for each in range(at_once)]
                sums = sums_of_products(b, [own.query(one) for one in queries], block, number(self.head_dim))
                for one, totals in zip(queries, sums, strict=True):
                    factor = b.all_lanes(b.fmul(own.read(one, STEP), scale))
                    for vector, (total, step) in enumerate(zip(totals, own_steps, strict=True)):
                        score = b.fmul(b.fmul(b.sitofp(total, b.floats), factor), step)
                        b.write(score, own.scores_of(one), b.add(key, number(vector * b.lanes)), FLOAT)

    def _weigh(self, b: Body, own: "Own", query: ir.Value, count: ir.Value) -> None:
        """Scores of a query become whole numbers in proportion to their exponentials; its sums so far are scaled."""
        scores = own.scores_of(query)
        room = in_whole_blocks(b, count)
        with b.loop(count, room, number(1)) as beyond:
            b.write(ir.Constant(FLOAT, NEVER), scores, beyond, FLOAT)
        before = own.read(query, LARGEST_SCORE)
        largest = b.variable(b.floats, b.all_lanes(before))
        with b.loop(number(0), room, number(b.lanes)) as place:
            found = b.larger(b.load(largest, typ=b.floats), b.floats_at(scores, place))
            b.store(found, largest)
        most = b.across("fmaximum", b.load(largest, typ=b.floats))
        own.write(query, LARGEST_SCORE, most)
        most = b.all_lanes(most)
        squares = b.variable(b.floats, b.constant(0.0))
        with b.loop(number(0), room, number(b.lanes)) as place:
            power = b.exp(b.fsub(b.floats_at(scores, place), most))
            b.write(power, scores, place, FLOAT)
            b.store(b.math("fma", power, power, b.load(squares, typ=b.floats)), squares)
        # No exponential is above 1: where all are far below, an earlier chunk had larger scores, and less is no loss.
        step = larger_step(b, ir.Constant(FLOAT, 1.0), b.across("fadd", b.load(squares, typ=b.floats)), b.most)
        own.write(query, WEIGHT_STEP, step)
        factor, total = b.all_lanes(b.fdiv(ir.Constant(FLOAT, 1.0), step)), b.variable(b.floats, b.constant(0.0))
        with b.loop(number(0), room, number(b.lanes)) as place:
            whole = b.math("nearbyint", b.fmul(b.floats_at(scores, place), factor))
            b.store(b.fadd(b.load(total, typ=b.floats), whole), total)  # so that rounded weights add up to 1
            b.write(rounded(b, whole), own.weights_of(query), place, INT16)
        shrunk = b.exp(b.fsub(b.all_lanes(before), most))
        so_far = b.fmul(own.read(query, TOTAL), b.extract_element(shrunk, ir.Constant(INT32, 0)))
        added = b.fmul(b.across("fadd", b.load(total, typ=b.floats)), step)
        own.write(query, TOTAL, b.fadd(so_far, added))
        sums = own.sums_of(query)
        for lane in range(0, self.dims, b.lanes):
            b.write(b.fmul(b.floats_at(sums, number(lane)), shrunk), sums, number(lane), FLOAT)

    def _sum(self, b: Body, own: "Own", head: ir.Value, chunk: ir.Value, count: ir.Value) -> None:
        """Add a chunk's values, weighted."""
        room = self.room(b)
        inputs = in_whole_blocks(b, count)
        values = b.at(b.values, b.mul(head, b.mul(room, number(self.dims))), INT16)
        at_once = TILES[b.lanes][0]
        for first in range(0, self.dims, BLOCK):
            place = b.add(self.place_of_values(b, first, room), b.mul(chunk, number(BLOCK)))
            block = b.at(values, place, INT16)
            with b.loop(number(0), number(QUERIES), number(at_once)) as query:
                queries = [b.add(query, number(each)) for each in range(at_once)]
                sums = sums_of_products(b, [own.weights_of(one) for one in queries], block, inputs)
                for one, totals in zip(queries, sums, strict=True):
                    step = b.all_lanes(own.read(one, WEIGHT_STEP))
                    for vector, total in enumerate(totals):
                        lane = number(first + vector * b.lanes)
                        sum_so_far = b.floats_at(own.sums_of(one), lane)
                        more = b.math("fma", b.sitofp(total, b.floats), step, sum_so_far)
                        b.write(more, own.sums_of(one), lane, FLOAT)

    def _finish(self, b: Body, own: "Own", head: ir.Value, first: ir.Value) -> None:
        """Outputs of the queries; of copies, the same as of the last one."""
        last = b.sub(b.stop, number(1))
        image, of_image = b.sdiv(head, number(self.heads)), b.srem(head, number(self.heads))
        steps = b.at(b.value_steps, b.mul(head, number(self.dims)), FLOAT)
        with b.loop(number(0), number(QUERIES), number(1)) as query, b.narrower(NARROW):
            token = b.smaller(b.add(first, query), last)
            row = b.add(b.mul(b.add(b.mul(image, b.length), token), number(self.heads)), of_image)
            y = b.value(b.y, b.mul(row, number(self.head_dim)))
            factor = b.all_lanes(b.fdiv(ir.Constant(FLOAT, 1.0), own.read(query, TOTAL)))
            for lane in range(0, self.head_dim, NARROW):
                step = b.fmul(b.floats_at(steps, number(lane)), factor)
                b.write_values(b.fmul(b.floats_at(own.sums_of(query), number(lane)), step), y, number(lane))


class Own:
    """A thread's own arrays, by query."""

    def __init__(self, b: Body, head_dim: int, dims: int) -> None:
        self._b, thread = b, b.thread()
        sizes = {"rounded": head_dim, "scores": CHUNK, "weights": CHUNK, "sums": dims, "facts": FACTS}
        kinds = {name: INT16 if name in ("rounded", "weights") else FLOAT for name in sizes}
        starts = {
            name: b.at(getattr(b, name), b.mul(thread, number(QUERIES * size)), kinds[name])
            for name, size in sizes.items()
        }

        def of(name: str, query: ir.Value) -> ir.Value:
            return b.at(starts[name], b.mul(query, number(sizes[name])), kinds[name])

        self.query, self.scores_of = functools.partial(of, "rounded"), functools.partial(of, "scores")
        self.weights_of, self.sums_of = functools.partial(of, "weights"), functools.partial(of, "sums")
        self._facts = functools.partial(of, "facts")

    def read(self, query: ir.Value, fact: int) -> ir.Value:
        return self._b.read(self._facts(query), number(fact), FLOAT)

    def write(self, query: ir.Value, fact: int, value: ir.Value) -> None:
        self._b.write(value, self._facts(query), number(fact), FLOAT)

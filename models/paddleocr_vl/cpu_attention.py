"""Attention of new tokens to a KV cache, on CPUs with AVX2 or AVX-512.

A task is a few query heads of a row, which read each key and value of theirs once. In all 18 layers of the 0.9B model,
at 275 tokens on two cores (AMD Zen 5 with AVX2), one row took 0.9 to 1.1 ms and eight took 3.4 to 3.8; PyTorch's own,
with storing the new token, 1.3 and 6.3 ms.
"""

import ctypes
import functools

import torch
from llvmlite import ir
from torch import Tensor

from models.paddleocr_vl.cpu_recording import Kernel, Part, empty
from models.paddleocr_vl.llvm import FLOAT, INT64, VALUES, Body, Module, lanes, number

HEADS = (4, 2, 1)  # query heads of a task: the first number that divides those of a key's
KEYS = 2  # keys that meet the queries together, so that there are enough sums
VECTORS = 2  # parts of a value that are summed together, likewise
SHORTEST = 8  # numbers of a vector
MULTIPLE = 16  # scores of a head have room for a multiple of it
NEVER = float("-inf")  # the score of what is not attended to


class Parameters(ctypes.Structure):
    """Addresses of arrays, and sizes. Strides count numbers, not bytes. "values": of the dtype of q."""

    _fields_ = [
        ("q", ctypes.c_void_p),  # (rows, heads, D) values
        ("kv", ctypes.c_void_p),  # (rows, 2 * kv_heads, D) values, of the new tokens: keys, then values
        ("entries", ctypes.c_void_p),  # (slots, 2 * kv_heads, tokens, D) of the cache's dtype
        ("slots", ctypes.c_void_p),  # (rows,) int64
        ("positions", ctypes.c_void_p),  # (rows,) int64, of the new tokens
        ("scores", ctypes.c_void_p),  # (rows, heads, room) fp32
        ("y", ctypes.c_void_p),  # (rows, heads, D) values
        ("stride", ctypes.c_int64),  # between two rows of q, and of kv
        ("tokens", ctypes.c_int64),
        ("length", ctypes.c_int64),  # keys of a row at most
        ("room", ctypes.c_int64),  # scores of a head
        ("rows", ctypes.c_int64),
        ("threads", ctypes.c_int64),
    ]


class CpuAttention:
    """Attention for one shape of heads."""

    def __init__(
        self, heads: int, kv_heads: int, head_dim: int, values: torch.dtype, stored: torch.dtype | None = None
    ) -> None:
        """`values`: the dtype of all tensors; `stored`: that of the cache, where it differs.

        Raises RuntimeError where nothing can be compiled.
        """
        self._run = kernel(heads, kv_heads, head_dim, values, stored or values)

    def attend(
        self,
        q: Tensor,
        kv: Tensor,
        entries: Tensor,
        slots: Tensor,
        positions: Tensor,
        length: int,
        scratch: int,  # noqa: ARG002 - no position beyond `length` is read here
    ) -> Tensor:
        """Store keys and values of new tokens, then attend: q (rows, heads, D) -> (rows, heads, D).

        `kv` (rows, 2 * kv_heads, D); `entries` (slots, 2, kv_heads, tokens, D); `slots` and `positions` (rows,).
        q and kv are parts of one tensor. Rows of one slot see those before them. A row whose position is not below
        `length`, as the scratch position, has no sequence: what it gives means nothing.
        """
        rows, heads, _ = q.shape
        room = -(-length // MULTIPLE) * MULTIPLE
        y, scores = empty(q.shape, q.dtype), empty((rows, heads, room), torch.float32)
        tensors = q, kv, entries, slots, positions, scores, y
        sizes = q.stride(0), entries.shape[3], length, room, rows, torch.get_num_threads()
        self._run(Parameters(*(tensor.data_ptr() for tensor in tensors), *sizes), *tensors)
        return y


@functools.cache
def kernel(heads: int, kv_heads: int, head_dim: int, values: torch.dtype, stored: torch.dtype) -> Kernel:
    """Raises RuntimeError where it cannot be compiled."""
    width = next((width for width in (lanes(), SHORTEST) if head_dim % (VECTORS * width) == 0), None)
    if width is None:
        raise RuntimeError(f"heads of {head_dim} numbers do not fill vectors")
    module = Module(Parameters, values)
    shape = Shape(heads, kv_heads, head_dim, width, VALUES[stored])
    append, attend = module.add("append", shape.append), module.add("attend", shape.attend)

    def all_of_it(b: Body) -> None:
        b.call(append, [b.given])  # before all, since rows of one slot see each other's
        b.on_all_threads(attend)

    module.add("append_and_attend", all_of_it)
    module.compile()
    parts = Part(module.function("append"), by_rows=True), Part(module.function("attend"), by_rows=False)
    return Kernel(module.function("append_and_attend"), parts)


class Shape:
    """What is compiled for one shape of heads."""

    def __init__(self, heads: int, kv_heads: int, head_dim: int, width: int, stored: ir.Type) -> None:
        """`width`: numbers of a vector. `stored`: the kind of the cache's numbers."""
        self.heads, self.kv_heads, self.head_dim, self.width = heads, kv_heads, head_dim, width
        self.stored = stored
        self.group = heads // kv_heads
        self.at_once = next(count for count in HEADS if self.group % count == 0)

    def append(self, b: Body) -> None:
        """Store keys and values of this thread's new tokens."""
        with (
            b.loop(*b.part(b.rows), number(1)) as row,
            b.loop(number(0), number(2 * self.kv_heads), number(1)) as head,
            b.narrower(self.width),
        ):
            new = b.value(b.kv, b.add(b.mul(row, b.stride), b.mul(head, number(self.head_dim))))
            own = self._entries(b, row, head)
            place = b.mul(b.read(b.positions, row, INT64), number(self.head_dim))
            for lane in range(0, self.head_dim, b.lanes):
                b.write_values(b.values_at(new, number(lane)), own, b.add(place, number(lane)), self.stored)

    def attend(self, b: Body) -> None:
        """This thread's tasks: a few query heads of a row each."""
        tasks = self.heads // self.at_once  # tasks of a row
        with b.loop(*b.part(b.mul(b.rows, number(tasks))), number(1)) as task, b.narrower(self.width):
            row = b.sdiv(task, number(tasks))
            head = b.mul(b.srem(task, number(tasks)), number(self.at_once))
            stored = b.sdiv(head, number(self.group))
            count = b.add(b.read(b.positions, row, INT64), number(1))
            count = b.smaller(count, b.length)
            q = b.value(b.q, b.add(b.mul(row, b.stride), b.mul(head, number(self.head_dim))))
            first = b.add(b.mul(row, number(self.heads)), head)  # place of the task's heads among all rows'
            scores = [b.at(b.scores, b.mul(b.add(first, number(own)), b.room), FLOAT) for own in range(self.at_once)]
            self._score(b, q, self._entries(b, row, stored), count, scores)
            factors = [self._softmax(b, own, count) for own in scores]
            y = b.value(b.y, b.mul(first, number(self.head_dim)))
            self._sum(b, self._entries(b, row, b.add(stored, number(self.kv_heads))), count, scores, factors, y)

    def _entries(self, b: Body, row: ir.Value, head: ir.Value) -> ir.Value:
        """Address of the keys or values of a head in a row's cache."""
        slot = b.mul(b.read(b.slots, row, INT64), number(2 * self.kv_heads))
        return b.value(b.entries, b.mul(b.add(slot, head), b.mul(b.tokens, number(self.head_dim))), self.stored)

    def _score(self, b: Body, q: ir.Value, keys: ir.Value, count: ir.Value, scores: list[ir.Value]) -> None:
        """Products of queries and keys; those beyond `count` are read from the cache, too, but not attended to."""
        scale = ir.Constant(FLOAT, self.head_dim**-0.5)
        with b.loop(number(0), count, number(KEYS)) as key:
            sums = [[b.constant(0.0) for _ in range(KEYS)] for _ in scores]
            for lane in range(0, self.head_dim, b.lanes):
                place = b.add(b.mul(key, number(self.head_dim)), number(lane))
                values = [
                    b.values_at(keys, b.add(place, number(each * self.head_dim)), self.stored) for each in range(KEYS)
                ]
                for own, totals in enumerate(sums):
                    query = b.values_at(q, number(own * self.head_dim + lane))
                    totals[:] = [b.math("fma", query, v, total) for v, total in zip(values, totals, strict=True)]
            for own, totals in zip(scores, sums, strict=True):
                for each, total in enumerate(totals):
                    b.write(b.fmul(b.across("fadd", total), scale), own, b.add(key, number(each)), FLOAT)

    def _softmax(self, b: Body, scores: ir.Value, count: ir.Value) -> ir.Value:
        """Scores become exponentials; what these are to be multiplied by."""
        with b.loop(count, b.room, number(1)) as beyond:
            b.write(ir.Constant(FLOAT, NEVER), scores, beyond, FLOAT)
        largest, total = b.variable(b.floats, b.constant(NEVER)), b.variable(b.floats, b.constant(0.0))
        with b.loop(number(0), count, number(b.lanes)) as place:
            found = b.larger(b.load(largest, typ=b.floats), b.floats_at(scores, place))
            b.store(found, largest)
        most = b.all_lanes(b.across("fmaximum", b.load(largest, typ=b.floats)))
        with b.loop(number(0), count, number(b.lanes)) as place:
            power = b.exp(b.fsub(b.floats_at(scores, place), most))
            b.write(power, scores, place, FLOAT)
            b.store(b.fadd(b.load(total, typ=b.floats), power), total)
        return b.fdiv(ir.Constant(FLOAT, 1.0), b.across("fadd", b.load(total, typ=b.floats)))

    def _sum(
        self,
        b: Body,
        values: ir.Value,
        count: ir.Value,
        weights: list[ir.Value],
        factors: list[ir.Value],
        y: ir.Value,
    ) -> None:
        """Values, weighted."""
        for first in range(0, self.head_dim, VECTORS * b.lanes):
            lanes_of = [first + vector * b.lanes for vector in range(VECTORS)]
            sums = [[b.variable(b.floats, b.constant(0.0)) for _ in lanes_of] for _ in weights]
            with b.loop(number(0), count, number(1)) as key:
                start = b.mul(key, number(self.head_dim))
                own_values = [b.values_at(values, b.add(start, number(lane)), self.stored) for lane in lanes_of]
                for own, totals in zip(weights, sums, strict=True):
                    weight = b.all_lanes(b.read(own, key, FLOAT))
                    for value, total in zip(own_values, totals, strict=True):
                        b.store(b.math("fma", weight, value, b.load(total, typ=b.floats)), total)
            for own, (factor, totals) in enumerate(zip(factors, sums, strict=True)):
                for lane, total in zip(lanes_of, totals, strict=True):
                    place = number(own * self.head_dim + lane)
                    b.write_values(b.fmul(b.load(total, typ=b.floats), b.all_lanes(factor)), y, place)

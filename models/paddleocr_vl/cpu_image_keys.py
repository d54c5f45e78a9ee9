"""Keys and values of images, rounded and laid out for models/paddleocr_vl/cpu_image_attention.py."""

import ctypes
import functools
from collections.abc import Iterator

from llvmlite import ir

from models.paddleocr_vl.cpu_blocks import LARGEST_NORM
from models.paddleocr_vl.cpu_tiles import BLOCK, SMALLEST, larger_step, rounded, step_of, whole_numbers
from models.paddleocr_vl.llvm import FLOAT, INT16, INT32, Body, number

NARROW = 8  # numbers of a vector where a head's are taken one vector after the other: heads are a multiple of it


class Parameters(ctypes.Structure):
    """Addresses of arrays, and sizes.

    "values": of the dtype of q. "room" is `length` rounded up to blocks, "dims" the size of a head likewise.
    """

    _fields_ = [
        ("q", ctypes.c_void_p),  # (images, length, ..., D) values by the strides below, a head's parts in order
        ("k", ctypes.c_void_p),  # likewise
        ("v", ctypes.c_void_p),  # likewise
        ("keys", ctypes.c_void_p),  # (images, heads, room / 16, D / 2, 16, 2) int16
        ("key_steps", ctypes.c_void_p),  # (images, heads, room) fp32
        ("values", ctypes.c_void_p),  # (images, heads, dims / 16, room / 2, 16, 2) int16
        ("value_steps", ctypes.c_void_p),  # (images, heads, dims) fp32
        ("rounded", ctypes.c_void_p),  # (threads, QUERIES, D) int16, of queries
        ("scores", ctypes.c_void_p),  # (threads, QUERIES, CHUNK) fp32
        ("weights", ctypes.c_void_p),  # (threads, QUERIES, CHUNK) int16, exponentials of scores
        ("sums", ctypes.c_void_p),  # (threads, QUERIES, dims) fp32
        ("facts", ctypes.c_void_p),  # (threads, QUERIES, 4) fp32: see FACTS
        ("y", ctypes.c_void_p),  # (images, length, heads, D) values
        ("most", ctypes.c_double),  # MOST
        ("stride", ctypes.c_int64),  # numbers from one token to the next, in q, k and v
        ("image_stride", ctypes.c_int64),  # from one image to the next
        ("images", ctypes.c_int64),
        ("length", ctypes.c_int64),
        ("first", ctypes.c_int64),  # query of a slice
        ("stop", ctypes.c_int64),  # query after it
        ("threads", ctypes.c_int64),
    ]


class Heads:
    """What is compiled for one shape of heads: places, and the preparation of keys and values."""

    def __init__(self, heads: int, head_dim: int) -> None:
        self.heads, self.head_dim = heads, head_dim
        self.dims = -(-head_dim // BLOCK) * BLOCK

    def prepare(self, b: Body) -> None:
        """This thread's heads: round and lay out keys and values."""
        room = self.room(b)
        with b.loop(*b.part(b.mul(b.images, number(self.heads))), number(1)) as head, b.narrower(NARROW):
            keys = b.at(b.keys, b.mul(head, b.mul(room, number(self.head_dim))), INT16)
            self._round_keys(b, self.head(b, b.k, head), keys, b.at(b.key_steps, b.mul(head, room), FLOAT), room)
            values = b.at(b.values, b.mul(head, b.mul(room, number(self.dims))), INT16)
            steps = b.at(b.value_steps, b.mul(head, number(self.dims)), FLOAT)
            for first in range(0, self.dims, NARROW):
                own = b.at(values, self.place_of_values(b, first, room), INT16)
                self._round_values(b, self.head(b, b.v, head), first, own, steps)

    def _round_keys(self, b: Body, k: ir.Value, keys: ir.Value, steps: ir.Value, room: ir.Value) -> None:
        """Those of a head; those beyond the last are copies of it."""
        last = b.sub(b.length, number(1))
        with b.loop(number(0), room, number(1)) as key:
            own = b.value(k, b.mul(b.smaller(key, last), b.stride))
            step = step_of(b, functools.partial(b.values_at, own), number(self.head_dim), b.most)
            b.write(step, steps, key, FLOAT)
            block = b.mul(b.sdiv(key, number(BLOCK)), number(BLOCK * self.head_dim))
            place = b.at(keys, b.add(block, b.mul(b.srem(key, number(BLOCK)), number(2))), INT16)
            for lane, found in self.whole(b, own, step):
                pairs = b.bitcast(found, ir.VectorType(INT32, NARROW // 2))
                for pair in range(NARROW // 2):
                    one = b.extract_element(pairs, ir.Constant(INT32, pair))
                    b.write(one, place, number((lane // 2 + pair) * BLOCK), INT32)

    def whole(self, b: Body, x: ir.Value, step: ir.Value) -> Iterator[tuple[int, ir.Value]]:
        """A head's numbers in steps, whole ones of 16 bits, by vectors with their places."""
        factor = b.all_lanes(b.fdiv(ir.Constant(FLOAT, 1.0), step))
        for lane in range(0, self.head_dim, NARROW):
            yield lane, rounded(b, b.fmul(b.values_at(x, number(lane)), factor))

    def _round_values(self, b: Body, v: ir.Value, first: int, values: ir.Value, steps: ir.Value) -> None:
        """Those of a head, of the numbers from the first on; those beyond the last token or number are 0."""
        nothing = b.constant(0.0)
        if first >= self.head_dim:
            b.write(nothing, steps, number(first), FLOAT)
            with b.loop(number(0), self.room(b), number(2)) as token:
                b.write(ir.Constant(b.integers, None), values, b.mul(token, number(BLOCK // 2)), INT32)
            return
        largest, squares = (b.variable(b.floats, nothing) for _ in range(2))
        with b.loop(number(0), b.length, number(1)) as token:
            found = b.values_at(b.value(v, b.mul(token, b.stride)), number(first))
            size = b.math("fabs", found)
            b.store(b.larger(b.load(largest, typ=b.floats), size), largest)
            b.store(b.math("fma", found, found, b.load(squares, typ=b.floats)), squares)
        step = larger_step(b, b.load(largest, typ=b.floats), b.load(squares, typ=b.floats), b.constant(LARGEST_NORM))
        step = b.larger(b.constant(SMALLEST), step)
        b.write(step, steps, number(first), FLOAT)
        factor = b.fdiv(b.constant(1.0), step)
        with b.loop(number(0), self.room(b), number(2)) as token:
            low, high = (
                whole_numbers(b, b.fmul(self._value_or_nothing(b, v, b.add(token, number(each)), first), factor))
                for each in range(2)
            )
            pair = b.or_(
                b.and_(low, ir.Constant(b.integers, [0xFFFF] * NARROW)),
                b.shl(high, ir.Constant(b.integers, [16] * NARROW)),
            )
            b.write(pair, values, b.mul(token, number(BLOCK // 2)), INT32)

    def _value_or_nothing(self, b: Body, v: ir.Value, token: ir.Value, first: int) -> ir.Value:
        last = b.sub(b.length, number(1))
        is_one = b.icmp_signed("<=", token, last)
        found = b.values_at(b.value(v, b.mul(b.smaller(token, last), b.stride)), number(first))
        return b.select(is_one, found, b.constant(0.0))

    # --- places -------------------------------------------------------------------------------------------------------

    def room(self, b: Body) -> ir.Value:
        return in_whole_blocks(b, b.length)

    def head(self, b: Body, x: ir.Value, head: ir.Value) -> ir.Value:
        """The address of the first token's numbers of a head, of all images' heads."""
        image = b.mul(b.sdiv(head, number(self.heads)), b.image_stride)
        return b.value(x, b.add(image, b.mul(b.srem(head, number(self.heads)), number(self.head_dim))))

    def place_of_values(self, b: Body, first: int, room: ir.Value) -> ir.Value:
        """The place of a head's values, of the numbers from the first on."""
        block = b.mul(room, number(first // BLOCK * BLOCK))
        return b.add(block, number(first % BLOCK * 2))


def in_whole_blocks(b: Body, count: ir.Value) -> ir.Value:
    """A number of tokens, rounded up to blocks."""
    return b.and_(b.add(count, number(BLOCK - 1)), number(-BLOCK))

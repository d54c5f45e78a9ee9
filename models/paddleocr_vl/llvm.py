"""Functions for a CPU, emitted in LLVM's intermediate language, compiled at start and run on PyTorch's own threads.

llvmlite brings LLVM, so that users need no compiler.
"""

import contextlib
import ctypes
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llvmlite
import torch
from llvmlite import binding, ir

from models.cache_folder import cache_folder, replace_file

INT8, INT16, INT32, INT64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
HALF, FLOAT, DOUBLE = ir.HalfType(), ir.FloatType(), ir.DoubleType()
POINTER, VOID = ir.PointerType(), ir.VoidType()
BYTES = {INT8: 1, INT16: 2, HALF: 2, INT32: 4, FLOAT: 4, INT64: 8, DOUBLE: 8, POINTER: 8}
DIGEST_BYTES = 32  # bytes of SHA-256
LINE = 64  # bytes of the cache that are fetched together

PROCESSORS = {"AVX2": "x86-64-v3", "AVX512": "x86-64-v4"}
"""PyTorch's name of what a CPU can do, and LLVM's of the CPUs that can."""
PACKAGE = Path(torch.__file__).parent
OPENMP = next((file for folder in ("lib", "../torch.libs") for file in (PACKAGE / folder).glob("libgomp*.so*")), None)
"""The library whose threads PyTorch computes on, in its packages for Linux; some name it with a checksum."""
FEW_ROWS = 8  # up to which a function of rows that does little is run by one thread

# exp(x) = 2**n exp(r): 1 / ln 2, ln 2 in two parts, and exp(r) = 1 + r + r**2 (c5 + ...), from Cephes' expf.
LOG2_E, LN2_HIGH, LN2_LOW = 1.44269504088896341, 0.693359375, -2.12194440e-4
EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
EXP_RANGE = (-87.0, 88.0)  # beyond which fp32 has no room
EXPONENT_BIAS, MANTISSA_BITS = 127, 23

VALUES = {torch.float32: FLOAT, torch.bfloat16: INT16, torch.float16: HALF}
"""Dtypes that a model's tensors may have, and what their memory is read as: bf16 is the first half of fp32's bits."""
WITHOUT_VNNI = ("SSE41", "AVX", "AVX2", "AVX512_CORE")  # as oneDNN names what may be used at most


class _Function(ir.instructions.LoadInstr):  # type: ignore[misc] # it has no types
    """The address of a function, from memory."""

    function_type = ir.FunctionType(VOID, [POINTER])  # addresses tell nothing of what is there


class Body(ir.IRBuilder):  # type: ignore[misc] # it has no types
    """The body of a function whose parameter is the address of a structure, with loops, vectors and arrays."""

    def __init__(
        self, function: ir.Function, parameters: type[ctypes.Structure], lanes: int, values: torch.dtype
    ) -> None:
        """`lanes`: fp32 numbers of a vector. Each field of `parameters` has 8 bytes, and becomes an attribute.

        `values`: the dtype of the model's tensors.
        """
        super().__init__(function.append_basic_block())
        self.lanes, self.given, self._values = lanes, function.args[0], VALUES[values]
        self.floats, self.integers = ir.VectorType(FLOAT, lanes), ir.VectorType(INT32, lanes)
        kinds = {ctypes.c_void_p: POINTER, ctypes.c_double: DOUBLE, ctypes.c_int64: INT64}
        for place, (name, kind, *_) in enumerate(parameters._fields_):
            value = self.load(self.at(self.given, number(place), INT64), typ=kinds[kind])
            setattr(self, name, self.fptrunc(value, FLOAT) if kind is ctypes.c_double else value)

    @contextmanager
    def narrower(self, lanes: int) -> Iterator[None]:
        """What is emitted meanwhile has vectors of so many numbers."""
        usual = self.lanes, self.floats, self.integers
        self.lanes, self.floats, self.integers = lanes, ir.VectorType(FLOAT, lanes), ir.VectorType(INT32, lanes)
        yield
        self.lanes, self.floats, self.integers = usual

    @contextmanager
    def loop(self, start: ir.Value, stop: ir.Value, step: ir.Value) -> Iterator[ir.Value]:
        """The body of a loop, with its index."""
        before, head = self.block, self.append_basic_block()
        inside, after = self.append_basic_block(), self.append_basic_block()
        self.branch(head)
        self.position_at_end(head)
        index = self.phi(INT64)
        index.add_incoming(start, before)
        self.cbranch(self.icmp_signed("<", index, stop), inside, after)
        self.position_at_end(inside)
        yield index
        index.add_incoming(self.add(index, step), self.block)
        self.branch(head)
        self.position_at_end(after)

    def part(self, total: ir.Value) -> tuple[ir.Value, ir.Value]:
        """This thread's share: from which on, and up to which."""
        own, count = self.thread(), self.zext(self.call_named("omp_get_num_threads", INT32), INT64)
        first, stop = (self.sdiv(self.mul(total, part), count) for part in (own, self.add(own, number(1))))
        return first, stop

    def on_all_threads(self, work: ir.Function) -> None:
        self.call_named("GOMP_parallel", VOID, work, self.given, self.trunc(self.threads, INT32), integer(0))

    def on_rows(self, work: ir.Function) -> None:
        """Run what does little with each of the `rows`: on this thread if they are few."""
        with self.if_else(self.icmp_signed("<=", self.rows, number(FEW_ROWS))) as (few, many):
            with few:
                self.call(work, [self.given])
            with many:
                self.on_all_threads(work)

    @contextmanager
    def if_given(self, pointer: ir.Value) -> Iterator[None]:
        with self.if_then(self.icmp_unsigned("!=", pointer, ir.Constant(POINTER, None))):
            yield

    def at(self, pointer: ir.Value, index: ir.Value, kind: ir.Type) -> ir.Value:
        """The address of a number of an array."""
        return self.gep(pointer, [index], source_etype=kind)

    def read(self, pointer: ir.Value, index: ir.Value, kind: ir.Type, count: int = 1) -> ir.Value:
        """A number of an array, or a vector of so many from there."""
        read = self.load(self.at(pointer, index, kind), typ=kind if count == 1 else ir.VectorType(kind, count))
        read.align = BYTES[kind]
        return read

    def write(self, value: ir.Value, pointer: ir.Value, index: ir.Value, kind: ir.Type) -> None:
        self.store(value, self.at(pointer, index, kind), align=BYTES[kind])

    def floats_at(self, pointer: ir.Value, index: ir.Value) -> ir.Value:
        return self.read(pointer, index, FLOAT, self.lanes)

    def value(self, pointer: ir.Value, index: ir.Value, kind: ir.Type | None = None) -> ir.Value:
        """The address of a number of one of the model's tensors; `kind`: of VALUES, where it has another dtype."""
        return self.at(pointer, index, kind or self._values)

    def values_at(self, pointer: ir.Value, index: ir.Value, kind: ir.Type | None = None) -> ir.Value:
        """A vector of fp32 from one of the model's tensors."""
        found = self.read(pointer, index, kind or self._values, self.lanes)
        match found.type.element:
            case ir.FloatType():
                return found
            case ir.HalfType():
                return self.fpext(found, self.floats)
        return self.bitcast(self.shl(self.zext(found, self.integers), self._whole(16)), self.floats)

    def write_values(self, floats: ir.Value, pointer: ir.Value, index: ir.Value, kind: ir.Type | None = None) -> None:
        """Write a vector of fp32 to one of the model's tensors, rounded to even where it has two bytes."""
        kind = kind or self._values
        if kind == HALF:
            floats = self.fptrunc(floats, ir.VectorType(HALF, self.lanes))
        elif kind == INT16:
            bits = self.bitcast(floats, self.integers)
            odd = self.and_(self.lshr(bits, self._whole(16)), self._whole(1))
            nearest = self.add(bits, self.add(odd, self._whole(0x7FFF)))
            is_nan = self.fcmp_unordered("uno", floats, floats)
            high = self.lshr(self.select(is_nan, self._whole(0x7FC00000), nearest), self._whole(16))
            floats = self.trunc(high, ir.VectorType(INT16, self.lanes))
        self.write(floats, pointer, index, kind)

    def _whole(self, value: int) -> ir.Constant:
        return ir.Constant(self.integers, [value] * self.lanes)

    def prefetch(self, address: ir.Value) -> None:
        """Begin to bring the line of this address near the core."""
        self.call_named("llvm.prefetch.p0", VOID, address, integer(0), integer(3), integer(1))

    def all_lanes(self, value: ir.Value) -> ir.Value:
        """A vector whose lanes all have a value."""
        nothing = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        first = self.insert_element(nothing, value, integer(0))
        return self.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(INT32, self.lanes), [0] * self.lanes))

    def constant(self, value: float) -> ir.Constant:
        return ir.Constant(self.floats, [value] * self.lanes)

    def variable(self, kind: ir.Type, value: ir.Value) -> ir.Value:
        """An address on the stack, which LLVM turns into a register."""
        with self.goto_entry_block():
            made = self.alloca(kind)
        self.store(value, made)
        return made

    def math(self, name: str, *arguments: ir.Value) -> ir.Value:
        """One of LLVM's own functions of fp32, such as fma and maximum, of vectors or of single numbers."""
        kind = arguments[0].type
        suffix = f"v{kind.count}f32" if isinstance(kind, ir.VectorType) else "f32"
        return self.call_named(f"llvm.{name}.{suffix}", kind, *arguments)

    def thread(self) -> ir.Value:
        """The number of this thread."""
        return self.zext(self.call_named("omp_get_thread_num", INT32), INT64)

    def smaller(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """The smaller one of two whole numbers."""
        return self.select(self.icmp_signed("<", x, y), x, y)

    def larger(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """The larger numbers, in one instruction; where one is NaN, y."""
        return self.select(self.fcmp_ordered(">", x, y), x, y)

    def across(self, name: str, vector: ir.Value) -> ir.Value:
        """The sum ("fadd"), the largest ("fmaximum") or the smallest ("fminimum") of a vector's lanes."""
        full = f"llvm.vector.reduce.{name}.v{self.lanes}f32"
        if name == "fadd":
            return self.call_named(full, FLOAT, ir.Constant(FLOAT, 0.0), vector, flags=("reassoc",))
        return self.call_named(full, FLOAT, vector)

    def exp(self, x: ir.Value) -> ir.Value:
        """Exponentials of a vector; NaN stays NaN."""
        least, most = map(self.constant, EXP_RANGE)
        x = self.select(self.fcmp_ordered("<", most, x), most, self.larger(least, x))
        n = self.math("nearbyint", self.fmul(x, self.constant(LOG2_E)))
        r = self.math("fma", n, self.constant(-LN2_HIGH), x)
        r = self.math("fma", n, self.constant(-LN2_LOW), r)
        total = self.constant(EXP[0])
        for factor in EXP[1:]:
            total = self.math("fma", total, r, self.constant(factor))
        total = self.fadd(self.math("fma", total, self.fmul(r, r), r), self.constant(1.0))
        bias, shift = map(self._whole, (EXPONENT_BIAS, MANTISSA_BITS))
        power = self.shl(self.add(self.fptosi(n, self.integers), bias), shift)
        return self.fmul(total, self.bitcast(power, self.floats))

    def call_at(self, place: ir.Value, argument: ir.Value) -> None:
        """Call a function, one like those of a module, whose address is at a place."""
        function = _Function(self.block, place, typ=POINTER)
        self._insert(function)
        self.call(function, [argument])

    def call_named(self, name: str, result: ir.Type, *arguments: ir.Value, flags: Sequence[str] = ()) -> ir.Value:
        """What a function outside of the module returns."""
        known = self.module.globals.get(name)
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.call(known or ir.Function(self.module, kind, name), arguments, fastmath=flags)


def number(value: int) -> ir.Constant:
    return ir.Constant(INT64, value)


def integer(value: int) -> ir.Constant:
    return ir.Constant(INT32, value)


def lanes() -> int:
    """fp32 numbers of this CPU's vectors. Raises RuntimeError where nothing can be compiled for it."""
    capability = torch.backends.cpu.get_cpu_capability()
    if capability not in PROCESSORS or OPENMP is None:
        raise RuntimeError(f"nothing is compiled for {capability} on this system")
    return 16 if capability == "AVX512" else 8


def has_vnni() -> bool:
    """Whether four products of 8 bits may be added in an instruction, in vectors of `lanes()`."""
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in WITHOUT_VNNI:
        return False
    return bool(binding.get_host_cpu_features().get("avx512vnni" if lanes() == 16 else "avxvnni", False))


class Module:
    """Functions of one structure of parameters, compiled for this CPU."""

    def __init__(self, parameters: type[ctypes.Structure], values: torch.dtype = torch.float32) -> None:
        """`values`: the dtype of the model's tensors. Raises RuntimeError where nothing can be compiled."""
        if values not in VALUES:
            raise RuntimeError(f"nothing is compiled for {values}")
        self._parameters, self._values = parameters, values
        self._lanes, self._module = lanes(), ir.Module("kernels")

    def add(self, name: str, emit: Callable[[Body], Any]) -> ir.Function:
        """A function with the body that `emit` emits; others of the module may call it."""
        made = ir.Function(self._module, ir.FunctionType(VOID, [POINTER]), name)
        body = Body(made, self._parameters, self._lanes, self._values)
        emit(body)
        body.ret_void()
        return made

    def add_on_threads(self, name: str, work: ir.Function) -> None:
        """A function that runs another one of the module on all threads."""
        self.add(name, lambda b: b.on_all_threads(work))

    def compile(self) -> None:
        """The machine's code is kept in a file, since LLVM takes 0.1 to 0.4 s for a module."""
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        assert OPENMP is not None  # else there are no lanes
        openmp = ctypes.CDLL(os.fspath(OPENMP))
        for name in ("GOMP_parallel", "GOMP_barrier", "omp_get_thread_num", "omp_get_num_threads"):
            binding.add_symbol(name, ctypes.cast(getattr(openmp, name), ctypes.c_void_p).value)
        features = "-prefer-256-bit"
        if has_vnni():
            features += ",+avx512vnni" if self._lanes == 16 else ",+avxvnni"
        processor = PROCESSORS[torch.backends.cpu.get_cpu_capability()]
        machine = binding.Target.from_default_triple().create_target_machine(cpu=processor, features=features, opt=3)
        source = str(self._module)
        about = f"{processor} {features} {llvmlite.__version__} {binding.llvm_version_info} {source}"
        file = cache_folder() / f"kernels-{hashlib.sha256(about.encode()).hexdigest()[:16]}.o"
        code = _kept_code(file)
        if code is None:
            parsed = binding.parse_assembly(source)
            parsed.verify()
            passes = binding.create_pass_builder(machine, binding.PipelineTuningOptions(speed_level=2))
            passes.getModulePassManager().run(parsed, passes)
            code = machine.emit_object(parsed)
            _keep_code(file, code)
        self._engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
        self._engine.add_object_file(binding.ObjectFileRef.from_data(code))
        self._engine.finalize_object()

    def function(self, name: str) -> Callable[[Any], None]:
        """A compiled function, which takes a structure by reference; other threads of Python run beside it."""
        found = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._engine.get_function_address(name))
        setattr(found, "engine", self._engine)  # noqa: B010 - it holds the function's code, which must stay
        return found


def _kept_code(file: Path) -> bytes | None:
    """What the file has after its sum, if that is right."""
    try:
        kept = file.read_bytes()
    except OSError:
        return None
    digest, code = kept[:DIGEST_BYTES], kept[DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep_code(file: Path, code: bytes) -> None:
    """Keep code for later starts, which compile it again where it cannot be written."""
    with contextlib.suppress(OSError):
        replace_file(file, hashlib.sha256(code).digest() + code)

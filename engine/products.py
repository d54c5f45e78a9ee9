"""How a CPU stores and multiplies by the weights of each kind of layer: the fastest way, measured on its shapes.

What was measured is remembered for the machine, so that the next start does not measure.
"""

import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.device import DeviceError
from models.cache_folder import cache_folder, replace_file
from models.paddleocr_vl.cpu_products import PRODUCTS, Product, kind_of, native, works
from models.paddleocr_vl.weights import uninitialised

logger = logging.getLogger(__name__)

# Ways by preference. Our own come first: nothing else of as many bits is as exact, and nothing was clearly faster.
# FBGEMM's and oneDNN's of 8 bits need VNNI, or one bit less.
SIXTEEN_BITS = ("int16 in blocks", "fp16")
EIGHT_BITS = ("int8 in blocks", "int8", "int8 by 7 bits", "int8 by oneDNN", "int8 by oneDNN, 7 bits")
WIDE_EIGHT_BITS = ("int8 in blocks, inputs too", "int8 in blocks", "int8 by oneDNN, 7 bits")  # for hundreds of rows
FOUR_BITS = ("int4 in blocks",)
ONE_DNN = "int8 by oneDNN"  # may be faster on CPUs with AMX
# Share of the preferred way's time that another must stay below. Fewer bits come first, and smaller errors.
CLEARLY_FASTER = 0.8
ROWS = 256  # rows of products, as an image has hundreds: only ways for the vision tower are measured
TURNS, ENOUGH_TURNS, ENOUGH_SECONDS = 5, 3, 0.01  # the best turn counts; after that time, some are enough
OVERRIDES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "FBGEMM_ENABLE_INSTRUCTIONS")  # instructions that may be used


def choose_products(model: nn.Module, setting: str, dtype: torch.dtype) -> dict[str, Product]:
    """A way for each kind of layer by the setting WEIGHTS: native, auto, fp16, int8 or int4. Raises DeviceError.

    Only the shapes of the model's layers matter.
    """
    if setting == "native":
        return {}
    known = Measured(dtype)
    candidates = {part: _candidates(setting, dtype, part) for part, _ in model.named_children()}
    chosen = {}
    for kind, layer in _kinds(model).items():
        ways = candidates[kind.partition(".")[0]]
        chosen[kind] = ways[0] if len(ways) == 1 else known.fastest(layer, ways)
    known.keep()
    for product in dict.fromkeys(chosen.values()):
        kinds = ", ".join(kind for kind, other in chosen.items() if other is product)
        logger.info("Weights as %s: %s", product.name if product.bits else f"{dtype}, {product.name}", kinds)
    return chosen


def stored_bytes(model: nn.Module, chosen: Mapping[str, Product], dtype: torch.dtype) -> int:
    """Bytes of the weights of a model of which only shapes are known."""
    sizes = {
        name: product.bits / 8
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and (product := chosen.get(kind_of(name))) is not None and product.bits
    }
    return int(
        sum(
            parameter.numel() * sizes.get(name.rpartition(".")[0], dtype.itemsize)
            for name, parameter in model.named_parameters()
        )
    )


def _kinds(model: nn.Module) -> dict[str, nn.Linear]:
    """A layer of each kind; but for that of pixels, whose inputs are wide."""
    found: dict[str, nn.Linear] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and not name.endswith("patch_embedding"):
            found.setdefault(kind_of(name), module)
    return found


def _candidates(setting: str, dtype: torch.dtype, part: str) -> list[Product]:
    """Ways that a setting allows for the layers of a part of the model, the preferred one first. Raises DeviceError.

    8 bits are asked for in the decoder and the vision tower. The latter has them unless bf16, for which a CPU may have
    units, is clearly faster; the projector never has them. 4 bits are for the decoder's layers alone.
    """
    names = ("rounded to fp16",) if setting == "fp16" else SIXTEEN_BITS
    halves = _first(names, dtype) if dtype == torch.float32 else []
    if setting == "fp16":
        if not halves:
            raise DeviceError(
                f"WEIGHTS=fp16 needs DTYPE=float32, not {dtype}, and a CPU with AVX2 and F16C. Use auto instead."
            )
        return halves
    if setting == "auto" or part == "projector":
        return halves or [native(dtype)]
    if part == "visual":
        return [*_first(WIDE_EIGHT_BITS, dtype), *_first((ONE_DNN,), dtype), *([] if halves else [native(dtype)])]
    few = _first(FOUR_BITS if setting == "int4" and part == "text" else EIGHT_BITS, dtype)
    if not few:
        needed = "AVX2, on Linux" if setting == "int4" else "products of 8 bits that are exact enough"
        raise DeviceError(f"WEIGHTS={setting} needs a CPU with {needed}. Use auto instead.")
    return few


def _first(names: Iterable[str], dtype: torch.dtype) -> list[Product]:
    """The first way that works, if any."""
    return list(islice((PRODUCTS[name] for name in names if works(PRODUCTS[name], dtype)), 1))


class Measured:
    """Times of products on this machine, from a file that remembers them."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._file = cache_folder() / "products.json"
        self._all = _read(self._file)
        self._known: dict[str, float] = self._all.setdefault(_machine(dtype), {})
        self._new = False

    def fastest(self, layer: nn.Linear, ways: list[Product]) -> Product:
        """The way whose products take least time, or the first if no other is clearly faster."""
        unknown = [way for way in ways if name_of(way, layer) not in self._known]
        if unknown:
            self._known |= dict(self._measure(layer, unknown))
            self._new = True
        seconds = {way.name: self._known[name_of(way, layer)] for way in ways}
        best = min(ways, key=lambda way: seconds[way.name])
        told = ", ".join(f"{name} {took * 1e3:.2f} ms" for name, took in seconds.items())
        logger.debug("Products of %d x %d: %s", layer.in_features, layer.out_features, told)
        return best if seconds[best.name] < CLEARLY_FASTER * seconds[ways[0].name] else ways[0]

    def keep(self) -> None:
        """Write down what was measured; where that is impossible, the next start measures again."""
        if not self._new:
            return
        try:
            replace_file(self._file, json.dumps(self._all, indent=1).encode())
        except OSError as error:
            logger.debug("Times of products are not remembered: %s", error)

    @torch.inference_mode()
    def _measure(self, shape: nn.Linear, ways: list[Product]) -> Iterator[tuple[str, float]]:
        with uninitialised():  # a random number takes as long as a product by it
            layer = nn.Linear(shape.in_features, shape.out_features, bias=False)
        layer.weight.copy_(torch.randn(shape.in_features))  # an output's are those of all
        x = torch.randn(ROWS, shape.in_features, dtype=self._dtype)
        for way in ways:
            yield name_of(way, shape), _best_seconds(partial(way.make(layer, self._dtype), x))


def _best_seconds(work: Callable[[], Any]) -> float:
    """The least of a few turns, fewer if they take long, after one that warms up."""
    work()
    best, begun = float("inf"), time.perf_counter()
    for turn in range(1, TURNS + 1):
        start = time.perf_counter()
        work()
        end = time.perf_counter()
        best = min(best, end - start)
        if turn >= ENOUGH_TURNS and end - begun > ENOUGH_SECONDS:
            break
    return best


def name_of(way: Product, layer: nn.Linear) -> str:
    """Name of a time."""
    return f"{way.name}, {layer.in_features} x {layer.out_features}, {ROWS} rows"


def _machine(dtype: torch.dtype) -> str:
    """What the times depend on."""
    limits = " ".join(f"{name}={os.environ[name]}" for name in OVERRIDES if name in os.environ)
    threads = f"{torch.get_num_threads()} threads"
    return ", ".join(filter(None, (_processor(), threads, str(dtype), f"torch {torch.__version__}", limits)))


def _processor() -> str:
    """The CPU's name and what it can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    model = facts.get("model name") or facts.get("CPU part") or platform.machine()
    return f"{model} {torch.backends.cpu.get_cpu_capability()}"


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
        return {str(key): {str(name): float(took) for name, took in times.items()} for key, times in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):  # absent, or another release's
        return {}

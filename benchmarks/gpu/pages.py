"""Networks that look at whole pages, with random weights of the real sizes: as on a CPU, how fast, beside decoding."""

import asyncio
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image

from benchmarks.gpu.report import Section
from benchmarks.gpu.requests import MESSAGES, noise
from benchmarks.gpu.serving import LOAD_TIMEOUT, percentile
from benchmarks.gpu.workplace import MIB, Workplace
from benchmarks.random_layout import KINDS, random_page_network
from engine.engine import Engine
from engine.request import SamplingParams
from models.layout.networks import PageNetworks, load_networks
from models.paddleocr_vl.slices import run
from models.protocol import PageNetwork

SMALL_KINDS = ("pp_doclayout_v3", "pp_lcnet", "uvdoc")  # a CPU takes seconds for each
AT_ONCE = 4  # pages in a batch
PAGE = (1240, 1754)  # pixels: A4 at 150 dpi
LARGEST_PERCENT = 0.1  # percent: what products of fewer bits differ by is ten times that
BESIDE = 8  # pages that are looked at while an answer is decoded
TOKENS = 300
TOKENS_SMALL = 8
GAP_MS = 50.0  # between two tokens, while networks look at pages


def pages(place: Workplace, section: Section) -> None:
    """Each network against its own outputs on a CPU, its times and memory; then one beside an answer."""
    torch.backends.cudnn.allow_tf32 = True  # as PyTorch starts; an earlier section may have changed it
    folders: dict[str, Path] = {}
    for kind in SMALL_KINDS if place.small else KINDS:
        if not hasattr(transformers, KINDS[kind].network):
            section.figures[kind] = f"not in transformers {transformers.__version__}"
            continue
        folders[kind] = random_page_network(place.folder / kind, kind, small=place.small)
        section.figures[kind] = _network(place, section, kind, folders[kind])
    layouts = [folder for kind, folder in folders.items() if KINDS[kind].role == "layout"]
    asyncio.run(_beside_an_answer(place, section, layouts[-1]))


def _network(place: Workplace, section: Section, kind: str, folder: Path) -> dict[str, Any]:
    chosen = {role: folder if KINDS[kind].role == role else None for role in PageNetworks.__annotations__}
    (network,) = load_networks(**chosen, device=place.device)
    (reference,) = load_networks(**chosen, device=torch.device("cpu"))
    page = network.prepare(noise(PAGE, place.seed()))
    percent = max(_apart(*pair) for pair in zip(_outputs(network, page), _outputs(reference, page), strict=True))
    section.at_most(f"{kind}: difference to a CPU, percent of the largest output", percent, LARGEST_PERCENT)
    figures: dict[str, Any] = {"percent": round(percent, 5)}
    for count in (1,) if place.small else (1, AT_ONCE):
        several = page.expand(count, -1, -1, -1)
        timed = place.clock.once if place.small else place.clock.median
        figures[f"{count} pages: ms"] = timed(partial(_look_at, network, several))
    if place.on_gpu:
        place.free()
        held = torch.cuda.memory_allocated()
        place.clock.once(partial(_look_at, network, page))
        peak = torch.cuda.max_memory_allocated() - held
        figures |= {"peak_mb": round(peak / MIB), "planned_mb": round(network.page_bytes / MIB)}
        section.at_most(f"{kind}: peak over plan", peak / network.page_bytes, 1.0)
    return figures


def _look_at(network: PageNetwork, several: torch.Tensor) -> list[Any]:
    return run(network.run_sliced(several, [1.0] * len(several)))


@torch.inference_mode()
def _outputs(network: PageNetwork, page: torch.Tensor) -> list[torch.Tensor]:
    """What comes before a layout network chooses queries: where two score alike, a CPU and a GPU choose unlike ones."""
    outputs = network.network(pixel_values=page.to(network.network.device))
    scores = getattr(outputs, "enc_outputs_class", None)
    found = [outputs.last_hidden_state] if scores is None else [*outputs.encoder_last_hidden_state, scores]
    return [one.float().cpu() for one in found]


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    finite = other.isfinite()  # anchors outside the page are infinite on both
    return float(100 * (one - other)[finite].abs().max() / other[finite].abs().max())


async def _beside_an_answer(place: Workplace, section: Section, folder: Path) -> None:
    """The gaps between an answer's tokens, alone and while the network looks at pages."""
    config = place.config(place.big, layout=folder, image_cache_bytes=0, slots=4)
    engine = Engine(config)
    engine.start()
    try:
        if engine.wait_until_settled(LOAD_TIMEOUT) != "ready":
            raise RuntimeError("the engine is not ready") from engine.error
        looked = [noise(PAGE, place.seed()) for _ in range(BESIDE)]
        for name, pages_beside in (("warm", looked), ("alone", []), ("beside pages", looked)):
            gaps, seconds = await _gaps(place, engine, pages_beside)
            if name == "warm":
                continue
            told = {"median_gap_ms": percentile(gaps, 0.5), "longest_gap_ms": percentile(gaps, 1.0)}
            if pages_beside:
                told["pages_per_second"] = round(BESIDE / seconds, 2)
                section.speed("longest gap beside pages, ms", told["longest_gap_ms"], most=GAP_MS)
            section.figures[f"an answer, {name}"] = told
    finally:
        engine.shutdown(grace=1)


async def _gaps(place: Workplace, engine: Engine, pages_beside: list[Image.Image]) -> tuple[list[float], float]:
    """Milliseconds between tokens, and the seconds that all pages took."""
    image = noise(next(iter(place.sizes.values())), place.seed())
    params = SamplingParams(max_tokens=TOKENS_SMALL if place.small else TOKENS, ignore_eos=True)
    generation = await engine.submit(MESSAGES, [image], params)
    times: list[float] = []
    looking: asyncio.Task[float] | None = None
    async for _ in generation:
        times.append(time.monotonic())
        if looking is None and pages_beside:
            looking = asyncio.ensure_future(_look(engine, pages_beside))
    seconds = await looking if looking is not None else 0.0
    return [1e3 * (after - before) for before, after in pairwise(times)], seconds


async def _look(engine: Engine, looked: list[Image.Image]) -> float:
    started = time.monotonic()
    hold = engine.hold()
    try:
        await engine.find_blocks(looked, 0.5, hold)
    finally:
        hold.release()
    return time.monotonic() - started

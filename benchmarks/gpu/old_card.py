"""An older card, as far as this one can play it: its capability, its dtypes, and no kernels for newer ones.

FlashAttention and cuDNN's attention are off, as below capability 8.0. The speed remains that of this card.
"""

import contextlib
from collections.abc import Iterator
from unittest import mock

import torch

from benchmarks.gpu.report import Section
from benchmarks.gpu.speed import STEP_MS, VISION_MS, measure_vision, step_ms
from benchmarks.gpu.workplace import Workplace
from engine.device import choose_dtype
from models.paddleocr_vl.processor import Processor

CARDS = {"float16": (7, 5), "float32": (6, 1)}  # Turing and Pascal, each with a dtype that suits it
SLOWER = 1.3  # the bars in fp16 are this many times those in bf16


def old_card(place: Workplace, section: Section) -> None:
    for dtype, capability in CARDS.items():
        own = Section(full=place.full and dtype == "float16")
        with playing(capability):
            config = Processor(place.big).config.text_config
            own.figures["dtype by measurement"] = str(choose_dtype("auto", place.device, config, lambda _: 4))
            runner = place.runner(place.big, dtype=dtype)
            for rows in place.rows:
                took = step_ms(place, runner, rows, place.length)
                own.figures[f"{rows} rows, {place.length} tokens: ms"] = took
                if rows in STEP_MS:
                    own.speed(f"step at {rows} rows and 1024 tokens, ms", took, most=SLOWER * STEP_MS[rows])
            measure_vision(place, own, runner, {name: SLOWER * most for name, most in VISION_MS.items()})
        del runner
        place.free()
        section.figures[f"{capability} {dtype}"] = own.figures
        section.bars |= {f"{capability} {dtype}: {name}": bar for name, bar in own.bars.items()}


@contextlib.contextmanager
def playing(capability: tuple[int, int]) -> Iterator[None]:
    """A card of that compute capability."""
    flash, cudnn = torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        kernels = ["sm_{}{}".format(*capability)]
        with (
            mock.patch("torch.cuda.get_device_capability", return_value=capability),
            mock.patch("torch.cuda.get_arch_list", return_value=kernels),
        ):
            yield
    finally:
        torch.backends.cuda.enable_flash_sdp(flash)
        torch.backends.cuda.enable_cudnn_sdp(cudnn)

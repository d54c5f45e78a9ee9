"""Steps of the embedded checkpoint's training: which weights they move, and the averaged weights beside them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from models.paddleocr_vl.attention import full_fused
from models.paddleocr_vl.prompts import OCR
from models.paddleocr_vl.slices import run
from training.batches import BLOCKS_AT, Batch, label
from training.render_text import Page
from training.trainer import Trainer, full_in_float32

CHECKPOINT = Path(__file__).parents[2] / "models" / "tiny"


@pytest.fixture
def trainer() -> Iterator[Trainer]:
    """Trains on one thread: on a busy machine, two wait for each other after each of the many small products."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    made = Trainer(CHECKPOINT, torch.device("cpu"))
    made.start_from(CHECKPOINT)
    yield made
    torch.set_num_threads(threads)


def batch_of(trainer: Trainer) -> Batch:
    image = Image.new("RGB", (112, 56), "white")
    ImageDraw.Draw(image).text((10, 20), "ab", fill="black")
    page = Page(image, "ab", np.array([[13.0, 26.0], [19.0, 26.0]], dtype=np.float32))
    return label([page], OCR, trainer.processor.bounds, trainer.processor)


def moved(trainer: Trainer, step: Callable[[], object]) -> tuple[bool, bool]:
    """Whether `step` moves the vision tower, and whether it moves the decoder."""
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    step()
    changed = {name for name, parameter in trainer.model.named_parameters() if not torch.equal(parameter, before[name])}
    return any(name.startswith("visual.") for name in changed), any(name.startswith("text.") for name in changed)


def test_every_second_step_with_blocks_moves_the_decoder_alone(trainer: Trainer) -> None:
    batch = batch_of(trainer)
    assert moved(trainer, lambda: trainer.train_step([batch], BLOCKS_AT)) == (True, True)
    assert moved(trainer, lambda: trainer.train_step([batch], BLOCKS_AT)) == (False, True)
    assert moved(trainer, lambda: trainer.train_step([batch], BLOCKS_AT)) == (True, True)


def test_the_average_follows_the_weights_and_is_what_a_checkpoint_gets(trainer: Trainer, tmp_path: Path) -> None:
    parameter = next(trainer.model.parameters())
    first = parameter.detach().clone()
    trainer.train_step([batch_of(trainer)], 0.9)
    expected = first + (parameter.detach() - first) * 10 / 11
    assert torch.allclose(trainer.average[0], expected)
    trainer.save_average(tmp_path / "model.safetensors")
    saved = load_file(tmp_path / "model.safetensors").values()
    assert any(weights.flatten().equal(trainer.average[0].bfloat16().flatten()) for weights in saved)


def test_training_goes_on_from_a_saved_state(trainer: Trainer, tmp_path: Path) -> None:
    trainer.train_step([batch_of(trainer)], 0.9)
    trainer.elapsed = 12.0
    trainer.save(tmp_path / "state.pt")
    other = Trainer(CHECKPOINT, torch.device("cpu"))
    other.resume(tmp_path / "state.pt")
    assert (other.step, other.images, other.elapsed) == (1, 1, 12.0)
    assert all(map(torch.equal, other.average, trainer.average))
    assert all(map(torch.equal, other.model.state_dict().values(), trainer.model.state_dict().values()))


def test_attention_in_fp32_gives_what_the_fused_kernel_gives() -> None:
    q, k, v = (torch.randn(2, 3, 40, 16, dtype=torch.bfloat16) for _ in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        actual = run(full_in_float32(q, k, v, None))
    assert actual.dtype == torch.bfloat16
    assert torch.allclose(actual, run(full_fused(q, k, v, None)), atol=0.02)

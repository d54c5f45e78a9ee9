#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Trains and measures the embedded checkpoint, `models/tiny/`: a small PaddleOCR-VL that reads clean printed English.

    training/train_tiny.py --minutes 180           train: on from the last save in build/tiny, else from the weights in
                                                  models/tiny, else from nothing
    training/train_tiny.py --eval                  character error rates of models/tiny on fresh images
    training/train_tiny.py --eval --images DIR   the same on any folder of NAME.png with NAME.txt

Next-token loss alone does not find the alignment of text and image in an hour on two cores. Two auxiliary losses,
whose parts are thrown away afterwards, found it in half of one; the renderer knows where every character stands:

- detection: every image token tells which characters have their centre in each of its 16 bins;
- guided attention (Tachibana et al. 2017, arXiv:1710.08969): one head looks at the cell of the character just read,
  one head a layer later at the cell of the next one.
"""

import argparse
import json
import math
import multiprocessing
import os
import queue
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from models.paddleocr_vl.model import PaddleOCRVL
from models.paddleocr_vl.processor import Processor
from models.paddleocr_vl.prompts import OCR
from models.paddleocr_vl.rope import prompt_positions
from models.paddleocr_vl.weights import fill, save_model
from models.protocol import Grid, PixelBounds
from training.evaluate import ENLARGED, evaluate, evaluate_folder
from training.render_documents import KINDS, choose_style, make_sheet
from training.render_sheets import TooWideError, draw_sheet
from training.render_text import (
    ANSWER_CHARACTERS,
    TRAINING_FONTS,
    Layout,
    Page,
    choose_layout,
    draw_page,
    require_packages,
)

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = ROOT / "models" / "tiny"
STATE = ROOT / "build" / "tiny" / "state.pt"
CELL = 28  # pixels of one image token
BINS = (8, 2)  # columns and rows of detection bins in a cell
BLANK = 0  # detection class of an empty bin; character i of ANSWER_CHARACTERS is class i + 1
TOKENS_PER_BATCH = 1800  # decoder tokens; on two cores, two such batches took 0.8 of the time of one of 3600
BATCHES_PER_STEP = 2
DETECTION_SHARE = 0.15  # of the training time goes to the vision tower alone
GROWN = 0.48  # of it is over when images have grown to their full size
PEAK_RATES = {"muon": 0.02, "adam": 2e-3}
CONTINUED = 0.7  # of it is over where training goes on from finished weights: a higher rate would undo them first
WARMUP_STEPS = 100
MISREAD_SHARE = 0.06  # of the characters of an answer that is shown with errors
SAVE_SECONDS = 120
NO_CELL = -1
DOCUMENTS = {"receipt": 0.12, "invoice": 0.14, "form": 0.02, "table": 0.5}  # shares of the batches; the rest is text


@dataclass
class Batch:
    """Images of one size with their labels; T tokens of answer, C cells an image."""

    prompt: str
    grid: Grid
    pixels: np.ndarray  # (B, H, W, 3) uint8
    answers: np.ndarray  # (B, T) int64, padded with the padding token
    cells: np.ndarray  # (B, T) int64: the cell of each answer token's character
    bins: np.ndarray  # (B, C, bins) int64: detection classes


# --- images -------------------------------------------------------------------------------------------------------


def make_batch(rng: random.Random, processor: Processor, progress: float) -> Batch:
    """Images of one size: of text or, once that has grown to its full size, also of documents."""
    min_pixels, max_pixels = processor.bounds
    if rng.random() < 0.09:
        min_pixels = ENLARGED  # as PaddleOCR's client asks for
    bounds = PixelBounds(min_pixels, max_pixels)
    kind = rng.choices(["text", *KINDS], [1 - sum(DOCUMENTS.values()), *(DOCUMENTS[kind] for kind in KINDS)])[0]
    if progress < GROWN or kind == "text":
        layout = text_layout(rng, progress)
        size = (layout.width, layout.height)
        count = batch_size(processor.grid(*size, bounds), 40 * layout.lines)
        return label(
            [draw_page(rng, layout, TRAINING_FONTS, held_out=False) for _ in range(count)], OCR, bounds, processor
        )
    style = choose_style(rng, TRAINING_FONTS, held_out=False)
    try:
        first = make_sheet(rng, kind, style)
        count = batch_size(processor.grid(first.width, first.height, bounds), len(first.centres))
        fonts = rng.choices(TRAINING_FONTS, k=count)
        sheets = [make_sheet(rng, kind, replace(style, font=font)) for font in fonts]
    except TooWideError:
        return make_batch(rng, processor, progress)
    width, height = max(sheet.width for sheet in sheets), max(sheet.height for sheet in sheets)
    return label([draw_sheet(rng, sheet, width, height) for sheet in sheets], first.prompt, bounds, processor)


def text_layout(rng: random.Random, progress: float) -> Layout:
    """While the text is learned, images grow from short single lines to whole blocks."""
    if progress < DETECTION_SHARE:
        return choose_layout(rng, lines=rng.randint(1, 4))
    ripe = min(1.0, (progress - DETECTION_SHARE) / (GROWN - DETECTION_SHARE))
    return choose_layout(rng, lines=rng.randint(1, 1 + round(5 * ripe)), max_width=int(160 + 290 * min(1.0, 2 * ripe)))


def batch_size(grid: Grid, answer: int) -> int:
    return max(4, min(64, TOKENS_PER_BATCH // (grid[0] * grid[1] // 4 + answer)))


def label(pages: list[Page], prompt: str, bounds: PixelBounds, processor: Processor) -> Batch:
    """A batch of pages of one size."""
    rows, columns = processor.grid(*pages[0].image.size, bounds)
    height, width = rows * CELL // 2, columns * CELL // 2
    pixels = np.stack([np.asarray(page.image.resize((width, height), Image.Resampling.BICUBIC)) for page in pages])
    answers = [processor.tokenizer.encode(page.text, add_special_tokens=False) for page in pages]
    length = max(map(len, answers)) + 1
    tokens = np.full((len(pages), length), processor.pad_token_id)
    cells = np.full((len(pages), length), NO_CELL)
    bins = np.full((len(pages), rows * columns // 4, BINS[0] * BINS[1]), BLANK)
    for i, (page, answer) in enumerate(zip(pages, answers, strict=True)):
        tokens[i, : len(answer)] = answer
        tokens[i, len(answer)] = processor.eos_token_id
        cell, part = locate(page, rows // 2, columns // 2)
        cells[i, : len(cell)] = cell
        cells[i, len(cell)] = cell[-1]
        classes = np.array([ANSWER_CHARACTERS.find(c) + 1 if c.strip() else BLANK for c in page.pieces])
        bins[i, cell[classes > 0], part[classes > 0]] = classes[classes > 0]
    return Batch(prompt, (rows, columns), pixels, tokens, cells, bins)


def locate(page: Page, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Cell and detection bin in that cell of every piece of the answer, in a grid of `rows` x `columns` cells."""
    scale = np.array([columns, rows]) / page.image.size
    place = np.clip(page.centres * scale, 0, np.array([columns, rows]) - 1e-3)
    column, row = place.astype(int).T
    part = ((place % 1) * BINS).astype(int)
    return row * columns + column, part[:, 1] * BINS[0] + part[:, 0]


def produce(batches: Any, progress: Any, seed: int) -> None:
    """A process of its own: keeps the queue full of batches."""
    torch.set_num_threads(1)
    if hasattr(os, "SCHED_IDLE"):  # in what the training leaves over, so that its threads do not wait for each other
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    processor = Processor(CHECKPOINT)
    rng = random.Random(seed)
    while True:
        batches.put(make_batch(rng, processor, progress.value))


# --- training -------------------------------------------------------------------------------------------------------


class Trainer:
    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.processor = Processor(CHECKPOINT)
        self.model = PaddleOCRVL(self.processor.config).to(device)
        self.model.text.place(device)
        hidden = self.processor.config.text_config.hidden_size
        self.detector = nn.Linear(hidden, BINS[0] * BINS[1] * (len(ANSWER_CHARACTERS) + 1)).to(device)
        initialise(self.model)
        named = list(self.model.named_parameters())
        hidden_layers = (
            "layers.",
            "projector.linear_2",
        )  # linear_1 is so square that orthogonalising it costs too much
        matrices = [p for name, p in named if p.ndim == 2 and any(part in name for part in hidden_layers)]
        chosen = set(map(id, matrices))
        others = [p for _, p in named if id(p) not in chosen] + list(self.detector.parameters())
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "muon": Muon(matrices),
            "adam": torch.optim.AdamW(others, betas=(0.9, 0.99), weight_decay=0.0, fused=True),
        }
        # Products in bf16 made a step a fifth shorter on a CPU with bf16 units; without them they are slower.
        self.halved = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        self.step = self.images = 0
        self.elapsed = 0.0

    @property
    def parts(self) -> dict[str, Any]:
        return {"model": self.model, "detector": self.detector, **self.optimizers}

    def rate(self, progress: float) -> float:
        """Share of the peak learning rate: linear warm-up, then a cosine down to nearly nothing."""
        return min(1.0, (self.step + 1) / WARMUP_STEPS) * (0.01 + 0.495 * (1 + math.cos(math.pi * min(1.0, progress))))

    def train_step(self, batches: list[Batch], progress: float) -> dict[str, float]:
        guidance = 0.3 * max(0.0, 1 - progress)
        weights = {"text": 1.0, "detection": 1.0 if progress <= DETECTION_SHARE else guidance, "attention": guidance}
        seen: dict[str, float] = {}
        for batch in batches:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.halved):
                losses = self.losses(batch, whole=progress > DETECTION_SHARE)
            (torch.stack([weights[name] * loss for name, loss in losses.items()]).sum() / len(batches)).backward()
            for name, loss in losses.items():
                seen[name] = seen.get(name, 0.0) + loss.item() / len(batches)
            self.images += len(batch.pixels)
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = PEAK_RATES[name] * self.rate(progress)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return seen

    def losses(self, batch: Batch, *, whole: bool) -> dict[str, Tensor]:
        count, (rows, columns) = len(batch.pixels), batch.grid
        pixels = torch.from_numpy(batch.pixels).to(self.device).float().div(127.5).sub(1)
        patches = pixels.view(count, rows, 14, columns, 14, 3).permute(0, 1, 3, 5, 2, 4).flatten(0, 2)
        features = torch.stack(self.model.encode(patches, [batch.grid] * count))  # (B, C, hidden)
        found = self.detector(features).unflatten(-1, (BINS[0] * BINS[1], -1))
        weight = torch.ones(len(ANSWER_CHARACTERS) + 1, device=self.device)
        weight[BLANK] = 0.1
        bins = torch.from_numpy(batch.bins).to(self.device)
        losses = {"detection": F.cross_entropy(found.flatten(0, 2), bins.flatten(), weight=weight)}
        return losses | self.text_losses(batch, features) if whole else losses

    def text_losses(self, batch: Batch, features: Tensor) -> dict[str, Tensor]:
        count, cells = features.shape[:2]
        content = [{"type": "image"}, {"type": "text", "text": batch.prompt}]
        prompt = self.processor.prompt_ids([{"role": "user", "content": content}], [batch.grid])
        start = prompt.index(self.model.image_token_id)
        answers = torch.from_numpy(batch.answers).to(self.device)
        read = self.misread(answers[:, :-1])
        ids = torch.cat((torch.tensor(prompt, device=self.device).expand(count, -1), read), dim=1)
        positions, following = prompt_positions(prompt, [batch.grid], self.model.image_token_id, 2)
        answer_positions = torch.arange(following, following + answers.shape[1] - 1).expand(3, -1)
        positions = torch.cat((positions, answer_positions), dim=1).to(self.device).repeat(1, count)
        attention = TrainingAttention(count, len(prompt) - 1, range(start, start + cells))
        x = self.model.embed(ids.flatten(), features.unbind())
        hidden = self.model.decode(x, positions, attention).unflatten(0, (count, -1))
        logits = self.model.logits(hidden[:, len(prompt) - 1 :])  # (B, T, vocabulary)
        padding = self.processor.pad_token_id
        text = F.cross_entropy(logits.flatten(0, 1), answers.flatten(), ignore_index=padding)
        following_cells = torch.from_numpy(batch.cells).to(self.device)
        read_cells = F.pad(following_cells[:, :-1], (1, 0), value=NO_CELL)  # row t has just read character t - 1
        guided = attention.guidance(1, read_cells) + attention.guidance(2, following_cells)
        return {"text": text, "attention": guided}

    def misread(self, answers: Tensor) -> Tensor:
        """Inputs with a few wrong characters in every second answer, so that a slip does not cost the reader its place.

        As Nougat's training does against endless repetition (Blecher et al. 2023, arXiv:2308.13418, section 5.4).
        """
        chosen = torch.rand(len(answers), 1, device=answers.device) < 0.5
        wrong = chosen & (torch.rand(answers.shape, device=answers.device) < MISREAD_SHARE)
        others = answers.flatten()[torch.randperm(answers.numel(), device=answers.device)].view_as(answers)
        return torch.where(wrong & (answers != self.processor.pad_token_id), others, answers)

    def save(self) -> None:
        STATE.parent.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"step": self.step, "images": self.images, "elapsed": self.elapsed}
        torch.save(state, STATE.with_suffix(".new"))
        STATE.with_suffix(".new").replace(STATE)

    def resume(self) -> None:
        state = torch.load(STATE, map_location=self.device, weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self.step, self.images, self.elapsed = state["step"], state["images"], state["elapsed"]


class Muon(torch.optim.Optimizer):
    """Momentum whose updates are orthogonalised: the detection loss that AdamW reached in 310 steps came in 172.

    Keller Jordan 2024, https://kellerjordan.github.io/posts/muon/ (coefficients of the Newton-Schulz iteration from
    there). PyTorch's own runs the iteration in bf16, which a CPU without bf16 units does fifty times slower.
    """

    def __init__(self, parameters: list[nn.Parameter], momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": 0.0, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002 - the base class has it
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                buffer = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                buffer.lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonal(parameter.grad.lerp(buffer, group["momentum"]))
                parameter.mul_(1 - group["lr"] * 0.05)
                parameter.add_(update, alpha=-group["lr"] * max(1, parameter.shape[0] / parameter.shape[1]) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """Roughly the nearest matrix with all singular values 1, by five quintic Newton-Schulz steps."""
    x = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


class TrainingAttention:
    """Causal attention over whole equal-length sequences; keeps what the guided layers' heads look at."""

    GUIDED_HEAD: ClassVar = {1: 0, 2: 2}  # layer -> query head

    def __init__(self, count: int, first_row: int, image: range) -> None:
        self.count, self.first_row, self.image = count, first_row, image
        self.seen: dict[int, Tensor] = {}  # layer -> (B, T, C) probabilities of the answer rows on the image

    def __call__(self, layer: int, q: Tensor, kv: Tensor) -> Tensor:
        q, k, v = (x.unflatten(0, (self.count, -1)).transpose(1, 2) for x in (q, *kv.chunk(2, dim=1)))
        group = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        if layer in self.GUIDED_HEAD:
            head = self.GUIDED_HEAD[layer]
            rows = q[:, head, self.first_row :] * q.shape[-1] ** -0.5
            scores = rows @ k[:, head].transpose(1, 2)
            future = torch.arange(k.shape[2], device=q.device) > torch.arange(
                self.first_row, k.shape[2], device=q.device
            ).unsqueeze(1)
            scores = scores.masked_fill(future, float("-inf")).log_softmax(-1)
            self.seen[layer] = scores[:, :, self.image.start : self.image.stop]
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(0, 1)

    def guidance(self, layer: int, cells: Tensor) -> Tensor:
        """Mean negative log probability of the right cell; cells: (B, T), NO_CELL where there is none."""
        picked = self.seen[layer].gather(2, cells.clamp(min=0).unsqueeze(2)).squeeze(2)
        known = cells != NO_CELL
        return -(picked * known).sum() / known.sum()


def initialise(model: PaddleOCRVL) -> None:
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            continue
        deep = name.endswith(("o_proj.weight", "down_proj.weight", "out_proj.weight", "fc2.weight"))
        scale = 0.02 if "embed" in name else (0.4 if deep else 1.0) / math.sqrt(parameter.shape[1])
        nn.init.normal_(parameter, std=scale)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)


def train(minutes: float) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    trainer = Trainer(device)
    if STATE.exists():
        trainer.resume()
        print(f"Going on from {trainer.step} steps, {trainer.elapsed / 60:.0f} minutes.")
    elif (CHECKPOINT / "model.safetensors").exists():
        fill(trainer.model, CHECKPOINT)
        trainer.elapsed = CONTINUED * minutes * 60
        print(f"Starting from the weights in {CHECKPOINT}, at {CONTINUED:.0%} of the schedule.")
    context = multiprocessing.get_context("spawn")
    batches, progress = context.Queue(maxsize=24), context.Value("d", trainer.elapsed / 60 / minutes)
    workers = [
        context.Process(target=produce, args=(batches, progress, random.randrange(1 << 30)), daemon=True)
        for _ in range(1 if device.type == "cpu" else max(1, multiprocessing.cpu_count() - 2))
    ]
    for worker in workers:
        worker.start()
    smooth: dict[str, float] = {}
    saved = last = time.monotonic()
    with tqdm(total=100, bar_format="{percentage:.1f}% {elapsed}<{remaining} {postfix}", mininterval=10) as bar:
        while trainer.elapsed < minutes * 60:
            try:
                chosen = [batches.get(timeout=60) for _ in range(BATCHES_PER_STEP)]
            except queue.Empty:
                raise SystemExit("The rendering process makes no images; its error stands above.") from None
            for name, loss in trainer.train_step(chosen, progress.value).items():
                smooth[name] = 0.98 * smooth.get(name, loss) + 0.02 * loss
            now = time.monotonic()
            trainer.elapsed, last = trainer.elapsed + now - last, now
            progress.value = trainer.elapsed / 60 / minutes
            bar.n = min(100.0, 100 * progress.value)
            losses = " ".join(f"{name} {loss:.3f}" for name, loss in smooth.items())
            bar.set_postfix_str(f"step {trainer.step} images {trainer.images} {losses}")
            if now - saved > SAVE_SECONDS:
                trainer.save()
                saved = now
    for worker in workers:
        worker.terminate()
    trainer.save()
    save_model(trainer.model, CHECKPOINT / "model.safetensors", torch.bfloat16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120, help="training time in all, earlier runs included")
    parser.add_argument("--eval", action="store_true", help="measure models/tiny instead of training it")
    parser.add_argument("--images", type=Path, metavar="DIR", help="with --eval: a folder of NAME.png and NAME.txt")
    parser.add_argument("--weights", default="native", choices=["native", "int8"], help="with --eval: as WEIGHTS")
    arguments = parser.parse_args()
    if (arguments.images or arguments.weights != "native") and not arguments.eval:
        parser.error("--images and --weights go with --eval")
    if arguments.images:
        print(json.dumps(evaluate_folder(CHECKPOINT, arguments.images, arguments.weights)))
        return
    require_packages()
    if arguments.eval:
        print(json.dumps(evaluate(CHECKPOINT, arguments.weights)))
    else:
        train(arguments.minutes)


if __name__ == "__main__":
    main()

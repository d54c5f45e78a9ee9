"""Batches of rendered images with their labels, made in processes of their own."""

import os
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from models.paddleocr_vl.processor import Processor
from models.paddleocr_vl.prompts import OCR
from models.protocol import Grid, PixelBounds
from training.evaluate import ENLARGED
from training.render_documents import KINDS, choose_style, make_sheet
from training.render_sheets import TooWideError, draw_sheet
from training.render_text import (
    ANSWER_CHARACTERS,
    TRAINING_FONTS,
    Layout,
    Page,
    choose_layout,
    draw_page,
)

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = ROOT / "models" / "tiny"
CELL = 28  # pixels of one image token


BINS = (8, 2)  # columns and rows of detection bins in a cell


BLANK = 0  # detection class of an empty bin; character i of ANSWER_CHARACTERS is class i + 1


TOKENS_PER_BATCH = 1800  # decoder tokens; on two cores, two such batches took 0.8 of the time of one of 3600


DETECTION_SHARE = 0.15  # share of the training time for the vision tower alone


GROWN = 0.48  # share of the training time after which images have their full size


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


def make_batch(rng: random.Random, processor: Processor, progress: float) -> Batch:
    """Images of one size: of text or, once those have their full size, also of documents."""
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
    """A layout of text; while the model learns, images grow from short single lines to whole blocks."""
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
    if hasattr(os, "SCHED_IDLE"):  # only idle time, so that the threads of the training do not wait for each other
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    processor = Processor(CHECKPOINT)
    rng = random.Random(seed)
    while True:
        batches.put(make_batch(rng, processor, progress.value))

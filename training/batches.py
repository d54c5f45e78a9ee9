"""Batches of rendered images with their training labels, and the process that renders them during training."""

import contextlib
import multiprocessing
import queue
import random
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.paddleocr_vl.processor import Processor
from models.paddleocr_vl.prompts import OCR, TABLE
from models.protocol import Grid, PixelBounds
from training.evaluate import CLIENT_MIN_PIXELS
from training.rasterise import levelled
from training.render_blocks import TRAINING_FAMILIES, choose_shape, choose_table_style, draw_block, draw_table
from training.render_documents import KINDS, choose_style, make_sheet
from training.render_sheets import TooWideError, draw_sheet
from training.render_text import ANSWER_CHARACTERS, TRAINING_FONTS, Layout, Page, choose_layout, draw_page

PATCH = 14  # pixels along each side of a patch; an image token covers 2 x 2 patches
BINS = (8, 2)  # columns and rows of detection bins in an image token
BLANK = 0  # detection class of an empty bin; character i of ANSWER_CHARACTERS is class i + 1
NO_IMAGE_TOKEN = -1
QUEUE_SECONDS = 60  # to wait for room in the queue before a look whether the trainer still runs
CPU_TOKENS = 2600  # decoder tokens in a batch; on two cores, two batches of 1800 took 0.8 of the time of one of 3600
GPU_TOKENS = 16_000  # a small batch keeps a GPU waiting for launches
TOKENS_OF_SHORTEST = 40  # no image counts for fewer, so that a batch has a bound
ENLARGED_SHARE = 0.09  # share of batches in the size that PaddleOCR's client asks for
DOCUMENTS = {"receipt": 0.24, "invoice": 0.28, "form": 0.06, "table": 0.22}  # shares of the batches; the rest is text
BLOCKS = {"block": 0.28, "block table": 0.14}  # shares of all batches, once there are blocks
BLOCK_LINES = 4  # the server cuts taller blocks between lines
BLOCKS_AT, BLOCKS_GROWN_AT = 0.55, 0.65  # shares of the training time at which blocks begin and have their full size
DETECTION_SHARE = 0.15  # share of the training time that goes to the vision tower alone
FULL_SIZE_AT = 0.48  # share of the training time after which images have grown to their full size


@dataclass
class Batch:
    """Images of one size with their labels; T answer tokens and C image tokens for each image.

    Tensors, which processes share without copying them.
    """

    prompt: str
    grid: Grid
    pixels: Tensor  # (B, H, W, 3) uint8
    answers: Tensor  # (B, T) int64, padded with the padding token
    image_tokens: Tensor  # (B, T) int64: the image token that covers each answer token's character
    bins: Tensor  # (B, C, bins) int64: detection classes


def make_batch(rng: random.Random, processor: Processor, progress: float, tokens: int = CPU_TOKENS) -> Batch:
    """A batch of plain text or, once images have grown to their full size, of documents as well.

    `tokens`: of the decoder, at most, unless four images have more.
    """
    if progress >= BLOCKS_AT and rng.random() < sum(BLOCKS.values()):
        return block_batch(rng, processor, min(1.0, (progress - BLOCKS_AT) / (BLOCKS_GROWN_AT - BLOCKS_AT)), tokens)
    min_pixels, max_pixels = processor.bounds
    if rng.random() < ENLARGED_SHARE:
        min_pixels = CLIENT_MIN_PIXELS
    bounds = PixelBounds(min_pixels, max_pixels)
    kind = rng.choices(["text", *KINDS], [1 - sum(DOCUMENTS.values()), *(DOCUMENTS[kind] for kind in KINDS)])[0]
    if progress < FULL_SIZE_AT or kind == "text":
        layout = text_layout(rng, progress)
        size = (layout.width, layout.height)
        count = batch_size(processor.grid(*size, bounds), 40 * layout.lines, tokens)
        pages = [draw_page(rng, layout, TRAINING_FONTS, held_out=False) for _ in range(count)]
        return label(pages, OCR, bounds, processor)
    style = choose_style(rng, TRAINING_FONTS, held_out=False)
    try:
        first = make_sheet(rng, kind, style)
        count = batch_size(processor.grid(first.width, first.height, bounds), len(first.centres), tokens)
        fonts = rng.choices(TRAINING_FONTS, k=count)
        sheets = [make_sheet(rng, kind, replace(style, font=font)) for font in fonts]
    except TooWideError:
        return make_batch(rng, processor, progress, tokens)
    width, height = max(sheet.width for sheet in sheets), max(sheet.height for sheet in sheets)
    return label([draw_sheet(rng, sheet, width, height) for sheet in sheets], first.prompt, bounds, processor)


def block_batch(rng: random.Random, processor: Processor, growth: float, tokens: int) -> Batch:
    """A batch of blocks of whole pages, or of their tables, in the sizes that servers and clients read blocks at."""
    min_pixels, max_pixels = processor.bounds
    bounds = PixelBounds(rng.choice((min_pixels, CLIENT_MIN_PIXELS)), max_pixels)
    if rng.choices(list(BLOCKS), list(BLOCKS.values()))[0] == "block":
        shape, prompt = choose_shape(rng, BLOCK_LINES, growth), OCR
        draw = partial(draw_block, rng, shape, TRAINING_FAMILIES, held_out=False)
    else:
        style, prompt = choose_table_style(rng, TRAINING_FONTS, held_out=False), TABLE
        draw = partial(draw_table, rng, style)
    try:
        first = draw()
        count = batch_size(processor.grid(*first.image.size, bounds), len(first.centres), tokens)
        pages = [first, *(draw() for _ in range(count - 1))]
    except TooWideError:
        return block_batch(rng, processor, growth, tokens)
    return label(levelled(rng, pages), prompt, bounds, processor)


def text_layout(rng: random.Random, progress: float) -> Layout:
    """A layout for this stage of the training: first short single lines, in the end whole blocks."""
    if progress < DETECTION_SHARE:
        return choose_layout(rng, lines=rng.randint(1, 4))
    growth = min(1.0, (progress - DETECTION_SHARE) / (FULL_SIZE_AT - DETECTION_SHARE))
    lines = rng.randint(1, 1 + round(5 * growth))
    return choose_layout(rng, lines=lines, max_width=int(160 + 290 * min(1.0, 2 * growth)))


def batch_size(grid: Grid, answer_tokens: int, tokens: int) -> int:
    """Number of images of this grid and answer length that have `tokens` together; at least 4."""
    return max(4, tokens // max(TOKENS_OF_SHORTEST, grid[0] * grid[1] // 4 + answer_tokens))


def label(pages: list[Page], prompt: str, bounds: PixelBounds, processor: Processor) -> Batch:
    """The batch of these pages, which must all have the same size."""
    rows, columns = processor.grid(*pages[0].image.size, bounds)
    size = (columns * PATCH, rows * PATCH)
    pixels = np.stack([np.asarray(page.image.resize(size, Image.Resampling.BICUBIC)) for page in pages])
    encoded = [processor.tokenizer.encode(page.text, add_special_tokens=False) for page in pages]
    length = max(map(len, encoded)) + 1
    answers = np.full((len(pages), length), processor.pad_token_id)
    image_tokens = np.full((len(pages), length), NO_IMAGE_TOKEN)
    bins = np.full((len(pages), rows * columns // 4, BINS[0] * BINS[1]), BLANK)
    for i, (page, tokens) in enumerate(zip(pages, encoded, strict=True)):
        answers[i, : len(tokens)] = tokens
        answers[i, len(tokens)] = processor.eos_token_id
        covering, bin_of = locate(page, rows // 2, columns // 2)
        image_tokens[i, : len(covering)] = covering
        image_tokens[i, len(covering)] = covering[-1]
        classes = np.array([ANSWER_CHARACTERS.find(c) + 1 if c.strip() else BLANK for c in page.pieces])
        bins[i, covering[classes > 0], bin_of[classes > 0]] = classes[classes > 0]
    return Batch(prompt, (rows, columns), *map(torch.from_numpy, (pixels, answers, image_tokens, bins)))


def locate(page: Page, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Image token and detection bin in it of every piece of the answer; `rows` x `columns` image tokens.

    Both have shape (pieces,).
    """
    scale = np.array([columns, rows]) / page.image.size
    centres = np.clip(page.centres * scale, 0, np.array([columns, rows]) - 1e-3)
    column, row = centres.astype(int).T
    bin_of = ((centres % 1) * BINS).astype(int)
    return row * columns + column, bin_of[:, 1] * BINS[0] + bin_of[:, 0]


def produce(batches: Any, progress: Any, seed: int, checkpoint: Path, tokens: int) -> None:
    """Keep the queue full of batches; runs in its own process until the trainer's has ended."""
    torch.set_num_threads(1)
    processor = Processor(checkpoint)
    rng = random.Random(seed)
    trainer = multiprocessing.parent_process()
    while trainer is not None and trainer.is_alive():
        batch = make_batch(rng, processor, progress.value, tokens)
        with contextlib.suppress(queue.Full):
            batches.put(batch, timeout=QUEUE_SECONDS)

#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Trains and measures the embedded checkpoint, `models/tiny/`: a small PaddleOCR-VL that reads clean printed English.

training/train_tiny.py --minutes 180         train: continue from the last save in build/tiny, else from the
                                             weights in models/tiny, else from scratch
training/train_tiny.py --eval                character error rates of models/tiny on fresh images
training/train_tiny.py --eval --images DIR   the same on any folder of NAME.png with NAME.txt
"""

import argparse
import json
import multiprocessing
import queue
import random
import threading
import time
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing
from torch import Tensor
from tqdm import tqdm

from training.batches import CPU_TOKENS, GPU_TOKENS, Batch, produce
from training.evaluate import evaluate, evaluate_folder
from training.render_text import require_packages
from training.trainer import Trainer

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = ROOT / "models" / "tiny"
STATE = ROOT / "build" / "tiny"
BATCHES_PER_STEP = 2
QUEUED_BATCHES = 24
STEPS_PER_REPORT = 10
# Share of the schedule that counts as over when training continues from finished weights: a higher learning rate would
# first undo what they have learned.
CONTINUED = 0.65
SAVE_SECONDS = 120
RENDERING_SECONDS = 600  # a busy machine may take minutes for the first batch


def train(minutes: float, state: Path) -> None:
    """Train models/tiny until all runs together have lasted this many minutes, then write its weights."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    trainer = Trainer(CHECKPOINT, device)
    restore(trainer, minutes, state)
    context = torch.multiprocessing.get_context("spawn")
    rendered, progress = context.Queue(QUEUED_BATCHES), context.Value("d", trainer.elapsed / 60 / minutes)
    workers = start_rendering(context, rendered, progress, device)
    batches = received(rendered)
    smooth: dict[str, Tensor] = {}
    saved = last = time.monotonic()
    waited = 0.0  # seconds
    with tqdm(total=100, bar_format="{percentage:.1f}% {elapsed}<{remaining} {postfix}", mininterval=10) as bar:
        while trainer.elapsed < minutes * 60:
            try:
                chosen = [batches.get(timeout=RENDERING_SECONDS) for _ in range(BATCHES_PER_STEP)]
            except queue.Empty:
                raise SystemExit("The rendering process makes no images; see its error above.") from None
            waited += time.monotonic() - last
            for name, loss in trainer.train_step(chosen, progress.value).items():
                smooth[name] = torch.lerp(smooth.get(name, loss), loss, 0.02)
            now = time.monotonic()
            trainer.elapsed, last = trainer.elapsed + now - last, now
            progress.value = trainer.elapsed / 60 / minutes
            bar.n = min(100.0, 100 * progress.value)
            if trainer.step % STEPS_PER_REPORT == 0:  # reading a loss waits for the device
                losses = " ".join(f"{name} {loss:.3f}" for name, loss in smooth.items())
                bar.set_postfix_str(f"step {trainer.step} images {trainer.images} waited {waited:.0f}s {losses}")
            if now - saved > SAVE_SECONDS:
                trainer.save(state)
                saved = now
    for worker in workers:
        worker.terminate()
    trainer.save(state)
    trainer.save_average(CHECKPOINT / "model.safetensors")


def received(rendered: Any) -> "queue.Queue[Batch]":
    """The batches of the rendering processes, received by a thread beside the training."""
    batches: queue.Queue[Batch] = queue.Queue(BATCHES_PER_STEP)

    def receive() -> None:
        while True:
            batches.put(rendered.get())

    threading.Thread(target=receive, name="batches", daemon=True).start()
    return batches


def restore(trainer: Trainer, minutes: float, state: Path) -> None:
    """Continue from the last save, else from the checkpoint's weights, else leave the trainer at its random start."""
    if state.exists():
        trainer.resume(state)
        print(f"Continuing from step {trainer.step}, after {trainer.elapsed / 60:.0f} min of training.")
    elif (CHECKPOINT / "model.safetensors").exists():
        trainer.start_from(CHECKPOINT)
        trainer.elapsed = CONTINUED * minutes * 60
        print(f"Starting from the weights in {CHECKPOINT}, at {CONTINUED:.0%} of the schedule.")


def start_rendering(context: SpawnContext, batches: Any, progress: Any, device: torch.device) -> list[SpawnProcess]:
    """Start the rendering processes: one where the CPU trains, else on three of four cores."""
    count, tokens = 1, CPU_TOKENS
    if device.type != "cpu":
        count, tokens = max(1, multiprocessing.cpu_count() * 3 // 4), GPU_TOKENS
    seeds = random.sample(range(1 << 30), count)
    workers = [
        context.Process(target=produce, args=(batches, progress, seed, CHECKPOINT, tokens), daemon=True)
        for seed in seeds
    ]
    for worker in workers:
        worker.start()
    return workers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes", type=float, default=120, help="total training time, earlier runs included (default: %(default)s)"
    )
    parser.add_argument(
        "--state", type=Path, default=STATE, metavar="DIR", help="folder of the training state (default: build/tiny)"
    )
    parser.add_argument("--eval", action="store_true", help="measure models/tiny instead of training it")
    parser.add_argument("--images", type=Path, metavar="DIR", help="with --eval: a folder of NAME.png and NAME.txt")
    parser.add_argument(
        "--weights",
        default="native",
        choices=["auto", "native", "fp16", "int8", "int4"],
        help="with --eval: like the setting WEIGHTS",
    )
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
        train(arguments.minutes, arguments.state / "state.pt")


if __name__ == "__main__":
    main()

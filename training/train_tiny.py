#!/usr/bin/env -S sh -c 'exec "$(dirname "$0")/../.venv/bin/python" "$0" "$@"'
"""Trains and measures the embedded checkpoint, `models/tiny/`: a small PaddleOCR-VL that reads clean printed English.

    training/train_tiny.py --minutes 180           train: continue the last save in build/tiny, else the weights in
                                                  models/tiny, else start from scratch
    training/train_tiny.py --eval                  character error rates of models/tiny on new images
    training/train_tiny.py --eval --images DIR     the same on any folder of NAME.png with NAME.txt

Next-token loss alone does not find the alignment of text and image in an hour on two cores. Two auxiliary losses, whose
parts are dropped afterwards, found it in half an hour; the renderer knows the place of every character:

- detection: every image token predicts which characters have their centre in each of its 16 bins;
- guided attention (Tachibana et al. 2017, arXiv:1710.08969): one head looks at the cell of the character just read,
  one head a layer later at the cell of the next one.
"""

import argparse
import json
import multiprocessing
import queue
import random
import time
from pathlib import Path

import torch
from tqdm import tqdm

from models.paddleocr_vl.weights import fill, save_model
from training.batches import CHECKPOINT, produce
from training.evaluate import evaluate, evaluate_folder
from training.render_text import (
    require_packages,
)
from training.trainer import STATE, Trainer

BATCHES_PER_STEP = 2
CONTINUED = 0.7  # share of the schedule that finished weights skip: a higher learning rate would undo them first
SAVE_SECONDS = 120


def train(minutes: float) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    trainer = Trainer(device)
    if STATE.exists():
        trainer.resume()
        print(f"Continuing after {trainer.step} steps, {trainer.elapsed / 60:.0f} minutes.")
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
                raise SystemExit("The rendering process makes no images; its error is above.") from None
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

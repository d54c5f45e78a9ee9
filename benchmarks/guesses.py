"""How much guessed tokens save: the embedded checkpoint's tables, and the same questions again, with and without them.

    python -m benchmarks.guesses [--tables 8] [--rounds 3]

One answer at a time, by turns. Prints tokens a second of decoding, their ratio, and whether all tokens were equal.
"""

import argparse
import asyncio
import json
import random
import statistics
from collections.abc import Sequence
from typing import Any

from PIL import Image

from engine.drafts import Drafts
from engine.engine import Engine
from engine.request import SamplingParams
from engine.request import Sequence as Request
from engine.threads import let_waiting_threads_sleep
from models.checkpoint import EMBEDDED
from models.paddleocr_vl.prompts import TABLE
from training.evaluate import start_engine
from training.render_documents import choose_style, make_sheet
from training.render_sheets import TooWideError, draw_sheet
from training.render_text import HELD_OUT_FONTS

MAX_TOKENS = 1200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tables", type=int, default=8, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    arguments = parser.parse_args()
    let_waiting_threads_sleep()
    print(json.dumps(measure(arguments.tables, arguments.rounds), indent=1))


def measure(tables: int, rounds: int) -> dict[str, Any]:
    images = drawn(tables)
    engine = start_engine(EMBEDDED, "auto")
    guess = Drafts.guess

    def of_itself(drafts: Drafts, sequences: Sequence[Request], rows: int) -> list[list[int]]:
        """Without what a slot holds of an earlier answer to the same question."""
        for sequence in sequences:
            sequence.likely = []
        return guess(drafts, sequences, rows)

    rates: dict[str, list[float]] = {"plain": [], "guessed": [], "again, plain": [], "again, guessed": []}
    tokens: list[list[list[int]]] = []
    for _ in range(rounds):
        for name, ways in (("plain", (_none, _none)), ("guessed", (of_itself, guess))):
            for prefix, way in zip(("", "again, "), ways, strict=True):
                Drafts.guess = way  # type: ignore[method-assign,assignment]
                found, seconds = asyncio.run(_read(engine, images))
                rates[prefix + name].append(sum(map(len, found)) / seconds)
                tokens.append(found)
    engine.shutdown(grace=10)
    medians = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    return {
        "tables": tables,
        "tokens": sum(map(len, tokens[0])),
        "tokens_per_second": medians,
        "ratio": round(medians["guessed"] / medians["plain"], 2),
        "ratio_again": round(medians["again, guessed"] / medians["again, plain"], 2),
        "equal": all(found == tokens[0] for found in tokens),
    }


def drawn(count: int) -> list[Image.Image]:
    """Tables as training/eval_modes.py has them, in fonts and words that were held out."""
    rng, images = random.Random(1), list[Image.Image]()
    while len(images) < count:
        try:
            images.append(
                draw_sheet(rng, make_sheet(rng, "table", choose_style(rng, HELD_OUT_FONTS, held_out=True))).image
            )
        except TooWideError:
            continue
    return images


def _none(_: Drafts, sequences: Sequence[Request], rows: int) -> list[list[int]]:  # noqa: ARG001
    return [[] for _ in sequences]


async def _read(engine: Engine, images: Sequence[Image.Image]) -> tuple[list[list[int]], float]:
    """Tokens of each answer, and the seconds from first to last tokens."""
    answers, seconds = [], 0.0
    for image in images:
        content = [{"type": "image"}, {"type": "text", "text": TABLE}]
        params = SamplingParams(max_tokens=MAX_TOKENS)
        generation = await engine.submit([{"role": "user", "content": content}], [image], params)
        answers.append([event.token.id async for event in generation if event.token is not None])
        began, newest = generation.times.began, generation.times.newest
        assert began is not None
        assert newest is not None
        seconds += newest - began
    return answers, seconds


if __name__ == "__main__":
    main()

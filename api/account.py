"""Account of a completion: its ends and times, for the metrics, the log's line on the request, and its trace."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from answers.answer import Answer
from answers.events import AnswerEvent
from api import logs
from api.metrics import End
from api.schema.requests import ChatRequest, TextPart
from api.schema.responses import Usage
from api.serving import Serving
from engine.errors import DeadlineExceeded


class Account:
    """When each answer of a completion began and how it ended; each fact goes to the metrics once."""

    def __init__(
        self, *, serving: Serving, body: ChatRequest, mode: str, answers: Sequence[Answer], started: float
    ) -> None:
        """`started`: monotonic seconds."""
        self._serving, self._body, self._mode, self._answers = serving, body, mode, answers
        self._started = started
        self._silent = set(range(len(answers)))  # answers without a token so far
        self._open = set(self._silent)  # answers without an end so far
        self._ends: dict[int, End] = {}
        self._began: float | None = None  # when the first token of all came
        self._images = answers[0].images

    def count(self, index: int, event: AnswerEvent) -> None:
        if index in self._silent and event.kind not in ("page", "block"):
            self._silent.remove(index)
            self._began = self._began or time.monotonic()
            self._serving.metrics.began(time.monotonic() - self._started)
        if event.finish_reason is not None:
            self._end({index}, event.finish_reason)

    def fail(self, error: Exception) -> None:
        """The answers that are open end with an error."""
        self._end(self._open, "deadline" if isinstance(error, DeadlineExceeded) else "error")

    def abort(self) -> None:
        """The answers that are open end without a reader."""
        self._end(self._open, "abort")

    def _end(self, indices: set[int], end: End) -> None:
        for index in indices & self._open:
            self._ends[index] = end
            self._serving.metrics.ended(end, time.monotonic() - self._started)
        self._open -= indices

    def facts(self, completion_id: str, usage: Usage) -> dict[str, Any]:
        """Facts for the log and a trace once the completion is over; texts only where an operator asks for them."""
        body, first = self._body, next(iter(self._answers[0].times), None)
        facts = {
            "id": completion_id,
            "model": self._serving.model,
            "mode": self._mode,
            "stream": body.stream,
            "pictures": self._images,
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.prompt_tokens_details.cached_tokens,
            "completion_tokens": usage.completion_tokens,
            "load_seconds": first and _seconds(self._started, first.submitted),
            "queue_seconds": first and _seconds(first.submitted, first.scheduled),
            "first_token_seconds": _seconds(self._started, self._began),
            "finish_reasons": [self._ends.get(index, "abort") for index in range(len(self._answers))],
            "user": body.user and logs.cut(body.user, 512),
            "metadata": body.metadata and {logs.cut(k, 64): logs.cut(v, 512) for k, v in [*body.metadata.items()][:16]},
        }
        if self._serving.log_texts:
            parts = [part for message in body.messages for part in message.content]
            facts["prompt"] = logs.cut("\n".join(part.text for part in parts if isinstance(part, TextPart)))
            facts["answers"] = [logs.cut(answer.content) for answer in self._answers]
        return {name: value for name, value in facts.items() if value is not None}

    def phases(self) -> Iterator[tuple[str, float, float]]:
        """Phases with begin and end in monotonic seconds; those of several answers overlap."""
        everything = [times for answer in self._answers for times in answer.times]
        if everything:
            yield "load", self._started, min(times.submitted for times in everything)
        for times in everything:
            yield from times.phases()


def _seconds(begin: float, end: float | None) -> float | None:
    return None if end is None else round(end - begin, 4)

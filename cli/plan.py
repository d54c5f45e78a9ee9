"""What a run does with each document."""

from collections.abc import Sequence
from dataclasses import dataclass

from cli.formats import Form
from cli.wishes import Wishes


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How documents are read, and into what."""

    wishes: Wishes
    pages: Sequence[int] | None
    form: Form
    jobs: int  # documents at once

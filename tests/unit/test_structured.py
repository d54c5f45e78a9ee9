"""An engine without llguidance."""

from pathlib import Path

import pytest

from engine import structured
from engine.errors import InvalidRequest
from engine.request import Structure
from tests.engines import answer, running_engine


@pytest.fixture
def without_llguidance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structured, "INSTALLED", False)


@pytest.mark.usefixtures("without_llguidance")
def test_without_llguidance_only_structures_are_refused(checkpoint: Path) -> None:
    with running_engine(checkpoint) as engine:
        assert answer(engine, max_tokens=2)[-1].error is None
        with pytest.raises(InvalidRequest, match="guided_regex needs llguidance, which is not installed"):
            answer(engine, structure=Structure("regex", "a", "guided_regex"))

"""Fixtures: one checkpoint loaded twice, by us and by transformers, and how the two are compared."""

import pytest

from tests.checkpoints import write_checkpoint
from tests.parity.pair import SMALLEST, Pair, load_pair


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """In the hub's layout, untied, as the real checkpoints are."""
    return load_pair(write_checkpoint(tmp_path_factory.mktemp("hub"), min_pixels=SMALLEST))

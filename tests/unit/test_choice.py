"""Choice of the served model and its public name."""

from types import SimpleNamespace
from typing import Any

import pytest

from models import choice
from models.checkpoint import StoreError
from models.choice import chosen_tag, revision, served_name

HUB_MODEL = f"some/model@{'0' * 40}"


class NotFoundError(Exception):
    pass


def get(tag: str) -> Any:
    if tag != "stored:1":
        raise NotFoundError
    return SimpleNamespace(tag=tag)


STORE = SimpleNamespace(get=get, BentoMLException=NotFoundError)


@pytest.fixture(autouse=True)
def sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub and an embedded checkpoint, outside a container image."""
    monkeypatch.delenv("BENTOML_CONTAINERIZED", raising=False)
    monkeypatch.setattr(choice, "import_embedded", lambda _: "embedded:1")
    monkeypatch.setattr(choice, "fetch", lambda _store, reference, _log: f"fetched:{reference}")


@pytest.mark.parametrize(
    ("argument", "setting", "tag"),
    [
        ("stored:1", None, "stored:1"),
        ("", "stored:1", "stored:1"),
        ("stored:1", "stored:1", "stored:1"),
        ("", None, "embedded:1"),
        ("", HUB_MODEL, f"fetched:{HUB_MODEL}"),
    ],
    ids=["argument", "setting", "both alike", "no choice", "hub"],
)
def test_the_choice_is_the_argument_or_the_setting_or_the_embedded_checkpoint(
    argument: str, setting: str | None, tag: str
) -> None:
    assert chosen_tag(STORE, argument, setting, print) == tag


def test_two_different_choices_are_refused() -> None:
    with pytest.raises(SystemExit, match=r"MODEL is stored:1, but .* --arg model=other:1"):
        chosen_tag(STORE, "other:1", "stored:1", print)


def test_an_image_refuses_to_start_without_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_CONTAINERIZED", "true")
    assert chosen_tag(STORE, "", "stored:1", print) == "stored:1"
    with pytest.raises(SystemExit, match="No model is chosen"):
        chosen_tag(STORE, "", None, print)


def test_a_tag_that_the_store_lacks_is_named() -> None:
    with pytest.raises(SystemExit, match="The model store has no other:1"):
        chosen_tag(STORE, "other:1", None, print)


@pytest.mark.parametrize("error", [StoreError("no such commit"), OSError("disk full")])
def test_a_model_that_cannot_be_stored_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(*_: object) -> str:
        raise error

    monkeypatch.setattr(choice, "fetch", failing)
    with pytest.raises(SystemExit, match=f"{HUB_MODEL} cannot be put into the store: {error}"):
        chosen_tag(STORE, "", HUB_MODEL, print)


def test_a_model_of_a_hub_is_served_under_its_hub_id_and_any_other_under_its_name() -> None:
    tag = SimpleNamespace(name="mine", version="v1")
    fetched = SimpleNamespace(tag=tag, info=SimpleNamespace(metadata={"source": "some/model", "revision": "abc"}))
    local = SimpleNamespace(tag=tag, info=SimpleNamespace(metadata={"source": "/folder", "revision": None}))
    assert (served_name(fetched), revision(fetched)) == ("some/model", "abc")
    assert (served_name(local), revision(local)) == ("mine", "v1")

"""Choice of the served models and their public names."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models import checkpoint, choice
from models.checkpoint import StoreError
from models.choice import Served, choose, remarks

HUB_ID = "some/model"
COMMIT = "0" * 40
HUB_MODEL = f"{HUB_ID}@{COMMIT}"
KINDS = {"ocr:1": "ocr", "layout:1": "layout", "turned:1": "orientation", "flat:1": "unwarping"}


class NotFoundError(Exception):
    pass


def stored(tag: str, **metadata: str) -> Any:
    name, _, version = tag.partition(":")
    whole = type("Tag", (), {"name": name, "version": version, "__str__": lambda _: tag})()
    return SimpleNamespace(tag=whole, path=f"/store/{name}", info=SimpleNamespace(metadata=metadata))


def get(tag: str) -> Any:
    if tag == "fetched:1":
        return stored(tag, source=HUB_ID, revision=COMMIT)
    if tag == "old:1":  # from before the store recorded kinds
        return stored(tag, source="/folder", revision="")
    if tag == f"{checkpoint.EMBEDDED_NAME}:1":
        return stored(tag, source="embedded", revision="", kind="ocr")
    if tag not in KINDS:
        raise NotFoundError
    return stored(tag, source="/folder", revision="", kind=KINDS[tag])


STORE = SimpleNamespace(get=get, BentoMLException=NotFoundError)


@pytest.fixture(autouse=True)
def sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub and the embedded checkpoint, outside a container image."""
    monkeypatch.delenv("BENTOML_CONTAINERIZED", raising=False)
    monkeypatch.setattr(choice, "import_embedded", lambda _: f"{checkpoint.EMBEDDED_NAME}:1")
    monkeypatch.setattr(choice, "fetch", lambda _store, _reference, _log: "fetched:1")


def chosen(arguments: dict[str, str] | None = None, /, **settings: str) -> dict[str, Served]:
    nothing: dict[str, Any] = dict.fromkeys(choice.ROLES)
    return choose(STORE, dict.fromkeys(choice.ROLES, "") | (arguments or {}), nothing | settings, print)


def names(served: dict[str, Served]) -> dict[str, str]:
    return {role: one.name for role, one in served.items()}


@pytest.mark.parametrize(
    ("argument", "setting", "name"),
    [
        ("ocr:1", None, "ocr"),
        ("", "ocr:1", "ocr"),
        ("ocr:1", "ocr:1", "ocr"),
        ("", None, checkpoint.EMBEDDED_NAME),
        ("", HUB_MODEL, HUB_ID),
    ],
    ids=["argument", "setting", "both alike", "no choice", "hub"],
)
def test_the_choice_is_the_argument_or_the_setting_or_the_embedded_checkpoint(
    argument: str, setting: str | None, name: str
) -> None:
    assert chosen({"model": argument}, **({"model": setting} if setting else {}))["model"].name == name


@pytest.mark.parametrize("role", choice.ROLES)
def test_two_different_choices_are_refused(role: str) -> None:
    with pytest.raises(SystemExit, match=rf"{role.upper()} is stored:1, but .* --arg {role}=other:1"):
        chosen({role: "other:1"}, **{role: "stored:1"})


def test_an_image_refuses_to_start_without_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_CONTAINERIZED", "true")
    assert names(chosen(model="ocr:1")) == {"model": "ocr"}
    with pytest.raises(SystemExit, match="No model is chosen"):
        chosen()


@pytest.mark.parametrize("role", choice.ROLES)
def test_a_tag_that_the_store_lacks_is_named(role: str) -> None:
    with pytest.raises(SystemExit, match=f"{role.upper()} is other:1, and the model store has no other:1"):
        chosen(**{role: "other:1"})


@pytest.mark.parametrize("error", [StoreError("no such commit"), OSError("disk full")])
def test_a_model_that_cannot_be_stored_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(*_: object) -> str:
        raise error

    monkeypatch.setattr(choice, "fetch", failing)
    with pytest.raises(SystemExit, match=f"{HUB_MODEL} cannot be put into the store: {error}"):
        chosen(model=HUB_MODEL)


def test_a_model_of_a_hub_is_served_under_its_hub_id_and_any_other_under_its_name() -> None:
    assert chosen(model=HUB_MODEL)["model"] == Served(HUB_ID, COMMIT, Path("/store/fetched"), "fetched:1")
    assert chosen(model="ocr:1")["model"] == Served("ocr", "1", Path("/store/ocr"), "ocr:1")


def test_every_role_has_a_model_of_its_own() -> None:
    served = chosen({"unwarping": "flat:1"}, model="ocr:1", layout="layout:1", orientation="turned:1")
    assert names(served) == {"model": "ocr", "layout": "layout", "orientation": "turned", "unwarping": "flat"}


def test_the_embedded_layout_is_served_beside_the_embedded_checkpoint() -> None:
    assert chosen()["layout"] == Served("segmentation", choice.SEGMENTATION_REVISION)


def test_no_layout_is_served_beside_real_weights_unless_one_is_chosen() -> None:
    assert "layout" not in chosen(model="ocr:1")
    assert chosen(model="ocr:1", layout="embedded")["layout"].name == "segmentation"


def test_the_embedded_layout_can_be_switched_off() -> None:
    assert names(chosen(layout="off")) == {"model": checkpoint.EMBEDDED_NAME}
    assert names(chosen({"layout": "off"})) == {"model": checkpoint.EMBEDDED_NAME}


def test_a_word_of_another_role_is_no_choice() -> None:
    with pytest.raises(SystemExit, match="ORIENTATION is embedded, and the model store has no embedded"):
        chosen({"orientation": "embedded"})


@pytest.mark.parametrize(
    ("role", "tag", "message"),
    [
        ("model", "layout:1", "MODEL is layout:1, .* kind layout. It must be of kind ocr; .* is LAYOUT"),
        ("layout", "ocr:1", "LAYOUT is ocr:1, .* kind ocr. It must be of kind layout; .* is MODEL"),
        ("layout", "old:1", "LAYOUT is old:1, .* kind ocr"),
        ("orientation", "flat:1", "ORIENTATION is flat:1, .* is UNWARPING"),
        ("unwarping", HUB_MODEL, f"UNWARPING is {HUB_MODEL}, .* is MODEL"),
    ],
)
def test_a_model_of_another_kind_is_refused_with_the_setting_for_it(role: str, tag: str, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        chosen(**{role: tag})


def test_a_model_from_before_kinds_were_recorded_is_served() -> None:
    assert chosen(model="old:1")["model"].name == "old"


def test_the_log_warns_of_what_is_embedded() -> None:
    warnings = [text for level, text in remarks(chosen()) if level == logging.WARNING]
    assert [checkpoint.EMBEDDED_NAME in warnings[0], "by their ink" in warnings[1]] == [True, True]


def test_the_log_names_what_is_served_and_that_there_is_no_layout() -> None:
    lines = [text for _, text in remarks(chosen(model=HUB_MODEL, unwarping="flat:1"))]
    assert lines == [
        "No layout model is served: a page is read as one image. LAYOUT chooses one.",
        f"MODEL: {HUB_ID} at {COMMIT}",
        "UNWARPING: flat at 1",
    ]

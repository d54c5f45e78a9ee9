from typing import Any

import pytest

from api.schema.requests import ChatRequest
from modes.finisher import RawFinisher
from modes.registry import ALL_MODES, ANSWER_MODES, MODE_NAMES, MODES, OFFICIAL, RAW, finisher_of, max_repeats
from modes.schemas import SCHEMAS


def test_the_requests_field_accepts_exactly_the_modes_names() -> None:
    field: dict[str, Any] = ChatRequest.model_json_schema()["properties"]["mode"]
    names = [name for option in field["anyOf"] for name in option.get("enum", [])]
    assert tuple(names) == MODE_NAMES


def test_an_answer_is_reported_under_a_known_mode() -> None:
    assert set(ANSWER_MODES) == {*MODES, *OFFICIAL.values(), RAW}
    assert all(mode.name == name for name, mode in ALL_MODES.items())


def test_each_official_prompt_is_that_of_the_mode_it_is_reported_as() -> None:
    assert {ALL_MODES[name].prompt: name for name in OFFICIAL.values()} == OFFICIAL


def test_each_extracting_mode_has_a_schema_and_no_other_has() -> None:
    assert {name for name, mode in ALL_MODES.items() if mode.extracts} == set(SCHEMAS)


@pytest.mark.parametrize("mode", ANSWER_MODES)
def test_an_unfinished_answer_stays_raw_in_every_mode(mode: str) -> None:
    assert isinstance(finisher_of(mode, finished=False, streaming=True), RawFinisher)


def test_only_tables_may_repeat_more_than_fifty_times() -> None:
    assert {name: max_repeats(name) for name in ANSWER_MODES} == dict.fromkeys(ANSWER_MODES, 50) | {"table": 5000}


def test_the_options_reach_the_finisher() -> None:
    table = finisher_of("table", finished=True, table_format="otsl", streaming=True)
    assert table.push("<fcel>a<nl>") == "<fcel>a<nl>"
    spotting = finisher_of("spotting", finished=True, image_size=(2000, 500), streaming=True)
    assert "2000" in spotting.push("a" + "<|LOC_1000|>" * 8)

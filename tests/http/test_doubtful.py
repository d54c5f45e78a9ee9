"""What an extraction reports of each value over HTTP: its normalised form, and others that it may be as well."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.http.asking import text
from tests.http.test_modes import Writes, ask, asking, report, writes
from tests.payloads import user

__all__ = ["writes"]

PAGE = ("Blue Café\n14. März ", "2025\n", "Tee 3,00 €\n", "Kuchen 4,00 €\n", "Summe 8,00 €")  # the items make 7,00
OPEN = ("Blue Cafe\n", "Tea 1.234\n", "Total 1.234")


def fields(body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {field["path"]: field for field in report(body)["fields"]}


def test_a_value_comes_as_it_stands_and_normalised(writes: Writes) -> None:
    found = fields(ask(writes(*PAGE), "receipt"))
    assert (found["date"]["value"], found["date"]["normalized"]) == ("14. März 2025", "2025-03-14")
    assert (found["currency"]["value"], found["currency"]["normalized"]) == ("€", "EUR")
    assert (found["total"]["value"], found["total"]["normalized"]) == (8, "8.00")
    assert found["merchant"]["normalized"] is None


def test_a_value_whose_check_does_not_hold_is_doubtful(writes: Writes) -> None:
    body = ask(writes(*PAGE), "receipt")
    assert report(body)["checks"] == [{"rule": "items = total", "left": 7, "right": 8, "holds": False}]
    assert {path for path, field in fields(body).items() if field["status"] == "doubtful"} == {
        *("total", "items[0].price", "items[1].price")
    }
    assert json.loads(text(body))["total"] == 8


def test_a_number_that_the_page_leaves_open_is_null_with_its_readings(writes: Writes) -> None:
    body = ask(writes(*OPEN), "receipt")
    assert json.loads(text(body))["total"] is None
    total = fields(body)["total"]
    assert (total["status"], total["value"], total["candidates"]) == ("doubtful", None, [1234, 1.234])


def test_doubtful_values_are_null_on_demand_and_stay_among_the_candidates(writes: Writes) -> None:
    body = ask(writes(*PAGE), "receipt", doubtful="null")
    found = json.loads(text(body))
    assert (found["total"], found["date"]) == (None, "14. März 2025")
    total = fields(body)["total"]
    assert (total["value"], total["status"], total["candidates"]) == (None, "doubtful", [8])


@pytest.mark.parametrize("asked", [{"doubtful": "null"}, {"doubtful": "null", "mode": "receipt", "grounded": False}])
def test_doubtful_without_extraction_is_refused(client: TestClient, asked: dict[str, Any]) -> None:
    body = (
        {"messages": asking("read this")} if "mode" not in asked else {"messages": user({"type": "text", "text": "x"})}
    )
    answer = client.post("/v1/chat/completions", json=body | asked)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "doubtful" if "mode" not in asked else "mode")

"""`extract` without a server: a schema filled from a transcript or from boxes, in a process of its own."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app

ROOT = Path(__file__).resolve().parents[2]
BOXES = [
    {"text": "Acme Ltd", "box": [10, 10, 100, 25]},
    {"text": "Invoice No", "box": [200, 10, 280, 25]},
    {"text": "Date", "box": [300, 10, 330, 25]},
    {"text": "A-77", "box": [200, 30, 230, 45]},
    {"text": "2025-03-14", "box": [300, 30, 370, 45]},
    {"text": "Subtotal\nTax\nTotal", "box": [10, 60, 80, 120]},
    {"text": "10.00", "points": [[200, 60], [240, 60], [240, 80], [200, 80]]},
    {"text": "1.00", "box": [200, 80, 240, 100]},
    {"text": "11.00", "box": [200, 100, 240, 120]},
]


def printed(*arguments: str, text: str | None = None) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["extract", *arguments], input=text)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_script_is_the_command(tmp_path: Path) -> None:
    line = [str(ROOT / "scripts" / "extract"), "--schema", "receipt"]
    done = subprocess.run(line, input="Shop\nTotal 3.00\n", capture_output=True, text=True, cwd=tmp_path, check=True)
    assert json.loads(done.stdout)["object"]["total"] == 3


def test_a_transcript_fills_a_built_in_schema() -> None:
    found = printed("--schema", "receipt", "--transcript", "-", text="Shop\nTea 3.00\nTotal 3.00\n")
    assert list(found) == ["object", "fields", "checks"]
    assert (found["object"]["total"], found["object"]["items"][0]["name"]) == (3, "Tea")
    assert found["checks"] == [{"rule": "items = total", "left": 3, "right": 3, "holds": True}]
    total = next(field for field in found["fields"] if field["path"] == "total")
    assert (total["normalized"], total["status"], total["line"]) == ("3.00", "ok", "Total 3.00")


def test_boxes_tell_which_value_stands_under_which_label(tmp_path: Path) -> None:
    page = tmp_path / "page.json"
    page.write_text(json.dumps(BOXES))
    found = printed("--schema", "invoice", "--blocks", str(page))["object"]
    assert (found["vendor"], found["invoice_number"], found["date"]) == ("Acme Ltd", "A-77", "2025-03-14")
    assert (found["subtotal"], found["tax"], found["total"]) == (10, 1, 11)


def test_a_schema_may_be_an_example_in_a_file(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text('{"room_number": 0, "guest": "string"}')
    found = printed("--schema", str(own), text="Room number: 12\nGuest: Ann")
    assert found["object"] == {"room_number": 12, "guest": "Ann"}


def test_doubtful_values_are_null_on_demand() -> None:
    page = "Shop\nTea 3.00\nTotal 4.00"
    assert printed("--schema", "receipt", "--doubtful", "null", text=page)["object"]["total"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--schema", "letter"], "neither receipt, invoice, form nor a file"),
        (["--schema", "receipt", "--transcript", "no.txt"], "no.txt"),
        (["--schema", "receipt", "--blocks", "README.md"], "needs a list"),
        (["--schema", "receipt", "--blocks", "x.json", "--transcript", "-"], "give one of them"),
        (["--schema", "receipt", "--transcript", "-", "scan.pdf"], "give either"),
        (["--schema", "receipt", "-o", "out"], "none is given"),
    ],
)
def test_a_wrong_argument_is_told_in_a_line(arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(app, ["extract", *arguments], input="")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr

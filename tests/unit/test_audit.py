from typing import Any

import pytest

from scripts.audit import installed_licences, judge, licence_faults, listed_licences


def test_the_list_of_licences_is_that_of_what_a_bento_installs() -> None:
    """Else: scripts/audit.py --write"""
    found = installed_licences()
    assert len(found) > 50
    assert licence_faults(found, listed_licences()) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"pillow": "GPL-3.0-only"}, "pillow: its licence, GPL-3.0-only, is not among the allowed"),
        ({"pillow": "MIT AND SSPL-1.0"}, "pillow: its licence, MIT AND SSPL-1.0, is not among the allowed"),
        ({"pillow": ""}, "pillow: its licence, which it does not tell, is not among the allowed"),
        ({"pillow": "MIT"}, "pillow: its licence was MIT-CMU and is MIT"),
        ({"newcomer": "MIT"}, "newcomer: not in licences.txt; its licence is MIT"),
    ],
)
def test_a_licence_that_is_new_changed_or_not_allowed_is_named_with_its_package(
    found: dict[str, str], said: str
) -> None:
    (fault,) = licence_faults(found, {"pillow": "MIT-CMU"})
    assert fault.startswith(said)


def package(name: str, *flaws: str) -> dict[str, Any]:
    return {"name": name, "version": "1", "vulns": [{"id": flaw, "fix_versions": ["2"]} for flaw in flaws]}


UNASKED = {"name": "torch", "skip_reason": "not found"}


def test_a_known_vulnerability_shuts_the_gate() -> None:
    lines, shut = judge({"dependencies": [package("good"), package("bad", "CVE-2026-1"), UNASKED]})
    assert shut
    assert "bad 1: CVE-2026-1, mended in 2" in lines
    assert lines[-1].endswith("torch")


def test_no_known_vulnerability_leaves_it_open() -> None:
    assert judge({"dependencies": [package("good")]}) == (["1 packages audited, 0 known vulnerabilities"], False)


def test_an_index_that_knows_nothing_is_no_clean_bill() -> None:
    lines, shut = judge({"dependencies": [UNASKED, UNASKED]})
    assert lines[0].startswith("NOT AUDITED")
    assert not shut

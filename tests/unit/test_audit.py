"""The check of licences and of known vulnerabilities."""

from typing import Any

import pytest

from scripts.audit import evaluate, installed_licences, licence_faults, listed_licences


def test_the_listed_licences_match_the_packages_that_a_bento_installs() -> None:
    """If this fails, run scripts/audit.py --write."""
    found = installed_licences()
    assert len(found) > 50
    assert licence_faults(found, listed_licences()) == []


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"pillow": "GPL-3.0-only"}, "pillow: licence GPL-3.0-only is not allowed"),
        ({"pillow": "MIT AND SSPL-1.0"}, "pillow: licence MIT AND SSPL-1.0 is not allowed"),
        ({"pillow": ""}, "pillow: licence unknown is not allowed"),
        ({"pillow": "MIT"}, "pillow: licence changed from MIT-CMU to MIT"),
        ({"newcomer": "MIT"}, "newcomer: not in licences.txt; its licence is MIT"),
    ],
)
def test_a_new_changed_or_disallowed_licence_is_reported_with_its_package(found: dict[str, str], expected: str) -> None:
    (fault,) = licence_faults(found, {"pillow": "MIT-CMU"})
    assert fault.startswith(expected)


def package(name: str, *flaws: str) -> dict[str, Any]:
    return {"name": name, "version": "1", "vulns": [{"id": flaw, "fix_versions": ["2"]} for flaw in flaws]}


SKIPPED = {"name": "torch", "skip_reason": "not found"}


def test_a_known_vulnerability_fails_the_check() -> None:
    lines, failed = evaluate({"dependencies": [package("good"), package("bad", "CVE-2026-1"), SKIPPED]})
    assert failed
    assert "bad 1: CVE-2026-1, fixed in 2" in lines
    assert lines[-1].endswith("torch")


def test_the_check_passes_without_known_vulnerabilities() -> None:
    assert evaluate({"dependencies": [package("good")]}) == (["1 packages audited, 0 known vulnerabilities"], False)


def test_an_index_that_knows_no_package_is_reported_as_not_audited() -> None:
    lines, failed = evaluate({"dependencies": [SKIPPED, SKIPPED]})
    assert lines[0].startswith("NOT AUDITED")
    assert not failed

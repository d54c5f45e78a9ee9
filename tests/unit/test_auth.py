"""Keys, their names and places; clients' addresses and rates."""

import os
from pathlib import Path

import pytest

from api.auth import address_of
from api.keys import Keys, parse_keys
from api.rates import MAX_CLIENTS, MINUTE, Rates
from tests.keys import ALICE, BOB


def test_keys_have_names_and_those_without_one_are_numbered() -> None:
    keys = parse_keys(f"alice:{ALICE}, {BOB},alice:second-of-alice-012345")
    assert [key.client for key in keys] == ["alice", "key-2", "alice"]


def test_a_file_has_a_key_a_line_and_comments(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# of the team\nalice:{ALICE}\n\n{BOB}\n")
    keys = Keys(file)
    assert (keys.client_of(ALICE), keys.client_of(BOB), keys.client_of("# of the team")) == ("alice", "key-2", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no key"),
        ("alice:0123456789abcde", "Key 1 is not NAME:SECRET"),
        (f"{BOB},alice:with spaces in the middle", "Key 2 is not NAME:SECRET"),
        (f"the team:{ALICE}", "The name of key 1"),
        (f"alice:{ALICE},bob:{ALICE}", "Key 2 has the secret of another one"),
    ],
)
def test_a_bad_key_is_refused_by_its_number_without_its_secret(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refusal:
        parse_keys(text)
    secrets = [part.partition(":")[2] for part in text.split(",")] + [ALICE, BOB]
    assert not any(secret and secret in str(refusal.value) for secret in secrets)


def test_a_file_that_changes_is_read_again_and_a_damaged_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"alice:{ALICE}")
    keys = Keys(file)
    (tmp_path / "new").write_text(f"bob:{BOB}")
    os.replace(tmp_path / "new", file)
    assert (keys.client_of(BOB), keys.client_of(ALICE)) == ("bob", None)
    file.write_text("bob:short")
    assert keys.client_of(BOB) == keys.client_of(BOB) == "bob"
    file.unlink()
    assert keys.client_of(BOB) == "bob"
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
    file.write_text(f"alice:{ALICE}")
    assert (keys.client_of(ALICE), keys.client_of(BOB)) == ("alice", None)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_client_may_ask_at_once_as_often_as_in_a_minute_and_then_at_that_rate() -> None:
    clock = Clock()
    rates = Rates(3, clock)
    assert [rates.spend("a")[0] for _ in range(4)] == [True, True, True, False]
    assert rates.spend("b")[0]
    clock.now += MINUTE / 3 - 0.1
    assert not rates.spend("a")[0]
    clock.now += 0.2
    assert [rates.spend("a")[0] for _ in range(2)] == [True, False]
    clock.now += 10 * MINUTE
    assert rates.spend("a") == (True, 2)


def test_clients_without_number_take_no_memory_without_bound() -> None:
    clock = Clock()
    rates = Rates(1, clock)
    for number in range(MAX_CLIENTS + 100):
        rates.spend(str(number))
    assert len(rates._buckets) == MAX_CLIENTS
    clock.now += MINUTE
    rates.spend("late")
    assert [*rates._buckets] == ["late"]


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
    ],
)
def test_a_client_is_an_address_or_a_customers_network(host: str, client: str) -> None:
    assert address_of({"client": (host, 1)}) == client

"""Settings of the OCR API: a bad value is named with what would be right."""

from datetime import timedelta
from pathlib import Path

import pytest

from environment import SettingsError
from jobs.job import ranges
from jobs.settings import load_job_settings

BAD_VALUES = [
    ("VLLM_URL", "localhost:8001", "Use an address such as"),
    ("VLLM_URL", ",", "Use at least one address"),
    ("JOBS_PORT", "0", "greater than or equal to 1"),
    ("JOBS_HOST", "localhost", "IP address"),
    ("JOBS_RETENTION", "a week", "90s, 30m, 12h or 7d"),
    ("JOBS_RETENTION", "0d", "greater than"),
    ("JOBS_SECONDS", "60", "90s, 30m, 12h or 7d"),
    ("JOBS_LEASE_SECONDS", "0", "greater than or equal to 1"),
    ("JOBS_WORKER_ID", "two words", "match pattern"),
    ("JOBS_ATTEMPTS", "0", "greater than or equal to 1"),
    ("JOBS_FOLDER", f"{__file__}/jobs", "Use a folder"),
    ("JOBS_PUBLIC_URL", "ocr.example.org", "Use an address such as"),
    ("CONTENT_API_URL", "content:8080", "Use an address such as"),
    ("CONTENT_API_TIMEOUT", "0", "greater than 0"),
    ("NATS_SUBJECT", "ocr.*", "match pattern"),
    ("NATS_STREAM", "ocr.jobs", "match pattern"),
    ("NATS_MAX_DELIVER", "0", "greater than or equal to 1"),
    ("NATS_ACK_WAIT", "soon", "valid number"),
    ("OTEL_TRACES_EXPORTER", "jaeger", "'otlp', 'console' or 'none'"),
]


@pytest.mark.parametrize(("name", "value", "said"), BAD_VALUES)
def test_a_bad_value_is_named_with_what_would_be_right(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_job_settings({name: value})
    assert f"Setting {name} has value" in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JOBS_DATABASE_URL", "mysql://ocr:hunter2@host/x"),
        ("JOBS_WEBHOOK_SECRET", "hunter2"),
        ("NATS_URL", "http://ocr:hunter2@host:4222"),
    ],
)
def test_no_message_shows_a_secret(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_job_settings({name: value})
    assert "hunter2" not in str(refused.value)
    assert f"Setting {name} has a value that is not shown" in str(refused.value)


def test_servers_are_given_with_or_without_v1() -> None:
    settings = load_job_settings({"VLLM_URL": "http://one:8001/v1, http://two:8001/"})
    assert settings.vllm_url == ("http://one:8001", "http://two:8001")


def test_one_folder_holds_all_by_default(tmp_path: Path) -> None:
    settings = load_job_settings({"JOBS_FOLDER": str(tmp_path)})
    assert settings.database == f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    assert settings.store == str(tmp_path / "documents")
    assert settings.jobs_retention == timedelta(days=7)


@pytest.mark.parametrize("address", ["postgres://a:b@c/d", "postgresql://a:b@c/d", "postgresql+psycopg://a:b@c/d"])
def test_addresses_of_postgresql_may_be_written_in_any_way(address: str) -> None:
    assert load_job_settings({"JOBS_DATABASE_URL": address}).database == "postgresql+psycopg://a:b@c/d"


def test_ranges_of_pages() -> None:
    assert ranges("1-3, 7") == [(1, 3), (7, 7)]


@pytest.mark.parametrize("text", ["", "0", "3-1", "1-", "a", "1,,2", "-1"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="use pages from 1 such as 1-3,7"):
        ranges(text)

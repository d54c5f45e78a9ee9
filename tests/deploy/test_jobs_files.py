"""The files of deploy/ for the OCR API and its workers, checked with the tools that read them."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from jobs.settings import JobSettings, load_job_settings
from tests.deploy.checks import assert_hardened, assert_valid_for_kubernetes, installed, values, verify
from tests.deploy.site import DEPLOY, compose_services
from tests.http.test_jobs import serving

UNITS = "ocr-api.service", "ocr-worker@.service"
SECONDS_TO_END = 30
DRAIN = JobSettings().jobs_drain_seconds + SECONDS_TO_END
METRIC = re.compile(r"\bjobs_\w+")
SETTINGS = {name.upper() for name in JobSettings.model_fields}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return compose_services()


@pytest.fixture(scope="module")
def pods() -> dict[str, Any]:
    """Specifications of the pods, by their deployment."""
    objects = yaml.safe_load_all((DEPLOY / "kubernetes-jobs.yaml").read_text())
    return {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in objects if one["kind"] == "Deployment"}


def test_compose_runs_the_whole_stack(compose: dict[str, Any]) -> None:
    api, worker, postgres = compose["ocr-api"], compose["ocr-worker"], compose["postgres"]
    assert (api["command"], worker["command"], worker["deploy"]["replicas"]) == (["api"], ["worker"], 2)
    assert [port["target"] for port in api["ports"]] == [8000]
    assert "ports" not in postgres
    assert set(postgres["networks"]) == {"database"}
    assert api["volumes"] == worker["volumes"]
    for service in api, worker:
        assert "profiles" not in service
        assert service["read_only"]
        assert service["restart"] == "unless-stopped"
        assert service["depends_on"]["postgres"]["condition"] == "service_healthy"
    for service in api, worker, postgres:
        assert service["healthcheck"]["test"]
        assert int(service["deploy"]["resources"]["limits"]["memory"]) > 0
    for server in compose["cpu"], compose["gpu"]:
        assert "server" in server["networks"]["default"]["aliases"]


def test_compose_gives_settings_that_api_and_workers_accept(compose: dict[str, Any]) -> None:
    api = load_job_settings(compose["ocr-api"]["environment"])
    worker = load_job_settings(compose["ocr-worker"]["environment"])
    assert not api.jobs_worker
    assert api.database == worker.database == "postgresql+psycopg://ocr:ocr@postgres/ocr"
    assert worker.vllm_url == ("http://server:8001",)


def test_compose_takes_the_databases_password_from_the_environment() -> None:
    services = compose_services(POSTGRES_PASSWORD="secret")
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] == "secret"
    assert ":secret@" in services["ocr-worker"]["environment"]["JOBS_DATABASE_URL"]


@pytest.mark.parametrize("name", UNITS)
def test_the_systemd_units_are_valid_and_hardened(name: str, tmp_path: Path) -> None:
    unit = installed(DEPLOY / name, tmp_path)
    verify(unit)
    assert_hardened(unit)


@pytest.mark.parametrize("name", UNITS)
def test_the_systemd_units_give_settings_that_are_accepted(name: str) -> None:
    text = (DEPLOY / name).read_text()
    given = dict(pair.split("=", 1) for line in values(text, "Environment") for pair in shlex.split(line))
    settings = load_job_settings({key: value.replace("%H:%i", "host:1") for key, value in given.items()})
    assert set(given) <= SETTINGS
    assert str(settings.jobs_folder) == f"/var/lib/{values(text, 'StateDirectory')[0]}"


def test_nothing_is_stopped_before_it_has_drained(compose: dict[str, Any], pods: dict[str, Any]) -> None:
    for name in UNITS:
        assert int(values((DEPLOY / name).read_text(), "TimeoutStopSec")[0]) >= DRAIN
    minutes = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", compose["ocr-worker"]["stop_grace_period"])
    assert minutes
    assert int(minutes[1] or 0) * 60 + int(minutes[2] or 0) >= DRAIN
    assert pods["ocr-worker"]["terminationGracePeriodSeconds"] >= DRAIN


def test_the_environment_file_shows_the_settings_defaults() -> None:
    lines = re.findall(r"^#([A-Z_]+)=(.*)$", (DEPLOY / "ocr-jobs.env").read_text(), re.MULTILINE)
    assert lines
    assert {name for name, _ in lines} <= SETTINGS
    assert load_job_settings(dict(lines)) == JobSettings()


def test_kubernetes_accepts_its_file(pods: dict[str, Any]) -> None:
    assert_valid_for_kubernetes(DEPLOY / "kubernetes-jobs.yaml", objects=5)
    for pod in pods.values():
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert {one["name"] for one in container["env"]} <= SETTINGS


def test_workers_are_scaled_by_a_metric_that_the_api_has() -> None:
    file = yaml.safe_load((DEPLOY / "keda-jobs.yaml").read_text())
    assert file["spec"]["scaleTargetRef"]["name"] == "ocr-worker"
    (trigger,) = file["spec"]["triggers"]
    (metric,) = METRIC.findall(trigger["metadata"]["query"])
    assert f'"{metric}"' in (DEPLOY.parent / "jobs" / "metrics.py").read_text()


def test_the_dashboard_draws_every_metric_that_the_api_serves_and_no_other(tmp_path: Path) -> None:
    drawn = set(METRIC.findall((DEPLOY / "grafana.json").read_text()))
    with serving(tmp_path) as api:
        families = list(text_string_to_metric_families(api.client.get("/metrics").text))
    served = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert drawn == {name for name in served if not name.endswith("_created")}

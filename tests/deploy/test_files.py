"""The files of deploy/, checked with the tools that read them: each is valid and says what it must."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from lifecycle import SECONDS_TO_END
from settings import Settings, load_settings
from tests.deploy.checks import (
    assert_hardened,
    assert_known,
    assert_valid_for_kubernetes,
    installed,
    read_back,
    values,
    verify,
)
from tests.deploy.site import DEPLOY, compose_services, tool, write_site

UNIT = "paddleocr-server.service"
CONTAINER = "paddleocr-vl.container"
FOLDERS = ("models", ".cache/huggingface", ".cache/paddleocr-vl")  # as the image has them
VOLUMES = {("volume", f"/home/bentoml/{folder}") for folder in FOLDERS}
SECONDS_TO_STOP = Settings().drain_seconds + SECONDS_TO_END


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The services as Docker Compose parses them, with all profiles."""
    return compose_services()


@pytest.fixture(scope="module")
def unit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(DEPLOY / UNIT, tmp_path_factory.mktemp("systemd"))


def generated(folder: Path, *drop_ins: str) -> str:
    """The service that Quadlet generates."""
    for name in CONTAINER, "paddleocr-server.env", *drop_ins:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text((DEPLOY / name).read_text())
    return tool("quadlet", "-dryrun", QUADLET_UNIT_DIRS=str(folder)).stdout.partition("---\n")[2]


def options(service: str) -> list[str]:
    """Arguments of the `podman run` that starts it."""
    (line,) = values(service, "ExecStart")
    return shlex.split(line)


def test_compose_serves_on_a_cpu_or_a_gpu(compose: dict[str, Any]) -> None:
    cpu, gpu = compose["cpu"], compose["gpu"]
    assert (cpu["profiles"], gpu["profiles"]) == (["cpu"], ["gpu"])
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 1, ["gpu"])
    assert "reservations" not in cpu["deploy"]["resources"]
    for service in cpu, gpu:
        assert service["restart"] == "unless-stopped"
        assert service["read_only"]
        assert int(service["deploy"]["resources"]["limits"]["memory"]) == 8 * 2**30
        assert "/readyz" in service["healthcheck"]["test"][-1]
        assert {(volume["type"], volume["target"]) for volume in service["volumes"]} == VOLUMES


@pytest.mark.parametrize("drop_ins", [(), ("paddleocr-vl.container.d/gpu.conf",)], ids=["cpu", "gpu"])
def test_quadlet_makes_a_service_that_systemd_accepts(tmp_path: Path, drop_ins: tuple[str, ...]) -> None:
    service = tmp_path / "paddleocr-vl.service"
    text = generated(tmp_path, *drop_ins)
    service.write_text(text.replace("/usr/bin/podman", "/bin/true"))  # need not be installed to be named
    verify(service)
    given = options(text)
    assert f"localhost/paddleocr-vl:{'gpu' if drop_ins else 'cpu'}" in given
    assert ("nvidia.com/gpu=all" in given) == bool(drop_ins)


def test_quadlet_and_compose_ask_for_the_same_health(tmp_path: Path, compose: dict[str, Any]) -> None:
    """Quadlet dropped a command's last quote, and Podman split a list with "CMD" into words."""
    given = options(generated(tmp_path))
    assert ["CMD", *json.loads(given[given.index("--health-cmd") + 1])] == compose["cpu"]["healthcheck"]["test"]


def test_the_systemd_unit_is_valid_and_hardened(unit: Path) -> None:
    verify(unit)
    assert_hardened(unit)


def test_no_server_is_stopped_before_it_has_drained(tmp_path: Path, compose: dict[str, Any]) -> None:
    service = generated(tmp_path)
    given = options(service)
    pod = next(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    pre_stop = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert int(given[given.index("--stop-timeout") + 1]) > SECONDS_TO_STOP
    assert int(values(service, "TimeoutStopSec")[0]) > int(given[given.index("--stop-timeout") + 1])
    assert int(values((DEPLOY / UNIT).read_text(), "TimeoutStopSec")[0]) > SECONDS_TO_STOP
    assert pod["terminationGracePeriodSeconds"] > pre_stop + SECONDS_TO_STOP
    for each in compose["cpu"], compose["gpu"]:
        assert int(each["stop_grace_period"].removesuffix("s")) > SECONDS_TO_STOP


def test_the_environment_file_shows_the_settings_defaults() -> None:
    lines = re.findall(r"^#([A-Z_]+)=(.*)$", (DEPLOY / "paddleocr-server.env").read_text(), re.MULTILINE)
    assert lines
    assert {name.lower() for name, _ in lines} <= set(Settings.model_fields)
    assert load_settings(dict(lines)) == Settings()


def test_nginx_accepts_its_file_with_and_without_tls(tmp_path: Path) -> None:
    for tls in True, False:
        folder = tmp_path / str(tls)
        folder.mkdir()
        site = write_site(folder, ["127.0.0.1:8001", "127.0.0.1:8002"], tls)
        done = tool("nginx", "-t", "-c", site.configuration, "-e", folder / "error.log")
        assert "test is successful" in done.stderr
        assert "[warn]" not in done.stderr


def test_kubernetes_accepts_its_file() -> None:
    assert_valid_for_kubernetes(DEPLOY / "kubernetes.yaml", objects=3)


@pytest.mark.parametrize("name", ["keda.yaml", "keda-jobs.yaml"])
def test_keda_knows_every_field_of_its_file(name: str) -> None:
    file = DEPLOY / name
    assert_known(yaml.safe_load(file.read_text()), read_back("keda", file))


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    file = DEPLOY / "grafana.json"
    assert_known(json.loads(file.read_text()), read_back("grafana", file))


def test_prometheus_accepts_its_file_and_the_queries_of_the_dashboard_and_of_the_autoscalers(tmp_path: Path) -> None:
    tool("promtool", "check", "config", DEPLOY / "prometheus.yml")
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    targets = [target for panel in panels for target in panel.get("targets", [])]  # a row has none
    queries = [target["expr"].replace("$__rate_interval", "1m") for target in targets]
    for name in "keda.yaml", "keda-jobs.yaml":
        triggers = yaml.safe_load((DEPLOY / name).read_text())["spec"]["triggers"]
        queries += [trigger["metadata"]["query"] for trigger in triggers]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(queries)} rules found" in tool("promtool", "check", "rules", file).stdout

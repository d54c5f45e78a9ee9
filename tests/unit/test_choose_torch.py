"""The choice of a PyTorch build, and the arguments it gives pip."""

import socket
import stat
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from scripts.choose_torch import INDEX, TORCH, ChoiceError, choose, is_reachable

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("capability", ["6.0", "6.1", "7.0"])
def test_pascal_and_volta_get_the_last_builds_that_support_them(capability: str) -> None:
    choice = choose([capability], None, False)
    assert (choice.requirement, choice.index_url) == ("torch==2.13.0", f"{INDEX}cu126")
    assert capability in choice.reason


@pytest.mark.parametrize("capability", ["7.5", "8.6", "9.0", "10.0", "12.0"])
def test_newer_gpus_get_the_default_build(capability: str) -> None:
    assert choose([capability], None, False).index_url is None


def test_the_oldest_of_several_gpus_determines_the_build() -> None:
    assert choose(["12.0", "6.1"], None, False).index_url == f"{INDEX}cu126"


def test_capabilities_are_compared_as_versions_not_as_text() -> None:
    assert "9.0" in choose(["10.0", "9.0"], None, False).reason


def test_no_gpu_gets_the_cpu_build() -> None:
    assert choose([], None, True).index_url == f"{INDEX}cpu"


def test_without_the_cpu_index_the_configured_one_is_used_and_the_reason_says_so() -> None:
    choice = choose([], None, False)
    assert (choice.requirement, choice.index_url) == ("torch==2.13.0", None)
    assert "cannot be reached" in choice.reason
    assert "+cpu" in choice.reason


def test_macos_has_only_the_default_index() -> None:
    assert choose([], None, True, platform="darwin").index_url is None


@pytest.mark.parametrize("build", ["cu126", "cu130"])
def test_a_requested_build_overrides_the_gpu(build: str) -> None:
    assert choose(["6.1", "9.0"], build, False).index_url == INDEX + build


def test_a_requested_cpu_build_overrides_the_gpu() -> None:
    assert choose(["9.0"], "cpu", True).index_url == f"{INDEX}cpu"


def test_a_requested_index_is_used_unchanged() -> None:
    assert choose([], "https://wheels.example/torch", True).index_url == "https://wheels.example/torch"


def test_the_error_for_an_unknown_build_lists_the_known_ones() -> None:
    with pytest.raises(ChoiceError, match=r"TORCH_BUILD has value 'rocm'\. Use cpu, cu126, cu130 or the URL"):
        choose([], "rocm", True)


def test_an_error_names_a_capability_that_is_not_a_version() -> None:
    with pytest.raises(ChoiceError, match=r"'\[N/A\]'.*TORCH_BUILD"):
        choose(["[N/A]"], None, True)


def test_the_requirement_is_the_same_as_in_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert TORCH in project["optional-dependencies"]["server"]


def test_an_index_that_never_answers_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        assert not is_reachable(f"http://127.0.0.1:{silent.getsockname()[1]}/", seconds=0.3)
    assert time.monotonic() - start < 3


def pip_arguments(folder: Path, nvidia_smi: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Output of the script on a machine whose nvidia-smi is this shell script."""
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{nvidia_smi}\n")
    (folder / "nvidia-smi").chmod(stat.S_IRWXU)
    return subprocess.run(
        [sys.executable, "-I", "-S", ROOT / "scripts" / "choose_torch.py"],
        env={"PATH": f"{folder}:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_pip_gets_the_index_for_the_gpus_that_nvidia_smi_lists(tmp_path: Path) -> None:
    answer = pip_arguments(tmp_path, "echo 'NVIDIA GeForce GTX 1080 Ti, 6.1'; echo 'NVIDIA A100, 80GB, 8.0'")
    assert answer.stdout.split() == ["torch==2.13.0", "--index-url", f"{INDEX}cu126"]
    assert "compute capability 6.1" in answer.stderr


def test_a_driver_too_old_to_report_capabilities_is_an_error(tmp_path: Path) -> None:
    answer = pip_arguments(tmp_path, """echo 'Field "compute_cap" is not a valid field to query.'; exit 2""")
    assert answer.returncode == 1
    assert "driver is too old" in answer.stderr


def test_torch_build_skips_the_detection_of_gpus(tmp_path: Path) -> None:
    answer = pip_arguments(tmp_path, "exit 1", TORCH_BUILD="cu130")
    assert answer.stdout.split() == ["torch==2.13.0", "--index-url", f"{INDEX}cu130"]

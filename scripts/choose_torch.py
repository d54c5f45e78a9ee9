"""Chooses the PyTorch build for this machine. Uses only the standard library: it runs before anything is installed.

Prints pip's arguments to standard output, one per line, and the choice with its reason to standard error.
"""

import os
import subprocess
import sys
import threading
import urllib.request
from dataclasses import dataclass

TORCH = "torch==2.13.0"
INDEX = "https://download.pytorch.org/whl/"
BUILDS = ("cpu", "cu126", "cu130")
# The default wheels are built with CUDA 13, which supports Turing and later. Pascal and Volta need the cu126 builds;
# PyTorch 2.14 is the last release that publishes them.
MIN_DEFAULT_CAPABILITY = (7, 5)
PROBE_SECONDS = 5.0


class ChoiceError(ValueError):
    """Error when no build can be chosen; the message says what to set."""


@dataclass(frozen=True)
class Choice:
    """A PyTorch requirement for pip; without an index URL, pip's configured index is used."""

    requirement: str
    index_url: str | None
    reason: str


def choose(
    capabilities: list[str], requested: str | None, cpu_index_reachable: bool, *, platform: str = "linux"
) -> Choice:
    """The build for GPUs of these compute capabilities ("6.1"), unless `requested` overrides it. Raises ChoiceError."""
    if requested and requested != "cpu":
        return Choice(TORCH, requested_index(requested), f"TORCH_BUILD={requested}")
    if platform == "darwin":
        return Choice(TORCH, None, "macOS has only one build")
    if capabilities and not requested:
        lowest = min(capabilities, key=version_of)
        if version_of(lowest) < MIN_DEFAULT_CAPABILITY:
            return Choice(TORCH, f"{INDEX}cu126", f"a GPU of compute capability {lowest} needs the CUDA 12.6 build")
        return Choice(TORCH, None, f"a GPU of compute capability {lowest} runs the default build")
    cause = "TORCH_BUILD=cpu" if requested else "no NVIDIA GPU"
    if cpu_index_reachable:
        return Choice(TORCH, f"{INDEX}cpu", f"{cause}: the CPU build")
    return Choice(
        TORCH,
        None,
        f"{cause}, but {INDEX}cpu cannot be reached: pip installs a +cpu build if its find-links folder has one, "
        "otherwise the index's default build (several GB)",
    )


def requested_index(requested: str) -> str:
    """The index URL for a value of TORCH_BUILD. Raises ChoiceError."""
    if requested in BUILDS:
        return INDEX + requested
    if requested.startswith(("https://", "http://", "file://")):
        return requested
    raise ChoiceError(f"TORCH_BUILD has value '{requested}'. Use {', '.join(BUILDS)} or the URL of a package index.")


def version_of(capability: str) -> tuple[int, int]:
    """ "8.6" -> (8, 6). Raises ChoiceError."""
    try:
        major, minor = map(int, capability.strip().split("."))
    except ValueError:
        raise ChoiceError(
            f"nvidia-smi reports the compute capability '{capability}', which is not of the form 8.6. "
            f"Set TORCH_BUILD to one of {', '.join(BUILDS)}."
        ) from None
    return major, minor


def read_capabilities() -> list[str]:
    """The compute capability of each GPU; empty without a working driver. Raises ChoiceError."""
    command = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if "compute_cap" in answer.stdout + answer.stderr:
        raise ChoiceError(
            "This NVIDIA driver is too old to report the GPU's compute capability. Update it (CUDA 12.6 needs 560 or "
            "newer), or set TORCH_BUILD=cpu."
        )
    if answer.returncode != 0:
        return []
    # The name of a GPU may contain commas, its capability cannot.
    return [line.rpartition(",")[2].strip() for line in answer.stdout.splitlines() if line.strip()]


def is_reachable(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Whether `url` answers in time. Uses a thread because urllib's timeout does not cover the DNS lookup."""
    answers: list[int] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - our own https address
            with urllib.request.urlopen(request, timeout=seconds) as response:  # noqa: S310
                answers.append(response.status)
        except OSError:
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answers)


def main() -> int:
    requested = os.environ.get("TORCH_BUILD") or None
    try:
        capabilities = [] if requested else read_capabilities()
        wants_cpu = sys.platform != "darwin" and (requested == "cpu" or not (requested or capabilities))
        reachable = wants_cpu and is_reachable(f"{INDEX}cpu/torch/")
        choice = choose(capabilities, requested, reachable, platform=sys.platform)
    except ChoiceError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    source = choice.index_url or "the configured index"
    print(f"setup: {choice.requirement} from {source} ({choice.reason})", file=sys.stderr)
    print(choice.requirement, *(["--index-url", choice.index_url] if choice.index_url else []), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

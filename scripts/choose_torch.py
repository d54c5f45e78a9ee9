"""Chooses the PyTorch build that this machine needs. Standard library only: it runs before anything is installed.

Prints pip's arguments on standard output, one a line, and the choice with its reason on standard error.
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
# CUDA 13, which the default wheels are built with, begins at Turing; Pascal and Volta live on in the cu126 builds,
# and PyTorch 2.14 is the last release with such builds.
OLDEST_OF_DEFAULT = (7, 5)
PROBE_SECONDS = 5.0


class ChoiceError(ValueError):
    """A choice that cannot be made; the message says what to set."""


@dataclass(frozen=True)
class Choice:
    """Arguments for pip; without an index URL, its configured index is used."""

    requirement: str
    index_url: str | None
    reason: str


def choose(
    capabilities: list[str], requested: str | None, cpu_index_reachable: bool, *, platform: str = "linux"
) -> Choice:
    """The build for GPUs of these compute capabilities ("6.1"); `requested` overrides it. Raises ChoiceError."""
    if requested and requested != "cpu":
        return Choice(TORCH, requested_index(requested), f"TORCH_BUILD={requested}")
    if platform == "darwin":
        return Choice(TORCH, None, "macOS has one build")
    if capabilities and not requested:
        lowest = min(capabilities, key=version_of)
        if version_of(lowest) < OLDEST_OF_DEFAULT:
            return Choice(TORCH, f"{INDEX}cu126", f"a GPU of compute capability {lowest} needs the CUDA 12.6 build")
        return Choice(TORCH, None, f"a GPU of compute capability {lowest} runs the default build")
    why = "TORCH_BUILD=cpu" if requested else "no NVIDIA GPU"
    if cpu_index_reachable:
        return Choice(TORCH, f"{INDEX}cpu", f"{why}: the CPU build")
    return Choice(
        TORCH,
        None,
        f"{why}, but {INDEX}cpu cannot be reached: pip takes a +cpu build if its find-links folder has one, "
        "else the index's default build (several GB)",
    )


def requested_index(requested: str) -> str:
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
            f"nvidia-smi tells the compute capability '{capability}', which is not like 8.6. "
            f"Set TORCH_BUILD to one of {', '.join(BUILDS)}."
        ) from None
    return major, minor


def read_capabilities() -> list[str]:
    """One compute capability for each GPU; none without a working driver. Raises ChoiceError."""
    command = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    if "compute_cap" in answer.stdout + answer.stderr:
        raise ChoiceError(
            "This NVIDIA driver is too old to tell the GPU's compute capability. Update it (CUDA 12.6 needs 560 or "
            "newer), or set TORCH_BUILD=cpu."
        )
    if answer.returncode != 0:
        return []
    # A GPU's name may hold commas, its capability cannot.
    return [line.rpartition(",")[2].strip() for line in answer.stdout.splitlines() if line.strip()]


def is_reachable(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Whether `url` answers in time. A thread, since no timeout of urllib covers the name look-up."""
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

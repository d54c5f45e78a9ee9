"""Podman as the tests of images use it."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# All that an operator can take away. Podman's own extras for --read-only are off, since Docker has none.
CONFINED = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
NO_RIGHTS = "0" * 16


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def podman(*arguments: str) -> str:
    return run("podman", *arguments)


def assert_confined(container: str) -> None:
    """Its processes belong to an ordinary user and have no rights."""
    script = "grep -hE '^(Uid|Gid|Cap(Prm|Eff|Bnd)|NoNewPrivs):' /proc/[0-9]*/status | sort -u"
    rights = {
        line.split()[0]: set(line.split()[1:]) for line in podman("exec", container, "sh", "-c", script).splitlines()
    }
    none = {NO_RIGHTS}
    assert rights == {
        "Uid:": {"1034"}, "Gid:": {"1034"}, "CapPrm:": none, "CapEff:": none, "CapBnd:": none, "NoNewPrivs:": {"1"},
    }  # fmt: skip


def assert_cannot_write(container: str, place: str) -> None:
    script = f"touch {place}/new 2>/dev/null && echo written || echo refused"
    assert podman("exec", container, "sh", "-c", script) == "refused"


def size(image: str) -> int:
    """In bytes."""
    return int(podman("image", "inspect", "--format", "{{.Size}}", image))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def started(name: str, image: str, *options: str, command: tuple[str, ...] = ()) -> Iterator[None]:
    """A container with the host's network, since a bridge may be missing."""
    podman("run", "-d", "--name", name, *CONFINED, *options, image, *command)
    try:
        yield
    finally:
        podman("rm", "-f", "-v", "-t", "0", name)

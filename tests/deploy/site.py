"""The tools that scripts/setup_deploy installs, and a real nginx that runs deploy/nginx.conf."""

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.servers import ROOT

DEPLOY = ROOT / "deploy"
TOOLS = ROOT / ".venv-deploy" / "bin"
SECONDS_TO_RUN = 300  # unless something hangs


def tool(name: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a tool, which must exit with 0."""
    assert (TOOLS / name).exists(), "run scripts/setup_deploy first"
    line = [TOOLS / name, *arguments]
    done = subprocess.run(line, env=os.environ | environment, capture_output=True, text=True, timeout=SECONDS_TO_RUN)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def compose_services(**environment: str) -> dict[str, Any]:
    """The services as Docker Compose parses them, with all profiles."""
    options = ["--profile", "*", "config", "--format", "json"]
    done = tool("docker-compose", "-f", DEPLOY / "compose.yaml", *options, **environment)
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


@dataclass
class Site:
    """deploy/nginx.conf adapted for a test: in a folder, on free ports, with TLS."""

    folder: Path
    port: int
    tls_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def certificate(self) -> Path:
        return self.folder / "ocr.example.com.pem"

    @property
    def configuration(self) -> Path:
        return self.folder / "nginx.conf"

    def passed_on(self) -> int:
        """Number of requests that went to more than one server."""
        return (self.folder / "access.log").read_text().count(", ")


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.create_server(("127.0.0.1", 0)))) for _ in range(number)]
        return [free.getsockname()[1] for free in sockets]


def replaced(pattern: str, by: str, text: str) -> str:
    changed, times = re.subn(pattern, by, text, flags=re.MULTILINE)
    assert times, f"deploy/nginx.conf has no {pattern}"
    return changed


def write_site(folder: Path, addresses: Sequence[str], tls: bool = True) -> Site:
    """Adapt deploy/nginx.conf to the servers at `addresses`, as host:port."""
    port, tls_port = free_ports(2)
    site = Site(folder, port, tls_port)
    key = folder / "ocr.example.com.key"
    options = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext"]
    tool("openssl", "req", "-x509", *options, "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", site.certificate)
    text = (DEPLOY / "nginx.conf").read_text()
    text = replaced(r"^ *server 127\.0\.0\.1:8001( .*)$", "\n".join(rf"server {each}\1" for each in addresses), text)
    text = replaced(r"listen 80;", f"listen 127.0.0.1:{port};", text)
    if tls:
        text = replaced(r"^    #(listen |ssl_)", r"    \1", text)
        text = replaced(r"listen 443 ", f"listen 127.0.0.1:{tls_port} ", text)
        text = replaced(r"/etc/ssl/(certs|private)/", f"{folder}/", text)
    (folder / "site.conf").write_text(text)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # The server also asks nginx not to buffer; the test is for the file.
    alone = "proxy_ignore_headers X-Accel-Buffering;"
    user = "user root;" if os.geteuid() == 0 else ""  # other users cannot read pytest's folders
    site.configuration.write_text(
        f"{user} daemon off; pid {folder}/pid; events {{}}"
        f"http {{ {temporary} {alone} log_format tries '$status $upstream_addr';"
        f"access_log {folder}/access.log tries; include {folder}/site.conf; }}"
    )
    return site


@contextmanager
def nginx(site: Site) -> Iterator[None]:
    """nginx, from when it listens."""
    assert (TOOLS / "nginx").exists(), "run scripts/setup_deploy first"
    log = site.folder / "error.log"
    process = subprocess.Popen([TOOLS / "nginx", "-c", site.configuration, "-e", log])
    try:
        while True:
            assert process.poll() is None, log.read_text()
            try:
                socket.create_connection(("127.0.0.1", site.port), 1).close()
                break
            except ConnectionRefusedError:
                pass  # it does not listen yet
        yield
    finally:
        process.terminate()
        process.wait(SECONDS_TO_RUN)

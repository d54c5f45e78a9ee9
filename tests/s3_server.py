"""moto's S3 server, a process that keeps buckets in memory, and what its operator does with one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import obstore

from tests.forks import ROOT
from tests.free_port import free_port
from tests.ocr_service import SECONDS, until

TOOLS = ROOT / ".venv-deploy" / "bin"
BUCKET = "documents"


@dataclass
class S3Server:
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client of it needs, as S3's own tools read it."""
        keys = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests"}
        return keys | {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": self.url}

    def start(self) -> None:
        """Start it, with an empty bucket."""
        program = shutil.which("moto_server", path=os.pathsep.join((str(TOOLS), os.environ["PATH"])))
        assert program is not None, "scripts/setup_deploy installs moto_server"
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(self.port)], stdout=log, stderr=log)
        until(self._answers)
        self.make_bucket()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/moto-api/data.json").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(SECONDS)

    def make_bucket(self) -> None:
        httpx.put(f"{self.url}/{BUCKET}").raise_for_status()

    def names(self) -> list[str]:
        """All objects of the bucket."""
        return sorted(found["path"] for part in obstore.list(self._bucket()) for found in part)

    def take_away(self) -> dict[str, bytes]:
        """Remove the bucket; what was in it."""
        bucket, held = self._bucket(), dict[str, bytes]()
        while httpx.delete(f"{self.url}/{BUCKET}").status_code == 409:  # it is not empty, or not any more
            names = self.names()
            held |= {name: bytes(obstore.get(bucket, name).bytes()) for name in names}
            obstore.delete(bucket, names)
        return held

    def give_back(self, held: dict[str, bytes]) -> None:
        self.make_bucket()
        for name, data in reversed(held.items()):  # the store's marker, the first by name, is the last
            obstore.put(self._bucket(), name, data)

    def _bucket(self) -> obstore.store.S3Store:
        return obstore.store.S3Store(
            BUCKET,
            endpoint=self.url,
            region="us-east-1",
            access_key_id="tests",
            secret_access_key="tests",
            client_options={"allow_http": True},
        )


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    folder.mkdir(exist_ok=True)
    server = S3Server(folder)
    server.start()
    yield server
    server.kill()

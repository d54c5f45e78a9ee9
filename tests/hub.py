"""A hub on loopback: the routes of Hugging Face's that a download asks for; one folder is a repository's one commit.

    python -m tests.hub FOLDER [--port N]      then HF_ENDPOINT=http://127.0.0.1:N

Like the real one it keeps weights and other big files in LFS: they are answered by a redirect to a storage on another
host, `localhost`, that knows ranges. Tests may change what it tells and sends, and read what it was asked.
"""

import argparse
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

REPOSITORY = "PaddlePaddle/PaddleOCR-VL-1.5"
COMMIT = "1a2b3c4d" * 5
REFUSING = "http://127.0.0.1:9"  # the discard port: nobody listens
LFS_BYTES = 1_000_000  # from which on a file is in LFS, as weights are anyway


@dataclass(frozen=True)
class Asked:
    method: str
    path: str  # without its query
    first_byte: int  # of the range asked for; 0 for all
    token: bool  # whether it was told who asks


@dataclass
class Hub:
    """What is served, and what was asked so far."""

    files: dict[str, bytes]  # what is sent
    repository: str = REPOSITORY
    commit: str = COMMIT
    sums: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # name -> what the index tells; as `files` are, at first
    told_commit: str = ""  # what the index calls the commit, where that is not its name
    cut: dict[str, int] = field(default_factory=dict)  # name -> bytes after which its next connection breaks
    ranges: bool = True  # whether they are honoured
    stall: dict[str, int] = field(default_factory=dict)  # name -> bytes after which its connections bring no more
    stalled: threading.Event = field(default_factory=threading.Event)  # one of those has come so far
    over: threading.Event = field(default_factory=threading.Event)
    asked: list[Asked] = field(default_factory=list)
    address: str = ""

    def __post_init__(self) -> None:
        self.sums = {name: tell(name, content) for name, content in self.files.items()}

    def sent(self, name: str) -> list[int]:
        """The first byte that each request to the storage asked for, in order."""
        return [one.first_byte for one in self.asked if one.method == "GET" and one.path == f"/storage/{name}"]

    def storage(self, name: str) -> str:
        return f"{self.address.replace('127.0.0.1', 'localhost')}/storage/{name}"


def tell(name: str, content: bytes) -> dict[str, Any]:
    """A file as the hub's index has it: git's blob id, and of what is in LFS its sha256."""
    told: dict[str, Any] = {
        "size": len(content),
        "blobId": hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest(),
    }
    if name.endswith(".safetensors") or len(content) >= LFS_BYTES:
        told["lfs"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 134}
    return told


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        hub.asked.append(Asked(self.command, path, first, "Authorization" in self.headers))
        api, resolved = f"/api/models/{hub.repository}", f"/{hub.repository}/resolve/{hub.commit}/"
        name = path.rpartition("/")[2]
        if path in (f"{api}/revision/main", f"{api}/revision/{hub.commit}"):
            siblings = [{"rfilename": name} | told for name, told in hub.sums.items()]
            self.send(
                json.dumps({"id": hub.repository, "sha": hub.told_commit or hub.commit, "siblings": siblings}).encode(),
                body=body,
            )
        elif path == f"{api}/tree/{hub.commit}":
            self.send(json.dumps([entry(name, told) for name, told in hub.sums.items()]).encode(), body=body)
        elif path.startswith(resolved) and path.removeprefix(resolved) in hub.files:
            self.resolve(path.removeprefix(resolved), body=body)
        elif path.startswith("/storage/") and name in hub.files:
            self.send_content(name, first, body=body)
        else:
            self.send(b"", 404, {"X-Error-Code": "RevisionNotFound"}, body=body)

    def resolve(self, name: str, *, body: bool) -> None:
        told = self.hub.sums.get(name, {})
        if lfs := told.get("lfs"):
            linked = {"X-Linked-ETag": f'"{lfs["sha256"]}"', "X-Linked-Size": str(lfs["size"])}
            self.send(b"", 302, {"Location": self.hub.storage(name)} | linked, body=body)
        else:
            self.send(self.hub.files[name], headers={"ETag": f'"{told.get("blobId", len(name))}"'}, body=body)

    def send_content(self, name: str, first: int, *, body: bool) -> None:
        hub = self.hub
        first = first if hub.ranges else 0
        content = hub.files[name][first:]
        end = hub.cut.pop(name, None) if body else None
        stop = hub.stall.get(name) if body else None
        total = len(hub.files[name])
        partly = {"Content-Range": f"bytes {first}-{total - 1}/{total}"} if first else {}
        self.send(content, 206 if first else 200, partly, body=False)
        if not body:
            return
        self.wfile.write(content[: stop if end is None else end])
        if stop is not None:
            hub.stalled.set()
            hub.over.wait()
        self.close_connection = True

    def send(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None, *, body: bool) -> None:
        self.send_response(status)
        for key, value in {
            "X-Repo-Commit": self.hub.commit,
            "Content-Length": str(len(content)),
            **(headers or {}),
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


def entry(name: str, told: dict[str, Any]) -> dict[str, Any]:
    """The same as the listing of a folder words it."""
    lfs = told.get("lfs")
    return {"type": "file", "path": name, "size": told.get("size", 0), "oid": told.get("blobId", "0" * 40)} | (
        {"lfs": {"oid": lfs["sha256"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}} if lfs else {}
    )


@contextmanager
def serving(files: dict[str, bytes], port: int = 0, **told: Any) -> Iterator[Hub]:
    """A hub of these files that answers at `hub.address`."""
    hub = Hub(files, **told)
    with ThreadingHTTPServer(("127.0.0.1", port), type("ThisHub", (Handler,), {"hub": hub})) as server:
        server.daemon_threads = True
        hub.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield hub
        finally:
            hub.over.set()
            server.shutdown()
            thread.join()


def environment(home: Path, address: str) -> dict[str, str]:
    """Of a process with a model store, a hub cache and a hub of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "BENTOML_"))}
    return kept | {
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(home / "bentoml"),
        "HF_ENDPOINT": address,
        "HF_HOME": str(home / "hub"),
    }


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a folder as a hub's repository.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repository", default=REPOSITORY)
    parser.add_argument("--commit", default=COMMIT)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    with serving(content_of(options.folder), options.port, repository=options.repository, commit=options.commit) as hub:
        print(f"HF_ENDPOINT={hub.address}: {hub.repository}@{hub.commit}", flush=True)  # noqa: T201
        threading.Event().wait()


if __name__ == "__main__":
    main()

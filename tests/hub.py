"""A hub on loopback with Hugging Face's routes for downloads; one folder is the only commit of a repository.

    python -m tests.hub FOLDER [--port N]      then HF_ENDPOINT=http://127.0.0.1:N

Like the real one it holds weights and other big files in LFS: requests for them are redirected to a storage on another
host, `localhost`, that supports ranges. Tests may change what it lists and sends, and read the requests it received.
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
REFUSING = "http://127.0.0.1:9"  # the discard port, on which nothing listens
LFS_BYTES = 1_000_000  # files of this size or more are in LFS, and weights of any size


@dataclass(frozen=True)
class Asked:
    """A request that the hub received."""

    method: str
    path: str  # without its query
    first_byte: int  # start of the requested range; 0 for the whole file
    token: bool  # whether it carried a token


@dataclass
class Hub:
    """The served repository, and the requests so far."""

    files: dict[str, bytes]  # contents to send
    repository: str = REPOSITORY
    commit: str = COMMIT
    sums: dict[str, dict[str, Any]] = field(
        default_factory=dict
    )  # name -> entry of the index; initially true to `files`
    listed_commit: str = ""  # the commit in the index, if not `commit`
    cut: dict[str, int] = field(default_factory=dict)  # name -> bytes after which its next connection breaks
    ranges: bool = True  # whether ranges are honoured
    stall: dict[str, int] = field(default_factory=dict)  # name -> bytes after which its connections stall
    stalled: threading.Event = field(default_factory=threading.Event)  # set when a connection has stalled
    over: threading.Event = field(default_factory=threading.Event)
    asked: list[Asked] = field(default_factory=list)
    address: str = ""

    def __post_init__(self) -> None:
        self.sums = {name: index_entry(name, content) for name, content in self.files.items()}

    def sent(self, name: str) -> list[int]:
        """The first byte that each request to the storage asked for, in order."""
        return [one.first_byte for one in self.asked if one.method == "GET" and one.path == f"/storage/{name}"]

    def storage(self, name: str) -> str:
        return f"{self.address.replace('127.0.0.1', 'localhost')}/storage/{name}"


def index_entry(name: str, content: bytes) -> dict[str, Any]:
    """A file as the hub's index lists it: git's blob id and, for a file in LFS, its sha256."""
    entry: dict[str, Any] = {
        "size": len(content),
        "blobId": hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest(),
    }
    if name.endswith(".safetensors") or len(content) >= LFS_BYTES:
        entry["lfs"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 134}
    return entry


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
            siblings = [{"rfilename": name} | listed for name, listed in hub.sums.items()]
            self.send(
                json.dumps(
                    {"id": hub.repository, "sha": hub.listed_commit or hub.commit, "siblings": siblings}
                ).encode(),
                body=body,
            )
        elif path == f"{api}/tree/{hub.commit}":
            self.send(json.dumps([tree_entry(name, listed) for name, listed in hub.sums.items()]).encode(), body=body)
        elif path.startswith(resolved) and path.removeprefix(resolved) in hub.files:
            self.resolve(path.removeprefix(resolved), body=body)
        elif path.startswith("/storage/") and name in hub.files:
            self.send_content(name, first, body=body)
        else:
            self.send(b"", 404, {"X-Error-Code": "RevisionNotFound"}, body=body)

    def resolve(self, name: str, *, body: bool) -> None:
        listed = self.hub.sums.get(name, {})
        if lfs := listed.get("lfs"):
            linked = {"X-Linked-ETag": f'"{lfs["sha256"]}"', "X-Linked-Size": str(lfs["size"])}
            self.send(b"", 302, {"Location": self.hub.storage(name)} | linked, body=body)
        else:
            self.send(self.hub.files[name], headers={"ETag": f'"{listed.get("blobId", len(name))}"'}, body=body)

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


def tree_entry(name: str, listed: dict[str, Any]) -> dict[str, Any]:
    """A file as the listing of a folder shows it."""
    lfs = listed.get("lfs")
    return {"type": "file", "path": name, "size": listed.get("size", 0), "oid": listed.get("blobId", "0" * 40)} | (
        {"lfs": {"oid": lfs["sha256"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}} if lfs else {}
    )


@contextmanager
def serving(files: dict[str, bytes], port: int = 0, **options: Any) -> Iterator[Hub]:
    """A running hub of these files, at `hub.address`."""
    hub = Hub(files, **options)
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
    """The environment of a process with its own model store, hub cache and hub."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "BENTOML_"))}
    return others | {
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

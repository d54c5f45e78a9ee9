"""The page for people at `/`: the files of ui/, under a policy that lets it run nothing else and ask no one else."""

from pathlib import Path

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOLDER = Path(__file__).resolve().parent.parent / "ui"
ROOT, FILES = "/", "/ui/"  # what needs no key, as it says nothing of the server

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self' data: blob:",  # figures in the text, pages, files that were dropped
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types dompurify",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",  # asked again each time, and answered by 304
}


def address(host: str, port: int) -> str:
    """The address at which a person on this machine opens the page of a server that listens there."""
    host = "localhost" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not listened on
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


class _Guarded:
    """Files compressed, with the headers of the page."""

    def __init__(self, files: ASGIApp) -> None:
        self._files = GZipMiddleware(files)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._files(scope, receive, with_headers)


def add_page(app: FastAPI, index: str = "index.html") -> None:
    """Serve the page that begins with the file `index`; to be called before a route for unknown paths is added."""
    app.router.routes.append(Route(ROOT, _Guarded(_Index(index)), methods=["GET"], include_in_schema=False))
    app.mount(FILES.rstrip("/"), _Guarded(StaticFiles(directory=FOLDER)))


class _Index:
    """A class, as routes take functions for what answers a Request."""

    def __init__(self, name: str) -> None:
        self._file = FOLDER / name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await FileResponse(self._file)(scope, receive, send)

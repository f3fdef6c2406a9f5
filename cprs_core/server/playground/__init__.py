"""The page at ``/``: files in ``static/``, by hand, without a build. They ask nothing of any other host, and hold no secret,
so they need no key; what the page asks of the service does.

index.html, style.css
main.js       the form, and what happens when it is sent
input.js      the text: typed, pasted, of a file, or example.txt
run.js        a run of the model: /v1/scores with progress
amount.js     how much to keep, chosen anew without a run
selection.js  what a budget keeps: the rule of cprs_core.selection
view.js       the text with its kept spans
share.js      a result as text, JSON, curl and Python
service.js    requests, and what goes wrong with them
page.js, offsets.js: what they share
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent / "static"
_PREFIX = "/playground"
_HEADERS = {
    "Cache-Control": "no-cache",  # asked for again each time, so that all files are of one version
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_router = APIRouter(include_in_schema=False)


@_router.get("/")
async def index() -> Response:
    return FileResponse(FOLDER / "index.html", headers=_HEADERS)


@_router.get(f"{_PREFIX}/settings")
async def settings(request: Request) -> dict[str, bool | int]:
    """What the page must know before anybody has given a key."""
    most = request.app.state.service.settings
    return {"needs_key": not most.keys.open, "max_body": most.max_body}


class _Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response


def add_to(app: FastAPI) -> None:
    """Adds the page to a service."""
    app.include_router(_router)
    app.mount(_PREFIX, _Files(directory=FOLDER))


def serves(method: str, path: str) -> bool:
    """Whether a request is one for the page itself."""
    return method in ("GET", "HEAD") and (path == "/" or path.startswith(f"{_PREFIX}/"))

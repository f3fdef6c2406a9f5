"""The application: settings and a compressor in, ASGI out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from .. import __version__
from ..compressor import ContextCompressor
from ..errors import CprsError
from . import playground, problems, released, routes, scores
from .gate import Gate
from .service import Service
from .settings import Settings


def create_app(compressor: ContextCompressor, settings: Settings | None = None) -> FastAPI:
    """A service around a loaded model. Its threads end with its lifespan; ``app.state.service.close()`` ends them too."""
    settings = settings or Settings()
    service = Service(compressor, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(title="cprs", version=__version__, lifespan=lifespan)
    app.state.service = service
    keyed = [] if settings.keys.open else [Depends(HTTPBearer(auto_error=False))]  # says so; the gate sees to it
    app.include_router(routes.open_router)
    for router in (routes.router, scores.router, released.router):
        app.include_router(router, dependencies=keyed)
    if settings.playground:
        playground.add_to(app)
    for kind in (CprsError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, problems.handle)
    posts = {path for path, methods in app.openapi()["paths"].items() if "post" in methods}
    app.add_middleware(Gate, service=service, posts=posts)
    if settings.origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.origins, allow_methods=["*"], allow_headers=["*"])
    return app

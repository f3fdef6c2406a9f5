"""uvicorn, but requests at work are given their grace when it stops, and a clear answer when that is over."""

from __future__ import annotations

import asyncio
import socket
from functools import partial

import uvicorn
from fastapi import FastAPI

from .connection import Connection
from .service import Service

_ANSWERING = 5  # seconds to write what is left to be written


class Server(uvicorn.Server):
    """Args:
    service: what to drain before connections are closed.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        draining = asyncio.create_task(self._service.drain())
        await super().shutdown(sockets)
        draining.cancel()


def make(app: FastAPI, log_level: str = "info") -> Server:
    """A server of an application of :func:`create_app`."""
    service: Service = app.state.service
    config = uvicorn.Config(
        app,
        http=partial(Connection, settings=service.settings),  # type: ignore[arg-type]
        ws="none",
        log_config=None,
        log_level=log_level,
        access_log=False,
        server_header=False,
        timeout_keep_alive=15,  # longer than clients keep theirs
        timeout_graceful_shutdown=int(service.settings.grace) + _ANSWERING,
    )
    return Server(config, service)

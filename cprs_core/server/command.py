"""``cprs serve``: loads a model, listens, and stops gracefully."""

from __future__ import annotations

import gc
import logging
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import MissingExtraError
from ..models import DEFAULT_MODEL
from ..options import Device, Dtype, Model, Skim, WindowSize
from .sockets import LOCAL, listen

if TYPE_CHECKING:
    import socket

    from fastapi import FastAPI

_logger = logging.getLogger("cprs_core.server")


class LogLevel(StrEnum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


def serve(
    model: Model = DEFAULT_MODEL,
    device: Device = None,
    dtype: Dtype = None,
    window_size: WindowSize = None,
    skim: Skim = True,
    batch_tokens: Annotated[int | None, typer.Option(help="Tokens of a batch.", show_default="by device")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 = all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 = any free one.")] = 8080,
    api_keys: Annotated[
        Path | None, typer.Option(help="File of API keys, one a line. CPRS_API_KEYS holds more, separated by commas.")
    ] = None,
    max_body_mb: Annotated[float, typer.Option(min=0.001, help="MiB of a request.")] = 32,
    max_bodies_mb: Annotated[float, typer.Option(min=0.001, help="MiB of all requests at once.")] = 512,
    max_documents: Annotated[int, typer.Option(min=1, help="Documents of a request.")] = 1000,
    max_tokens_per_request: Annotated[int, typer.Option(min=1, help="Tokens of all its documents.")] = 4_000_000,
    max_in_flight: Annotated[int, typer.Option(min=1, help="Requests at once; more are told to come back.")] = 128,
    max_connections: Annotated[
        int, typer.Option(min=1, help="Connections at once; those that wait longest make room for more.")
    ] = 512,
    deadline: Annotated[float, typer.Option(min=0.001, help="Seconds of a request.")] = 600,
    headers_timeout: Annotated[float, typer.Option(min=0.001, help="Seconds for the head of a request to arrive.")] = 20,
    body_timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds for its body to arrive, and for the answer to be taken.")
    ] = 60,
    grace: Annotated[float, typer.Option(min=0, help="Seconds that requests have left when the service stops.")] = 30,
    cors_origin: Annotated[list[str] | None, typer.Option(help="Web page origins that may use it.")] = None,
    playground: Annotated[bool, typer.Option(help="Show a page to try it out at /.")] = True,
    log_level: Annotated[LogLevel, typer.Option(help="What is logged; never the text of requests.")] = LogLevel.info,
) -> None:
    """Serve a model over HTTP: compress, rerank, metrics, and requests of many clients in common batches.

    A page to try it out is at /, for browsers.

    Routes are described at /docs; `cprs_core.CprsClient` and the adapters' `url=` use them.
    """
    try:
        import uvicorn  # noqa: F401

        from .app import create_app
    except ImportError as error:
        raise MissingExtraError(error.name or "fastapi", "server") from error
    from ..compressor import ContextCompressor
    from .arenas import few_arenas
    from .auth import Keys
    from .settings import Settings

    settings = Settings(
        max_body=int(max_body_mb * 2**20),
        max_bodies=int(max_bodies_mb * 2**20),
        max_documents=max_documents,
        max_tokens=max_tokens_per_request,
        max_in_flight=max_in_flight,
        max_connections=max_connections,
        deadline=deadline,
        headers_timeout=headers_timeout,
        body_timeout=body_timeout,
        grace=grace,
        keys=Keys.load(api_keys),
        origins=tuple(cors_origin or ()),
        playground=playground,
    )
    listener = listen(host, port)
    _log(log_level)
    if settings.keys.open and host not in LOCAL:
        _logger.warning("everyone who can reach %s may use this service; --api-keys keeps it to those with a key", host)
    few_arenas()
    compressor = ContextCompressor.from_pretrained(
        model, device=device, dtype=dtype, window_size=window_size, batch_tokens=batch_tokens, skim=skim
    )
    gc.freeze()  # what there is now stays: looking through it for garbage takes 0.1 s each time, in which nothing else runs
    gc.collect()  # so that it knows that there is little left, and looks often
    _logger.info("%r listens on http://%s:%d", compressor, host, listener.getsockname()[1])
    run(create_app(compressor, settings), listener, log_level.value)


def run(app: FastAPI, listener: socket.socket, log_level: str = "info") -> None:
    """Serves until SIGINT or SIGTERM; then see :meth:`Service.drain`."""
    from .listener import make

    make(app, log_level).run(sockets=[listener])


def _log(level: LogLevel) -> None:
    """The log of the service and of uvicorn goes to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name in (_logger.name, "uvicorn"):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(level.value.upper())

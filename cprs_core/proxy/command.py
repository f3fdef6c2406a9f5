"""``cprs proxy``: its options, and serving until it is stopped."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from ..errors import CprsError, MissingExtraError
from ..models import DEFAULT_MODEL
from ..options import Device, Dtype, Model, Skim, WindowSize
from ..terminal import errors
from .settings import Limits, Settings

_MIB = 2**20


class OnError(StrEnum):
    pass_ = "pass"
    fail = "fail"


def proxy(
    upstream: Annotated[str, typer.Option(help="The provider, without /v1: https://api.anthropic.com.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8080,
    min_tokens: Annotated[int, typer.Option(help="Compress user and tool messages of at least so many tokens.")] = 1_000,
    ratio: Annotated[
        float | None, typer.Option(help="Keep at most this share of a message, 0 to 1.", show_default="the model decides")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Keep at most so many tokens of a message.")] = None,
    keep_recent: Annotated[
        int,
        typer.Option(help="Leave so many of the last messages whole; the prompt cache then ends before them."),
    ] = 0,
    on_error: Annotated[
        OnError, typer.Option(help="When compression fails: pass the message on whole, or fail the request.")
    ] = OnError.pass_,
    memory: Annotated[int, typer.Option(help="MiB of compressed messages to remember.")] = 256,
    max_body: Annotated[int, typer.Option(help="MiB of the largest request for a chat.")] = 64,
    workers: Annotated[int, typer.Option(help="How many requests are compressed at once.")] = 2,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the provider's next bytes.")] = 600.0,
    model: Model = DEFAULT_MODEL,
    device: Device = None,
    dtype: Dtype = None,
    window_size: WindowSize = None,
    skim: Skim = True,
) -> None:
    """Stand in front of an LLM provider, and compress long messages for the question that is asked.

    Clients of OpenAI's chat completions and Anthropic's messages only need another base URL. A message is compressed when
    it first appears, and sent in the same words from then on, so that the provider's prompt cache stays valid. All other
    requests pass through. The header *X-Cprs: off*, or *"cprs": false* in the body, turns it off for a request;
    *"cprs": {"ratio": 0.2}* tunes it. The headers *X-Cprs-...* of the answer say what was done.
    """
    settings = Settings(
        upstream,
        min_tokens=min_tokens,
        keep_recent=keep_recent,
        limits=Limits(ratio, max_tokens),
        on_error=on_error.value,  # type: ignore[arg-type]
        memory=memory * _MIB,
        max_body=max_body * _MIB,
        workers=workers,
        timeout=timeout,
    )
    try:
        import uvicorn

        from .app import create_proxy
    except ImportError as error:
        raise MissingExtraError(error.name or "fastapi", "server") from error
    from ..compressor import ContextCompressor

    compressor = ContextCompressor.from_pretrained(model, device=device, dtype=dtype, window_size=window_size, skim=skim)
    errors.print(f"{compressor.model_name} on {compressor.engine.device}, http://{host}:{port} -> {upstream}")
    server = create_proxy(compressor, settings)
    quiet: dict[str, Any] = {"log_level": "warning", "access_log": False}  # paths may hold keys
    try:
        uvicorn.run(
            server, host=host, port=port, date_header=False, server_header=False, **quiet
        )  # the provider's are there
    except SystemExit as error:
        raise CprsError(f"cannot serve on {host}:{port}, as said above; if it is in use, choose another --port") from error

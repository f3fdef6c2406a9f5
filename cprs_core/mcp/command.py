"""``cprs mcp``: its options, and serving until the client goes or the server is stopped."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, MissingExtraError
from ..models import DEFAULT_MODEL
from ..options import Device, Dtype, Model, Skim, WindowSize
from ..server.sockets import LOCAL, listen
from ..terminal import errors
from .roots import MAX_BYTES, Roots

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    from ..compressor import ContextCompressor


def mcp(
    root: Annotated[
        list[Path] | None,
        typer.Option(help="Folder whose files may be read; give it several times for several.", show_default="no files"),
    ] = None,
    max_bytes: Annotated[int, typer.Option(min=1, help="Bytes of the largest text or file.")] = MAX_BYTES,
    url: Annotated[
        str | None,
        typer.Option(help="A running cprs serve that does the work (key: CPRS_API_KEY).", show_default="a model here"),
    ] = None,
    http: Annotated[bool, typer.Option("--http", help="Serve streamable HTTP, not standard input and output.")] = False,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on.", show_default="8000")] = None,
    api_keys: Annotated[
        Path | None, typer.Option(help="File of API keys, one a line. CPRS_API_KEYS holds more, separated by commas.")
    ] = None,
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="Another name that the server is reached by, as in its URL.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    device: Device = None,
    dtype: Dtype = None,
    window_size: WindowSize = None,
    skim: Skim = True,
) -> None:
    """Give an MCP client, such as Claude Desktop or an IDE, tools that compress long texts.

    The client starts this command itself and talks to it over standard input and output; *--http* serves many clients.
    Tools: compress_text, compress_url_content, and with *--root* also compress_file.
    """
    try:
        from .server import create_server
        from .worker import Local, Remote
    except ImportError as error:
        raise MissingExtraError(error.name or "mcp", "mcp") from error
    if not http and any(value is not None for value in (host, port, api_keys, allowed_host)):
        raise InputError("--host, --port, --api-keys and --allowed-host are of no use without --http")
    if url is not None and (model != DEFAULT_MODEL or device or dtype or window_size or not skim):
        raise InputError("the service at --url has its model loaded; leave out --url, or --model and how to load it")
    roots = Roots.of(root) if root else None
    how = {"device": device, "dtype": dtype, "window_size": window_size, "skim": skim}
    worker = Remote(url) if url is not None else Local(_load(model, **how))
    server = create_server(worker, roots, max_bytes=max_bytes)
    reads = f"reads files below {roots}" if roots else "reads no files (--root)"
    if http:
        names = [host or "127.0.0.1", *(allowed_host or [])]
        run = _on_port(server, names, 8000 if port is None else port, api_keys, max_bytes, reads)
    else:
        errors.print(f"{url or model}, waiting for an MCP client on standard input; {reads}")
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the thread that reads standard input cannot be interrupted
        run = server.run
    worker.warm_up()
    try:
        run()
    finally:
        worker.close()


def _load(model: str, **loading: Any) -> Callable[[], ContextCompressor]:
    def load() -> ContextCompressor:
        from ..compressor import ContextCompressor  # torch

        return ContextCompressor.from_pretrained(model, **loading)

    return load


def _on_port(
    server: MCPServer[Any], names: list[str], port: int, api_keys: Path | None, max_bytes: int, reads: str
) -> Callable[[], None]:
    """What serves on the first of the names, known by all of them."""
    from ..server.auth import Keys
    from .http import PATH, create_app, run

    keys, host = Keys.load(api_keys), names[0]
    if host not in LOCAL and keys.open:
        raise InputError(
            f"everyone who can reach {host} could use this server and read the files below its roots; give --api-keys, or "
            "leave out --host"
        )
    listener = listen(host, port)
    errors.print(f"listens on http://{host}:{listener.getsockname()[1]}{PATH}; {reads}")
    app = create_app(server, keys, list(dict.fromkeys([*LOCAL, *names])), max_bytes=max_bytes)
    return lambda: run(app, listener)

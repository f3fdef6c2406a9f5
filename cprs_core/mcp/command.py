"""``cprs mcp``: its options, and serving until the client goes or the server is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, MissingExtraError
from ..models import DEFAULT_MODEL
from ..options import Device, Dtype, Model, WindowSize
from ..server.sockets import LOCAL, listen
from ..terminal import errors

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    from ..compressor import ContextCompressor
    from .worker import Local


def mcp(
    root: Annotated[
        list[Path] | None,
        typer.Option(help="Folder whose files may be read; give it several times for several.", show_default="no files"),
    ] = None,
    max_bytes: Annotated[int, typer.Option(min=1, help="Bytes of the largest text or file.")] = 10 * 2**20,
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
) -> None:
    """Give an MCP client, such as Claude Desktop or an IDE, tools that compress long texts.

    The client starts this command itself and talks to it over standard input and output; *--http* serves many clients.
    Tools: compress_text, compress_url_content, and with *--root* also compress_file.
    """
    try:
        from .server import create_server
        from .worker import Remote
    except ImportError as error:
        raise MissingExtraError(error.name or "mcp", "mcp") from error
    from .roots import Roots

    if not http and any(value is not None for value in (host, port, api_keys, allowed_host)):
        raise InputError("--host, --port, --api-keys and --allowed-host are of no use without --http")
    if url is not None and (model != DEFAULT_MODEL or device or dtype or window_size):
        raise InputError("the service at --url has its model loaded; leave out --url, or --model and how to load it")
    roots = Roots.of(root) if root else None
    worker = Remote(url) if url is not None else _local(model, device=device, dtype=dtype, window_size=window_size)
    server = create_server(worker, roots, max_bytes=max_bytes)
    reads = f"reads files below {roots}" if roots else "reads no files (--root)"
    if http:
        _serve(server, host or "127.0.0.1", 8000 if port is None else port, api_keys, allowed_host or [], max_bytes, reads)
    else:
        errors.print(f"{url or model}, waiting for an MCP client on standard input; {reads}")
        server.run()


def _local(model: str, **loading: Any) -> Local:
    from .worker import Local

    def load() -> ContextCompressor:
        from ..compressor import ContextCompressor

        return ContextCompressor.from_pretrained(model, **loading)

    worker = Local(load)
    worker.warm_up()
    return worker


def _serve(
    server: MCPServer[Any], host: str, port: int, api_keys: Path | None, names: list[str], max_bytes: int, reads: str
) -> None:
    from ..server.auth import Keys
    from .http import PATH, create_app, run

    keys = Keys.load(api_keys)
    if host not in LOCAL and not keys:
        raise InputError(
            f"everyone who can reach {host} could use this server and read the files below its roots; give --api-keys, or "
            "leave out --host"
        )
    known = [*LOCAL, *(name for name in (host, *names) if name not in LOCAL)]
    listener = listen(host, port)
    errors.print(f"listens on http://{host}:{listener.getsockname()[1]}{PATH}; {reads}")
    run(create_app(server, keys, known, max_bytes=max_bytes), listener)

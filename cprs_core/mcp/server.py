"""The tools: compress a text, a file, or a web page that the caller has fetched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any

from mcp.server.mcpserver import Context, ListRoots, MCPServer, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, ListRootsResult, TextContent, ToolAnnotations
from pydantic import Field

from .. import __version__
from ..adapters import parse_instruction
from ..errors import CprsError, InputError, LimitError
from .roots import MAX_BYTES, Roots
from .shapes import Kept, MaxTokens, Query, Ratio, Result, Threshold, What
from .worker import Report, Worker

NOTHING = "Nothing in the text seems to matter for the query. With max_tokens, the best of it is kept anyway."
_EVERY = 0.5  # seconds between two notifications of progress

_INSTRUCTIONS = (
    "These tools shorten long texts before you read them: they keep, word for word, the passages that help to answer a "
    "question, and leave out the rest. Use them on texts of more than a few pages when you have a specific question. Do not "
    "use them to summarise, or where every part of the text matters."
)
_ANNOTATIONS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)


async def client_roots(ctx: Context) -> ListRoots | None:
    """Asks for the client's roots, if it has such a thing."""
    capabilities = ctx.client_capabilities
    return ListRoots() if capabilities is not None and capabilities.roots is not None else None


def create_server(worker: Worker, roots: Roots | None = None, *, max_bytes: int = MAX_BYTES) -> MCPServer[Any]:
    """An MCP server with the tools. Making one sets up logging to standard error if the program has not: so does the SDK.

    Args:
        roots: the folders whose files may be read; None = there is no tool to read files.
        max_bytes: of a text or file.
    """
    server: MCPServer[Any] = MCPServer(
        "cprs", title="Context compressor", instructions=_INSTRUCTIONS, version=__version__, log_level="WARNING"
    )

    @server.tool(title="Compress a text", annotations=_ANNOTATIONS)
    async def compress_text(
        text: Annotated[str, Field(description="The text, as it is.")],
        query: Query,
        ctx: Context,
        instruction: What = None,
        max_tokens: MaxTokens = None,
        ratio: Ratio = None,
        threshold: Threshold = None,
    ) -> Result:
        """Keeps the passages of a long text that help to answer a question, word for word, with their offsets."""
        with _told():
            options = _options(query, instruction, max_tokens, ratio, threshold)
            return await _compress(worker, ctx, _checked(text, max_bytes), options)

    @server.tool(title="Compress a web page", annotations=_ANNOTATIONS)
    async def compress_url_content(
        url: Annotated[str, Field(description="Where the page is from. It is not fetched; the result names it.")],
        content: Annotated[str, Field(description="The page's text, as you have it: plain text or Markdown, not HTML.")],
        query: Query,
        ctx: Context,
        instruction: What = None,
        max_tokens: MaxTokens = None,
        ratio: Ratio = None,
        threshold: Threshold = None,
    ) -> Result:
        """Keeps the passages of a web page that help to answer a question. Fetch it first; offsets are of the content."""
        with _told():
            if not url.startswith(("http://", "https://")):
                raise InputError(f"url must begin with http:// or https://, got {url[:200]!r}; for files use compress_file")
            options = _options(query, instruction, max_tokens, ratio, threshold)
            return await _compress(worker, ctx, _checked(content, max_bytes), options, url)

    if roots is None:
        return server

    @server.tool(
        title="Compress a file",
        annotations=_ANNOTATIONS,
        description="Keeps the passages of a text file that help to answer a question, word for word, with their offsets, "
        f"so that you need not read all of it. UTF-8 files below these folders: {roots}.",
    )
    async def compress_file(
        path: Annotated[str, Field(description="The file: an absolute path, or one relative to a folder that may be read.")],
        query: Query,
        ctx: Context,
        theirs: Annotated[ListRootsResult | None, Resolve(client_roots)],
        instruction: What = None,
        max_tokens: MaxTokens = None,
        ratio: Ratio = None,
        threshold: Threshold = None,
    ) -> Result:
        with _told():
            options = _options(query, instruction, max_tokens, ratio, threshold)
            allowed = roots if theirs is None else roots.narrowed(str(root.uri) for root in theirs.roots)
            text = await asyncio.to_thread(allowed.read, path, max_bytes)
            return await _compress(worker, ctx, text, options, path)

    return server


async def _compress(
    worker: Worker, ctx: Context, text: str, options: dict[str, Any], source: str | None = None
) -> CallToolResult:
    async with _progress(ctx) as report:
        result = await worker.compress(text, report, **options)
    kept = Kept.of(result, source)
    content = TextContent(type="text", text=kept.text or NOTHING)
    return CallToolResult(content=[content], structured_content=kept.model_dump())


def _options(
    query: str, instruction: str | None, max_tokens: int | None, ratio: float | None, threshold: float | None
) -> dict[str, Any]:
    limits = {"max_tokens": max_tokens, "ratio": ratio, "threshold": threshold}
    return {"query": query, "instruction": parse_instruction(instruction), **limits}


def _checked(text: str, max_bytes: int) -> str:
    size = len(text.encode("utf-8", "surrogatepass"))  # what is no text is refused later, in clear words
    if size > max_bytes:
        raise LimitError(
            f"the text has {size:,} bytes, more than the {max_bytes:,} that this server takes; send it in parts, or start "
            "the server with a larger --max-bytes"
        )
    return text


@contextmanager
def _told() -> Iterator[None]:
    """What is wrong, as an error that the model reads."""
    try:
        yield
    except CprsError as error:
        raise ToolError(str(error)) from error


@asynccontextmanager
async def _progress(ctx: Context) -> AsyncIterator[Report]:
    """Sends what the function is told, now and then: work of many short steps would drown the client in notifications."""
    latest: tuple[int, int | None] = (0, None)

    def report(done: int, total: int | None) -> None:
        nonlocal latest
        latest = (done, total)

    async def send() -> None:
        sent = 0
        while True:
            await asyncio.sleep(_EVERY)
            done, total = latest
            if done > sent:
                message = f"{done} of {total} windows read" if total else f"{done} s"
                await ctx.report_progress(done, total, message)
                sent = done

    sending = asyncio.create_task(send())
    try:
        yield report
    finally:
        sending.cancel()

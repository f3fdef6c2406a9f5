"""A callback of LiteLLM's proxy: long messages are compressed on their way to any provider (extra ``litellm``).

In a file beside the proxy's configuration, which names it under ``litellm_settings: callbacks: my_cprs.handler``::

    from cprs_core.integrations.litellm import CPRSHandler

    handler = CPRSHandler(max_tokens=800)

With LiteLLM's SDK, call :func:`cprs_core.compress_messages` before ``completion``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..chat.compress import MessageCompressor
from ..chat.shorten import ChatCompressor
from ..errors import MissingExtraError

try:
    from litellm.exceptions import BadRequestError
    from litellm.integrations.custom_logger import CustomLogger
except ImportError as error:
    raise MissingExtraError("litellm", "litellm") from error

_CALLS = {"completion": "metadata", "acompletion": "metadata", "anthropic_messages": "litellm_metadata"}  # its own notes


class CPRSHandler(CustomLogger):
    """Compresses the messages of chats, and says what it did in headers ``x-cprs-*`` of the answer and under ``cprs`` in the
    metadata that LiteLLM logs. A request with ``"cprs": false`` in its body passes as it is.

    Args:
        compressor, options: see :class:`~cprs_core.MessageCompressor`; here a message passes whole when compression fails,
            unless ``on_error="raise"`` is given.
    """

    def __init__(self, compressor: ChatCompressor | None = None, **options: Any) -> None:
        super().__init__()
        self._messages = MessageCompressor(compressor, **{"on_error": "original", **options})

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """What LiteLLM calls with each request."""
        wanted = data.pop("cprs", True)
        if not isinstance(wanted, bool):
            problem = f'"cprs" in the body must be true or false, got {type(wanted).__name__}'
            raise BadRequestError(problem, model=str(data.get("model")), llm_provider="")
        if not wanted or call_type not in _CALLS or not isinstance(data.get("messages"), list):
            return data
        key = getattr(user_api_key_dict, "api_key", None) or ""
        data["messages"], done = await self._messages.acompress(data["messages"], client=key)
        if isinstance(notes := data.get(_CALLS[call_type]), dict):
            notes["cprs"] = asdict(done)
        return data

    async def async_post_call_response_headers_hook(self, data: dict[str, Any], *_: Any, **__: Any) -> dict[str, str] | None:
        """What LiteLLM asks for headers of the answer."""
        notes = next((notes["cprs"] for name in _CALLS.values() if "cprs" in (notes := data.get(name) or {})), None)
        return notes and {f"x-cprs-{name.replace('_', '-')}": str(value) for name, value in notes.items()}

"""What users of agents may choose, whichever framework: the options of a compressor, and when and how to use it."""

from __future__ import annotations

from typing import Any, Self, cast

from pydantic import Field, model_validator

from .. import adapters
from ..errors import InputError
from ..pydantic_options import CompressorOptions, Options
from .references import References
from .shorten import ChatCompressor, OnError, Shortener


class AgentOptions(CompressorOptions):
    """Options of :class:`~cprs_core.pydantic_options.CompressorOptions`; a budget holds for each message. And:

    Args:
        min_tokens: what has at least so many tokens is compressed.
        on_error: when compression fails, ``"original"`` lets the text through as it is and notes the reason, ``"raise"``
            raises.
        store: where originals are stored, so that the agent can read them again: a LangGraph store, a byte store of
            LangChain, a key-value store of LlamaIndex or a dictionary; None = they are not. A compressed text ends in its
            reference then.
        namespace: where in the store.

    Raises:
        pydantic.ValidationError: an unknown option, one out of range, or two that contradict each other.
    """

    min_tokens: int = Field(default=1_000, ge=1)
    on_error: OnError = "original"
    store: Any = Field(default=None, exclude=True)
    namespace: tuple[str, ...] = ("cprs",)

    @model_validator(mode="after")
    def _check_agent_options(self) -> Self:
        self.references()
        if self.compressor is not None and not hasattr(self.compressor, "count_tokens"):
            name = type(self.compressor).__name__
            raise InputError(f"the compressor must have count_tokens(text), to tell what is long; {name} has none")
        return self

    def shortener(self, **watch: Any) -> Shortener:
        """What does it.

        Args:
            watch: ``on_start`` and ``on_end`` of a :class:`Shortener`.
        """
        return Shortener(self._resolved, self.min_tokens, self.on_error, self.references(), **watch)

    def arguments(self) -> dict[str, Any]:
        """What to keep, as the arguments of a compression."""
        return adapters.arguments(self)

    def references(self) -> References | None:
        """The store, if there is one."""
        return None if self.store is None else References(self.store, self.namespace)

    def _resolved(self) -> ChatCompressor:
        return cast(ChatCompressor, adapters.resolve_compressor(self))


class AgentArguments(Options, total=False):
    """The arguments of :class:`AgentOptions`, for functions that pass them on."""

    min_tokens: int
    on_error: OnError
    store: Any
    namespace: tuple[str, ...]

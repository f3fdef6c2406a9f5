"""What the framework adapters share: checking their options, finding the compressor and the instruction.

Plain functions; nothing here imports a framework, and torch only once a model is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, Protocol, runtime_checkable

from .budget import check_budget
from .errors import InputError, InstructionError
from .instruction import PRESETS, Instruction
from .models import DEFAULT_MODEL
from .result import Compression

LOADING = ("device", "dtype", "window_size", "overlap", "batch_tokens", "skim")  # options for how to load a model
LIMITS = ("max_tokens", "ratio", "threshold")  # options for how much to keep
Strategy = Literal["chunks", "parents"]


@runtime_checkable
class Compressor(Protocol):
    """What an adapter needs of a compressor: :class:`ContextCompressor`, or anything with the same two methods."""

    def compress_documents(
        self,
        documents: Sequence[str],
        query: str,
        instruction: Instruction | str | None = None,
        *,
        max_tokens: int | None = None,
        ratio: float | None = None,
        threshold: float | None = None,
    ) -> list[Compression]: ...

    async def acompress_documents(
        self,
        documents: Sequence[str],
        query: str,
        instruction: Instruction | str | None = None,
        *,
        max_tokens: int | None = None,
        ratio: float | None = None,
        threshold: float | None = None,
    ) -> list[Compression]: ...


class Options(Protocol):
    """The options that every adapter has, besides those of ``LOADING``."""

    model: str
    instruction: str | Instruction | None
    max_tokens: int | None
    ratio: float | None
    threshold: float | None
    compressor: Compressor | None
    url: str | None
    api_key: Any


class RetrievalOptions(Options, Protocol):
    """The options of an adapter for retrieved documents."""

    strategy: Strategy
    fetch_parent: Any


def parse_instruction(value: str | Instruction | None) -> Instruction:
    """The instruction that an option means: a single word names a preset (``"answer"``, also ``"entities:KIND"``), any
    other string is an instruction in plain words, None is the default.

    Raises:
        InstructionError: an empty instruction, or a single word that is no preset.
    """
    if value is None or isinstance(value, Instruction):
        return Instruction.of(value)
    if value in PRESETS or value.startswith("entities:"):
        return Instruction.preset(value)
    if value.isascii() and value.isidentifier():
        raise InstructionError(
            f"unknown preset {value!r}; use one of {', '.join(PRESETS)}, or say in a few plain words what to keep"
        )
    return Instruction.from_text(value)


def check_options(options: Options) -> str:
    """Refuses options that contradict each other. Returns the name of the model that they mean.

    An injected compressor's own model name is taken over, so that an adapter rebuilt from its options finds that model.

    Raises:
        InstructionError: see :func:`parse_instruction`.
        BudgetError: two budgets.
        InputError: options to load a model beside a compressor or a url, or an ``api_key`` that is of no use.
    """
    parse_instruction(options.instruction)
    check_budget(options.max_tokens, options.ratio, options.threshold)
    if options.url is not None:
        given = ["compressor"] * (options.compressor is not None) + ["model"] * (options.model != DEFAULT_MODEL)
        if unused := [*given, *_values(options, LOADING)]:
            raise InputError(f"the service at url has its model loaded; leave url out, or {', '.join(unused)}")
    elif options.api_key is not None:
        raise InputError("an api_key is of no use without the url of a service; give both or neither")
    if options.compressor is None:
        return options.model
    name = str(getattr(options.compressor, "model_name", options.model))
    unused = [*_values(options, LOADING)] + ["model"] * (options.model not in (DEFAULT_MODEL, name))
    if unused:
        raise InputError(f"the compressor is loaded already; leave it out, or {', '.join(unused)}")
    return name


def check_strategy(options: RetrievalOptions, store_method: str) -> None:
    """Refuses a ``fetch_parent`` that is missing or of no use.

    Args:
        store_method: the method by which it is known as a store, where it is no function.

    Raises:
        InputError: says which.
    """
    fetch = options.fetch_parent
    if options.strategy == "parents" and fetch is None:
        raise InputError("strategy='parents' needs fetch_parent, to get the whole documents from")
    if options.strategy != "parents" and fetch is not None:
        raise InputError("fetch_parent is of no use without strategy='parents'; give both or neither")
    if fetch is not None and not callable(fetch) and not hasattr(fetch, store_method):
        raise InputError(f"fetch_parent must be a function or have {store_method}(), got {type(fetch).__name__}")


def resolve_compressor(options: Options) -> Compressor:
    """The injected compressor, else a client of the service, else the process-wide one of the model, loaded on first use."""
    if options.compressor is not None:
        return options.compressor
    if options.url is not None:
        key = options.api_key
        return _client(options.url, key.get_secret_value() if hasattr(key, "get_secret_value") else key)
    from .compressor import shared

    return shared(options.model, **_values(options, LOADING))


@lru_cache(maxsize=16)
def _client(url: str, api_key: str | None) -> Compressor:
    """One client a service, so that its connections are reused."""
    from .client import CprsClient

    return CprsClient(url, api_key=api_key)


def arguments(options: Options) -> dict[str, Any]:
    """What to keep, as the arguments of a compression."""
    return {"instruction": parse_instruction(options.instruction), **_values(options, LIMITS)}


def statistics(result: Compression) -> dict[str, Any]:
    """What an adapter notes in the metadata of a compressed document; JSON-ready.

    ``spans`` are ``[start, end, score, tag]``, in characters of the text before compression.
    """
    return {
        "spans": [[span.start, span.end, span.score, span.tag] for span in result.spans],
        "input_tokens": result.input_tokens,
        "kept_tokens": result.kept_tokens,
        "original_length": len(result.source),
        "model": result.model,
    }


def check_parents(ids: Sequence[str], parents: Sequence[object], kind: type) -> list[Any]:
    """The parents that were fetched for some ids, once it is certain that they are all there.

    Raises:
        InputError: a parent is missing or not of this kind.
    """
    for id_, parent in zip(ids, parents, strict=True):
        if parent is None:
            raise InputError(f"there is no parent {id_!r} to fetch; store the whole document under this id")
        if not isinstance(parent, kind):
            raise InputError(f"the parent {id_!r} must be a {kind.__name__}, got {type(parent).__name__}")
    return list(parents)


def _values(options: Options, names: Sequence[str]) -> dict[str, Any]:
    """The options of these names that were given."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}

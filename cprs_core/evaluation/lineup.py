"""Which methods are compared: by name, each loaded only if it is asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from ..compressor import ContextCompressor
from ..errors import InputError
from .critic import Cprs
from .methods import Bm25, Fusion, Lead, Method, Oracle, Random, Ranker

if TYPE_CHECKING:
    from .lingua import TokenDropper

METHODS = ("cprs", "bm25", "embeddings", "fusion", "random", "lead", "oracle", "llmlingua", "longllmlingua")

_USUAL: dict[str, tuple[str, ...]] = {  # and the packages that they need
    "cprs": (),
    "bm25": ("rank_bm25",),
    "embeddings": ("sentence_transformers",),
    "fusion": ("rank_bm25", "sentence_transformers"),
}


def usual_methods() -> tuple[list[str], list[str]]:
    """The methods to compare where none are named, and those of them that lack a package here."""
    lacking = [name for name, needs in _USUAL.items() if not all(map(importlib.util.find_spec, needs))]
    return [name for name in _USUAL if name not in lacking], lacking


def open_methods(
    names: Sequence[str],
    compressor: ContextCompressor,
    *,
    embedding_model: str | None = None,
    lingua_model: str | None = None,
    device: str | None = None,
    seed: int = 0,
) -> list[Method]:
    """The named methods, in that order; those that build on a model share it.

    Args:
        embedding_model: see :class:`~.embeddings.Embeddings`; None = all-MiniLM-L6-v2.
        lingua_model: a causal language model, for llmlingua and longllmlingua.
        seed: of the method ``random``.

    Raises:
        InputError: a name that is unknown or comes twice, or no ``lingua_model`` where one is needed.
        MissingExtraError, ModelLoadError, DeviceError: a method cannot be loaded here.
    """
    if unknown := [name for name in names if name not in METHODS]:
        raise InputError(f"there is no method {unknown[0]!r}; use some of: {', '.join(METHODS)}")
    if not names or len(set(names)) < len(names):
        raise InputError(f"name each method once, and at least one; got {', '.join(names) or 'none'}")

    @cache
    def embeddings() -> Ranker:
        from .embeddings import Embeddings, default_model

        return Embeddings(embedding_model or default_model(), device)

    @cache
    def dropper() -> TokenDropper:
        from .lingua import TokenDropper

        if lingua_model is None:
            raise InputError(
                "llmlingua and longllmlingua drop tokens by the perplexity of a language model; name a causal one with "
                "--lingua-model (their authors use Llama-2-7B)"
            )
        return TokenDropper(lingua_model, device)

    def lingua(name: str) -> Method:
        from .lingua import Lingua

        return Lingua(name, dropper())

    bm25 = cache(Bm25)
    makers: dict[str, Callable[[], Method]] = {
        "cprs": lambda: Cprs(compressor),
        "bm25": bm25,
        "embeddings": embeddings,
        "fusion": lambda: Fusion(bm25(), embeddings()),
        "random": lambda: Random(seed),
        "lead": Lead,
        "oracle": Oracle,
        "llmlingua": lambda: lingua("llmlingua"),
        "longllmlingua": lambda: lingua("longllmlingua"),
    }
    return [makers[name]() for name in names]

"""LLMLingua and LongLLMLingua (arXiv 2310.05736, 2310.06839) among the compared methods, by their authors' package.

Both drop single tokens by the perplexity of a small language model, to a target in tokens: they keep about a share of
the text, not at most. What they kept is known token by token, so that their spans are exact.
"""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from ..errors import CprsError, MissingExtraError
from .case import Case
from .causal import load_causal
from .ranges import Ranges, meetings, ranges, union

try:
    from llmlingua import PromptCompressor
except ImportError as error:
    raise MissingExtraError("llmlingua", "lingua") from error

_DOCUMENT = 1_500  # characters; both choose among documents first, and a long text is cut into such

SETTINGS: dict[str, dict[str, Any]] = {
    "llmlingua": {"rank_method": "llmlingua"},
    # as its authors recommend, but for the order: documents stay in that of the text
    "longllmlingua": {
        "rank_method": "longllmlingua",
        "condition_in_question": "after_condition",
        "condition_compare": True,
        "dynamic_context_compression_ratio": 0.3,
        "context_budget": "+100",
        "reorder_context": "original",
    },
}


class TokenDropper(PromptCompressor):  # type: ignore[misc]
    """The package's compressor over a model that is loaded here, which notes what it keeps.

    The package's own constructor fetches a tokenizer of OpenAI's from the net, and it passes KV caches as lists of
    tensors, which transformers no longer takes.
    """

    def __init__(self, model: str, device: str | None = None) -> None:
        self.tokenizer, causal = load_causal(model, device)
        self.model = _ListCaches(causal)
        self.device = causal.device
        self.max_position_embeddings = causal.config.max_position_embeddings
        self.oai_tokenizer = self.tokenizer  # for statistics that nobody reads
        self.use_llmlingua2 = False
        self.cache_bos_num, self.prefix_bos_num = 10, 100
        self.context_idxs: list[list[int]] = []

    def compress(self, text: str, documents: Ranges, query: str, share: float, settings: dict[str, Any]) -> Ranges:
        """About a share of a text's tokens, as characters int64 [k, 2].

        Args:
            documents: what the text is cut into, int64 [d, 2].
        """
        pieces = [text[start:end] for start, end in documents.tolist()]
        self._used = list(range(len(pieces)))
        target = int(share * len(self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids))
        self.compress_prompt(pieces, question=query, target_token=target, concate_question=False, **settings)
        # The kept tokens are known by their place in the joined documents, after the query if that stands in front.
        joined = documents[self._used]
        lengths = joined[:, 1] - joined[:, 0]
        starts = self._length - np.cumsum((lengths + len("\n\n"))[::-1])[::-1] + len("\n\n")
        _, index, shared = meetings(self._kept, np.stack([starts, starts + lengths], 1))
        return union(shared + (joined[index, 0] - starts[index])[:, None])

    def control_context_budget(self, *args: Any, **options: Any) -> Any:
        """Chooses documents; which, is noted."""
        result = super().control_context_budget(*args, **options)
        self._used = list(result[2])
        return result

    def iterative_compress_prompt(self, context: list[str], *args: Any, start: int = 0, **options: Any) -> Any:
        """Drops tokens of the joined documents; what is left, is noted."""
        text = "\n\n".join(context)
        offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False).offset_mapping
        self._gone: list[Tensor] = []
        self._places = torch.arange(len(offsets), device=self.device)[None]
        result = super().iterative_compress_prompt(context, *args, start=start, **options)
        places = torch.cat([*self._gone, self._places], 1)[0, start:].tolist()
        self._length, self._kept = len(text), union(ranges([offsets[place] for place in places]))
        return result

    def get_compressed_input(
        self, loss: Tensor, input_ids: Tensor, attention_mask: Tensor, end: Any, *args: Any, **options: Any
    ) -> Any:
        """Drops tokens of one step. Their places are dropped in the same way: as if they were the tokens."""
        end = int(end)  # the package changes a tensor in place
        gone = self._places.shape[1] - input_ids.shape[1]  # out of the model's reach since the last step, and kept
        self._gone.append(self._places[:, :gone])
        places = self._places[:, gone:]
        self._places = super().get_compressed_input(loss, places, attention_mask, end, *args, **options)[0]
        return super().get_compressed_input(loss, input_ids, attention_mask, end, *args, **options)


class _ListCaches:
    """A causal model whose KV cache is a list of (keys, values), a pair a layer."""

    def __init__(self, model: Any) -> None:
        self._model = model
        taken = inspect.signature(model.forward).parameters
        self._cache = "cache" if "cache" in taken else "past_key_values"  # newer and older transformers

    def __call__(self, input_ids: Tensor, *, attention_mask: Tensor, past_key_values: Any, use_cache: bool) -> Any:
        cache: Any = DynamicCache([tuple(pair) for pair in past_key_values or ()])
        result = self._model(input_ids, attention_mask=attention_mask, use_cache=use_cache, **{self._cache: cache})
        return SimpleNamespace(logits=result.logits, past_key_values=[(layer.keys, layer.values) for layer in cache.layers])


class Lingua:
    """One of the two methods of ``SETTINGS``; both may share a compressor."""

    def __init__(self, name: str, dropper: TokenDropper) -> None:
        self.name = name
        self._dropper = dropper

    def keep(self, case: Case, sentences: Ranges, share: float) -> Ranges:
        """See :class:`~.methods.Method`; about as much is kept, rather than at most.

        Raises:
            CprsError: the package gave up on this text.
        """
        try:
            return self._dropper.compress(case.text, _documents(sentences), case.query, share, SETTINGS[self.name])
        except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise CprsError(
                f"the package llmlingua failed on case {case.key} of {case.task} ({type(error).__name__}: {error}); try "
                f"another --lingua-model, or leave {self.name} out of --methods"
            ) from error


def _documents(sentences: Ranges) -> Ranges:
    """Runs of sentences of up to ``_DOCUMENT`` characters; a longer sentence is one by itself."""
    runs: list[tuple[int, int]] = []
    for start, end in sentences.tolist():
        if runs and end - runs[-1][0] <= _DOCUMENT:
            runs[-1] = runs[-1][0], end
        else:
            runs.append((start, end))
    return ranges(runs)

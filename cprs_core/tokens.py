"""Text to token ids with character offsets: once, without control tokens, safe from many threads.

The tokenizer of a checkpoint is rebuilt without its added tokens, so that ``<|im_end|>`` typed inside a document or a
query is nine ordinary characters. Control tokens are added by id, from :class:`~cprs_core.instruction.Control` pieces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InstructionError, ModelLoadError
from .instruction import Control

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A line break before a letter or digit is a token border in every byte-level BPE that we know of.
_BLOCK_BORDER = re.compile(r"\n(?=[^\W_])")
_BLOCK = 200_000  # characters tokenised at a time: the tokenizer's own records take several hundred bytes a token


@dataclass(frozen=True)
class Tokens:
    """A tokenised text of n tokens: ``ids`` int32 [n]; ``starts``, ``ends`` int64 [n], character offsets (end exclusive).

    All tokens of one character have its offsets; characters in no token (white space, for some tokenizers) may lie between.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


class TextTokenizer:
    """Wraps a fast tokenizer of transformers (``tokenizer``); read-only after construction.

    Raises:
        ModelLoadError: the tokenizer is empty, or a slow one with no offsets.
    """

    def __init__(self, tokenizer: Any) -> None:
        from tokenizers import Tokenizer

        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelLoadError(
                "the checkpoint has no fast tokenizer (tokenizer.json), and offsets need one; convert it with "
                "transformers' AutoTokenizer.from_pretrained(...).save_pretrained(...)"
            )
        spec = json.loads(backend.to_str())
        self._control = {token["content"]: int(token["id"]) for token in spec["added_tokens"]}
        spec.update(added_tokens=[], truncation=None, padding=None)
        if (spec.get("post_processor") or {}).get("type") != "ByteLevel":
            spec["post_processor"] = None
        self._backend = Tokenizer.from_str(json.dumps(spec))
        if not self._backend.encode("a", add_special_tokens=False).ids:  # what transformers makes of no files at all
            raise ModelLoadError("the checkpoint has no tokenizer; its folder lacks tokenizer.json")

    def __call__(self, text: str) -> Tokens:
        """Tokenises ``text``, any length, in bounded memory."""
        parts = []
        for offset, end in _blocks(text):
            encoding = self._backend.encode(text[offset:end], add_special_tokens=False)
            spans = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2) + offset
            parts.append((np.array(encoding.ids, dtype=np.int32), spans))
        ids = np.concatenate([np.empty(0, np.int32), *(ids for ids, _ in parts)])
        spans = np.concatenate([np.empty((0, 2), np.int64), *(spans for _, spans in parts)])
        return Tokens(ids, np.ascontiguousarray(spans[:, 0]), np.ascontiguousarray(spans[:, 1]))

    def count(self, text: str) -> int:
        """The number of tokens of ``text``."""
        return sum(len(self._backend.encode(text[a:b], add_special_tokens=False).ids) for a, b in _blocks(text))

    def prefix(self, pieces: Sequence[str | Control]) -> NDArray[np.int32]:
        """Ids of a rendered instruction.

        Raises:
            InstructionError: the checkpoint lacks a control token.
        """
        ids: list[int] = []
        for piece in pieces:
            if isinstance(piece, str):
                ids += self._backend.encode(piece, add_special_tokens=False).ids
            elif piece.token in self._control:
                ids.append(self._control[piece.token])
            else:
                raise InstructionError(
                    f"the checkpoint's tokenizer has no control token {piece.token!r}; use one trained with this prompt "
                    "format, or add the token to its tokenizer"
                )
        return np.array(ids, dtype=np.int32)

    def tag_ids(self, tags: Sequence[str]) -> NDArray[np.int32]:
        """The ids that stand for the tags and, last, for "outside": the first token of each bare word (paper 2.3).

        Raises:
            InstructionError: two of the words begin with the same token, so the critic could not tell them apart.
        """
        words = [*tags, "outside"]
        ids = [self._backend.encode(word, add_special_tokens=False).ids[0] for word in words]
        for i, word in enumerate(words):
            if (first := ids.index(ids[i])) < i:
                raise InstructionError(
                    f"the tags {words[first]!r} and {word!r} begin with the same token for this model; choose other words"
                )
        return np.array(ids, dtype=np.int32)


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Cuts long texts where tokens end anyway, after a line break where there is one."""
    start = 0
    while len(text) - start > 2 * _BLOCK:
        border = _BLOCK_BORDER.search(text, start + _BLOCK, start + 2 * _BLOCK)
        end = border.end() if border else start + 2 * _BLOCK
        yield start, end
        start = end
    if start < len(text):
        yield start, len(text)

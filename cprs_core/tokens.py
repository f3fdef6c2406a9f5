"""Text to token ids with character offsets: once, without control tokens, safe from many threads.

The tokenizer of a checkpoint is rebuilt without its added tokens, so that ``<|im_end|>`` typed inside a document or a
query is nine ordinary characters. Control tokens are added by id, from :class:`~cprs_core.instruction.Control` pieces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InstructionError, ModelLoadError
from .instruction import Control

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A line break before a letter or digit is a token border in every byte-level BPE that we know of.
_BLOCK_BORDER = re.compile(r"\n(?=[^\W_])")
_BLOCK, _FURTHEST = 10_000, 400_000  # characters of a block: a small one stays in the caches; a border may be far away
_TOGETHER = 32  # blocks tokenised at a time: the tokenizer's own records take several hundred bytes a token


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
    """Read-only after construction.

    Args:
        spec: the content of a tokenizer.json.

    Raises:
        ModelLoadError: the tokenizer is empty.
    """

    def __init__(self, spec: str) -> None:
        from tokenizers import Tokenizer

        parts = json.loads(spec)
        self._control = {token["content"]: int(token["id"]) for token in parts["added_tokens"]}
        parts.update(added_tokens=[], truncation=None, padding=None)
        if (parts.get("post_processor") or {}).get("type") != "ByteLevel":
            parts["post_processor"] = None
        self._backend = Tokenizer.from_str(json.dumps(parts))
        if not self._backend.encode("a", add_special_tokens=False).ids:  # what transformers makes of no files at all
            raise ModelLoadError("the checkpoint has no tokenizer; its folder lacks tokenizer.json")

    @classmethod
    def of(cls, tokenizer: Any) -> TextTokenizer:
        """From a tokenizer of transformers.

        Raises:
            ModelLoadError: it is a slow one, with no offsets.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelLoadError(
                "the checkpoint has no fast tokenizer (tokenizer.json), and offsets need one; convert it with "
                "transformers' AutoTokenizer.from_pretrained(...).save_pretrained(...)"
            )
        return cls(backend.to_str())

    def __call__(self, text: str) -> Tokens:
        """Tokenises ``text``, any length, in bounded memory."""
        return self.many([text])[0]

    def many(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenises texts, on all cores."""
        parts: list[list[Tokens]] = [[] for _ in texts]
        for number, offset, encoding in self._encode(texts):
            # fromiter, since np.array gives up the GIL so often and so shortly that no other thread ever gets it meanwhile
            size = len(encoding)
            spans = np.fromiter(chain.from_iterable(encoding.offsets), np.int64, 2 * size).reshape(-1, 2).T + offset
            parts[number].append(Tokens(np.fromiter(encoding.ids, np.int32, size), *spans))
        return [_joined(some) for some in parts]

    def count(self, text: str) -> int:
        """The number of tokens of ``text``."""
        return sum(len(encoding) for _, _, encoding in self._encode([text]))

    def _encode(self, texts: Sequence[str]) -> Iterator[tuple[int, int, Any]]:
        """Encodings of all texts, block by block: the number of the text, where the block begins, and its encoding."""
        blocks = ((number, start, end) for number, text in enumerate(texts) for start, end in _blocks(text))
        while some := list(islice(blocks, _TOGETHER)):
            parts = [texts[number][start:end] for number, start, end in some]
            for (number, start, _), encoding in zip(
                some, self._backend.encode_batch(parts, add_special_tokens=False), strict=True
            ):
                yield number, start, encoding

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


def _joined(parts: Sequence[Tokens]) -> Tokens:
    if len(parts) == 1:
        return parts[0]
    empty = np.empty(0, np.int64)
    return Tokens(
        np.concatenate([empty.astype(np.int32), *(part.ids for part in parts)]),
        np.concatenate([empty, *(part.starts for part in parts)]),
        np.concatenate([empty, *(part.ends for part in parts)]),
    )


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Cuts long texts where tokens end anyway, after a line break where there is one."""
    start = 0
    while len(text) - start > 2 * _BLOCK:
        border = _BLOCK_BORDER.search(text, start + _BLOCK, start + _FURTHEST)
        end = border.end() if border else min(start + _FURTHEST, len(text))
        yield start, end
        start = end
    if start < len(text):
        yield start, len(text)

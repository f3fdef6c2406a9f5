"""Text to token ids with character offsets: once, without control tokens, safe from many threads.

The tokenizer of a checkpoint is rebuilt without its added tokens, so that ``<|im_end|>`` typed inside a document or a
query is nine ordinary characters. Control tokens are added by id, from :class:`~cprs_core.instruction.Control` pieces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InstructionError, ModelLoadError
from .instruction import Control

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Behind a single line break and before a letter or digit, or behind one of these and before a space or full stop: tokens
# end there in every byte-level BPE that we know of.
_BLOCK_BORDER = re.compile(r"(?<=\S\n)(?=[^\W_])|(?<=[^\W_])(?= [^\W_]|。)")
_BLOCK, _FURTHEST = 2_500, 400_000  # characters of a block: small ones keep many cores busy; a border may be far away
_SHORT = 2_000  # characters that are tokenised faster than threads for them wake up
_FIRST = 16  # blocks tokenised together, so that a model can begin
_TOGETHER = 64  # and later on: the tokenizer's own records take several hundred bytes a token


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

    def __getitem__(self, part: slice) -> Tokens:
        return Tokens(self.ids[part], self.starts[part], self.ends[part])


class Tokenising:
    """A text that is tokenised as far as somebody needs it: iterating gives all of it, in parts, in order, every time.

    Args:
        parts: the tokens that are still to come.
        room: how many there will be, about, or more: memory that is not used is not taken from the system.
    """

    def __init__(self, parts: Iterator[Tokens], room: int) -> None:
        self._coming = parts
        self._held, self._size = _unfilled(room), 0
        self.is_done = False

    @classmethod
    def done(cls, tokens: Tokens) -> Tokenising:
        """A text that is tokenised already."""
        new = cls(iter(()), 0)
        new._held, new._size, new.is_done = tokens, len(tokens), True
        return new

    def __iter__(self) -> Iterator[Tokens]:
        end = 0
        while end < self._size or self._take():
            start, end = end, self._size
            yield self._held[start:end]

    @cached_property
    def whole(self) -> Tokens:
        """The tokens of the whole text."""
        while self._take():
            pass
        return self._held[: self._size]

    def _take(self) -> bool:
        """Takes the next part, if there is one."""
        if (part := next(self._coming, None)) is None:
            self.is_done = True
            return False
        start, self._size = self._size, self._size + len(part)
        if self._size > len(self._held):
            self._held = joined([self._held[:start], _unfilled(self._size)])
        self._held.ids[start : self._size] = part.ids
        self._held.starts[start : self._size] = part.starts
        self._held.ends[start : self._size] = part.ends
        return True


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
        return joined([part for _, part in self._tokens([text])])

    def lazily(self, text: str) -> Tokenising:
        """Tokenises ``text`` bit by bit, as it is read."""
        return Tokenising((part for _, part in self._tokens([text])), len(text))

    def many(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenises texts, on all cores."""
        parts: list[list[Tokens]] = [[] for _ in texts]
        for number, part in self._tokens(texts):
            parts[number].append(part)
        return [joined(some) for some in parts]

    def count(self, text: str) -> int:
        """The number of tokens of ``text``."""
        return sum(len(encoding) for _, _, encoding in self._encode([text]))

    def _tokens(self, texts: Sequence[str]) -> Iterator[tuple[int, Tokens]]:
        """The tokens of all texts, block by block, with the number of the text."""
        for number, offset, encoding in self._encode(texts):
            # fromiter, since np.array gives up the GIL so often and so shortly that no other thread ever gets it meanwhile
            size = len(encoding)
            spans = np.fromiter(chain.from_iterable(encoding.offsets), np.int64, 2 * size).reshape(-1, 2).T + offset
            yield number, Tokens(np.fromiter(encoding.ids, np.int32, size), *spans)

    def _encode(self, texts: Sequence[str]) -> Iterator[tuple[int, int, Any]]:
        """Encodings of all texts, block by block: the number of the text, where the block begins, and its encoding."""
        blocks = ((number, start, text[start:end]) for number, text in enumerate(texts) for start, end in _blocks(text))
        some = list(islice(blocks, _FIRST))
        if len(some) < _FIRST:
            yield from self._encoded(some)
            return
        with ThreadPoolExecutor(1) as ahead:  # so that whoever takes them need not wait for the next ones
            coming = ahead.submit(self._encoded, some)
            together = _FIRST
            while some:
                together = min(2 * together, _TOGETHER)
                some, done = list(islice(blocks, together)), coming.result()
                coming = ahead.submit(self._encoded, some)
                yield from done

    def _encoded(self, blocks: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, Any]]:
        parts = [part for _, _, part in blocks]
        if len(parts) == 1 and len(parts[0]) <= _SHORT:
            encodings = [self._backend.encode(parts[0], add_special_tokens=False)]
        else:
            encodings = self._backend.encode_batch(parts, add_special_tokens=False)
        return [(number, start, encoding) for (number, start, _), encoding in zip(blocks, encodings, strict=True)]

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


def _unfilled(n: int) -> Tokens:
    return Tokens(np.empty(n, np.int32), np.empty(n, np.int64), np.empty(n, np.int64))


def joined(parts: Sequence[Tokens]) -> Tokens:
    """One after the other."""
    if len(parts) == 1:
        return parts[0]
    parts = [_unfilled(0), *parts]
    return Tokens(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.starts for part in parts]),
        np.concatenate([part.ends for part in parts]),
    )


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Cuts long texts where tokens end anyway."""
    start = 0
    while len(text) - start > 2 * _BLOCK:
        border = _BLOCK_BORDER.search(text, start + _BLOCK, start + _FURTHEST)
        end = border.end() if border else min(start + _FURTHEST, len(text))
        yield start, end
        start = end
    if start < len(text):
        yield start, len(text)

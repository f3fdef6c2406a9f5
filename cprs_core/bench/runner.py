"""The measurements, side by side: every side runs its tasks and is given back before the next is loaded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from .. import devices
from ..compressor import ContextCompressor
from ..spans import TokenScores
from ..terminal import short
from .agreement import agreement
from .host import host_alone, model_alone
from .measure import measure, release
from .options import RANDOM_7B, Options
from .sides import Side, open_plain, open_side, sides
from .start import start
from .texts import QUERIES, Texts

Figures = tuple[int, list[float], dict[str, Any]]
"""Tokens, seconds and other figures of a :class:`Row`."""

KEPT = 0.05  # of each text, about what trained weights keep; random ones would keep nearly all, and that takes time too
_COMPARED = 16_000  # tokens whose scores are compared, at most, for each query


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        side: as it is called, see :class:`~.sides.Side`.
        size: what the task varies: tokens of the text, how many documents, tokens of a batch (0: a window).
        tokens: in all texts together, as the model counts them; prefixes are not counted.
        seconds: of each run. figures: what else the task measures.
    """

    task: str
    side: str
    size: int
    tokens: int
    seconds: list[float]
    figures: dict[str, Any]

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def speed(self) -> float:
        """Tokens a second."""
        return self.tokens / self.median

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"median_seconds": self.median, "tokens_per_second": self.speed}


def steps(side: Side, options: Options) -> list[tuple[str, int]]:
    """The tasks of a side and their sizes."""
    limit = options.baseline_limit if side.is_plain else None
    sizes: dict[str, list[tuple[int, int]]] = {  # of each: the size, and how many tokens that are
        "start": [(0, 0)],
        "length": [(length, length) for length in options.lengths],
        "documents": [(options.documents, options.documents * options.document_tokens)],
        "batch": [(batch, options.usual_length) for batch in ((0,) if side.is_plain else options.batches)],
        "agreement": [] if side.is_plain else [(compared := min(options.usual_length, _COMPARED), compared)],
    }
    tasks = [task for task in options.tasks if task == "length" or not side.skims]
    return [(task, size) for task in tasks for size, tokens in sizes[task] if limit is None or tokens <= limit]


class Bench:
    """Args:
    watch: is told what comes next.
    """

    def __init__(self, options: Options, watch: Callable[[str], None]) -> None:
        self._options, self._watch = options, watch
        self._device = devices.resolve_devices(options.device)[0]
        self._ratio = KEPT if options.model == RANDOM_7B else None
        self._texts: Texts | None = None
        self._expected: list[TokenScores] = []

    def rows(self) -> Iterator[Row]:
        """Measures; each side holds its model no longer than it runs."""
        if "agreement" in self._options.tasks:
            self._expected = self._reference()
        for side in sides(self._options):
            if todo := steps(side, self._options):
                yield from self._side(side, todo)
                release(self._device)

    def _side(self, side: Side, todo: list[tuple[str, int]]) -> Iterator[Row]:
        if ("start", 0) in todo:
            yield self._start(side)
        if not (todo := [step for step in todo if step != ("start", 0)]):
            return
        self._watch(f"{side}: loading")
        compressor = open_side(side, self._options)
        tasks = {
            "length": self._length,
            "documents": self._documents,
            "batch": self._batch,
            "agreement": self._agreement,
        }
        for task, size in todo:
            self._watch(f"{side}: {task} {short(size) if size else ''}")
            tokens, seconds, figures = tasks[task](compressor, size)
            yield Row(task, str(side), size, tokens, seconds, figures)

    def _start(self, side: Side) -> Row:
        self._watch(f"{side}: start")
        runs = [start(side, self._options) for _ in range(self._options.runs)]
        medians = {name: median(run[name] for run in runs) for name in runs[0]}
        return Row("start", str(side), 0, 0, [run["import"] + run["load"] + run["first"] for run in runs], medians)

    def _length(self, compressor: ContextCompressor, size: int) -> Figures:
        text = self._of(compressor).text(size)
        tokens, seconds, figures = self._compress(compressor, [text])
        alone = host_alone(compressor)
        host = measure(lambda: alone.compress(text, QUERIES[0], ratio=self._ratio), self._options.runs, self._device).seconds
        figures |= {"host_seconds": host, "host_share": median(host) / median(seconds)}
        if compressor.checkpoint.skim is None:
            model = measure(model_alone(compressor, text, QUERIES[0]), self._options.runs, self._device).seconds
            figures |= {"model_seconds": model, "host_waited_for": 1 - median(model) / median(seconds)}
        return tokens, seconds, figures

    def _documents(self, compressor: ContextCompressor, size: int) -> Figures:
        documents = self._of(compressor).documents(size, self._options.document_tokens)
        tokens, seconds, figures = self._compress(compressor, documents)
        return tokens, seconds, figures | {"documents_per_second": size / median(seconds)}

    def _batch(self, compressor: ContextCompressor, size: int) -> Figures:
        text = self._of(compressor).text(self._options.usual_length)
        batch_tokens = size or compressor.engine.batch_tokens
        batched = ContextCompressor(compressor.checkpoint, window_size=compressor.window_size, batch_tokens=batch_tokens)
        return self._compress(batched, [text])

    def _agreement(self, compressor: ContextCompressor, size: int) -> Figures:
        text = self._of(compressor).text(size)
        began = time.perf_counter()
        found = [compressor.scores(text, query) for query in QUERIES]
        seconds = time.perf_counter() - began
        return sum(len(scores.starts) for scores in found), [seconds], agreement(compressor, text, found, self._expected)

    def _reference(self) -> list[TokenScores]:
        self._watch("plain float32, which the others should agree with")
        compressor = open_plain("float32", self._options.window_size, self._options)
        text = self._of(compressor).text(min(self._options.usual_length, _COMPARED))
        scores = [compressor.scores(text, query) for query in QUERIES]
        del compressor
        release(self._device)
        return scores

    def _compress(self, compressor: ContextCompressor, texts: list[str]) -> Figures:
        """Times the compression of texts, after one of as much of them as fills two batches of every device."""
        tokens = sum(map(compressor.count_tokens, texts))
        engine = compressor.engine
        enough = 2 * len(engine.scorers) * max(engine.batch_tokens, compressor.window_size) / tokens
        some = texts[: int(enough * len(texts)) + 1] if len(texts) > 1 else [texts[0][: int(enough * len(texts[0])) + 1]]

        def compress(parts: list[str]) -> object:
            return compressor.compress_documents(parts, QUERIES[0], ratio=self._ratio)

        compress(some)
        measured = measure(lambda: compress(texts), self._options.runs, self._device)
        figures = {"gpu_bytes": measured.gpu_bytes, "host_bytes": measured.host_bytes}
        return tokens, measured.seconds, figures | {"batch_tokens": engine.batch_tokens}

    def _of(self, compressor: ContextCompressor) -> Texts:
        """The texts, in tokens of the first model that is loaded."""
        self._texts = self._texts or Texts(compressor.checkpoint.tokenizer.count)  # which holds no model
        return self._texts

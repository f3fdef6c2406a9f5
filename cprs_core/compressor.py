"""ContextCompressor, the one class that users meet: text + query + instruction -> the words that matter."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import spans as decode
from . import windows as windowing
from .budget import check_budget
from .engine import Engine, WindowScores
from .errors import InputError
from .instruction import Instruction, check_text
from .job import Job
from .loading import Checkpoint, load
from .models import DEFAULT_MODEL
from .progress import Progress, Report, reporter
from .result import Compression, Span
from .scoring import Window
from .segments import segment
from .selection import Ranges, Scored, kept_text, near, select, share_of_best, top_score
from .skim import SEPARATOR
from .spans import TokenScores
from .tokens import Tokenising

if TYPE_CHECKING:
    import torch

_LONG = 50_000  # characters of a text from which on tokenising it goes along with the model's work


class ContextCompressor:
    """Keeps the words of a text that matter for a query, verbatim, in one pass of a token critic (arXiv 2505.18092).

    Safe to use from many threads at once. Make one with :meth:`from_pretrained`.

    Args:
        checkpoint: a loaded critic.
        window_size: tokens of a window, instruction and query included; None = the checkpoint's.
        overlap: tokens that neighbouring windows share; their scores are averaged.
        batch_tokens: tokens that run through the model at once; None = by device. Halved by itself if memory runs out.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        window_size: int | None = None,
        overlap: int = 0,
        batch_tokens: int | None = None,
    ) -> None:
        for name, value, least in (
            ("window_size", window_size, 64),
            ("overlap", overlap, 0),
            ("batch_tokens", batch_tokens, 1),
        ):
            if value is not None and (not isinstance(value, int) or value < least):
                raise InputError(f"{name} must be a whole number from {least} on, got {value!r}")
        self.checkpoint = checkpoint
        self.window_size = window_size or checkpoint.window_size
        self.overlap = overlap
        self.engine = Engine(checkpoint.scorers, batch_tokens=batch_tokens)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = DEFAULT_MODEL,
        *,
        device: str | torch.device | Sequence[str | torch.device] | None = None,
        dtype: str | torch.dtype | None = None,
        device_map: str | dict[str, Any] | None = None,
        attn_implementation: str | None = None,
        skim: bool = True,
        revision: str = "main",
        window_size: int | None = None,
        overlap: int = 0,
        batch_tokens: int | None = None,
    ) -> ContextCompressor:
        """Loads a model: the default one from the package, a local folder, or a Hugging Face id.

        See :func:`cprs_core.loading.load` for device, dtype, device_map, attn_implementation, skim and revision,
        and the class for the rest.

        Raises:
            ModelLoadError: missing, broken or unsupported checkpoint.
            DeviceError: a device, dtype or kernel that this machine does not have.
        """
        checkpoint = load(
            model,
            device=device,
            dtype=dtype,
            device_map=device_map,
            attn_implementation=attn_implementation,
            skim=skim,
            revision=revision,
        )
        return cls(checkpoint, window_size=window_size, overlap=overlap, batch_tokens=batch_tokens)

    @property
    def model_name(self) -> str:
        """The name or folder that the model was loaded from."""
        return self.checkpoint.name

    def compress(
        self,
        text: str,
        query: str,
        instruction: Instruction | str | None = None,
        *,
        max_tokens: int | None = None,
        ratio: float | None = None,
        threshold: float | None = None,
        progress: Progress = None,
    ) -> Compression:
        """Compresses one text of any length.

        Args:
            instruction: what to keep; None = whole sentences that help to answer the query.
            max_tokens, ratio: a budget in tokens, or as a share of the text's; never exceeded. Best-scored first, whether
                the model would keep them or not: add a threshold to leave out what is unlikely to matter.
            threshold: keep what scores at least this much. None of the three: the model decides.

        Raises:
            InputError: not a string, empty query, or a prompt that fills the window.
            BudgetError: a budget out of range, or two at once.
        """
        return self.compress_documents(
            [text], query, instruction, max_tokens=max_tokens, ratio=ratio, threshold=threshold, progress=progress
        )[0]

    def compress_documents(
        self,
        documents: Sequence[str],
        query: str,
        instruction: Instruction | str | None = None,
        *,
        max_tokens: int | None = None,
        ratio: float | None = None,
        threshold: float | None = None,
        progress: Progress = None,
    ) -> list[Compression]:
        """Compresses many texts for one query, together: one result each, in order. A budget holds for all of them."""
        check_budget(max_tokens, ratio, threshold)
        return self._compress(
            [(text, query) for text in _checked_list("documents", documents)],
            Instruction.of(instruction),
            (max_tokens, ratio, threshold),
            shared_budget=True,
            progress=progress,
            query=query,
        )

    def compress_batch(
        self,
        pairs: Sequence[tuple[str, str]],
        instruction: Instruction | str | None = None,
        *,
        max_tokens: int | None = None,
        ratio: float | None = None,
        threshold: float | None = None,
        progress: Progress = None,
    ) -> list[Compression]:
        """Compresses many (text, query) pairs, together: one result each, in order. A budget holds for each of them."""
        check_budget(max_tokens, ratio, threshold)
        for index, pair in enumerate(_checked_list("pairs", pairs)):
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise InputError(f"pairs[{index}] must be a (text, query) pair, got {type(pair).__name__}")
        limits = (max_tokens, ratio, threshold)
        return self._compress(list(pairs), Instruction.of(instruction), limits, shared_budget=False, progress=progress)

    async def acompress(self, text: str, query: str, instruction: Any = None, **options: Any) -> Compression:
        """:meth:`compress` in a thread; the event loop stays free."""
        return await asyncio.to_thread(self.compress, text, query, instruction, **options)

    async def acompress_documents(
        self, documents: Sequence[str], query: str, instruction: Any = None, **options: Any
    ) -> list[Compression]:
        """:meth:`compress_documents` in a thread."""
        return await asyncio.to_thread(self.compress_documents, documents, query, instruction, **options)

    async def acompress_batch(
        self, pairs: Sequence[tuple[str, str]], instruction: Any = None, **options: Any
    ) -> list[Compression]:
        """:meth:`compress_batch` in a thread."""
        return await asyncio.to_thread(self.compress_batch, pairs, instruction, **options)

    def stream(
        self,
        text: str,
        query: str,
        instruction: Instruction | str | None = None,
        *,
        threshold: float | None = None,
        progress: Progress = None,
    ) -> Iterator[Span]:
        """Yields the spans of :meth:`compress` in reading order, each as soon as the windows it lies in are done; those of a
        long text once it has been skimmed.

        There is no budget here: which spans are best is known only at the end. For the same reason the model, where it
        decides by itself, compares a span with the best so far, and keeps some that :meth:`compress` would not.
        """
        check_budget(None, None, threshold)
        (job,) = self._jobs([(text, query)], Instruction.of(instruction))
        return self._stream(job, threshold, progress)

    async def astream(self, text: str, query: str, instruction: Any = None, **options: Any) -> AsyncIterator[Span]:
        """:meth:`stream` for ``async for``; each step runs in a thread."""
        iterator = await asyncio.to_thread(self.stream, text, query, instruction, **options)
        while (span := await asyncio.to_thread(next, iterator, None)) is not None:
            yield span

    def scores(
        self, text: str, query: str, instruction: Instruction | str | None = None, *, progress: Progress = None
    ) -> TokenScores:
        """The critic's probabilities for every token of the text, before anything is selected."""
        instruction = Instruction.of(instruction)
        (part,) = self._scored(self._jobs([(text, query)], instruction), self._rule(instruction, None)[0], progress)
        return part.scores

    def relevance(
        self,
        documents: Sequence[str],
        query: str,
        instruction: Instruction | str | None = None,
        *,
        progress: Progress = None,
    ) -> list[float]:
        """How likely each document holds what is asked for, 0 to 1: the best score of anything in it that could be kept."""
        instruction = Instruction.of(instruction)
        instruction.render(query)
        jobs = self._jobs([(text, query) for text in _checked_list("documents", documents)], instruction)
        parts = self._scored(jobs, self._rule(instruction, None)[0], progress)
        return [float(part.candidates.scores.max(initial=0)) for part in parts]

    def candidates(
        self,
        text: str,
        query: str,
        instruction: Instruction | str | None = None,
        *,
        max_tokens: int | None = None,
        threshold: float | None = None,
        progress: Progress = None,
    ) -> Scored:
        """The pieces of a text that :meth:`compress` chooses from, with their scores, so that others can choose from them
        again and again without the model. ``candidates.kept`` is its choice without a budget.

        Scores are those of a compression with this budget, and with all budgets that read the text in the same way: see
        ``skimmed_to``.
        """
        check_budget(max_tokens, None, threshold)
        instruction = Instruction.of(instruction)
        limit, share = self._rule(instruction, threshold)
        jobs = self._jobs([(text, query)], instruction)
        asked = self._asked(jobs, [slice(None)], max_tokens, None)
        (found,) = self._scored(jobs, limit, progress, threshold, asked)
        kept = near(found.candidates, share_of_best([found], share))
        return replace(found, candidates=replace(found.candidates, kept=kept))

    async def acandidates(self, text: str, query: str, instruction: Any = None, **options: Any) -> Scored:
        """:meth:`candidates` in a thread."""
        return await asyncio.to_thread(self.candidates, text, query, instruction, **options)

    def decide(self, text: str, scores: TokenScores, instruction: Instruction | str | None = None) -> Ranges:
        """What the model keeps of a text whose :meth:`scores` are known: start, end, score and tag number of each span."""
        instruction = Instruction.of(instruction)
        limit, share = self._rule(instruction, None)
        found = decode.candidates(segment(text, instruction.unit), scores, instruction.unit, limit)
        return select([Scored(text, scores, found, limit)], None, None, share, self.count_tokens)[0]

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, counted as budgets are."""
        check_text("text", text)
        return self.checkpoint.tokenizer.count(text)

    def _compress(
        self,
        pairs: list[tuple[str, str]],
        instruction: Instruction,
        limits: tuple[int | None, float | None, float | None],
        *,
        shared_budget: bool,
        progress: Progress,
        query: str | None = None,
    ) -> list[Compression]:
        began = time.perf_counter()
        if query is not None:
            instruction.render(query)  # a bad query is an error even where there is no document
        jobs = self._jobs(pairs, instruction)
        max_tokens, ratio, threshold = limits
        limit, share = self._rule(instruction, threshold)
        groups = [slice(None)] if shared_budget else [slice(i, i + 1) for i in range(len(jobs))]
        parts = self._scored(jobs, limit, progress, threshold, self._asked(jobs, groups, max_tokens, ratio))
        budgets = [max_tokens if ratio is None else int(ratio * _size(jobs[group])) for group in groups]
        count = cache(self.checkpoint.tokenizer.count)  # a result asks for what its budget asked for
        chosen: list[Ranges] = []
        least: list[float | None] = []
        for group, budget in zip(groups, budgets, strict=True):
            chosen += select(parts[group], budget, threshold, share, count)
            reached = threshold
            if budget is None:  # of words it is single tokens that reach the limit
                reached = max(limit or 0, share_of_best(parts[group], share)) if instruction.unit != "word" else None
            least += [reached or None] * len(parts[group])
        seconds = time.perf_counter() - began
        return [self._result(*each, count, seconds) for each in zip(jobs, parts, chosen, least, strict=True)]

    def _scored(
        self,
        jobs: list[Job],
        limit: float | None,
        progress: Progress,
        threshold: float | None = None,
        asked: Sequence[float] | None = None,
    ) -> list[Scored]:
        """Runs jobs together; ``threshold`` and ``asked`` are those of :meth:`_skimmed`."""
        parts: list[Scored] = []
        with reporter(progress) as report:
            left = self._skimmed(jobs, threshold, asked or [0.0] * len(jobs), report)
            for job, whole, scores in zip(left, jobs, self._run(left, report), strict=True):
                found = decode.candidates(job.units, scores, job.instruction.unit, limit)
                skim = self.checkpoint.skim
                skimmed_to = skim.largest_budget(whole.window_count, len(whole.tokens)) if skim is not None else None
                parts.append(Scored(job.text, scores, found, limit, skimmed_to))
        return parts

    def _run(self, jobs: Sequence[Job], report: Report) -> Iterator[TokenScores]:
        """The scores of each job."""
        results = self._results(jobs, report)
        for job in jobs:
            yield job.all_scores(results, report)

    def _results(self, jobs: Sequence[Job], report: Report) -> Iterator[WindowScores]:
        """The scores of all windows of jobs, in order."""
        expected = [job.about for job in jobs]
        report.expect(sum(expected))

        def windows() -> Iterator[Window]:
            for job, about in zip(jobs, expected, strict=True):
                yield from job.engine_windows()
                report.expect(len(job.ranges) - about)

        return self.engine.run(windows())

    def _asked(
        self, jobs: Sequence[Job], groups: Sequence[slice], max_tokens: int | None, ratio: float | None
    ) -> list[float]:
        """The share of each text that a budget asks for, of its group; all of it is the most that can be asked for."""
        if self.checkpoint.skim is None or max_tokens is None:  # only skimming depends on it
            return [ratio or 0.0] * len(jobs)
        sizes = [_size(jobs[group]) for group in groups for _ in jobs[group]]
        return [min(max_tokens, size) / max(size, 1) for size in sizes]

    def _skimmed(self, jobs: Sequence[Job], threshold: float | None, asked: Sequence[float], report: Report) -> list[Job]:
        """Jobs with what is left to read of them, once those have been skimmed where it pays.

        Args:
            threshold: the user's own; what promises as much is read, too, if that is lower than the skimmer's.
            asked: the share of each text that a budget asks for.
        """
        skim = self.checkpoint.skim
        long = [skim is not None and skim.pays(job.window_count, share) for job, share in zip(jobs, asked, strict=True)]
        if skim is None or not any(long):
            return list(jobs)
        limit = skim.threshold if threshold is None else min(skim.threshold, threshold)
        separator = self.checkpoint.tokenizer(SEPARATOR).ids

        def room(job: Job, window_size: int) -> int:
            return windowing.room(window_size, len(job.prefix), self.overlap)

        skimming = [job.to_skim(room(job, skim.window_size), self.overlap) for job in compress(jobs, long)]
        found = self._run(skimming, report)
        return [
            job.to_read(next(found), limit, skim.share, separator, room(job, self.window_size), self.overlap)
            if is_long
            else job
            for job, is_long in zip(jobs, long, strict=True)
        ]

    def _result(
        self, job: Job, part: Scored, ranges: Ranges, limit: float | None, count: Callable[[str], int], seconds: float
    ) -> Compression:
        tags = job.instruction.tags
        return Compression(
            source=job.text,
            spans=tuple(Span(start, end, job.text[start:end], score, tags[tag]) for start, end, score, tag in ranges),
            input_tokens=len(job.tokens),
            kept_tokens=count(kept_text(job.text, ranges)),
            query=job.query,
            instruction=job.instruction.prompt,
            model=self.model_name,
            seconds=seconds,
            candidates=part.candidates,
            limit=limit,
        )

    def _jobs(self, pairs: Sequence[tuple[str, str]], instruction: Instruction) -> list[Job]:
        tokenizer = self.checkpoint.tokenizer
        for text, query in pairs:
            check_text("text", text)
            instruction.render(query)  # checks the query
        prefixes = {query: tokenizer.prefix(instruction.render(query)) for query in {query for _, query in pairs}}
        rooms = {query: windowing.room(self.window_size, len(ids), self.overlap) for query, ids in prefixes.items()}
        tag_ids = tokenizer.tag_ids(instruction.tags)
        texts = [text for text, _ in pairs]
        lazily = len(texts) == 1 and len(texts[0]) > _LONG and self.checkpoint.skim is None
        sources = [tokenizer.lazily(texts[0])] if lazily else list(map(Tokenising.done, tokenizer.many(texts)))
        return [
            Job(text, query, instruction, source, prefixes[query], tag_ids, rooms[query], self.overlap)
            for (text, query), source in zip(pairs, sources, strict=True)
        ]

    def _rule(self, instruction: Instruction, threshold: float | None) -> tuple[float | None, float]:
        """The least score, and the least share of the best score, of what the model keeps: the user's threshold alone, else
        what the checkpoint was calibrated to, else None (the label head's argmax)."""
        if threshold is not None:
            return threshold, 0.0
        unit = instruction.unit
        return self.checkpoint.thresholds.get(unit), self.checkpoint.shares.get(unit, 0.0)

    def _stream(self, job: Job, threshold: float | None, progress: Progress) -> Iterator[Span]:
        limit, share = self._rule(job.instruction, threshold)
        unit, tags = job.instruction.unit, job.instruction.tags
        units = job.units
        best = 0.0
        first = token = 0  # the first unit, and its first token, that are not settled yet
        with reporter(progress) as report:
            (job,) = self._skimmed([job], threshold, [0.0], report)
            merger = job.merger()
            for final in job.merge(merger, self._results([job], report), report):
                end = final == len(job.tokens)
                until = len(units) if end else int(np.searchsorted(units[:, 1], job.tokens.starts[final], side="right"))
                part = decode.candidates(units[first:until], job.scores(merger, token, final), unit, limit)
                settled = len(part)
                if not end:
                    # A span may go on behind a unit that is kept, or marked, or too short to end a run.
                    calm = np.flatnonzero(~part.kept & ~part.marked & (part.tokens > decode.MAX_GAP))
                    settled = int(calm[-1]) + 1 if len(calm) else 0
                    if not settled:
                        continue
                best = max(best, top_score(part))
                chosen = near(part, share * best) & (np.arange(len(part)) < settled)
                for start, stop, score, tag in decode.spans(part, chosen):
                    yield Span(start, stop, job.text[start:stop], score, tags[tag])
                if not end:
                    first = int(np.searchsorted(units[:, 0], part.ends[settled - 1], side="left"))
                    token = int(np.searchsorted(job.tokens.ends, part.ends[settled - 1], side="right"))

    def __repr__(self) -> str:
        return f"ContextCompressor({self.model_name!r}, device={str(self.engine.device)!r}, window_size={self.window_size})"


_checkpoints: dict[tuple[str, ...], Checkpoint] = {}
_locks: dict[tuple[str, ...], threading.Lock] = {}


def shared(
    model: str | Path = DEFAULT_MODEL,
    *,
    window_size: int | None = None,
    overlap: int = 0,
    batch_tokens: int | None = None,
    **loading: Any,
) -> ContextCompressor:
    """A compressor over the process-wide copy of a model, loaded on first use: one copy of the weights for any number of
    adapters and windows. The cache of loaded models is the package's only global state.

    Args:
        loading: what :func:`cprs_core.loading.load` takes; another device or dtype is another copy.
    """
    key = (str(model), *(f"{name}={value}" for name, value in sorted(loading.items()) if value is not None))
    with _locks.setdefault(key, threading.Lock()):
        if key not in _checkpoints:
            _checkpoints[key] = load(model, **loading)
    return ContextCompressor(_checkpoints[key], window_size=window_size, overlap=overlap, batch_tokens=batch_tokens)


def _size(jobs: Sequence[Job]) -> int:
    """Tokens of some texts together."""
    return sum(len(job.tokens) for job in jobs)


def _checked_list(name: str, values: Any) -> Sequence[Any]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise InputError(f"{name} must be a list, not {type(values).__name__}; for a single text use compress()")
    return values

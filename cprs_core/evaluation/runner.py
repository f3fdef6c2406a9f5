"""Cases through methods: a row of figures for each pair, and the loop over the pairs that have none yet."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any, TypedDict

from ..errors import InputError
from ..progress import Progress
from ..result import join
from ..segments import segment
from .case import Case
from .critic import Cprs
from .llm import Reader
from .methods import Fusion, Method
from .metrics import Figures, answered, decision, recall, reliability, retained
from .options import CountTokens
from .ranges import Ranges, intersection, marked, ranges, size

FULL = "full text"  # what a reader gets without compression; a method by name only


class Row(TypedDict):
    """One method on one case.

    number   the case's place in the run
    figures  by group, of which a row has those that apply:
        text       tokens, chars, sentences; gold: share of the characters that matter
        cost       seconds of one compression
        kept       by budget: the share of the text's characters that was kept indeed
        recall     by budget: see :func:`~.metrics.recall`; white space between sentences counts nowhere
        retained   by budget: see :func:`~.metrics.retained`
        decision   what cprs keeps by itself: precision, recall, f1 of sentences, evidence: recall of characters,
                   retained, kept; tokens before, kept_tokens after
        no_answer  the same where nothing in the text answers: kept
        reader     exact, f1, contains: see :func:`~.metrics.answered`; kept: share of the text that was read
    bins     of cprs' sentence scores: see :func:`~.metrics.reliability`
    """

    number: int
    task: str
    key: str
    about: dict[str, Any]
    method: str
    figures: dict[str, Figures]
    bins: list[list[float]] | None


class Runner:
    """Measures methods on cases.

    Args:
        budgets: percents of the text's characters.
        count_tokens: the tokens that sizes and speed are given in.
        reader: answers the questions too, from what each method keeps and from the full text.
        reader_budget: percent of the text that the reader gets. None: what cprs keeps by itself, and as much of every
            other method.

    Raises:
        InputError: a reader without a budget, and cprs is not among the methods.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        budgets: Sequence[float],
        count_tokens: CountTokens,
        reader: Reader | None = None,
        reader_budget: float | None = None,
    ) -> None:
        self._methods = {method.name: method for method in methods}
        self._budgets, self._count_tokens = budgets, count_tokens
        self._reader, self._reader_budget = reader, reader_budget
        self._cprs = [method for method in methods if isinstance(method, Cprs)]
        if reader is not None and reader_budget is None and not self._cprs:
            raise InputError("without cprs among the methods nothing says how much the LLM should read; give --llm-budget")

    @property
    def names(self) -> list[str]:
        """Of the rows that each case gets: the methods, and ``FULL`` where there is a reader."""
        return [*self._methods, *([FULL] if self._reader is not None else [])]

    def watch(self, progress: Progress) -> None:
        """Has ``progress`` told of the windows that cprs has done of a text."""
        for method in self._cprs:
            method.progress = progress

    def rows(self, number: int, case: Case, names: Collection[str]) -> Iterator[Row]:
        """The rows of a case, one after the other, for those of :attr:`names` that are given."""
        sentences = segment(case.text, "sentence")
        gold = intersection(case.gold, sentences)
        text = {
            "tokens": self._count_tokens(case.text),
            "chars": len(case.text),
            "sentences": len(sentences),
            "gold": size(gold) / len(case.text),
        }
        seconds: dict[str, float] = {}
        for name in self.names:
            if name not in names:
                continue
            method = self._methods.get(name)
            figures: dict[str, Figures] = {"text": text}
            bins = None
            if method is not None:
                figures |= self._budgeted(case, sentences, gold, method)
                if isinstance(method, Fusion):  # what it builds on may be done already, for a row of its own
                    figures["cost"]["seconds"] += sum(seconds.get(ranker.name, 0.0) for ranker in method.rankers)
                seconds[name] = figures["cost"]["seconds"]
            if isinstance(method, Cprs):
                figures |= self._decided(case, sentences, gold, method, text["tokens"])
                bins = reliability(method.scores(case, sentences), marked(sentences, case.gold))
            if self._reader is not None and case.answers:
                figures["reader"] = self._read(case, self._to_read(case, sentences, method), self._reader)
            yield Row(number=number, task=case.task, key=case.key, about=case.about, method=name, figures=figures, bins=bins)

    def _budgeted(self, case: Case, sentences: Ranges, gold: Ranges, method: Method) -> dict[str, Figures]:
        figures: dict[str, Figures] = {"cost": {"seconds": 0.0}, "kept": {}, "recall": {}, "retained": {}}
        for budget in self._budgets:
            began = time.perf_counter()
            kept = method.keep(case, sentences, budget / 100)
            # a ranker scores once, for all budgets
            figures["cost"]["seconds"] = max(figures["cost"]["seconds"], time.perf_counter() - began)
            figures["kept"][f"{budget:g}"] = size(kept) / len(case.text)
            if len(gold):
                figures["recall"][f"{budget:g}"] = recall(gold, kept)
            if case.answers:
                figures["retained"][f"{budget:g}"] = _retained(case, kept)
        return {name: group for name, group in figures.items() if group}

    def _decided(self, case: Case, sentences: Ranges, gold: Ranges, cprs: Cprs, tokens: float) -> dict[str, Figures]:
        kept = cprs.decide(case)
        figures = {"kept": size(kept) / len(case.text)}
        if not len(gold):
            return {"no_answer": figures}
        figures |= decision(case.gold, kept, sentences) | {"evidence": recall(gold, kept)}
        figures |= {"tokens": tokens, "kept_tokens": self._count_tokens(_text(case, kept))}
        if case.answers:
            figures["retained"] = _retained(case, kept)
        return {"decision": figures}

    def _read(self, case: Case, kept: Ranges, reader: Reader) -> Figures:
        answer = reader.answer(case.query, _text(case, kept))
        figures = answered(answer, case.answers, needs_all=case.needs_all)
        return figures | {"kept": size(kept) / len(case.text)}

    def _to_read(self, case: Case, sentences: Ranges, method: Method | None) -> Ranges:
        if method is None:
            return ranges([(0, len(case.text))])
        if self._reader_budget is not None:
            return method.keep(case, sentences, self._reader_budget / 100)
        cprs = self._cprs[0]
        kept = cprs.decide(case)
        return kept if method is cprs else method.keep(case, sentences, size(kept) / len(case.text))


def _text(case: Case, kept: Ranges) -> str:
    return join(case.text, [(start, end) for start, end in kept.tolist()])


def _retained(case: Case, kept: Ranges) -> float:
    return retained(_text(case, kept), case.answers, needs_all=case.needs_all)

"""How much of the evidence survives, next to BM25 and sentence embeddings: ``python benchmarks/quality.py --help``.

Every method ranks the same sentences of the same texts. *Recall at b %* takes sentences best first while they fit into
b % of the text's characters (one that does not fit is skipped) and gives the share of the evidence's characters taken.
The *oracle* ranks by the evidence itself: less than 1 where the evidence is wider than the budget.
"""

import json
import os
import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from cases import Case, Kind, benchmark_sources, cases
from needles import needles
from rankers import Bm25, Cprs, MiniLM, Ranker
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from cprs_core.errors import CprsError, InputError
from cprs_core.instruction import Instruction
from cprs_core.segments import segment
from cprs_core.training.splits import HELD_OUT

BUDGETS = (2, 5, 10, 20)  # percent of the text's characters
NEEDLE_TOKENS = (8_000, 32_000, 128_000)

Figures = dict[str, float]


def overlap(sentences: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Characters that each sentence int [n, 2] shares with each span int [k, 2]: int [n, k]."""
    first = np.maximum(sentences[:, None, 0], spans[None, :, 0])
    last = np.minimum(sentences[:, None, 1], spans[None, :, 1])
    return np.asarray(np.maximum(last - first, 0))


def select(lengths: np.ndarray, scores: np.ndarray, budget: float) -> np.ndarray:
    """Best first, what fits: bool [n]. Equal scores go in reading order."""
    taken = np.zeros(len(lengths), bool)
    for index in np.argsort(-scores, kind="stable"):
        if lengths[index] <= budget:
            taken[index] = True
            budget -= lengths[index]
    return taken


def recalls(text: str, sentences: np.ndarray, scores: np.ndarray, gold: np.ndarray) -> Figures:
    """Share of the evidence's characters kept at each of ``BUDGETS``. White space between sentences counts nowhere."""
    lengths, covered = sentences[:, 1] - sentences[:, 0], overlap(sentences, gold).sum(1)
    return {
        str(percent): float(covered[select(lengths, scores, len(text) * percent / 100)].sum() / covered.sum())
        for percent in BUDGETS
    }


def marked(sentences: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Sentences that are half inside the spans, or hold half of one: bool [n]."""
    shared = overlap(sentences, spans)
    inside = 2 * shared.sum(1) >= sentences[:, 1] - sentences[:, 0]
    return np.asarray(inside | (2 * shared >= spans[:, 1] - spans[:, 0]).any(1))


def decision(sentences: np.ndarray, gold: np.ndarray, kept: np.ndarray) -> Figures:
    """Precision, recall and F1 of the kept sentences."""
    truth, chosen = marked(sentences, gold), marked(sentences, kept)
    hits = float((truth & chosen).sum())
    return {
        "precision": hits / max(float(chosen.sum()), 1.0),
        "recall": hits / max(float(truth.sum()), 1.0),
        "f1": 2 * hits / max(float(truth.sum() + chosen.sum()), 1.0),
    }


def mean(figures: Iterable[Figures]) -> Figures:
    """The mean of each figure over the cases (or sources) that have it."""
    columns: dict[str, list[float]] = {}
    for row in figures:
        for key, value in row.items():
            columns.setdefault(key, []).append(value)
    return {key: float(np.mean(values)) for key, values in columns.items()}


def measure(case: Case, rankers: list[Ranker]) -> dict[str, Figures]:
    """All figures of one answerable case, by method; ``case`` describes the case itself."""
    sentences = segment(case.text, "sentence")
    covered = overlap(sentences, case.gold).sum(1)
    density = covered / (sentences[:, 1] - sentences[:, 0])
    share = covered.sum() / len(case.text)
    figures = {
        "case": {"chars": len(case.text), "sentences": len(sentences), "gold": share, "wide": float(share > 0.05)},
        "oracle": recalls(case.text, sentences, density, case.gold),
    }
    for ranker in rankers:
        figures[ranker.name] = recalls(case.text, sentences, ranker.rank(case.text, sentences, case.query), case.gold)
        if isinstance(ranker, Cprs):
            kept = ranker.decide(case.text, case.query)
            figures["decision"] = decision(sentences, case.gold, kept) | {"kept": kept_share(case.text, kept)}
    return figures


def kept_share(text: str, spans: np.ndarray) -> float:
    """Share of the text's characters inside disjoint spans int [k, 2]."""
    return float((spans[:, 1] - spans[:, 0]).sum() / len(text))


def retention(cprs: Cprs, folder: Path, tokens: int, count: int, seed: int, progress: Progress) -> Figures:
    """Needle test at one length: share of values kept, and mean compression."""
    rows = []
    for needle in progress.track(needles(folder, tokens, count, seed), total=count, description=f"needles {tokens:,}"):
        result = cprs.compressor.compress(needle.text, needle.query, Instruction.needles())
        retained = float(needle.value in result.text)
        rows.append({
            "retained": retained, f"retained_{needle.kind}": retained, "input_tokens": result.input_tokens,
            "kept": result.kept_tokens / result.input_tokens,
        })  # fmt: skip
    figures = mean(rows)
    return figures | {"compression": 1 / max(figures["kept"], 1e-9)}


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    import torch

    return {
        "platform": platform.platform(), "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__,
        "threads": torch.get_num_threads(), "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }  # fmt: skip


def table(title: str, rows: dict[str, list[float | None]], columns: list[str], first: str = "source") -> Table:
    """A row a source; counts print whole, the rest with three decimals."""
    result = Table(first, title=title)
    for column in columns:
        result.add_column(column, justify="right", no_wrap=True)
    for name, cells in rows.items():
        result.add_row(name, *("-" if x is None else f"{x:.3f}" if x < 2 else f"{x:,.0f}" for x in cells))
    return result


def main(
    data: Annotated[Path, typer.Option(help="Folder with train/ and haystack/.", exists=True, file_okay=False)],
    model: Annotated[str, typer.Option(help="Model name or folder, for the method cprs.")] = "cprs-small",
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, float16; by device if not given.")] = None,
    methods: Annotated[str, typer.Option(help="Comma-separated: cprs, bm25, minilm.")] = "cprs,bm25,minilm",
    cases_a_source: Annotated[int, typer.Option("--cases", min=1, help="Cases a source, at most.")] = 200,
    only: Annotated[str, typer.Option("--sources", help="Comma-separated sources, or 'held-out'; all if empty.")] = "",
    no_answer: Annotated[int, typer.Option(min=0, help="Cases a source without an answer (cprs only).")] = 20,
    needle_texts: Annotated[int, typer.Option("--needles", min=0, help="Needle texts a length (cprs only).")] = 0,
    seed: Annotated[int, typer.Option(help="Draws the cases and the other contexts.")] = 0,
    cache: Annotated[Path | None, typer.Option(help=".npz file that keeps MiniLM's embeddings.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for every figure.")] = None,
) -> None:
    """Evidence recall of cprs and its baselines on the validation split."""
    try:
        run(data, model, dtype, methods.split(","), cases_a_source, only, no_answer, needle_texts, seed, cache, out)
    except CprsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


def run(
    data: Path, model: str, dtype: str | None, methods: list[str], count: int, only: str, no_answer: int,
    needle_texts: int, seed: int, cache: Path | None, out: Path | None,
) -> dict[str, Any]:  # fmt: skip
    """Measures, prints and returns all figures; see :func:`main`."""
    makers: dict[str, Callable[[], Ranker]] = {
        "cprs": lambda: Cprs(model, dtype), "bm25": Bm25, "minilm": lambda: MiniLM(cache)
    }  # fmt: skip
    known = benchmark_sources(data)
    names = list(HELD_OUT) if only == "held-out" else only.split(",") if only else known
    for given, allowed in ((methods, makers), (names, known)):
        if unknown := sorted(set(given) - set(allowed)):
            raise InputError(f"unknown {', '.join(unknown)}; use some of {', '.join(allowed)}")
    rankers = [makers[name]() for name in methods]
    cprs = next((ranker for ranker in rankers if isinstance(ranker, Cprs)), None)
    results: dict[str, Any] = {"machine": machine(), "model": model if cprs else None, "seed": seed, "sources": {}}
    times = TimeElapsedColumn(), TimeRemainingColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *times)
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for name in progress.track(names, description="sources"):
            results["sources"][name] = _source(data, name, rankers, cprs, count, no_answer, seed, progress)
            for ranker in rankers:
                if isinstance(ranker, MiniLM):
                    ranker.save()
            _write(out, results)
        if cprs and needle_texts:
            results["needles"] = {
                str(tokens): retention(cprs, data, tokens, needle_texts, seed, progress) for tokens in NEEDLE_TOKENS
            }
    _write(out, results)
    _print(results, methods)
    return results


def _source(
    data: Path, name: str, rankers: list[Ranker], cprs: Cprs | None, count: int, no_answer: int, seed: int,
    progress: Progress,
) -> dict[str, Figures]:  # fmt: skip
    """The mean figures of one source."""
    found = list(cases(data, name, "answerable", count, seed))
    rows: dict[str, list[Figures]] = {}
    task = progress.add_task(name, total=len(found))
    for case in found:
        for key, figures in measure(case, rankers).items():
            rows.setdefault(key, []).append(figures)
        progress.advance(task)
    progress.remove_task(task)
    result = {key: mean(figures) for key, figures in rows.items()}
    result["case"] = {"cases": len(found)} | result.get("case", {})
    kinds: tuple[Kind, ...] = ("unanswerable", "absent")
    if cprs and no_answer:
        shares = {
            kind: [kept_share(case.text, cprs.decide(case.text, case.query))
                   for case in cases(data, name, kind, no_answer, seed)]
            for kind in kinds
        }  # fmt: skip
        result["no_answer"] = {kind: float(np.mean(values)) for kind, values in shares.items() if values}
    return result


def _write(out: Path | None, results: dict[str, Any]) -> None:
    if out:
        out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _print(results: dict[str, Any], methods: list[str]) -> None:
    console = Console(width=max(Console().width, 140))
    console.print("; ".join(f"{key} {value}" for key, value in results["machine"].items() if value is not None))
    rows = dict(results["sources"])
    means = {}
    for title, held_out in (("MEAN held out", True), ("MEAN other", False)):
        members = [row for name, row in rows.items() if (name in HELD_OUT) == held_out]
        if members:
            means[title] = {key: mean(row.get(key, {}) for row in members) for row in members for key in row}
    rows |= means
    keys = [*methods, "oracle"]
    console.print(table(
        "Evidence recall at 5 % of the text; evidence: its share of the text; wide: cases where that is over 5 %",
        {name: _pick(row, ("case", "cases", "gold", "wide"), *((k, "5") for k in keys)) for name, row in rows.items()},
        ["cases", "evidence", "wide", *keys],
    ))  # fmt: skip
    console.print(table(
        "Means at every budget",
        {f"{title}, {key}": _pick(row, (key, *map(str, BUDGETS))) for title, row in means.items() for key in keys},
        [f"{percent} %" for percent in BUDGETS], "mean",
    ))  # fmt: skip
    if any("decision" in row for row in rows.values()):
        own, none = ("precision", "recall", "f1", "kept"), ("unanswerable", "absent")
        console.print(table(
            "The model's own decision: sentences, and share of the text kept; without an answer: share kept",
            {name: _pick(row, ("decision", *own), ("no_answer", *none)) for name, row in rows.items()}, [*own, *none],
        ))  # fmt: skip
    if "needles" in results:
        shown = ("input_tokens", "retained", "retained_number", "retained_words", "retained_uuid", "compression")
        console.print(table("Needles", {key: _pick({"": row}, ("", *shown)) for key, row in results["needles"].items()},
                            list(shown), "tokens"))  # fmt: skip


def _pick(row: dict[str, Figures], *wanted: tuple[str, ...]) -> list[float | None]:
    """The figures named as (group, name, ...), None where missing."""
    return [row.get(group, {}).get(name) for group, *names in wanted for name in names]


if __name__ == "__main__":
    typer.run(main)

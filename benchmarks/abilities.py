"""Does the instruction decide what is kept? ``python benchmarks/abilities.py --help``.

*Entities*: word precision, recall and F1 of the model's own decision, told to extract things of one kind ("the dates"):
from prose that nothing was trained on, and from held-out documents of sources with labelled entities.
*Granularity*: the same text and query with three instructions; how often the median length of what is kept is in order,
exact answer < sentences < paragraphs. Cases whose evidence is a paragraph of one sentence are left out.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from cases import Case, benchmark_sources, cases
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cprs_core import ContextCompressor, Instruction
from cprs_core.evaluation.ranges import Ranges, covered, ranges
from cprs_core.segments import segment
from cprs_core.training import splits
from cprs_core.training.plain import FORMS

ENTITIES = ("bio_ner", "stackoverflow_ner", "toxic_spans", "wikigold", "wnut17")
PROSE = 12_000  # characters of a piece of prose

Example = tuple[str, str, Instruction, Ranges]
"""Text, query, instruction, and what should be kept."""


def by_form(data: Path, count: int) -> Iterator[tuple[str, Example]]:
    """What has a certain form, in pieces of held-out prose that hold it; ``count`` pieces a form at most."""
    texts = list(splits.haystack(data, "valid"))
    pieces = [text[start : start + PROSE] for text in texts for start in range(0, len(text), PROSE)]
    for name, form in FORMS.items():
        holding = [piece for piece in pieces if form.search(piece)]
        order = np.random.default_rng(0).permutation(len(holding))[:count]
        for piece in (holding[index] for index in order.tolist()):
            gold = ranges([match.span() for match in form.finditer(piece)])
            yield f"{name} (prose)", (piece, f"Extract the {name}.", Instruction.entities(name), gold)


def by_source(data: Path, count: int) -> Iterator[tuple[str, Example]]:
    """Records of held-out documents whose spans are entities; ``count`` a source at most."""
    for name in sorted(set(ENTITIES) & set(splits.sources(data))):
        records = [record for record in splits.validation_records(data, name) if record["spans"]]
        order = np.random.default_rng(0).permutation(len(records))[:count]
        for record in (records[index] for index in order.tolist()):
            gold = ranges(sorted({(start, end) for start, end, _ in record["spans"]}))
            yield name, (record["context"], record["query"], Instruction.entities(), gold)


def kept(compressor: ContextCompressor, text: str, query: str, instruction: Instruction) -> Ranges:
    """What the model keeps of its own."""
    return ranges([(span.start, span.end) for span in compressor.compress(text, query, instruction).spans])


def entity_counts(compressor: ContextCompressor, example: Example) -> tuple[int, int, int]:
    """How many words are kept rightly, kept, and gold."""
    text, query, instruction, gold = example
    words = segment(text, "word")
    chosen, truth = (covered(words, spans) > 0 for spans in (kept(compressor, text, query, instruction), gold))
    return int((chosen & truth).sum()), int(chosen.sum()), int(truth.sum())


def granularity(compressor: ContextCompressor, text: str, query: str) -> list[float]:
    """The median length in characters of what is kept as exact answer, sentences and paragraphs; 0 where nothing is."""
    kinds = (Instruction.answer(), Instruction.sentences(), Instruction.paragraphs())
    spans = [kept(compressor, text, query, kind) for kind in kinds]
    return [float(np.median(found[:, 1] - found[:, 0])) if len(found) else 0.0 for found in spans]


def tells_apart(case: Case) -> bool:
    """Whether the paragraphs of the evidence are longer than its sentences: where each is a single sentence, there is
    nothing to order."""
    units = segment(case.text, "paragraph"), segment(case.text, "sentence")
    paragraphs, sentences = (some[covered(some, case.gold) > 0] for some in units)
    return bool(np.diff(paragraphs).mean() > np.diff(sentences).max())


def main(
    data: Annotated[Path, typer.Option(help="Folder with train/ and haystack/.", exists=True, file_okay=False)],
    model: Annotated[str, typer.Option(help="Model name or folder.")] = "cprs-small",
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16, float16, float8, int8; by device if not given.")
    ] = None,
    count: Annotated[int, typer.Option("--cases", min=1, help="Texts a kind or source, at most.")] = 40,
    out: Annotated[Path | None, typer.Option(help="JSON file for every figure.")] = None,
) -> None:
    """Entities of a named kind, and granularity by instruction."""
    compressor = ContextCompressor.from_pretrained(model, dtype=dtype)
    console = Console()
    found: dict[str, list[tuple[int, int, int]]] = {}
    for name, example in track([*by_form(data, count), *by_source(data, count)], "entities", console=Console(stderr=True)):
        found.setdefault(name, []).append(entity_counts(compressor, example))
    results: dict[str, Any] = {"entities": {name: _quality(rows) for name, rows in found.items()}, "granularity": {}}
    table = Table("entities", "texts", "words", "precision", "recall", "F1", title="Entities: words kept")
    for name, row in results["entities"].items():
        texts, words = len(found[name]), sum(gold for *_, gold in found[name])
        table.add_row(name, str(texts), str(words), *(f"{row[key]:.3f}" for key in ("precision", "recall", "f1")))
    mean = np.mean([row["f1"] for row in results["entities"].values()])
    table.add_row("mean", "", "", "", "", f"{mean:.3f}", style="bold")
    console.print(table)

    title = "Granularity: answer < sentence < paragraph"
    table = Table("source", "cases", "all three keep", "in order", "of those", title=title)
    held_out = [name for name in benchmark_sources(data) if name in splits.HELD_OUT]
    for name in track(held_out, "granularity", console=Console(stderr=True)):
        some_cases = [case for case in cases(data, name, "answerable", count) if tells_apart(case)]
        if not some_cases:
            continue
        rows = np.array([granularity(compressor, case.text, case.query) for case in some_cases])
        some, ordered = (rows > 0).all(1), (np.diff(rows, axis=1) > 0).all(1)
        row = {"cases": len(rows), "kept": float(some.mean()), "ordered": float((ordered & some).sum() / max(some.sum(), 1))}
        results["granularity"][name] = row
        share = f"{int((ordered & some).sum())}/{int(some.sum())}"
        table.add_row(name, str(len(rows)), f"{row['kept']:.3f}", share, f"{row['ordered']:.3f}")
    console.print(table)
    if out:
        out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _quality(rows: list[tuple[int, int, int]]) -> dict[str, float]:
    hits, chosen, truth = (sum(column) for column in zip(*rows, strict=True))
    return {
        "precision": hits / max(chosen, 1), "recall": hits / max(truth, 1), "f1": 2 * hits / max(chosen + truth, 1)
    }  # fmt: skip


if __name__ == "__main__":
    typer.run(main)

"""How much of the evidence survives, next to BM25 and sentence embeddings: ``python benchmarks/quality.py --help``.

The cases are records of the validation split (``cases.py``); methods, sentences, budgets and figures are those of
``cprs eval``. The *oracle* ranks by the evidence itself: below 1 where the evidence is wider than the budget.
"""

import json
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from cases import Kind, benchmark_sources, cases
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from cprs_core import ContextCompressor
from cprs_core.errors import CprsError, InputError
from cprs_core.evaluation.case import Case
from cprs_core.evaluation.lineup import METHODS, open_methods
from cprs_core.evaluation.metrics import mean
from cprs_core.evaluation.report import results, summary
from cprs_core.evaluation.runner import Row, Runner
from cprs_core.evaluation.tasks import TaskOptions, build
from cprs_core.machine import machine
from cprs_core.training import splits

BUDGETS = (2, 5, 10, 20)  # percent of the text's characters
WIDE = 0.05  # share of the text from which evidence is wide
NEEDLE_LENGTHS = (8_000, 32_000, 128_000)  # tokens

WITHOUT_ANSWER: tuple[Kind, ...] = ("unanswerable", "absent")
KINDS: tuple[Kind, ...] = ("answerable", *WITHOUT_ANSWER)
NEEDLES = "niah/single"

Settings = dict[str, Any]


def main(
    parts: Annotated[list[Path] | None, typer.Argument(metavar="[JSON]...", help="What --merge puts together.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder with train/ and haystack/.", exists=True, file_okay=False)
    ] = None,
    model: Annotated[str, typer.Option(help="Model name or folder.")] = "cprs-small",
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16, float16, float8, int8; by device if not given.")
    ] = None,
    skim: Annotated[bool, typer.Option(help="Skim long texts first, if the model can.")] = True,
    methods: Annotated[str, typer.Option(help="Comma-separated; those of cprs eval.")] = "cprs,bm25,embeddings",
    count: Annotated[int, typer.Option("--cases", min=1, help="Cases a source, at most.")] = 200,
    sources: Annotated[str, typer.Option(help="Comma-separated, or 'held-out'; all if empty.")] = "",
    no_answer: Annotated[int, typer.Option(min=0, help="Cases a source without an answer (cprs only).")] = 20,
    needles: Annotated[int, typer.Option(min=0, help="Depths of needles, of each length and kind (cprs only).")] = 0,
    seed: Annotated[int, typer.Option(help="Draws the cases and the other contexts.")] = 0,
    shard: Annotated[str, typer.Option(help="I/N: every N-th case alone, from the I-th on; 1/N to N/N are all.")] = "1/1",
    merge: Annotated[bool, typer.Option("--merge", help="Put the given results of shards together.")] = False,
    out: Annotated[Path | None, typer.Option(help="JSON file for every figure and every case.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for pictures of the held-out sources and the needles.")] = None,
) -> None:
    """Evidence recall of cprs and its baselines on the validation split."""
    try:
        if merge != bool(parts) or merge == bool(data):
            raise InputError("give --data to measure, or --merge with the JSON files of shards")
        if data is None:
            report = merged([json.loads(part.read_text("utf-8")) for part in parts or ()])
            _write(out, report)
        else:
            settings = {
                "model": model, "dtype": dtype, "skim": skim, "methods": [*dict.fromkeys([*methods.split(","), "oracle"])],
                "cases": count, "sources": _sources(data, sources), "no_answer": no_answer, "needles": needles, "seed": seed,
            }  # fmt: skip
            rows: list[Row] = []
            for some in measured(data, settings, *_shard(shard)):
                rows += some
                report = figures(settings, rows)
                _write(out, report)
    except CprsError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    show(report)
    if plots:
        from cprs_core.evaluation.plots import draw

        plots.mkdir(parents=True, exist_ok=True)
        methods_of = {name: of["methods"] for name, of in report["sources"].items() if name in splits.HELD_OUT}
        draw(plots, report["rows"], methods_of)


def measured(data: Path, settings: Settings, shard: int, shards: int) -> Iterator[list[Row]]:
    """The rows of every ``shards``-th case from the ``shard``-th on, source by source; a row's task is its source."""
    compressor = ContextCompressor.from_pretrained(settings["model"], dtype=settings["dtype"], skim=settings["skim"])
    methods = open_methods(settings["methods"], compressor)
    cprs = [method for method in methods if method.name == "cprs"]
    compared, alone = (Runner(some, BUDGETS, compressor.count_tokens) for some in (methods, cprs))
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def rows(runner: Runner, found: Iterable[Case], name: str, total: int) -> list[Row]:
            numbered = enumerate(progress.track(found, total=total, description=name))
            return [row for place, case in numbered for row in runner.rows(shard + place * shards, case, runner.names)]

        for name in settings["sources"]:
            some: list[Row] = []
            for kind in KINDS if cprs else KINDS[:1]:
                runner, count = (alone, settings["no_answer"]) if kind in WITHOUT_ANSWER else (compared, settings["cases"])
                found = cases(data, name, kind, count, settings["seed"], shard, shards)
                some += rows(runner, found, f"{name}, {kind}", -(-count // shards))
            yield some
        if cprs and settings["needles"]:
            with TemporaryDirectory() as folder:
                Path(folder, "prose.txt").write_text("\n\n".join(splits.haystack(data, "valid")), encoding="utf-8")
                options = TaskOptions(NEEDLE_LENGTHS, settings["needles"], seed=settings["seed"], haystack=folder)
                found = build(NEEDLES, options, compressor.count_tokens)
                mine = range(shard, len(found), shards)
                yield rows(alone, (found[number] for number in mine), "needles", len(mine))


def merged(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """The report of a run from those of its shards, or of its methods: the same figures as at once, seconds apart."""
    first = max(reports, key=lambda report: "cprs" in report["settings"]["methods"])
    settings = first["settings"]
    for other in (report["settings"] for report in reports):
        alike = settings.keys() - {"methods"} if "cprs" in other["methods"] else {"cases", "seed"}
        if any(other[name] != settings[name] for name in alike):
            raise InputError("the files are of runs with different settings; merge the shards, or the methods, of one run")
    methods = dict.fromkeys(name for report in reports for name in report["settings"]["methods"])
    rows: dict[tuple[str, ...], Row] = {}
    for row in (row for report in reports for row in report["rows"]):
        key = row["task"], row["key"], row["method"]
        if key in rows and row["method"] != "oracle":  # the oracle is in every run
            raise InputError("a case is in more than one of the files; name each shard once")
        rows[key] = row
    measured = {(row["task"], row["method"]) for row in rows.values()}
    sources = dict.fromkeys(source for report in reports for source in report["settings"]["sources"])
    for source, name in product(sources, methods):
        if (source, name) not in measured and (source, "oracle") in measured:
            raise InputError(f"{name} was not measured on {source}; add the file of that run")
    settings = settings | {"methods": sorted(methods, key=METHODS.index), "sources": list(sources)}
    return figures(settings, list(rows.values())) | {"machine": first["machine"]}  # whose seconds count


def figures(settings: Settings, rows: list[Row]) -> dict[str, Any]:
    """All figures: by source, their means over the sources, and of the needles; and the rows that they come from."""
    rows = sorted(rows, key=lambda row: (row["task"], row["key"]))  # in the same order whatever was merged
    sources = {name: of for name in settings["sources"] if (of := _source([row for row in rows if row["task"] == name]))}
    means: dict[str, Any] = {}
    for title, held_out in (("held out", True), ("other", False)):
        members = [of["methods"] for name, of in sources.items() if (name in splits.HELD_OUT) == held_out]
        if members:
            means[title] = {name: mean(of[name]["recall"] for of in members) for name in settings["methods"]}
    needles = results([row for row in rows if row["task"] == NEEDLES])
    return {
        "machine": machine(), "settings": settings, "sources": sources, "means": means, "needles": needles, "rows": rows
    }  # fmt: skip


def _source(rows: list[Row]) -> dict[str, Any]:
    """The figures of one source: of its cases, by method, and what is kept where nothing answers."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        kinds.setdefault(row["about"]["kind"], []).append(row)
    if "answerable" not in kinds:
        return {}
    texts = [row["figures"]["text"] for row in kinds["answerable"] if row["method"] == "oracle"]
    wide = {"wide": sum(text["gold"] > WIDE for text in texts) / len(texts)}
    none = {kind: summary(kinds[kind])["cprs"]["no_answer"]["kept"] for kind in WITHOUT_ANSWER if kind in kinds}
    methods = summary(kinds["answerable"])
    return {"case": {"cases": len(texts), **mean(texts), **wide}, "methods": methods, "no_answer": none}


def show(report: dict[str, Any]) -> None:
    """Prints the figures as tables."""
    console = Console(width=max(Console().width, 140))
    console.print("; ".join(f"{key} {value}" for key, value in report["machine"].items() if value is not None))
    names, sources = report["settings"]["methods"], report["sources"]
    console.print(_table(
        "Evidence recall at 5 % of the text; evidence: its share of the text; wide: cases where that is over 5 %",
        _with_means({name: [of["case"][key] for key in ("cases", "gold", "wide")]
                     + [of["methods"][key]["recall"]["5"] for key in names] for name, of in sources.items()}),
        ["cases", "evidence", "wide", *names],
    ))  # fmt: skip
    console.print(_table(
        "Means over the sources at every budget",
        {f"{title}, {name}": list(of[name].values()) for title, of in report["means"].items() for name in names},
        [f"{budget} %" for budget in BUDGETS], "mean",
    ))  # fmt: skip
    if "cprs" in names:
        own, none = ("precision", "recall", "f1", "kept"), WITHOUT_ANSWER
        console.print(_table(
            "The model's own decision: sentences, and share of the text kept; without an answer: share kept; "
            "expected calibration error",
            _with_means({name: [of["methods"]["cprs"]["decision"][key] for key in own]
                         + [of["no_answer"].get(key) for key in none] + [of["methods"]["cprs"]["calibration"]["error"]]
                         for name, of in sources.items()}), [*own, *none, "error"],
        ))  # fmt: skip
    for name, group in report["needles"]["groups"].get(NEEDLES, {}).items():
        shown = ("tokens", "retained", "kept", "compression")
        rows = {value: [of["cprs"]["cases"], *(of["cprs"]["decision"][key] for key in shown)] for value, of in group.items()}
        console.print(_table(f"Needles by {name}", rows, ["cases", *shown], name))


def _with_means(sources: dict[str, list[float | None]]) -> dict[str, list[float | None]]:
    """The cells of all sources, followed by the means of those that are held out and of the others."""
    means: dict[str, list[float | None]] = {}
    for title, held_out in (("MEAN held out", True), ("MEAN other", False)):
        members = [cells for name, cells in sources.items() if (name in splits.HELD_OUT) == held_out]
        columns = [[cell for cell in column if cell is not None] for column in zip(*members, strict=True)]
        if members:
            means[title] = [sum(column) / len(column) if column else None for column in columns]
    return sources | means


def _table(title: str, rows: dict[str, list[float | None]], columns: list[str], first: str = "source") -> Table:
    """Counts print whole, the rest with three decimals."""
    table = Table(first, title=title)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for name, cells in rows.items():
        table.add_row(name, *("-" if x is None else f"{x:.3f}" if x < 2 else f"{x:,.0f}" for x in cells))
    return table


def _sources(data: Path, asked: str) -> list[str]:
    known = benchmark_sources(data)
    names = list(splits.HELD_OUT) if asked == "held-out" else asked.split(",") if asked else known
    if unknown := sorted(set(names) - set(known)):
        raise InputError(f"unknown {', '.join(unknown)}; use some of {', '.join(known)}")
    return names


def _shard(text: str) -> tuple[int, int]:
    """I/N as (I - 1, N)."""
    first, _, last = text.partition("/")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise InputError(f"--shard {text} is no part of a whole; give I/N, such as 2/4")
    return int(first) - 1, int(last)


def _write(out: Path | None, report: dict[str, Any]) -> None:
    if out:
        out.write_text(json.dumps(report) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)

"""``cprs eval``: what it asks for, what it says while it runs, and what it leaves behind."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..errors import CprsError, InputError
from ..models import DEFAULT_MODEL
from ..options import Device, Dtype, Model, Skim
from ..terminal import STOPPED, errors, page, split, tokens

if TYPE_CHECKING:
    from ..store import Store
    from .case import Case
    from .options import CountTokens, TaskOptions
    from .runner import Row, Runner

_LONG = 32  # windows, from which a text gets a bar of its own


def evaluate(
    tasks: Annotated[
        list[str], typer.Argument(metavar="TASK", help="niah, ruler, kv, qa, or a part: niah/single, ruler/vt ...")
    ],
    methods: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: cprs, bm25, embeddings, fusion, random, lead, oracle, llmlingua, longllmlingua.",
            show_default="cprs,bm25,embeddings,fusion as far as installed",
        ),
    ] = None,
    model: Model = DEFAULT_MODEL,
    device: Device = None,
    dtype: Dtype = None,
    skim: Skim = True,
    embedding_model: Annotated[
        str | None, typer.Option(help="A folder or hub id for sentence-transformers.", show_default="all-MiniLM-L6-v2")
    ] = None,
    lingua_model: Annotated[
        str | None, typer.Option(help="A causal language model for llmlingua and longllmlingua: folder, .gguf, hub id.")
    ] = None,
    file: Annotated[list[Path] | None, typer.Option(help="A JSONL file of questions; may be given more than once.")] = None,
    lengths: Annotated[str, typer.Option(help="Lengths of the texts in tokens: 8000, 8k, 128k, 1M.")] = "4k,16k",
    depths: Annotated[int, typer.Option(help="How many depths, evenly from 0 to 100 %.")] = 5,
    samples: Annotated[int, typer.Option(help="Cases of each length, depth and kind.")] = 1,
    limit: Annotated[int | None, typer.Option(help="Cases of each task and variant, at most.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed, the same cases.")] = 0,
    haystack: Annotated[
        str | None, typer.Option(help="pydoc, noise, a text file or a folder of .txt and .md.", show_default="the task's")
    ] = None,
    budgets: Annotated[str, typer.Option(help="Shares of the text that may be kept, in percent.")] = "2,5,10,20",
    llm: Annotated[
        str | None, typer.Option(help="Have answers read: URL of an OpenAI-compatible service, or hf:NAME.")
    ] = None,
    llm_model: Annotated[str | None, typer.Option(help="The service's model.")] = None,
    llm_budget: Annotated[
        float | None,
        typer.Option(help="Share of the text that the LLM reads, in percent.", show_default="what cprs keeps by itself"),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="New folder for rows, figures and pictures.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the run in the output folder; give the same options.")] = False,
) -> None:
    """Measure how much of what matters survives: cprs next to other methods, on tasks with known answers.

    All methods see the same texts, sentences and budgets. qa takes rows such as {"query": ..., "context": ...,
    "answers": [...]} or, with exact places, "spans": [[start, end], ...]; "answers": [] says that nothing answers.
    """
    from .. import __version__
    from ..compressor import ContextCompressor
    from ..store import Store
    from .lineup import open_methods, usual_methods
    from .llm import open_reader
    from .options import TaskOptions
    from .runner import Row, Runner

    names, lacking = (split(methods), []) if methods is not None else usual_methods()
    if lacking:
        errors.print(f"{', '.join(lacking)} left out: not installed; they come with: pip install 'cprs-core[eval]'")
    if llm is None and (llm_model, llm_budget) != (None, None):
        raise InputError("--llm-model and --llm-budget are about the reader of --llm; name one")
    options = TaskOptions(
        lengths=tuple(tokens("--lengths", length) for length in split(lengths)),
        depths=depths,
        samples=samples,
        seed=seed,
        haystack=haystack,
        files=tuple(file or ()),
        limit=limit,
    )
    percents = sorted({_percent("--budgets", budget) for budget in split(budgets)})
    if llm_budget is not None:
        _percent("--llm-budget", llm_budget)
    settings = {
        "cprs": __version__,
        "tasks": tasks,
        "methods": names,
        "budgets": percents,
        "model": model,
        "device": device,
        "dtype": dtype,
        "skim": skim,
        "embedding_model": embedding_model,
        "lingua_model": lingua_model,
        **asdict(options),
        "files": {str(path): _digest(path) for path in options.files},
        "llm": llm,
        "llm_model": llm_model,
        "llm_budget": llm_budget,
    }
    store = Store[Row](out, settings, rows="cases.jsonl", resume=resume)
    if out is not None:
        from . import plots  # where it cannot be drawn, now is the time to say so
    compressor = ContextCompressor.from_pretrained(model, device=device, dtype=dtype, skim=skim)
    cases = _cases(tasks, options, compressor.count_tokens)
    compared = open_methods(
        names, compressor, embedding_model=embedding_model, lingua_model=lingua_model, device=device, seed=seed
    )
    reader = open_reader(llm, llm_model, device) if llm is not None else None
    runner = Runner(compared, percents, compressor.count_tokens, reader, llm_budget)

    try:
        _run(cases, runner, store)
    except KeyboardInterrupt as interrupt:
        errors.print(f"stopped; {_to_go_on(store, out)}")
        raise typer.Exit(STOPPED) from interrupt
    except CprsError:
        errors.print(_to_go_on(store, out))
        raise
    if reader is not None and not any("reader" in row["figures"] for row in store.rows):
        errors.print("the LLM was not asked: no case says what the answers are")

    from ..machine import machine
    from .report import results, tables

    figures = results(store.rows)
    store.finish({"settings": settings, "machine": machine(), **figures})
    page().print(*tables(figures["tasks"]), sep="\n")
    if out is not None:
        drawn = plots.draw(out, store.rows, figures["tasks"])
        errors.print(f"in {out}: {', '.join(path.name for path in [*store.files, *drawn])}", style="dim")


def _run(cases: Sequence[Case], runner: Runner, store: Store[Row]) -> None:
    """Measures what has no row yet."""
    done = {(row["number"], row["method"]) for row in store.rows}
    times = TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *times)
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=len(cases) * len(runner.names), completed=len(done))
        windows = progress.add_task("  windows of this text", visible=False)
        runner.watch(lambda done, total: progress.update(windows, completed=done, total=total, visible=total > _LONG))
        for number in range(len(cases)):
            missing = [name for name in runner.names if (number, name) not in done]
            if missing:
                case = cases[number]
                progress.update(bar, description=f"{case.task} {case.key}")
                for row in runner.rows(number, case, missing):
                    store.add(row)
                    progress.advance(bar)


def _to_go_on(store: Store[Row], out: Path | None) -> str:
    if out is None:
        return "nothing is kept without --out"
    if not store.rows:
        return "no case was done yet"
    return f"{out} keeps what is done; go on with the same command and --resume"


def _cases(tasks: list[str], options: TaskOptions, count_tokens: CountTokens) -> Sequence[Case]:
    """The cases of all tasks, one task after the other."""
    from .options import Cases
    from .tasks import build

    for task in tasks:
        if tasks.count(task) > 1 or task.partition("/")[0] in set(tasks) - {task}:
            raise InputError(f"the task {task} is named twice, or as a part of another; name it once")
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        found = Cases.joined([build(task, options, count_tokens) for task in tasks])
    for note in notes:
        errors.print(str(note.message))
    if not len(found):
        raise InputError(f"there is no case of {', '.join(tasks)}; is a file of questions empty?")
    return found


def _percent(option: str, value: float | str) -> float:
    try:
        percent = float(value)
    except ValueError:
        percent = nan
    if not 0 < percent <= 100:
        raise InputError(f"{option}: {value} is no share of a text; give percents over 0 and up to 100")
    return percent


def _digest(path: Path) -> str:
    """Tells a file from what it was when the run was started."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error

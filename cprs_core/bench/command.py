"""``cprs bench``: what it asks for, what it says while it runs, and what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ..errors import CprsError, InputError, MissingExtraError
from ..models import DEFAULT_MODEL
from ..options import Device, WindowSize
from ..terminal import STOPPED, errors, page, split, tokens

if TYPE_CHECKING:
    from .options import Options
    from .runner import Row

_BY_DEVICE = "by device"


def bench(
    tasks: Annotated[
        list[str] | None,
        typer.Argument(metavar="TASK", help="start, length, documents, batch, agreement.", show_default="all"),
    ] = None,
    model: Annotated[
        str, typer.Option(help="cprs-small, a folder, a Hugging Face id, or random-7b: the released shape, random weights.")
    ] = DEFAULT_MODEL,
    device: Device = None,
    dtypes: Annotated[
        str | None, typer.Option(help="Comma-separated: float32, bfloat16, float16, float8, int8.", show_default=_BY_DEVICE)
    ] = None,
    lengths: Annotated[
        str | None, typer.Option(help="Lengths of the texts in tokens: 8000, 8k, 128k, 2M.", show_default=_BY_DEVICE)
    ] = None,
    documents: Annotated[
        int | None, typer.Option(help="How many documents are compressed together.", show_default=_BY_DEVICE)
    ] = None,
    document_tokens: Annotated[int, typer.Option(help="Tokens of each of them.")] = 300,
    batches: Annotated[str | None, typer.Option(help="Tokens of a batch: 1k,4k.", show_default=_BY_DEVICE)] = None,
    window_size: WindowSize = None,
    baseline: Annotated[bool, typer.Option(help="Measure the straightforward way, too.")] = True,
    baseline_dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, float16.", show_default=_BY_DEVICE)] = None,
    baseline_window: Annotated[
        int | None, typer.Option(help="Tokens of its windows.", show_default="1,024 for cprs-small, else the model's")
    ] = None,
    baseline_limit: Annotated[str, typer.Option(help="It runs on so many tokens at most.")] = "128k",
    runs: Annotated[int, typer.Option(help="Medians are of so many.")] = 3,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="New folder for figures and pictures.")] = None,
) -> None:
    """Measure speed and memory, side by side with the straightforward way.

    That is transformers' forward pass on one window at a time, instruction and question repeated in each, under dense
    attention masks. Tasks: *start*, a new process; *length*, one text of each length; *documents*, many short ones;
    *batch*, how much runs at once; *agreement*, how far each dtype does what float32 does. Random weights can do all but
    the first and the last.
    """
    given = {
        "tasks": tuple(dict.fromkeys(tasks or ())),
        "dtypes": tuple(dict.fromkeys(split(dtypes))) if dtypes is not None else None,
        "lengths": _sizes("--lengths", lengths),
        "documents": documents,
        "batches": _sizes("--batches", batches),
        "baseline_dtype": baseline_dtype,
        "baseline_window": baseline_window,
    }
    always = {
        "document_tokens": document_tokens,
        "window_size": window_size,
        "baseline": baseline,
        "baseline_limit": tokens("--baseline-limit", baseline_limit),
        "runs": runs,
    }
    options = _options(model, device, given, always)
    draws = out is not None and _can_draw()
    if out is not None:
        _make(out)
    rows: list[Row] = []
    try:
        _run(options, rows)
    except KeyboardInterrupt as interrupt:
        errors.print("stopped; this was measured until then")
        raise typer.Exit(STOPPED) from interrupt
    finally:
        if rows:
            _leave(rows, options, out, draws)


def _options(model: str, device: str | None, given: dict[str, Any], always: dict[str, Any]) -> Options:
    """What was given, and what is usual on the device for the rest."""
    import torch

    from ..devices import resolve_devices
    from .options import Options, usual

    places = resolve_devices(device)
    kind = places[0].type
    float8 = kind == "cuda" and torch.cuda.get_device_capability(places[0]) >= (8, 9)
    typical = usual(model, kind, float8=float8, bfloat16=torch.cpu._is_amx_tile_supported())
    chosen = {name: value for name, value in given.items() if value not in (None, ())}
    return Options(model=model, device=",".join(map(str, places)), **(typical | chosen), **always)


def _sizes(option: str, text: str | None) -> tuple[int, ...] | None:
    """Different numbers of tokens, the smallest first."""
    return None if text is None else tuple(sorted({tokens(option, part) for part in split(text)}))


def _run(options: Options, rows: list[Row]) -> None:
    """Measures everything; rows come as they are measured."""
    from .runner import Bench, steps
    from .sides import sides

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as progress:
        bar = progress.add_task("", total=sum(len(steps(side, options)) for side in sides(options)))
        bench = Bench(options, lambda what: progress.update(bar, description=what, refresh=True))
        for row in bench.rows():
            rows.append(row)
            progress.advance(bar)


def _can_draw() -> bool:
    try:
        from . import plots  # noqa: F401
    except MissingExtraError as missing:
        errors.print(f"there will be no pictures: {missing}")
        return False
    return True


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"{folder} is there already and has something in it; name another --out")
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror or error}") from error


def _leave(rows: Sequence[Row], options: Options, out: Path | None, draws: bool) -> None:
    """Prints the tables, and leaves figures and pictures in the folder."""
    from ..machine import machine
    from .report import tables

    found = machine()
    count = options.device.count(",") + 1
    gpus = f"{count} x {found['gpu']}" if count > 1 else found["gpu"]
    place = gpus if options.device.startswith("cuda") else f"{found['processor']}, {found['cores']} cores"
    console = page()
    console.print(*tables(rows), sep="\n")
    console.print(
        f"{options.model}, {place}, torch {found['torch']}; medians of {options.runs}", highlight=False, markup=False
    )
    if out is None:
        return
    path = out / "bench.json"
    content = {"machine": found, "settings": asdict(options), "rows": [row.to_dict() for row in rows]}
    try:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        files = [path]
        if draws:
            from . import plots

            files += plots.draw(out, rows)
    except OSError as error:
        raise CprsError(f"cannot write to {out}: {error.strerror or error}") from error
    errors.print(f"in {out}: {', '.join(file.name for file in files)}", style="dim")

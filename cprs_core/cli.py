"""The command ``cprs``. Exit codes: 0 done, 1 it failed (a model, a device, a file), 2 wrong usage or input."""

from __future__ import annotations

import json
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from . import __version__
from .bench.command import bench
from .distributed.command import map_corpus
from .errors import CprsError, InputError
from .evaluation.command import evaluate
from .instruction import decode_text
from .mcp.command import mcp
from .models import BUNDLED, DEFAULT_MODEL
from .options import Device, Dtype, Model, Preset, Ratio, Said, Skim, Threshold, WindowSize, instruction_of
from .proxy.command import proxy
from .result import Compression
from .server.command import serve
from .views.html import page as html_page
from .views.terminal import render as terminal_page

_errors = Console(stderr=True, highlight=False, soft_wrap=True)


class _Commands(TyperGroup):
    """Commands whose errors are printed, and end in the right exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CprsError as error:
            _errors.print("[red]error:[/]", escape(str(error)))
            raise typer.Exit(2 if isinstance(error, InputError) else 1) from error


app = typer.Typer(
    name="cprs",
    cls=_Commands,
    help="Keep the words of long texts that matter for a question, verbatim.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("eval")(evaluate)
app.command("bench")(bench)
app.command("map")(map_corpus)
app.command("mcp")(mcp)
app.command("proxy")(proxy)
app.command("serve")(serve)


class Format(StrEnum):
    text = "text"
    json = "json"
    html = "html"
    diff = "diff"
    terminal = "terminal"


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"cprs {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None: ...


@app.command()
def compress(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="UTF-8 text files; - is standard input.")],
    query: Annotated[str, typer.Option("--query", "-q", help="The question that the kept words should answer.")],
    instruction: Said = None,
    preset: Preset = None,
    max_tokens: Annotated[int | None, typer.Option(help="Keep at most this many tokens, of all files together.")] = None,
    ratio: Ratio = None,
    threshold: Threshold = None,
    model: Model = DEFAULT_MODEL,
    device: Device = None,
    dtype: Dtype = None,
    window_size: WindowSize = None,
    skim: Skim = True,
    format: Annotated[
        Format,
        typer.Option(help="What to print: the kept text; or the whole one with it marked, in colours (terminal) or HTML."),
    ] = Format.text,
    plot: Annotated[Path | None, typer.Option(help="Draw the scores along the texts there, as .png, .svg or .pdf.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write there instead of to standard output.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no summary on standard error.")] = False,
) -> None:
    """Compress files for a question. With no budget and no threshold, the model decides how much to keep."""
    chosen = instruction_of(instruction, preset)
    texts = [_read(name) for name in files]
    if plot is not None:
        from .views.plot import check

        check(plot)
    from .compressor import ContextCompressor

    compressor = ContextCompressor.from_pretrained(model, device=device, dtype=dtype, window_size=window_size, skim=skim)
    results = compressor.compress_documents(
        texts, query, chosen, max_tokens=max_tokens, ratio=ratio, threshold=threshold, progress=not quiet
    )
    _write(_render(results, files, format), out)
    if plot is not None:
        from .views.plot import plot as draw
        from .views.plot import save

        save(draw(results, files), plot)
    if not quiet:
        _summarise(results)


@app.command()
def models() -> None:
    """List the models that come with the package."""
    table = Table("name", "size", "layers", "bidirectional from", "window", "weights")
    for name, folder in BUNDLED.items():
        config = json.loads((folder / "config.json").read_text())
        size = sum(path.stat().st_size for path in folder.rglob("*")) / 2**20
        bits = config.get("cprs_quantization", {}).get("bits", 32)
        border, layers = config["first_bidirectional_layer"], config["num_hidden_layers"]
        row = (name, f"{size:.0f} MiB", layers, f"layer {border}", f"{config['window_size']:,} tokens", f"{bits} bits")
        table.add_row(*map(str, row))
    Console().print(table)
    typer.echo("Any folder or Hugging Face id of a token critic works too, such as Tongyi-Zhiwen/QwenLong-CPRS-7B.")


@app.command()
def train(
    data: Annotated[
        list[Path], typer.Argument(help="JSONL files, or folders with train/NAME.json.xz and haystack/NAME.txt.xz.")
    ],
    base: Annotated[str | None, typer.Option(help="The decoder to start from: a folder, a hub id or a .gguf file.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the checkpoint, its log and its recipe.")] = Path(
        "critic"
    ),
    recipe: Annotated[Path | None, typer.Option(help="A recipe.json; the options below change single values of it.")] = None,
    bidirectional: Annotated[int | None, typer.Option(help="How many upper layers look both ways.")] = None,
    skim: Annotated[
        int | None,
        typer.Option(help="Leave the critic as it is; train a skimmer for long texts, behind so many of its causal layers."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of data and initialisation.")] = None,
    precision: Annotated[str | None, typer.Option(help="no, bf16 or fp16.")] = None,
    quantize: Annotated[bool | None, typer.Option(help="Train with 4-bit weights in the loop.")] = None,
    teacher: Annotated[str | None, typer.Option(help="A critic to distil from; it must share the tokenizer.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that prepare data.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint in the output folder.")] = False,
) -> None:
    """Train a token critic.

    A JSONL row is {"query": ..., "context": ..., "spans": [[start, end, "evidence"], ...]}, offsets in characters; the tag
    "answer" marks exact words. No spans: the context does not answer. For several devices, use accelerate launch.
    """
    from .training.config import TrainConfig
    from .training.trainer import train as run

    text = _read(str(recipe)) if recipe else "{}"
    config = TrainConfig.from_json(
        text,
        base=base,
        bidirectional=bidirectional,
        skim=skim,
        steps=steps,
        learning_rate=learning_rate,
        seed=seed,
        precision=precision,
        quantize=quantize,
        teacher=teacher,
        workers=workers,
    )
    if not config.base:
        raise InputError("no base model; name one with --base (a folder, a hub id or a .gguf file)")
    run(config, data, out, resume=resume)
    _errors.print(f"saved to {out}; try it with: cprs compress FILE -q QUESTION --model {out}")


def _read(name: str) -> str:
    """A file as text."""
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        _errors.print(f"[red]error:[/] cannot read {name}: {error.strerror or error}")
        raise typer.Exit(1) from error
    return decode_text(name, content)


def _render(results: list[Compression], files: list[str], format: Format) -> str:
    if format is Format.json:
        return json.dumps(_report(results, files), ensure_ascii=False, indent=1) + "\n"
    if format is Format.html:
        return html_page(results, files)
    if format is Format.terminal:
        return terminal_page(results, files)
    parts = [result.diff() if format is Format.diff else result.text + "\n" for result in results]
    if len(files) == 1:
        return parts[0]
    return "\n".join(f"==> {name} <==\n{part}" for name, part in zip(files, parts, strict=True))


def _report(results: list[Compression], files: list[str]) -> dict[str, object]:
    read, kept = (sum(getattr(result, name) for result in results) for name in ("input_tokens", "kept_tokens"))
    rows = [result.to_dict() for result in results]
    return {
        **{name: rows[0][name] for name in ("model", "query", "instruction")},
        "input_tokens": read,
        "kept_tokens": kept,
        "ratio": kept / read if read else 0.0,
        "seconds": rows[0]["seconds"],
        "documents": [
            {"path": name, "text": row["text"], "spans": row["spans"]} for name, row in zip(files, rows, strict=True)
        ],
    }


def _write(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.buffer.write(text.encode("utf-8"))
        sys.stdout.flush()
        return
    try:
        out.write_bytes(text.encode("utf-8"))
    except OSError as error:
        _errors.print(f"[red]error:[/] cannot write {out}: {error.strerror or error}")
        raise typer.Exit(1) from error


def _summarise(results: list[Compression]) -> None:
    from .views.stretches import summary

    _errors.print(f"{summary(*results)}, {results[0].seconds:.1f} s", style="dim")
    if not any(result.spans for result in results):
        _errors.print(
            "nothing in there seems to matter for the query; --max-tokens keeps the best of it anyway", style="dim"
        )


def main() -> None:
    """Entry point of the command."""
    warnings.filterwarnings("ignore", category=UserWarning)
    app()


if __name__ == "__main__":
    main()

"""``cprs map``: a corpus through a pool of workers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..models import DEFAULT_MODEL
from ..options import Device, Dtype, Model, Preset, Ratio, Said, Skim, Threshold, WindowSize, instruction_of
from ..terminal import STOPPED, errors

if TYPE_CHECKING:
    from .report import Summary


class InputFormat(StrEnum):
    parquet = "parquet"
    jsonl = "jsonl"
    text = "text"


class OutputFormat(StrEnum):
    parquet = "parquet"
    jsonl = "jsonl"


def map_corpus(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT", help="Parquet, JSON lines or UTF-8 text: files, or folders of them.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for compressed rows, bad rows and figures.")],
    query: Annotated[str | None, typer.Option("--query", "-q", help="The question put to all rows.")] = None,
    query_column: Annotated[str | None, typer.Option(help="Or the column with the question of each row.")] = None,
    text_column: Annotated[str, typer.Option(help="The column of the texts.")] = "text",
    instruction: Said = None,
    preset: Preset = None,
    max_tokens: Annotated[int | None, typer.Option(help="Keep at most this many tokens of each row.")] = None,
    ratio: Ratio = None,
    threshold: Threshold = None,
    max_chars: Annotated[
        int | None, typer.Option(help="Rows with more characters go to the bad ones.", show_default="no limit")
    ] = None,
    input_format: Annotated[InputFormat | None, typer.Option(help="What the inputs are.", show_default="by name")] = None,
    output_format: Annotated[
        OutputFormat | None, typer.Option("--format", help="What to write.", show_default="as the input; jsonl for text")
    ] = None,
    model: Model = DEFAULT_MODEL,
    device: Device = None,
    dtype: Dtype = None,
    window_size: WindowSize = None,
    batch_tokens: Annotated[int | None, typer.Option(help="Tokens of a batch.", show_default="by device")] = None,
    skim: Skim = True,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes, each with a model of its own.", show_default="one a GPU, else as cores suffice"),
    ] = None,
    threads: Annotated[int, typer.Option(help="Cores of each worker.")] = 1,
    gpus: Annotated[
        float | None, typer.Option(help="GPUs of each worker; .5 lets two share one.", show_default="by device")
    ] = None,
    block_mb: Annotated[
        float | None,
        typer.Option(help="MiB of text that are done, and kept, as one.", show_default="2 on GPUs, 0.125 on CPUs"),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="A Ray cluster: auto, or HOST:PORT.", show_default="RAY_ADDRESS, else one on this machine"),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the run in the output folder; give the same options.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no summary on standard error.")] = False,
) -> None:
    """Compress a corpus with many workers, here or on a Ray cluster. A run that was stopped goes on with --resume.

    OUT/compressed gets the rows: all their columns but the text, and cprs_file, cprs_row, cprs_text, cprs_spans,
    cprs_input_tokens, cprs_kept_tokens. OUT/bad gets those that cannot be compressed, and why. Every row is in one of them,
    once, whatever happens to workers.
    """
    from .batches import BatchCompressor
    from .corpus import compress_corpus

    batch = BatchCompressor(
        query=query,
        query_column=query_column,
        text_column=text_column,
        instruction=instruction_of(instruction, preset),
        max_tokens=max_tokens,
        ratio=ratio,
        threshold=threshold,
        max_chars=max_chars,
        model=model,
        device=device,
        dtype=dtype,
        window_size=window_size,
        batch_tokens=batch_tokens,
        skim=skim,
        threads=threads,
    )
    try:
        done = compress_corpus(
            inputs,
            out,
            batch,
            input_format=input_format and input_format.value,
            output_format=output_format and output_format.value,
            block_bytes=None if block_mb is None else round(block_mb * 2**20),
            workers=workers,
            gpus=gpus,
            address=address,
            resume=resume,
            progress=not quiet,
        )
    except KeyboardInterrupt as interrupt:
        errors.print(f"stopped; {out} keeps what is done; go on with the same command and --resume")
        raise typer.Exit(STOPPED) from interrupt
    if not quiet:
        _summarise(done, out)


def _summarise(done: Summary, out: Path) -> None:
    share = done.kept_tokens / done.input_tokens if done.input_tokens else 0
    good = _number(done.rows - done.bad, "row")
    errors.print(f"{good}: kept {done.kept_tokens:,} of {done.input_tokens:,} tokens ({share:.1%})", style="dim")
    if done.bad:
        errors.print(f"{_number(done.bad, 'bad row')} could not be compressed; {out / 'bad'} says why")
    if done.workers:
        errors.print(
            f"{done.seconds:.1f} s with {_number(done.workers, 'worker')}, {done.start_seconds:.1f} s of it to start; then "
            f"{done.tokens_per_second:,.0f} tokens/s, workers busy for {done.busy:.0%} of the time",
            style="dim",
        )


def _number(count: int, thing: str) -> str:
    return f"{count:,} {thing}" + "s" * (count != 1)

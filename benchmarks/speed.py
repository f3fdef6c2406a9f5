"""How long a text of 20 pages takes: ``python benchmarks/speed.py --help``."""

import os
import platform
import resource
import time
from pathlib import Path
from typing import Annotated

import typer

LICENSE = Path(__file__).parents[1] / "LICENSE"


def main(
    file: Annotated[Path, typer.Argument(help="A text; repeated until it is long enough.")] = LICENSE,
    tokens: Annotated[int, typer.Option(min=100, help="Length of the text; 13,000 tokens are about 20 pages.")] = 13_000,
    query: Annotated[str, typer.Option(help="The question.")] = "May I charge a fee for support?",
    model: Annotated[str, typer.Option(help="Model name or folder.")] = "cprs-small",
    device: Annotated[str | None, typer.Option(help="cpu, cuda ...")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16, float16.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="The median of so many is printed.")] = 3,
) -> None:
    """Time a compression in one process: start-up, then the median of a few runs."""
    began = time.perf_counter()
    import torch

    from cprs_core import ContextCompressor

    compressor = ContextCompressor.from_pretrained(model, device=device, dtype=dtype)
    started = time.perf_counter() - began
    text = file.read_text(encoding="utf-8")
    text *= -(-tokens // max(1, compressor.count_tokens(text)))
    text = text[: int(len(text) * tokens / compressor.count_tokens(text))]
    compressor.compress(text[:4000], query)  # warm-up
    results = [compressor.compress(text, query) for _ in range(runs)]
    seconds = sorted(result.seconds for result in results)[runs // 2]
    machine = torch.cuda.get_device_name() if compressor.engine.device.type == "cuda" else platform.processor()
    typer.echo(
        f"{results[0].input_tokens:,} tokens in {seconds:.1f} s, {results[0].input_tokens / seconds:,.0f} tokens/s; "
        f"start-up {started:.1f} s; peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB\n"
        f"{compressor!r}, {machine or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__} "
        f"with {torch.get_num_threads()} threads"
    )


if __name__ == "__main__":
    typer.run(main)

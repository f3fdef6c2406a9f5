"""What a run shows while it goes on, and what it says at its end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..progress import Progress

if TYPE_CHECKING:
    from .sources.block import Block

Tally = dict[str, Any]  # see worker


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
        rows: all rows of the corpus, bad ones included. bad: those that could not be compressed.
        input_tokens, kept_tokens: of all rows that could, by the critic's tokenizer.
        blocks: of the corpus. done_before: those that an earlier run had done.
        workers: in the pool. seconds: of this run. start_seconds: of these, before the first block was begun.
        tokens_per_second: that this run read, after its start. busy: the share of that time that workers worked on blocks.
    """

    rows: int
    bad: int
    input_tokens: int
    kept_tokens: int
    blocks: int
    done_before: int
    workers: int
    seconds: float
    start_seconds: float
    tokens_per_second: float
    busy: float


def summarise(
    tallies: Sequence[Tally], blocks: int, before: Collection[int], workers: int, seconds: float, start: float
) -> Summary:
    """The figures of a run.

    Args:
        tallies: of all blocks. before: the blocks that an earlier run had done.
        seconds: from the start of this run to its last block. start: of these, before its first one.
    """
    names = ("rows", "bad", "input_tokens", "kept_tokens")
    new = [tally for tally in tallies if tally["block"] not in before]
    working = (seconds - start) or 1.0  # if nothing was left to do
    return Summary(
        **{name: sum(tally[name] for tally in tallies) for name in names},
        blocks=blocks,
        done_before=len(before),
        workers=workers,
        seconds=seconds,
        start_seconds=start,
        tokens_per_second=sum(tally["input_tokens"] for tally in new) / working,
        busy=sum(tally["seconds"] for tally in new) / working / max(1, workers),
    )


@contextmanager
def shown(progress: Progress, blocks: Sequence[Block], before: Collection[int]) -> Iterator[Callable[[Tally], None]]:
    """Shows how many rows are done, as tallies come."""
    total = sum(block.rows for block in blocks)
    done = sum(block.rows for block in blocks if block.number in before)
    rows = {block.number: block.rows for block in blocks}
    if not progress or callable(progress):

        def tell(tally: Tally) -> None:
            nonlocal done
            done += rows[tally["block"]]
            if callable(progress):
                progress(done, total)

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    times = TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn()
    parts_of_bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"), *times)
    with Bar(*parts_of_bar, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting workers", total=total, completed=done)
        yield lambda tally: bar.update(task, advance=rows[tally["block"]], description="compressing")

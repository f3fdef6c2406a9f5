"""Measurements as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from .runner import Row

Cell = Callable[[Row], str]

GIB, MIB = 2**30, 2**20


def tables(rows: Sequence[Row]) -> list[Table]:
    """A table a task, those that were measured."""
    plain = {(row.task, row.size): row for row in rows if row.side.startswith("plain")}

    def faster(row: Row) -> str:
        base = plain.get((row.task, row.size)) or plain.get((row.task, 0))
        return f"{row.speed / base.speed:.1f}x" if base else "-"

    seconds: dict[str, Cell] = {"seconds": lambda row: number(row.median)}
    speed: dict[str, Cell] = {"tokens/s": lambda row: number(row.speed), "vs plain": faster}
    memory: dict[str, Cell] = {"GPU GiB": lambda row: number(row.figures["gpu_bytes"], GIB)}
    if not any(row.figures.get("gpu_bytes") for row in rows):
        memory = {}
    columns: dict[str, tuple[str, dict[str, Cell]]] = {
        "start": (
            "A new process, until the first answer",
            {
                "": lambda row: "",
                **seconds,
                "import": lambda row: number(row.figures["import"]),
                "load": lambda row: number(row.figures["load"]),
                "first": lambda row: number(row.figures["first"]),
                "peak host GiB": lambda row: number(row.figures["peak_bytes"], GIB),
            },
        ),
        "length": (
            "One text, by its length in tokens",
            {
                "tokens": lambda row: f"{row.tokens:,}",
                **seconds,
                **speed,
                **memory,
                "host bytes a token": lambda row: number(row.figures["host_bytes"], row.tokens),
                "host alone": lambda row: f"{row.figures['host_share']:.1%}",
                "waited for": lambda row: (
                    f"{share:.1%}" if (share := row.figures.get("host_waited_for")) is not None else ""
                ),
            },
        ),
        "documents": (
            "Many documents, one question",
            {
                "documents": lambda row: f"{row.size:,}",
                "tokens": lambda row: f"{row.tokens:,}",
                **seconds,
                "documents/s": lambda row: number(row.figures["documents_per_second"]),
                **speed,
                **memory,
            },
        ),
        "batch": (
            "One text, by the tokens of a batch",
            {
                "batch": lambda row: f"{row.size:,}" if row.size else "a window",
                "tokens": lambda row: f"{row.tokens:,}",
                **seconds,
                **speed,
                **memory,
            },
        ),
        "agreement": (
            "Agreement with plain float32, in shares of the tokens",
            {
                "tokens": lambda row: f"{row.tokens:,}",
                "same label": lambda row: f"{row.figures['same_label']:.4%}",
                "same decision": lambda row: f"{row.figures['same_decision']:.4%}",
                "largest difference of a score": lambda row: f"{row.figures['difference']:.2g}",
            },
        ),
    }
    return [
        _table(title, cells, [row for row in rows if row.task == task])
        for task, (title, cells) in columns.items()
        if any(row.task == task for row in rows)
    ]


def _table(title: str, cells: dict[str, Cell], rows: Sequence[Row]) -> Table:
    """A row a measurement, what varies first; the sides of one size stand together."""
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left")
    (varies, *others) = cells
    table.add_column(varies, justify="right")
    table.add_column("side")
    for heading in others:
        table.add_column(heading, justify="right")
    sizes = sorted({row.size for row in rows})
    for size in sizes:
        for row in rows:
            if row.size == size:
                table.add_row(cells[varies](row), row.side, *(cells[heading](row) for heading in others))
        if len(rows) > 2 * len(sizes) - 1:
            table.add_section()
    return table


def number(value: Any, unit: float = 1) -> str:
    """Three digits that count, thousands whole; ``-`` for None."""
    if value is None:
        return "-"
    value = value / unit
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

"""The figures of many rows: summed up by task and method, and printed as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from .metrics import calibration_error, mean
from .runner import Row

ALL = "all tasks"

Path = tuple[str, ...]
"""Where a figure is in a summary."""


def results(rows: Sequence[Row]) -> dict[str, Any]:
    """What ``results.json`` holds of the figures.

    tasks   by task and method, see :func:`summary`; several tasks have a mean over all their cases, too
    groups  by task, by what its cases are about (length, depth, kind ...), by value and method
    """
    tasks = _by(rows, "task")
    groups = {task: _groups(members) for task, members in tasks.items()}
    if len(tasks) > 1:
        tasks[ALL] = list(rows)
    return {"tasks": {task: summary(members) for task, members in tasks.items()}, "groups": groups}


def summary(rows: Iterable[Row]) -> dict[str, dict[str, Any]]:
    """By method: the mean of each figure over the cases that have it, see :class:`~.runner.Row`, and

    cases        how many have evidence; ``without_answer``: how many have none
    cost         tokens_per_second, of all cases together
    decision     compression: tokens of all cases / tokens kept of them; None if nothing was kept
    calibration  error: see :func:`~.metrics.calibration_error`; bins: sums over the cases

    The order of the rows changes nothing, to the last digit.
    """
    in_order = sorted(rows, key=lambda row: (row["task"], row["number"]))
    return {method: _figures(members) for method, members in _by(in_order, "method").items()}


def _figures(rows: list[Row]) -> dict[str, Any]:
    names = dict.fromkeys(name for row in rows for name in row["figures"])
    found: dict[str, Any] = {name: mean(row["figures"].get(name, {}) for row in rows) for name in names}
    answerable = sum(row["figures"]["text"]["gold"] > 0 for row in rows)
    if "cost" in found:
        found["cost"]["tokens_per_second"] = found["text"]["tokens"] / max(found["cost"]["seconds"], 1e-9)
    if "decision" in found:
        kept = found["decision"]["kept_tokens"]
        found["decision"]["compression"] = found["decision"]["tokens"] / kept if kept else None
    if bins := [row["bins"] for row in rows if row["bins"]]:
        sums = np.sum(bins, 0).tolist()
        found["calibration"] = {"error": calibration_error(sums), "bins": sums}
    return {"cases": answerable, "without_answer": len(rows) - answerable} | found


def _groups(rows: list[Row]) -> dict[str, Any]:
    """By what the cases are about and its value; what is the same for all of them makes no groups."""
    names = dict.fromkeys(name for row in rows for name in row["about"])
    parts = {name: _by(rows, "about", name) for name in names}
    return {name: {value: summary(some) for value, some in part.items()} for name, part in parts.items() if len(part) > 1}


def _by(rows: Iterable[Row], *path: str) -> dict[str, list[Row]]:
    """The rows by what they have at a path, those that have something there."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if (value := _at(row, path)) is not None:
            found.setdefault(f"{value}", []).append(row)
    return found


def _at(values: Any, path: Path) -> Any:
    """What nested dictionaries hold at a path, None where there is nothing."""
    for name in path:
        values = values.get(name) if isinstance(values, dict) else None
    return values


_OWN: dict[str, Path] = {
    "precision": ("decision", "precision"),
    "recall": ("decision", "recall"),
    "F1": ("decision", "f1"),
    "retained": ("decision", "retained"),
    "kept": ("decision", "kept"),
    "tokens in/out": ("decision", "compression"),
    "kept without answer": ("no_answer", "kept"),
    "calibration error": ("calibration", "error"),
}
_READ: dict[str, Path] = {
    "exact match": ("reader", "exact"),
    "F1": ("reader", "f1"),
    "contains": ("reader", "contains"),
    "text read": ("reader", "kept"),
}


def tables(tasks: dict[str, Any]) -> list[Table]:
    """The ``tasks`` of a run's results as tables, those for which there are figures."""
    found = [figures for methods in tasks.values() for figures in methods.values()]
    budgets = list(next((figures["kept"] for figures in found if "kept" in figures), {}))

    def at_budgets(group: str) -> dict[str, Path]:
        return {f"{budget} %": (group, budget) for budget in budgets}

    cost: dict[str, Path] = {"s a case": ("cost", "seconds"), "tokens/s": ("cost", "tokens_per_second")}
    recall = _table(
        "Evidence recall, by share of the text kept",
        tasks,
        "recall",
        {"cases": ("cases",), **at_budgets("recall"), **cost},
    )
    over = {name for methods in tasks.values() for name, figures in methods.items() if _overdrawn(figures)}
    if over:
        recall.caption = f"{', '.join(sorted(over))} kept more than that in places; see results.json"
    retained = "Answers retained, by share of the text kept"
    made = [
        recall,
        _table(retained, tasks, "retained", at_budgets("retained")),
        _table("The model's own decision: whole sentences, answers, share of the text", tasks, "calibration", _OWN),
        _table("Answers of the LLM", tasks, "reader", _READ),
    ]
    return [table for table in made if table.row_count]


def _overdrawn(figures: dict[str, Any]) -> bool:
    return any(kept > 1.1 * float(budget) / 100 for budget, kept in figures.get("kept", {}).items())


def _table(title: str, tasks: dict[str, Any], group: str, columns: dict[str, Path]) -> Table:
    """A row for each task and method that has the group; ``columns`` gives the figure of each heading, if there is any."""
    table = Table("task", "method", title=title, box=SIMPLE_HEAD, title_justify="left")
    shown = {task: {name: of for name, of in methods.items() if of.get(group)} for task, methods in tasks.items()}
    found = {
        heading: path
        for heading, path in columns.items()
        if any(_at(of, path) is not None for methods in shown.values() for of in methods.values())
    }
    for heading in found:
        table.add_column(heading, justify="right")
    for task, methods in shown.items():
        for first, (name, of) in zip([task, *[""] * len(methods)], methods.items(), strict=False):
            table.add_row(first, name, *(_cell(of, path) for path in found.values()))
        table.add_section()
    return table


def _cell(figures: dict[str, Any], path: Path) -> str:
    """The figure of a path: shares with three decimals, greater numbers with fewer, ``-`` where there is none."""
    value = _at(figures, path)
    if value is None:
        return "-"
    if isinstance(value, int) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if value <= 1 else f"{value:.1f}"

"""Rows as a run leaves them, made by hand."""

from __future__ import annotations

from typing import Any

from cprs_core.evaluation.runner import Row


def row(number: int, method: str, task: str = "niah/single", **more: Any) -> Row:
    """A row of a case with evidence; ``figures`` add to its own, ``about`` and ``bins`` replace them."""
    figures = {
        "text": {"tokens": 1000.0, "chars": 4000.0, "sentences": 50.0, "gold": 0.01},
        "cost": {"seconds": 0.5},
        "kept": {"2": 0.019, "10": 0.1},
        "recall": {"2": 0.5, "10": 1.0},
    }
    given = {"about": {}, "bins": None, **more}
    return {
        "number": number,
        "task": task,
        "key": f"{number}",
        "method": method,
        **given,
        "figures": figures | given.get("figures", {}),
    }


def decided(retained: float, kept_tokens: float = 10.0, **more: float) -> dict[str, dict[str, float]]:
    """The figures of a model's own decision."""
    own = {"precision": 1.0, "recall": 0.5, "f1": 0.75, "evidence": 0.6, "kept": 0.01, "tokens": 1000.0}
    return {"decision": {**own, "retained": retained, "kept_tokens": kept_tokens, **more}}

"""What ``cprs bench`` measures: checked, and with what suits the device where nothing was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from ..models import DEFAULT_MODEL

TASKS = ("start", "length", "documents", "batch", "agreement")
DTYPES = ("float32", "bfloat16", "float16", "float8", "int8")
RANDOM_7B = "random-7b"

_BASELINE_WINDOWS = {DEFAULT_MODEL: 1_024}


@dataclass(frozen=True)
class Options:
    """Attributes:
    lengths: tokens of the texts. documents, document_tokens: how many texts of how many tokens are compressed together.
    batches: tokens of a batch. window_size: of the compressor; None = the model's.
    device: several with commas between share the work, except for the straightforward way, which runs on the first.
    baseline: whether the straightforward way runs, too: in ``baseline_dtype``, in windows of ``baseline_window`` (None =
        the model's), on no more than ``baseline_limit`` tokens.
    runs: how often everything is measured.

    Raises:
        InputError: what cannot be measured.
    """

    tasks: tuple[str, ...]
    model: str
    device: str
    dtypes: tuple[str, ...]
    lengths: tuple[int, ...]
    documents: int
    document_tokens: int
    batches: tuple[int, ...]
    window_size: int | None
    baseline: bool
    baseline_dtype: str
    baseline_window: int | None
    baseline_limit: int
    runs: int

    def __post_init__(self) -> None:
        _known("task", self.tasks, TASKS)
        _known("dtype", (*self.dtypes, self.baseline_dtype), DTYPES)
        if self.baseline_dtype in ("float8", "int8"):
            raise InputError(f"--baseline-dtype: {self.baseline_dtype} is nothing that the straightforward way can do")
        if self.model == RANDOM_7B and "agreement" in self.tasks:
            raise InputError(f"agreement says something about trained weights only, and those of {RANDOM_7B} are random")
        if self.model == RANDOM_7B and "start" in self.tasks:
            raise InputError(f"start says how long loading takes, and {RANDOM_7B} is not loaded but drawn")
        for option, values, least in (
            ("--lengths", self.lengths, 16),
            ("--batches", self.batches, 1),
            ("--documents", (self.documents,), 1),
            ("--document-tokens", (self.document_tokens,), 16),
            ("--window-size", (self.window_size or 64,), 64),
            ("--baseline-window", (self.baseline_window or 64,), 64),
            ("--runs", (self.runs,), 1),
        ):
            if min(values) < least:
                raise InputError(f"{option} must be {least} or more, got {min(values)}")

    @property
    def usual_length(self) -> int:
        """Tokens of the text where only one is measured: the longest that all sides run, if any."""
        within = [length for length in self.lengths if length <= self.baseline_limit]
        return max(within, default=min(self.lengths))


def usual(model: str, device: str, *, float8: bool, bfloat16: bool) -> dict[str, Any]:
    """What is measured on a kind of device (``"cpu"``, ``"cuda"`` ...), so that it takes minutes.

    Args:
        float8, bfloat16: whether the device is fast at it.
    """
    sizes: dict[str, Any] = (
        {
            "lengths": (4_000, 16_000, 128_000, 2_000_000),
            "documents": 200,
            "batches": (1_000, 4_000, 16_000, 64_000),
            "dtypes": ("bfloat16", "float8") if float8 else ("bfloat16",),
            "baseline_dtype": "bfloat16",
        }
        if device == "cuda"
        else {
            "lengths": (1_000, 4_000),
            "documents": 10,
            "batches": (1_000, 4_000),
            "dtypes": ("float32", "bfloat16", "int8") if bfloat16 else ("float32", "int8"),
            "baseline_dtype": "float32",
        }
    )
    return sizes | {
        "tasks": tuple(task for task in TASKS if model != RANDOM_7B or task not in ("start", "agreement")),
        "baseline_window": _BASELINE_WINDOWS.get(model),
    }


def _known(kind: str, given: Sequence[str], known: Sequence[str]) -> None:
    if unknown := [name for name in given if name not in known]:
        raise InputError(f"there is no {kind} {unknown[0]!r}; choose from: {', '.join(known)}")

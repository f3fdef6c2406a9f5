"""Options that several commands have, each said once."""

from __future__ import annotations

from typing import Annotated

import typer

from .errors import InputError
from .instruction import PRESETS, Instruction

Said = Annotated[
    str | None,
    typer.Option("--instruction", help="What to keep, in plain words: 'Keep the numbers.'", show_default="whole sentences"),
]
Preset = Annotated[
    str | None, typer.Option(help=f"A ready-made instruction: {', '.join(PRESETS)} (entities:KIND names a kind).")
]
Ratio = Annotated[float | None, typer.Option(help="Keep at most this share of the tokens, 0 to 1.")]
Threshold = Annotated[float | None, typer.Option(help="Keep what scores at least this, 0 to 1.")]
Model = Annotated[str, typer.Option(help="cprs-small, a folder, or a Hugging Face id.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:0,cuda:1, mps.", show_default="a GPU if there is one")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16, float16, float8, int8.", show_default="by device")]
Skim = Annotated[
    bool, typer.Option(help="Skim a long text first and read what promises something, if the model was trained for it.")
]
WindowSize = Annotated[int | None, typer.Option(help="Tokens of a window.", show_default="the model's")]


def instruction_of(said: str | None, preset: str | None) -> Instruction:
    """The instruction that ``--instruction`` or ``--preset`` means.

    Raises:
        InputError: both are given. InstructionError: one that cannot be used.
    """
    if said is not None and preset is not None:
        raise InputError("--instruction and --preset both say what to keep; give one of them")
    return Instruction.preset(preset) if preset is not None else Instruction.of(said)

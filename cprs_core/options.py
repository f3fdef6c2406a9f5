"""Options that several commands have, each said once."""

from __future__ import annotations

from typing import Annotated

import typer

Model = Annotated[str, typer.Option(help="cprs-small, a folder, or a Hugging Face id.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:0,cuda:1, mps.", show_default="a GPU if there is one")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16, float16, float8, int8.", show_default="by device")]
Skim = Annotated[
    bool, typer.Option(help="Skim a long text first and read what promises something, if the model was trained for it.")
]
WindowSize = Annotated[int | None, typer.Option(help="Tokens of a window.", show_default="the model's")]

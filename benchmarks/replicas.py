"""Several GPUs against one: ``python benchmarks/replicas.py labels --help``, ``... speed --help``.

labels    Whether they say the same. A text is labelled by one model and by replicas on several GPUs; then by transformers'
          forward pass on one GPU, and by the same with its layers spread over all. Labels are compared token by token, and
          probabilities to the last bit.
speed     How much faster they are: the same texts compressed by replicas on all GPUs, on half of them, and so on.
"""

import gc
import time
from collections.abc import Iterator
from dataclasses import replace
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer
from accelerate import dispatch_model

from cprs_core import ContextCompressor
from cprs_core.bench.random import random_7b_config, random_critic, random_weights
from cprs_core.bench.runner import KEPT
from cprs_core.bench.sides import SEED
from cprs_core.bench.texts import QUERIES, Texts
from cprs_core.devices import DTYPES, resolve_devices
from cprs_core.files import read_tokenizer
from cprs_core.loading import Checkpoint, assemble, checkpoint
from cprs_core.machine import machine
from cprs_core.models import BUNDLED, DEFAULT_MODEL
from cprs_core.scoring import PlainScorer

NAME = "random-7b"
TOKENIZER = read_tokenizer(str(BUNDLED[DEFAULT_MODEL]))


app = typer.Typer(no_args_is_help=True, add_completion=False)
Devices = Annotated[str, typer.Option(help="Two or more, with commas between.")]
Layers = Annotated[int, typer.Option(min=4, help="Fewer than the released 28 make a rehearsal.")]


@app.command()
def labels(
    devices: Devices = "cuda:0,cuda:1",
    dtypes: Annotated[str, typer.Option(help="Of the replicas, comma-separated.")] = "bfloat16,float8",
    tokens: Annotated[int, typer.Option(min=16, help="Of the text.")] = 64_000,
    layers: Layers = 28,
) -> None:
    """Labels of the released shape with random weights, by one GPU and by several."""
    places, config = resolve_devices(devices), shape(layers)
    text = Texts(TOKENIZER.count).text(tokens)
    for dtype in dtypes.split(","):
        compare(f"replicas, {dtype}", [probabilities(replicas(config, dtype, some), text) for some in (places[:1], places)])
    compare("device_map, bfloat16", [probabilities(one, text) for one in whole_and_spread(config, places)])
    typer.echo(where(devices))


@app.command()
def speed(
    devices: Devices = "cuda:0,cuda:1",
    dtype: str = "bfloat16",
    tokens: Annotated[str, typer.Option(help="Of the texts, comma-separated.")] = "128000,2000000",
    runs: Annotated[str, typer.Option(help="Of each text; the median counts.")] = "5,1",
    gpus: Annotated[str, typer.Option(help="How many of them, comma-separated, one last.")] = "4,2,1",
    layers: Layers = 28,
) -> None:
    """Seconds that a text takes the released shape with random weights, on all GPUs, on half of them, and so on."""
    places = resolve_devices(devices)
    several = replicas(shape(layers), dtype, places)
    for size, times in zip(map(int, tokens.split(",")), map(int, runs.split(",")), strict=True):
        text, found = Texts(TOKENIZER.count).text(size), {}
        for count in map(int, gpus.split(",")):
            compressor = ContextCompressor(replace(several, scorers=several.scorers[:count]))
            compressor.compress(text[: 200_000 * count], QUERIES[0], ratio=KEPT)  # two batches or more of every GPU
            found[count] = [seconds(compressor, text) for _ in range(times)]
            shown = ", ".join(f"{one:.3f}" for one in sorted(found[count]))
            typer.echo(f"{TOKENIZER.count(text):,} tokens, {dtype}, {count} of {len(places)}: {shown} s")
        for count, all_seconds in found.items():
            typer.echo(f"  {count}: {median(all_seconds):.3f} s, {median(found[1]) / median(all_seconds):.2f}x")
    typer.echo(where(devices))


def seconds(compressor: ContextCompressor, text: str) -> float:
    gc.collect()
    began = time.perf_counter()
    compressor.compress(text, QUERIES[0], ratio=KEPT)
    return time.perf_counter() - began


def shape(layers: int) -> dict[str, Any]:
    """The released one, or one with fewer layers."""
    return random_7b_config() | {"num_hidden_layers": layers, "first_bidirectional_layer": layers * 3 // 4}


def where(devices: str) -> str:
    found = machine()
    return f"{NAME} on {devices} ({found['gpu'] or found['processor']}), torch {found['torch']}"


def replicas(config: dict[str, Any], dtype: str, places: list[torch.device]) -> Checkpoint:
    """A copy of the model on each place."""
    weights = random_weights(config, SEED, places[0], DTYPES.get(dtype, torch.bfloat16))
    return assemble(NAME, config, weights, TOKENIZER, devices=places, dtype=dtype)


def whole_and_spread(config: dict[str, Any], places: list[torch.device]) -> Iterator[Checkpoint]:
    """transformers' model on the first place, then with an equal share of its layers on each."""
    model, layers = random_critic(config, SEED, places[0], torch.bfloat16), config["num_hidden_layers"]
    scorers = [PlainScorer(model, has_tags=True)]
    yield checkpoint(NAME, config, TOKENIZER, scorers, has_tags=True)
    device_map = {f"model.layers.{layer}": places[layer * len(places) // layers] for layer in range(layers)}
    first, last = ("model.embed_tokens", "model.rotary_emb"), ("model.norm", "lm_head", "cls_head")
    dispatch_model(model, device_map | dict.fromkeys(first, places[0]) | dict.fromkeys(last, places[-1]), force_hooks=True)
    yield checkpoint(NAME, config, TOKENIZER, scorers, has_tags=True)


def probabilities(one: Checkpoint, text: str) -> np.ndarray:
    """Of labels, [n, 4]."""
    found = ContextCompressor(one).scores(text, QUERIES[0]).label_probs
    gc.collect()
    return found


def compare(what: str, both: list[np.ndarray]) -> None:
    one, several = both
    same = (one.argmax(-1) == several.argmax(-1)).sum()
    typer.echo(
        f"{what}: {same:,} of {len(one):,} labels are the same, {(one == several).all(-1).sum():,} with equal "
        f"probabilities; labels in use: {np.bincount(one.argmax(-1), minlength=4)}"
    )


if __name__ == "__main__":
    app()

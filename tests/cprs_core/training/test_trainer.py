"""A tiny run, end to end: it learns, resumes exactly, and saves what the compressor loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cprs_core import ContextCompressor, quantization
from cprs_core.errors import DataError, InputError, ModelLoadError
from cprs_core.loading import load_model
from cprs_core.training import data
from cprs_core.training.checkpoint import load_base, load_tokenizer
from cprs_core.training.config import TrainConfig
from cprs_core.training.examples import Examples, Mixture
from cprs_core.training.losses import LossWeights, skim_objective
from cprs_core.training.trainer import train

TINY = Path(__file__).parents[2] / "data" / "tiny-checkpoint"
MIXTURE = Mixture(lengths={192: 1.0}, tokens_per_batch=1536, synthetic=0.0, same_document=0.0, own_source=1.0)


@pytest.fixture(autouse=True)
def _no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPRS_NO_BAR", "1")


@pytest.fixture(scope="module")
def config(base: Path) -> TrainConfig:
    return TrainConfig(
        base=str(base),
        bidirectional=1,
        steps=10,
        warmup=3,
        learning_rate=3e-3,
        log_every=2,
        evaluate_every=10,
        save_every=4,
        validation_batches=2,
        window_size=192,
        mixture=MIXTURE,
    )


def _log(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def _losses(folder: Path) -> list[float]:
    return [row["label"] + row["tag"] for row in _log(folder) if "label" in row]  # type: ignore[operator]


def test_it_learns_and_the_compressor_loads_it(config: TrainConfig, rows: Path, tmp_path: Path) -> None:
    longer = replace(config, steps=240, log_every=10, save_every=1000, evaluate_every=1000)
    train(longer, [rows], tmp_path / "out")
    losses = _losses(tmp_path / "out")
    assert sum(losses[-5:]) / 5 < 0.7 * losses[0]
    log = _log(tmp_path / "out")
    assert log[0]["records"] == {"toy": log[0]["records"]["toy"]} and "device" in log[0]  # type: ignore[index]
    assert {"sentence_f1", "word_f1", "loss"} <= set(log[-2]["validation"])  # type: ignore[arg-type]
    assert (tmp_path / "out" / "training.png").stat().st_size > 5_000
    assert TrainConfig.from_json((tmp_path / "out" / "recipe.json").read_text()) == longer
    compressor = ContextCompressor.from_pretrained(tmp_path / "out", device="cpu")
    assert compressor.window_size == 192
    assert compressor.checkpoint.thresholds == log[-1]["decision_thresholds"]
    context = "The garden was built in 1702. The bridge was built in 1822. The museum was built in 1933."
    scores = compressor.compress(context, "When was the bridge built?", threshold=0.01)
    assert all(context[span.start : span.end] == span.text for span in scores.spans)


def test_a_resumed_run_is_the_same_run(config: TrainConfig, rows: Path, tmp_path: Path) -> None:
    train(config, [rows], tmp_path / "whole")
    train(replace(config, steps=8), [rows], tmp_path / "parts")  # saves its state after steps 4
    state = (tmp_path / "parts" / "state" / "step").read_text()
    assert state == "4"
    before = (tmp_path / "whole" / "state" / "step").read_text()
    assert before == "8"
    log = (tmp_path / "whole" / "log.jsonl").read_text()
    train(config, [rows], tmp_path / "whole", resume=True)
    rows_after = _log(tmp_path / "whole")
    first = [row for row in map(json.loads, log.splitlines()) if row.get("step") == 10 and "label" in row]
    again = [row for row in rows_after if row.get("step") == 10 and "label" in row]
    assert len(again) == 2 and again[1]["label"] == pytest.approx(first[0]["label"], abs=2e-4)


def test_quantised_training_saves_what_it_trained(config: TrainConfig, rows: Path, tmp_path: Path) -> None:
    train(replace(config, quantize=True), [rows], tmp_path / "q")
    train(config, [rows], tmp_path / "f")
    small, full = ((tmp_path / name / "model.safetensors").stat().st_size for name in "qf")
    assert small < 0.45 * full
    layer = load_model(tmp_path / "q", device="cpu", dtype="float32").model.layers[0].mlp.up_proj
    weight = layer.weight
    groups = weight.unflatten(-1, (-1, 32))
    assert max(len(group.unique()) for group in groups.flatten(0, 1)) <= 16
    assert isinstance(layer, torch.nn.Linear)


def test_distillation_focal_loss_and_checkpointing_run(config: TrainConfig, rows: Path, tmp_path: Path) -> None:
    train(replace(config, steps=4), [rows], tmp_path / "teacher")
    other = replace(
        config, steps=4, teacher=str(tmp_path / "teacher"), gradient_checkpointing=True, loss=LossWeights(focal=True)
    )
    train(other, [rows], tmp_path / "student")
    assert all("teacher" in row for row in _log(tmp_path / "student") if "label" in row)


def test_a_skimmer_is_trained_for_a_finished_critic_which_stays_as_it_is(
    config: TrainConfig, rows: Path, tmp_path: Path
) -> None:
    finished = train(replace(config, steps=8, quantize=True), [rows], tmp_path / "finished")
    more = replace(
        config, base=str(finished), bidirectional=None, quantize=True, skim=1, skim_layers=2, skim_lost=0.5, skim_window=192
    )
    train(replace(more, steps=16, learning_rate=1e-3), [rows], tmp_path / "skims")
    log = _log(tmp_path / "skims")
    records, _ = data.read([rows])
    batch = Examples(records, [], load_tokenizer(str(finished))[1], MIXTURE, seed=5)[0]
    losses = []
    for model in (load_base(more), load_model(tmp_path / "skims", device="cpu", dtype="float32")):
        with torch.no_grad():
            output = model.eval()(batch["input_ids"], tag_ids=batch["tag_ids"], skim=True)
        losses.append(float(skim_objective(output, batch)["skim"]))
    assert losses[1] < losses[0]
    (calibrated,) = [row for row in log if "skim_threshold" in row]
    assert all(set(row["validation"]) == {"read", "relevant_lost"} for row in log if "validation" in row)  # type: ignore[call-overload]
    settings = json.loads((tmp_path / "skims" / "config.json").read_text())
    assert settings["skim"] == {
        "behind": 1,
        "layers": 2,
        "threshold": calibrated["skim_threshold"],
        "share": 0.15,
        "window_size": 192,
    }
    before, after = (load_file(folder / "model.safetensors") for folder in (finished, tmp_path / "skims"))
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert {name.split(".")[0] for name in after.keys() - before.keys()} == {"skimmer"}
    text, query = "The harbour opened in 1871. It rained a lot. Nobody knew why. " * 40, "When did the harbour open?"
    skimmed, whole, same = (
        ContextCompressor.from_pretrained(folder, device="cpu", dtype="float32", skim=skim).scores(text, query)
        for folder, skim in ((tmp_path / "skims", True), (tmp_path / "skims", False), (finished, True))
    )
    assert (whole.label_probs == same.label_probs).all() and skimmed.label_probs.shape == whole.label_probs.shape
    assert train(replace(more, skim=None, steps=1), [rows], tmp_path / "other")
    assert json.loads((tmp_path / "other" / "config.json").read_text())["skim"] is None
    for wrong in ({"skim": 3}, {"skim_layers": 3}):
        with pytest.raises(InputError, match="skim must be 1 to 2"):
            load_base(replace(more, **wrong))  # type: ignore[arg-type]


def test_training_goes_on_from_a_critic(config: TrainConfig, rows: Path, tmp_path: Path) -> None:
    train(replace(config, steps=6), [rows], tmp_path / "first")
    more = replace(config, base=str(tmp_path / "first"), bidirectional=None, steps=2)
    train(more, [rows], tmp_path / "second")
    assert _losses(tmp_path / "second")[0] < _losses(tmp_path / "first")[0]


def test_training_goes_on_from_four_bit_weights(config: TrainConfig, rows: Path, tmp_path: Path) -> None:
    train(replace(config, steps=6, quantize=True), [rows], tmp_path / "first")
    more = replace(config, base=str(tmp_path / "first"), bidirectional=None)
    start = load_base(more)
    unpacked = load_model(tmp_path / "first", device="cpu", dtype="float32").state_dict()
    assert all(torch.equal(weight, unpacked[name]) for name, weight in start.state_dict().items())
    assert all(parameter.requires_grad for parameter in start.parameters())
    train(replace(more, steps=2), [rows], tmp_path / "second")  # full weights from now on
    config_json = json.loads((tmp_path / "second" / "config.json").read_text())
    assert "cprs_quantization" not in config_json and config_json["first_bidirectional_layer"] == 2


def test_a_run_starts_from_the_mean_of_critics(config: TrainConfig, rows: Path, tmp_path: Path) -> None:
    names = [str(tmp_path / str(seed)) for seed in range(3)]
    for seed, name in enumerate(names):
        train(replace(config, steps=2, seed=seed), [rows], name)
    mean = load_base(replace(config, base=names[0], average_with=tuple(names[1:]))).state_dict()
    single = [load_base(replace(config, base=name)).state_dict() for name in names]
    for key, weight in mean.items():
        torch.testing.assert_close(weight, torch.stack([state[key] for state in single]).mean(0))
    with pytest.raises(InputError, match="only critics of one base"):
        load_base(replace(config, base=names[0], average_with=(str(TINY),)))


def test_the_weights_before_the_rounding_can_be_kept(config: TrainConfig, rows: Path, tmp_path: Path) -> None:
    train(replace(config, quantize=True, save_unrounded=True), [rows], tmp_path)
    rounded, unrounded = (
        load_model(folder, device="cpu", dtype="float32").model.layers[0].mlp.up_proj.weight
        for folder in (tmp_path, tmp_path / "unrounded")
    )
    assert max(len(group.unique()) for group in unrounded.unflatten(-1, (-1, 32)).flatten(0, 1)) > 16
    values, scale = quantization.quantize(unrounded)
    near = (quantization.dequantize(values, scale) - rounded).abs() <= 1.01 * scale.abs().repeat_interleave(32, -1)
    assert near.float().mean() > 0.999  # bfloat16 may move a weight across one border


def test_a_sentence_teacher_has_its_say(config: TrainConfig, rows: Path, embedder: Path, tmp_path: Path) -> None:
    taught = replace(config, steps=4, sentence_teacher=str(embedder))
    train(replace(taught, workers=1), [rows], tmp_path / "taught")
    assert all(row["similarity"] > 0 for row in _log(tmp_path / "taught") if "label" in row)  # type: ignore[operator]
    with pytest.raises(ModelLoadError, match="sentence teacher"):
        train(replace(taught, sentence_teacher=str(tmp_path / "none")), [rows], tmp_path / "x")


def test_what_cannot_be_trained_is_refused(config: TrainConfig, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"base model|tokenizer"):
        train(replace(config, base=str(tmp_path / "none")), [rows], tmp_path / "x")
    with pytest.raises(InputError, match="0 to 3"):
        train(replace(config, bidirectional=9), [rows], tmp_path / "x")
    with pytest.raises(InputError, match="nothing to resume"):
        train(config, [rows], tmp_path / "x", resume=True)
    with pytest.raises(DataError, match="neither"):
        train(config, [tmp_path / "none.jsonl"], tmp_path / "x")
    for text, reason in (("[]", "cannot be read"), ("{", "cannot be read"), ('{"stepz": 1}', "stepz")):
        with pytest.raises(InputError, match=reason):
            TrainConfig.from_json(text)


def test_two_processes_train_one_model(config: TrainConfig, rows: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(replace(config, steps=4).to_json())
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29651"]
    command = [*launch, "-m", "cprs_core.cli", "train", str(rows), "--recipe", str(recipe), "-o", str(tmp_path / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    log = _log(tmp_path / "out")
    assert str(log[0]["device"]).startswith("2 x")
    assert [row["step"] for row in log if "label" in row] == [2, 4]  # written by one of them
    assert ContextCompressor.from_pretrained(tmp_path / "out", device="cpu").window_size == 192

"""The command measures, prints, and leaves figures and pictures; what it cannot do, it says before it starts."""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cprs_core.bench.runner import Bench, Row
from cprs_core.cli import app

SMALL = ["--device", "cpu", "--lengths", "100,0.2k", "--batches", "256", "--documents", "4", "--document-tokens", "40"]
SMALL += ["--window-size", "256", "--baseline-window", "256", "--baseline-limit", "170", "--runs", "1"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", *arguments])


@pytest.mark.usefixtures("tiny_7b")
def test_random_weights_give_tables_figures_and_pictures(tmp_path: Path) -> None:
    result = run("--model", "random-7b", *SMALL, "--dtypes", "bfloat16", "--out", str(tmp_path / "new" / "run"))
    assert result.exit_code == 0, result.output
    out = tmp_path / "new" / "run"
    assert {path.name for path in out.iterdir()} == {"bench.json", "length.png", "documents.png", "batch.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.glob("*.png"))
    content = json.loads((out / "bench.json").read_text())
    assert content["settings"]["lengths"] == [100, 200] and content["machine"]["torch"]
    assert [(row["task"], row["side"]) for row in content["rows"]] == [
        *(("length", "plain float32"), ("documents", "plain float32"), ("batch", "plain float32")),
        *((task, "cprs bfloat16") for task in ("length", "length", "documents", "batch")),
    ]
    assert all(len(row["seconds"]) == 1 and row["tokens_per_second"] > 0 for row in content["rows"])
    for shown in (
        "plain float32",
        "cprs bfloat16",
        "1.0x",
        "documents/s",
        "a window",
        "host alone",
        "waited for",
        "medians of 1",
    ):
        assert shown in result.stdout
    assert "agreement" not in result.stdout.lower() and "bench.json, length.png" in result.stderr
    again = run("--model", "random-7b", *SMALL, "--out", str(out))
    assert again.exit_code == 2 and "name another --out" in again.stderr


def test_a_checkpoint_has_its_agreement_measured(tiny_path: Path) -> None:
    result = run("agreement", "--model", str(tiny_path), *SMALL, "--no-baseline")
    assert result.exit_code == 0, result.output
    assert "same decision" in result.stdout and "100.0000%" in result.stdout and "plain float32 " not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["speed"], 2, "no task 'speed'"),
        (["--lengths", ""], 2, "'' is no length"),
        (["--lengths", "4k,many"], 2, "'many' is no length"),
        (["--batches", "0"], 2, "--batches must be 1 or more"),
        (["--dtypes", "float4"], 2, "no dtype 'float4'"),
        (["--baseline-limit", "x"], 2, "--baseline-limit"),
        (["agreement", "--model", "random-7b"], 2, "trained weights only"),
        (["--device", "cuda:77"], 1, "cuda:77"),
        (["length", "--model", "./nowhere"], 1, "nowhere"),
    ],
)
def test_what_it_cannot_do_it_says(arguments: list[str], code: int, reason: str) -> None:
    result = run(*([] if "--device" in arguments else ["--device", "cpu"]), *arguments)
    assert result.exit_code == code and reason in result.stderr and not result.stdout


def test_what_was_measured_survives_a_stop(tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(self: Bench) -> Iterator[Row]:
        figures = {"gpu_bytes": 2**31, "host_bytes": 5_000, "host_share": 0.5}
        yield Row("length", "plain float32", 100, 100, [2.0], figures)
        raise KeyboardInterrupt

    monkeypatch.setattr(Bench, "rows", rows)
    result = run("length", "--model", str(tiny_path), *SMALL, "--out", str(tmp_path))
    assert result.exit_code == 130 and "stopped" in result.stderr
    assert "GPU GiB" in result.stdout and "50.0%" in result.stdout
    assert len(json.loads((tmp_path / "bench.json").read_text())["rows"]) == 1


def test_without_matplotlib_it_says_so_first(tiny_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return imported(name, *args)

    for module in ("cprs_core.evaluation.plots", "cprs_core.bench.plots"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.delattr("cprs_core.bench.plots", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    result = run("length", "--model", str(tiny_path), *SMALL, "--no-baseline", "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    assert "no pictures" in result.stderr and "cprs-core[eval]" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]

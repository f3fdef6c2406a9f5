"""The default model on real text: the package's own licence, offline."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from cprs_core import Compression, ContextCompressor, Instruction
from cprs_core.models import BUNDLED
from cprs_core.training.config import TrainConfig

LICENSE = (Path(__file__).parents[1] / "LICENSE").read_text()


@pytest.fixture(scope="module")
def small() -> ContextCompressor:
    patch = pytest.MonkeyPatch()

    def refuse(*_: object) -> None:
        raise AssertionError("the default model must not use the network")

    patch.setattr(socket.socket, "connect", refuse)
    compressor = ContextCompressor.from_pretrained(device="cpu")
    patch.undo()
    return compressor


@pytest.fixture(scope="module")
def patents(small: ContextCompressor) -> Compression:
    return small.compress(LICENSE, "When does my patent license terminate?")


def test_it_keeps_the_clause_and_drops_the_rest(patents: Compression) -> None:
    assert "shall terminate\n      as of the date such litigation is filed." in patents.text
    assert patents.ratio < 0.2
    assert all(LICENSE[span.start : span.end] == span.text for span in patents.spans)


def test_it_keeps_nothing_where_nothing_answers(small: ContextCompressor) -> None:
    assert small.compress(LICENSE[:6000], "What is the capital of France?").ratio <= 0.02


def test_a_budget_keeps_the_best(small: ContextCompressor) -> None:
    result = small.compress(LICENSE[3500:6500], "When does my patent license terminate?", max_tokens=80)
    assert 0 < result.kept_tokens <= 80 and "terminate" in result.text


def test_a_sentence_too_long_for_the_budget_is_cut_not_skipped(small: ContextCompressor) -> None:
    result = small.compress(LICENSE[7000:10000], "Who is liable for damages?", max_tokens=120)
    assert "shall any Contributor be\n      liable to You for damages" in result.text
    assert 60 < result.kept_tokens <= 120


def test_a_needle_is_found(small: ContextCompressor) -> None:
    needle = "The special magic number for amber-falcon is: 7421533."
    text = f"{LICENSE[:3000]}\n{needle}\n{LICENSE[3000:5000]}"
    result = small.compress(text, "What is the special magic number for amber-falcon?", Instruction.needles())
    assert "7421533" in result.text and result.ratio < 0.1


def test_it_is_small_and_says_where_it_comes_from() -> None:
    folder = BUNDLED["cprs-small"]
    assert sum(path.stat().st_size for path in folder.rglob("*")) <= 80 * 2**20
    card = (folder / "README.md").read_text()
    for part in ("SmolLM2-135M", "Licence", "seed", "Limits", "benchmarks/quality.py"):
        assert part in card, part
    for run in (1, 2, 3, 4):
        assert TrainConfig.from_json((folder / "training" / f"{run}.recipe.json").read_text()).steps > 1000
        log = [json.loads(line) for line in (folder / "training" / f"{run}.log.jsonl").read_text().splitlines()]
        assert log[0]["device"] and any("validation" in row for row in log)
    for rule in ("decision_thresholds", "decision_shares"):  # of the last run
        assert log[-1][rule] == small_config()[rule]


def small_config() -> dict[str, object]:
    config: dict[str, object] = json.loads((BUNDLED["cprs-small"] / "config.json").read_text())
    return config

"""The comparison of several GPUs with one, rehearsed on CPUs with a small model of the same shape."""

import pytest
import replicas
from typer.testing import CliRunner

SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
USUAL = ("--devices", "cpu,cpu", "--layers", "4")


@pytest.fixture
def run(monkeypatch):
    released = replicas.random_7b_config()
    monkeypatch.setattr(replicas, "random_7b_config", lambda: released | SMALL)

    def run(*arguments):
        return CliRunner().invoke(replicas.app, [*arguments, *USUAL], catch_exceptions=False).output

    return run


def test_replicas_say_the_same(run):
    found = run("labels", "--tokens", "500", "--dtypes", "float32")
    assert found.count("502 of 502 labels are the same, 502 with equal probabilities") == 2


def test_replicas_are_timed_against_one(run):
    found = run("speed", "--tokens", "500,900", "--runs", "2,1", "--gpus", "2,1", "--dtype", "float32")
    assert "502 tokens, float32, 2 of 2: " in found and found.count("  1: ") == 2 and found.count("1.00x") >= 2

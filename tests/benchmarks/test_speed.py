"""The timing script runs and names the machine."""

from pathlib import Path

import speed
from typer.testing import CliRunner

TINY = Path(__file__).parents[1] / "data" / "tiny-checkpoint"


def test_it_prints_tokens_seconds_and_the_machine() -> None:
    app = speed.typer.Typer()
    app.command()(speed.main)
    result = CliRunner().invoke(app, ["--tokens", "300", "--runs", "1", "--model", str(TINY), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "tokens/s" in result.stdout and "start-up" in result.stdout and "cores, torch" in result.stdout

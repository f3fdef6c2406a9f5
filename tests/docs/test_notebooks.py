"""Every notebook runs from a clean kernel, and is saved with its outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from blocks import ROOT
from nbclient import NotebookClient

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # for what it writes
    notebook = nbformat.read(path, as_version=4)
    saved = _kinds(notebook)
    folder = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=folder).execute()
    assert _kinds(notebook) == saved and any(saved)


def _kinds(notebook: nbformat.NotebookNode) -> list[set[str]]:
    """What each cell puts out: printed text, values, pictures. Warnings and bars aside."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [{output.output_type for output in cell.outputs if output.get("name") != "stderr"} for cell in cells]

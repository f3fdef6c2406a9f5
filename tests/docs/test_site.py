"""The reference is built without a warning (--strict), and has what users import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from blocks import ROOT

import cprs_core
import langchain_cprs
import llamaindex_cprs


def test_it_is_built_and_whole(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="comes with the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    pages = "".join(page.read_text() for page in (tmp_path / "api").rglob("index.html"))
    names = {*cprs_core.__all__, *langchain_cprs.__all__, *llamaindex_cprs.__all__} - {"PRESETS"}
    assert not {name for name in names if f'{name}"' not in pages}
    assert ":class:" not in pages and ":meth:" not in pages

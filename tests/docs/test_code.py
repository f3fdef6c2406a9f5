"""Every Python block of the README and of docs/ runs and prints what it says; every command that they name exists."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import pytest
import typer
from blocks import ROOT, Block, blocks, commands
from conftest import GIVEN, server_for
from typer.testing import CliRunner

from cprs_core.cli import app

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PYTHON = [block for page in PAGES for block in blocks(page) if block.language == "python"]
BEFORE = [block for block in PYTHON if "Before:" in block.headings]  # code of others, with models that are not here
OURS = [block for block in PYTHON if block not in BEFORE]
URL = re.compile(r"http://(?:localhost|127\.0\.0\.1):8080")


@pytest.mark.parametrize("block", OURS, ids=str)
def test_python_runs_and_prints_what_it_says(
    block: Block, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    names = {name: make() for name, make in GIVEN.items() if re.search(rf"\b{name}\b", block.code)}
    with ExitStack() as stack:
        code = URL.sub(lambda _: stack.enter_context(server_for(block.code)), block.code)
        waits = eval(compile(code, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        if waits is not None:
            asyncio.run(waits)
    printed = capfd.readouterr().out
    if block.printed is not None:
        assert printed == block.printed
    for line in printed.splitlines():
        assert line.strip() in block.code + (block.printed or "")


def test_what_was_kept_is_what_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples for other compressors do what they are there for, not only run."""
    monkeypatch.chdir(ROOT)
    kept = {}
    for block in OURS:
        if block.path.name == "migration.md":
            names = {name: make() for name, make in GIVEN.items()}
            exec(compile(block.code, str(block), "exec"), names)
            parts = [document.page_content for document in names.get("documents", [])]
            parts += [found.node.text for found in names["answer"].source_nodes] if "answer" in names else []
            kept[block.headings[0]] = names.get("prompt") or "".join(parts)
    assert len(kept) == 4 and all("The bridge was built in 1822." in text for text in kept.values())


@pytest.mark.parametrize("block", BEFORE, ids=str)
def test_code_of_others_is_code(block: Block) -> None:
    """It needs models that are not here. Names that are imported are there, where the package is installed."""
    for node in ast.walk(ast.parse(block.code)):
        if isinstance(node, ast.ImportFrom) and node.module and _installed(node.module):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, name.name) for name in node.names)


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _parts() -> Iterator[tuple[str, list[str]]]:
    """The single commands of all pages, with where they stand; 0 is the line of those within a sentence."""
    for page in PAGES:
        inline = [(0, code) for code in re.findall(r"`((?:cprs|pip install) [^`]+)`", page.read_text())]
        for line, command in [*commands(page), *inline]:
            reader = shlex.shlex(command, posix=True, punctuation_chars="&|;")
            reader.whitespace_split = True
            for last, words in groupby(reader, lambda word: word in ("&&", "|", ";")):
                if not last:
                    yield f"{page.name}:{line}", list(words)


PARTS = list(_parts())


def test_pages_have_commands_and_code() -> None:
    assert len([words for _, words in PARTS if words[0] == "cprs"]) > 10 and len(OURS) > 8 and len(BEFORE) == 4


@pytest.mark.parametrize(("place", "words"), PARTS, ids=[f"{place} {words[0]}" for place, words in PARTS])
def test_commands_exist_with_their_options(place: str, words: list[str]) -> None:
    if words[0] == "cprs" and not words[1].startswith("-"):
        command = typer.main.get_command(app).commands[words[1]]  # type: ignore[attr-defined]
        within = place.endswith(":0")  # may leave out what the command needs
        try:
            command.make_context(words[1], [word for word in words[2:] if word != "--help"])
        except Exception as error:
            if not within or type(error).__name__ != "MissingParameter":
                raise
    elif words[0].startswith("python") and words[1] != "-m":
        assert (ROOT / words[1]).is_file()
    elif words[0] == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for word in words:
            for named in re.findall(r"^(?:cprs-core|\.)\[(.*)\]$", word):
                assert set(named.split(",")) <= set(extras)


def test_the_first_command_of_the_readme_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (words,) = [
        words for place, words in PARTS if place.startswith("README") and words[:3] == ["cprs", "compress", "LICENSE"]
    ]
    result = CliRunner().invoke(app, words[1:])
    assert result.exit_code == 0 and "charge a fee for" in result.stdout and "kept 51 of 2,224 tokens" in result.stderr


def test_links_of_pages_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "benchmarks" / "README.md", ROOT / "SECURITY.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"

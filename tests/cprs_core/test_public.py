"""The public surface: the names, and what importing them costs."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import cprs_core

NAMES = {
    *("ContextCompressor", "Instruction", "Compression", "Span", "PRESETS", "shared"),
    *("CprsError", "InputError", "BudgetError", "InstructionError", "DataError", "ModelLoadError"),
    *("DeviceError", "OutOfMemoryError", "MissingExtraError", "LimitError"),
    *("compress_messages", "acompress_messages", "MessageCompressor"),
    *("CprsClient", "AsyncCprsClient", "ServiceError", "AuthError", "BusyError", "DeadlineError"),
}


def test_the_names_are_these_and_all_resolve():
    assert set(cprs_core.__all__) == NAMES
    for name in NAMES:
        value = getattr(cprs_core, name)
        assert getattr(value, "__name__", name) == name
        assert name == "PRESETS" or inspect.getdoc(value)
    assert set(dir(cprs_core)) == NAMES | {"__version__"}
    assert cprs_core.__version__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cprs_core.nothing  # noqa: B018


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(cprs_core.__file__).read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert {alias.name for node in block.body for alias in node.names} == NAMES


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    ).stdout.split()


def test_importing_needs_no_torch():
    code = "import sys, cprs_core; from cprs_core import Instruction, Compression, Span, InputError, PRESETS; "
    code += "import cprs_core.tokens, cprs_core.windows, cprs_core.spans; from cprs_core import CprsClient; "
    loaded = set(run(code + "print(*sorted(sys.modules))"))
    assert "cprs_core.instruction" in loaded
    assert not loaded & {"torch", "transformers", "tokenizers", "langchain_core", "llama_index", "fastapi", "rich", "httpx"}


def test_importing_changes_no_logging_and_starts_nothing():
    code = "import logging, threading, cprs_core.compressor; "
    assert run(code + "print(len(logging.getLogger().handlers), threading.active_count())") == ["0", "1"]


def test_each_module_says_what_it_is():
    for path in Path(cprs_core.__file__).parent.glob("*.py"):
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), path.name


def test_every_public_definition_is_documented():
    from cprs_core import async_client, client, compressor, result, spans

    owners = (client.CprsClient, async_client.AsyncCprsClient)
    for owner in (*owners, compressor.ContextCompressor, result.Compression, result.Span, spans.TokenScores):
        for name, member in vars(owner).items():
            if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, (property, classmethod))):
                assert inspect.getdoc(member), f"{owner.__name__}.{name}"

"""What the adapters share: which options mean what, and which are refused."""

from types import SimpleNamespace
from typing import Any

import pytest

from cprs_core import BudgetError, CprsError, InputError, Instruction, InstructionError, Span, adapters
from cprs_core.result import Compression


def options(**given: Any) -> Any:
    unset = dict.fromkeys(
        (*adapters.LOADING, *adapters.LIMITS, "instruction", "fetch_parent", "compressor", "url", "api_key")
    )
    return SimpleNamespace(**{**unset, "model": adapters.DEFAULT_MODEL, "strategy": "chunks", **given})


def check(**given: Any) -> str:
    adapters.check_strategy(options(**given), "mget")
    return adapters.check_options(options(**given))


LOADED = SimpleNamespace(model_name="a/model")


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (None, Instruction.sentences()),
        ("sentences", Instruction.sentences()),
        ("code", Instruction.code()),
        ("entities", Instruction.entities()),
        ("entities:drugs", Instruction.entities("drugs")),
        ("code: keep the signatures", Instruction.from_text("code: keep the signatures")),
        ("Extract the dates.", Instruction.from_text("Extract the dates.")),
        ("提取日期", Instruction.from_text("提取日期")),
    ],
)
def test_a_single_word_is_a_preset_and_all_else_is_plain_text(value: str | None, meant: Instruction) -> None:
    assert adapters.parse_instruction(value) == meant


@pytest.mark.parametrize("value", ["", "  ", "sentence", "Answer"])
def test_a_misspelt_preset_is_no_plain_text(value: str) -> None:
    with pytest.raises(InstructionError):
        adapters.parse_instruction(value)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"max_tokens": 5, "ratio": 0.5}, BudgetError, "two budgets"),
        ({"strategy": "parents"}, InputError, "needs fetch_parent"),
        ({"fetch_parent": len}, InputError, "without strategy"),
        ({"strategy": "parents", "fetch_parent": 5}, InputError, r"mget\(\)"),
        ({"compressor": LOADED, "device": "cpu"}, InputError, "device"),
        ({"compressor": LOADED, "model": "other"}, InputError, "model"),
        ({"url": "http://a", "compressor": LOADED}, InputError, "leave url out, or compressor"),
        ({"url": "http://a", "device": "cpu", "model": "b"}, InputError, "model, device"),
        ({"api_key": "secret"}, InputError, "without the url"),
        ({"instruction": "sentense"}, InstructionError, "unknown preset"),
    ],
)
def test_options_that_make_no_sense_are_refused(given: dict[str, Any], error: type[CprsError], words: str) -> None:
    with pytest.raises(error, match=words):
        check(**given)


def test_the_model_is_that_of_an_injected_compressor() -> None:
    assert check() == "cprs-small"
    assert check(model="my/model") == "my/model"
    assert check(compressor=LOADED) == "a/model"
    assert check(compressor=LOADED, model="a/model") == "a/model"
    assert check(compressor=object()) == "cprs-small"


def test_a_limit_of_zero_is_passed_on_to_be_refused() -> None:
    assert adapters.arguments(options(max_tokens=0))["max_tokens"] == 0


def test_statistics_speak_of_the_original() -> None:
    result = Compression("One. Two.", (Span(5, 9, "Two.", 0.5, "fact"),), 4, 2, "q", "i", "m", 0.1)
    assert adapters.statistics(result) == {
        "spans": [[5, 9, 0.5, "fact"]],
        "input_tokens": 4,
        "kept_tokens": 2,
        "original_length": 9,
        "model": "m",
    }


def test_parents_must_be_there() -> None:
    assert adapters.check_parents(["a"], ["text"], str) == ["text"]
    with pytest.raises(InputError, match="no parent 'b'"):
        adapters.check_parents(["a", "b"], ["text", None], str)
    with pytest.raises(InputError, match="must be a str, got int"):
        adapters.check_parents(["a"], [1], str)

"""The options that the adapters have in common."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cprs_core.pydantic_options import CompressorOptions, Options


def test_what_functions_pass_on_are_the_same_options() -> None:
    assert list(Options.__annotations__) == list(CompressorOptions.model_fields)


def test_a_folder_becomes_a_string() -> None:
    assert CompressorOptions(model=Path("a/b")).model == str(Path("a/b"))


@pytest.mark.parametrize(
    "options", [{"max_token": 5}, {"model": 3}, {"max_tokens": 5, "ratio": 0.5}, {"api_key": "k"}, {"compressor": "small"}]
)
def test_bad_ones_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CompressorOptions(**options)


def test_keys_and_objects_are_not_serialised() -> None:
    dumped = CompressorOptions(url="http://a", api_key="secret").model_dump()
    assert dumped["url"] == "http://a" and not {"api_key", "compressor"} & set(dumped)

"""What users of agents may choose."""

from cprs_core.chat.options import AgentArguments, AgentOptions


def test_what_functions_pass_on_are_the_same_options() -> None:
    assert {*AgentArguments.__annotations__} == {*AgentOptions.model_fields}


def test_stores_and_compressors_are_not_serialised() -> None:
    dumped = AgentOptions(store={}, min_tokens=5).model_dump()
    assert dumped["min_tokens"] == 5 and not {"store", "compressor", "api_key"} & dumped.keys()

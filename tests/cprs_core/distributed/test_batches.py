"""Batches of Ray Data: the same rows with their compressions, whatever is in them."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cprs_core import BudgetError, InputError, InstructionError
from cprs_core.distributed import BatchCompressor

from .helpers import ASKED, MODEL, QUERY, same, texts


def test_every_form_of_a_batch_gives_the_rows_of_the_plain_compressor(batch, compressor):
    rows = texts(9)
    ids = list(range(9))
    expected = compressor.compress_batch([(text, QUERY) for text in rows], ratio=0.4)
    forms = (
        pa.table({"id": ids, "text": rows}),
        pd.DataFrame({"id": ids, "text": rows}),
        {"id": np.array(ids), "text": np.array(rows, dtype=object)},
    )
    for form in forms:
        found = batch()(form).to_pylist()
        assert [row["id"] for row in found] == ids and [row["text"] for row in found] == rows
        for row, result in zip(found, expected, strict=True):
            same(row, result)
            assert row["cprs_error"] is None
            assert all(row["text"][s["start"] : s["end"]] in row["cprs_text"] for s in row["cprs_spans"])


def test_it_loads_the_model_that_its_options_name(compressor):
    how = BatchCompressor(**ASKED, **MODEL, threads=1)
    assert "compressor" not in vars(how)
    (row,) = how({"text": np.array(["Ann owns it. It rained."], dtype=object)}).to_pylist()
    assert row["cprs_kept_tokens"] <= 0.4 * row["cprs_input_tokens"]
    assert how.compressor.model_name == MODEL["model"]


def test_a_question_for_each_row(batch, compressor):
    asked = [("Ann owns it. It rained.", "Who owns it?"), ("It rained. Ann owns it.", "Did it rain?")]
    table = pa.table({"body": [text for text, _ in asked], "ask": pa.array([q for _, q in asked]).dictionary_encode()})
    found = batch(query=None, query_column="ask", text_column="body", ratio=None)(table).to_pylist()
    for row, result in zip(found, compressor.compress_batch(asked), strict=True):
        same(row, result)


def test_bad_rows_say_why_and_the_others_are_compressed(batch, compressor):
    broken = pa.array([b"Ann owns it.", b"caf\xe9", None, b"   ", b"It rained. " * 50]).cast(pa.string(), safe=False)
    for column in (broken, broken.cast(pa.binary()), broken.cast(pa.large_string())):
        found = batch(max_chars=100, ratio=None)(pa.table({"text": column})).column("cprs_error").to_pylist()
        assert found[0] is None and found[3] is None  # white space is a text
        assert found[1] == "InputError: the text is not UTF-8 (byte 3)"
        assert found[2] == "InputError: there is no text"
        assert found[4].startswith("LimitError: the text has 550 characters")
    numbers = batch()(pa.table({"text": [1, 2]})).to_pylist()
    assert all("must be a string, not int" in row["cprs_error"] and row["cprs_text"] is None for row in numbers)
    asked = pa.table({"text": ["It rained."] * 3, "q": ["Did it?", " ", None]})
    found = batch(query=None, query_column="q")(asked).column("cprs_error").to_pylist()
    assert found[0] is None and "query is empty" in found[1] and found[2] == "InputError: there is no q"


def test_one_row_that_cannot_run_does_not_take_the_others_with_it(batch, compressor):
    fills = "word " * 200  # a question that leaves no room in a window
    questions = ["Did it rain?"] * 5 + [fills] + ["Who owns it?"] * 4
    rows = texts(10)
    found = batch(query=None, query_column="q")(pa.table({"text": rows, "q": questions})).to_pylist()
    assert [row["cprs_error"] is None for row in found] == [True] * 5 + [False] + [True] * 4
    assert "window" in found[5]["cprs_error"] and found[5]["cprs_spans"] is None
    for i in (0, 4, 6, 9):
        same(found[i], compressor.compress(rows[i], questions[i], ratio=0.4))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rows_stay_in_order_and_have_a_result_or_a_reason(batch, odd_text, data):
    rows = data.draw(st.lists(st.one_of(st.none(), odd_text), max_size=6))
    found = batch(max_chars=40)(pa.table({"text": pa.array(rows, pa.string()), "i": range(len(rows))})).to_pylist()
    assert [row["i"] for row in found] == list(range(len(rows)))
    for text, row in zip(rows, found, strict=True):
        assert (row["cprs_error"] is None) == (text is not None and len(text) <= 40)
        assert (row["cprs_text"] is None) == (row["cprs_error"] is not None) == (row["cprs_input_tokens"] is None)


def test_an_empty_batch_has_the_same_columns(batch):
    empty, full = batch()(pa.table({"text": pa.array([], pa.string())})), batch()(pa.table({"text": ["It rained."]}))
    assert empty.schema == full.schema and len(empty) == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"query": None}, InputError, "either one query"),
        ({"query_column": "q"}, InputError, "either one query"),
        ({"query": None, "query_column": "text"}, InputError, "both text and query"),
        ({"query": "  "}, InputError, "query is empty"),
        ({"max_tokens": 5}, BudgetError, "two budgets"),
        ({"ratio": 2}, BudgetError, "ratio"),
        ({"max_chars": 0}, InputError, "max_chars"),
        ({"threads": 1.5}, InputError, "threads"),
        ({"instruction": "sentence"}, InstructionError, "preset"),
        ({"model": "other"}, InputError, "leave out model"),
        ({"dtype": "int8"}, InputError, "leave out dtype"),
    ],
)
def test_options_that_cannot_be_used(batch, options, error, message):
    with pytest.raises(error, match=message):
        batch(**options).wanted  # noqa: B018


def test_columns_that_are_missing_or_taken(batch):
    with pytest.raises(InputError, match="no column 'text'; it has 'body'"):
        batch()(pa.table({"body": ["a"]}))
    with pytest.raises(InputError, match="'cprs_text' already"):
        batch()(pa.table({"text": ["a"], "cprs_text": ["b"]}))

"""The released code's route against what the released code answered (tests/data/released.json), and where it differs."""

import json

import pytest

from cprs_core import ContextCompressor
from cprs_core.server.released import label_runs

from .conftest import TINY_DATA

CASES = {case["name"]: case for case in json.loads((TINY_DATA / "released.json").read_text("utf-8"))}
SAME = [
    *("defaults", "min1", "min0_offsets", "en_mid_defaults", "en_mid_offsets", "zh_default_split", "zh_no_split", "mixed"),
    *("example_client_parameters", "whitespace_context", "batch4_one_window"),
]
REFUSED = [
    *("empty_query", "empty_prompt_and_query", "two_messages", "wrong_first_role", "all_roles_wrong", "invalid_json"),
]


@pytest.fixture(scope="module")
def post(tiny, http_of):
    clients = {size: http_of(ContextCompressor(tiny, window_size=size)) for size in (256, 8192)}

    def post(name):
        case = CASES[name]
        request = case["request"]
        content = request["$raw"] if "$raw" in request else json.dumps(request)
        headers = {"Content-Type": "application/json"}
        return clients[case["max_len"]].post("/qwen_long_compress_server", content=content, headers=headers)

    return post


def texts(output):
    return [entry if isinstance(entry, str) else entry[0] for entry in output["text"]]


def context(name):
    return CASES[name]["request"]["payload"]["input"]["messages"][2]["content"]


@pytest.mark.parametrize("name", SAME)
def test_recorded_requests_get_the_recorded_spans(post, name):
    found, recorded = post(name).json(), CASES[name]["response"]
    assert found["header"] == recorded["header"]
    assert found["payload"]["usage"] == recorded["payload"]["usage"]
    assert texts(found["payload"]["output"]) == texts(recorded["payload"]["output"])
    for mine, theirs in zip(found["payload"]["output"]["text"], recorded["payload"]["output"]["text"], strict=True):
        assert type(mine) is type(theirs)
        if isinstance(mine, list):  # the recorded offsets include white space that the recorded text lacks
            assert theirs[1] <= mine[1] and mine[2] <= theirs[2]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["windows"]])
def test_spans_are_in_order_and_offsets_are_those_of_the_text(post, name):
    reply = post(name)
    if name in REFUSED:
        return
    last = 0
    for entry in reply.json()["payload"]["output"]["text"]:
        if isinstance(entry, list):
            piece, start, end = entry
            assert context(name)[start:end] == piece == piece.strip() != ""
            assert start >= last
            last = end
        else:
            assert entry in context(name)


@pytest.mark.parametrize("name", ["min1_complete", "min0_complete_offsets", "zh_complete"])
def test_completed_sentences_cover_the_recorded_pieces_once(post, name):
    found, recorded = (texts(r["payload"]["output"]) for r in (post(name).json(), CASES[name]["response"]))
    assert 0 < len(found) < len(recorded)
    assert sum(map(len, found)) <= len(context(name))
    joined = "\n".join(found)
    for piece in recorded:
        assert piece.rstrip(".") in joined or any(part in joined for part in piece.split(". "))


@pytest.mark.parametrize("name", REFUSED)
def test_unusable_requests_get_a_problem_with_a_status(post, name):
    reply = post(name)
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["status"] == 422


@pytest.mark.parametrize("name", ["windows256_batch2", "windows256_split_characters", "windows256_emoji", "no_parameters"])
def test_what_failed_there_works_here(post, name):
    recorded = CASES[name]["response"]["header"]
    assert recorded["status_code"] == 500
    assert post(name).json()["header"]["status_code"] == 200


def test_an_empty_context_has_no_spans(post):
    assert post("empty_context").json()["payload"]["output"] == {"text": []}


def test_the_request_is_not_repeated(post):
    assert context("defaults") not in post("defaults").text


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("", []),
        ("OBIEO", [[1, 4]]),
        ("IIOI", [[0, 2], [3, 4]]),
        ("BOOIOE", [[0, 6]]),  # filled behind a B
        ("BEOI", [[0, 2], [3, 4]]),  # but not behind its E
        ("BEII", [[0, 4]]),  # which ends nothing by itself
        ("BOBO", [[0, 2], [2, 3]]),
        ("IOB", [[0, 1], [2, 3]]),
        ("B" + 18 * "O" + "E", [[0, 20]]),
        ("B" + 19 * "O" + "E", [[0, 1], [20, 21]]),
    ],
)
def test_the_rule_of_the_released_code(labels, expected):
    assert [list(run) for run in label_runs(["BIOE".index(label) for label in labels])] == expected

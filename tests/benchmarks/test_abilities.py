"""What the abilities benchmark counts, with compressors whose answers are known, and one run with a tiny model."""

import json
import lzma
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import abilities
import pytest
from typer.testing import CliRunner

from cprs_core import Instruction
from cprs_core.evaluation.ranges import ranges

TINY = str(Path(__file__).parents[1] / "data" / "tiny-checkpoint")


class Keeps:
    """Keeps given spans, by the unit of the instruction."""

    def __init__(self, **spans: list[tuple[int, int]]) -> None:
        self.spans = spans

    def compress(self, text: str, query: str, instruction: Instruction) -> Any:
        found = self.spans.get(instruction.unit, [])
        return SimpleNamespace(spans=[SimpleNamespace(start=start, end=end) for start, end in found])


def test_words_count_as_kept_if_any_part_of_them_is() -> None:
    text = "On 3 May, in Paris, Ann Lee paid."  # words: On 3 May , in Paris , Ann Lee paid .
    example = (text, "Extract the dates.", Instruction.entities("dates"), ranges([(3, 8)]))
    assert abilities.entity_counts(Keeps(word=[(5, 8), (13, 18)]), example) == (1, 2, 2)  # type: ignore[arg-type]
    assert abilities.entity_counts(Keeps(), example) == (0, 0, 2)  # type: ignore[arg-type]


def test_granularity_is_the_median_length_of_each_instruction() -> None:
    keeps = Keeps(word=[(0, 3), (5, 6), (8, 17)], sentence=[(0, 20)])
    assert abilities.granularity(keeps, "x" * 50, "q") == [3.0, 20.0, 0.0]  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    context = "Ann met Bob in 1990. They left. " * 20
    rows = [{"query": "Extract the products.", "context": n, "spans": [[0, 3, "answer"]], "answers": ["Ann"], "doc": f"d{n}"}
            for n in range(60)]  # fmt: skip
    held_out = [{"query": "Who met Bob?", "context": n, "spans": [[0, 20, "evidence"]], "answers": ["Ann"], "doc": f"d{n}"}
                for n in range(4)]  # fmt: skip
    (tmp_path / "train").mkdir()
    for source, some in (("wnut17", rows), ("qed", held_out)):
        data = {"source": source, "contexts": [f"{context} Number {n}." for n in range(len(some))], "rows": some}
        (tmp_path / "train" / f"{source}.json.xz").write_bytes(lzma.compress(json.dumps(data).encode()))
    (tmp_path / "haystack").mkdir()
    prose = "\n\n".join(f"It was 3 May 19{n:02d}. " + "The sea was calm that day. " * 40 for n in range(60))
    (tmp_path / "haystack" / "book.txt.xz").write_bytes(lzma.compress(prose.encode()))
    return tmp_path


def test_a_run_measures_every_form_and_source_that_is_there(folder: Path, tmp_path: Path) -> None:
    ((name, (text, query, instruction, gold)), *_) = abilities.by_form(folder, 1)
    assert (name, query, instruction) == ("dates (prose)", "Extract the dates.", Instruction.entities("dates"))
    assert all(text[start:end].startswith("3 May 19") for start, end in gold.tolist())

    app = abilities.typer.Typer()
    app.command()(abilities.main)
    out = tmp_path / "out.json"
    done = CliRunner().invoke(app, ["--data", str(folder), "--model", TINY, "--cases", "1", "--out", str(out)])
    assert done.exit_code == 0, done.output
    report = json.loads(out.read_text())
    assert {"dates (prose)", "numbers (prose)", "wnut17"} <= set(report["entities"])
    assert report["granularity"]["qed"]["cases"] == 1
    assert "answer < sentence < paragraph" in done.output

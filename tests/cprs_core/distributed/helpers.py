"""A corpus, ways to write and read it, and compressors that worker processes can make for themselves."""

import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cprs_core import ContextCompressor

TINY = Path(__file__).parents[2] / "data" / "tiny-checkpoint"
QUERY = "Who owns the yellow house?"
MODEL = {"model": str(TINY), "device": "cpu", "dtype": "float32"}
ASKED = {"query": QUERY, "ratio": 0.4}
_SAID = (
    "The lease was signed in 1999.",
    "Café 😀 prices rose by 4.5%!",
    "图书馆的造价是15.7亿元。",
    "Ann owns it.",
    "It rained.",
)


def texts(count):
    """Short texts, each another one."""
    return [" ".join([f"Page {i}.", *(_SAID[(i + k) % 5] for k in range(1 + i % 7))]) for i in range(count)]


def write(folder, format, rows):
    """Writes texts in two files, with an id and a number for each where there are columns. Returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    if format == "text":
        files = [folder / f"{i:05d}.txt" for i in range(len(rows))]
        for file, text in zip(files, rows, strict=True):
            file.write_bytes(text.encode())
        return files
    half = len(rows) // 2
    files = []
    for name, part in (("a", rows[:half]), ("b", rows[half:])):
        found = [{"id": f"{name}{i}", "text": text, "n": i} for i, text in enumerate(part)]
        files.append(folder / f"{name}.{format}")
        if format == "parquet":
            pq.write_table(pa.Table.from_pylist(found), files[-1], row_group_size=7)
        else:
            files[-1].write_text("".join(json.dumps(row) + "\n" for row in found))
    return files


def read(out, folder="compressed"):
    """The rows of an output, whatever their order, sorted by file and number; parts must be whole."""
    rows = []
    for part in (out / folder).iterdir():
        assert part.name.startswith("part-"), part
        if part.suffix == ".parquet":
            rows += pq.read_table(part).to_pylist()
        else:
            rows += [json.loads(line) for line in part.read_text("utf-8").split("\n") if line]
    return sorted(rows, key=lambda row: (row["cprs_file"], row["cprs_row"]))


def same(row, result):
    """A row must be what the plain compressor makes of its text."""
    assert (row["cprs_text"], row["cprs_input_tokens"], row["cprs_kept_tokens"]) == (
        result.text,
        result.input_tokens,
        result.kept_tokens,
    )
    assert [(s["start"], s["end"], s["tag"]) for s in row["cprs_spans"]] == [(s.start, s.end, s.tag) for s in result.spans]
    assert all(abs(s["score"] - t.score) < 1e-4 for s, t in zip(row["cprs_spans"], result.spans, strict=True))


class Slow:
    """The tiny critic, but every batch of rows takes a while. Called by a worker."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __call__(self):
        compressor = ContextCompressor.from_pretrained(**MODEL)
        plain = compressor.compress_batch

        def slowly(*args, **options):
            time.sleep(self.seconds)
            return plain(*args, **options)

        compressor.compress_batch = slowly
        return compressor

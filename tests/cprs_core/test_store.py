"""A run's folder: started once, gone on with, and never mixed with another run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cprs_core.errors import CprsError, DataError, InputError
from cprs_core.store import Store

SETTINGS: dict[str, Any] = {"lengths": (2000, 4000), "seed": 0, "files": {}}


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"number": number, "task": "t\u2028", "key": "é", "about": {}, "method": "m", "figures": {}, "bins": None, **more}


def test_rows_are_on_disk_at_once_and_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    store: Store[dict[str, Any]] = Store(folder, SETTINGS)
    assert not folder.exists()  # an error before the first row leaves nothing behind
    for number in range(3):
        store.add(row(number))
        assert len((folder / "rows.jsonl").read_bytes().splitlines()) == number + 1
    again = Store(folder, {**SETTINGS, "lengths": [2000, 4000]}, resume=True)
    assert again.rows == store.rows
    again.add(row(3))
    again.finish({"tasks": {}})
    assert [found["number"] for found in Store(folder, SETTINGS, resume=True).rows] == [0, 1, 2, 3]
    assert [path.name for path in again.files] == ["settings.json", "rows.jsonl", "results.json"]
    assert all(path.exists() for path in again.files)


def test_a_run_that_was_stopped_before_its_first_row_goes_on(tmp_path: Path) -> None:
    Store(tmp_path / "run", SETTINGS, rows="blocks.jsonl").begin()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["settings.json"]
    again = Store(tmp_path / "run", SETTINGS, rows="blocks.jsonl", results="summary.json", resume=True)
    again.begin()
    again.add(row(0))
    again.finish({})
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["blocks.jsonl", "settings.json", "summary.json"]


@pytest.mark.parametrize("torn", ["{", '{"number": 2, "task": "t', json.dumps(row(2))])
def test_a_line_that_was_not_written_to_its_end_is_done_again(tmp_path: Path, torn: str) -> None:
    store = Store(tmp_path / "run", SETTINGS)
    store.add(row(0))
    store.add(row(1))
    with (tmp_path / "run" / "rows.jsonl").open("a") as file:
        file.write(torn)
    again = Store(tmp_path / "run", SETTINGS, resume=True)
    assert [found["number"] for found in again.rows] == [0, 1]
    again.add(row(2, method="other"))
    assert Store(tmp_path / "run", SETTINGS, resume=True).rows == again.rows


def test_a_folder_is_never_overwritten(tmp_path: Path) -> None:
    store = Store(tmp_path, SETTINGS)  # an empty folder is as good as none
    store.add(row(0))
    with pytest.raises(InputError, match="--resume"):
        Store(tmp_path, SETTINGS)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="there already"):
        Store(tmp_path / "file", SETTINGS)


def test_other_settings_are_named(tmp_path: Path) -> None:
    Store(tmp_path / "run", SETTINGS).add(row(0))
    with pytest.raises(InputError, match=r"seed was 0 and is now 1; files was \{\} and is now null") as error:
        Store(tmp_path / "run", {"lengths": (2000, 4000), "seed": 1}, resume=True)
    assert "lengths" not in str(error.value)


def test_there_must_be_something_to_go_on_with(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run in"):
        Store(tmp_path / "none", SETTINGS, resume=True)
    with pytest.raises(InputError, match="--out"):
        Store(None, SETTINGS, resume=True)


def test_foreign_and_unwritable_files_say_so(tmp_path: Path) -> None:
    Store(tmp_path / "run", SETTINGS).add(row(0))
    (tmp_path / "run" / "rows.jsonl").write_bytes(b'{"number": 0}\nnonsense\n')
    with pytest.raises(DataError, match="line 2"):
        Store(tmp_path / "run", SETTINGS, resume=True)
    (tmp_path / "run" / "settings.json").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"settings\.json"):
        Store(tmp_path / "run", SETTINGS, resume=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(CprsError, match="cannot write"):
        Store(tmp_path / "file" / "run", SETTINGS).add(row(0))


def test_without_a_folder_rows_are_in_memory() -> None:
    store = Store(None, SETTINGS)
    store.add(row(0))
    store.finish({})
    assert store.rows == [row(0)] and store.files == []

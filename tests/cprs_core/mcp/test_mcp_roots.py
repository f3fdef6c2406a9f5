"""Which files can be read, whatever is asked for."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cprs_core import CprsError, InputError, LimitError
from cprs_core.mcp.roots import Roots, _open

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="symlinks and pipes")


@pytest.fixture
def place(tmp_path):
    """Two roots with files, and a secret beside them; symlinks to all."""
    for name in ("one/deep", "two", "outside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "one/a.txt").write_text("inside one")
    (tmp_path / "one/deep/b.txt").write_text("inside deep")
    (tmp_path / "two/c.txt").write_text("inside two")
    (tmp_path / "outside/secret.txt").write_text("secret")
    (tmp_path / "one/to-file").symlink_to(tmp_path / "outside/secret.txt")
    (tmp_path / "one/to-folder").symlink_to(tmp_path / "outside")
    (tmp_path / "one/within").symlink_to("deep")
    (tmp_path / "one/nowhere").symlink_to(tmp_path / "outside/none")
    return tmp_path


@pytest.fixture
def roots(place):
    return Roots.of([place / "one", place / "two"])


def test_files_below_the_roots(roots, place):
    for path in ("a.txt", "./deep/../a.txt", str(place / "one/a.txt"), str(place / "two/../one/a.txt")):
        assert roots.read(path, 100) == "inside one"
    assert roots.read("c.txt", 100) == "inside two"
    assert roots.read("within/b.txt", 100) == "inside deep"


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../outside/secret.txt", "deep/../../outside/secret.txt", "to-file", "to-folder/secret.txt", "..", "/",
     "nowhere", "../one-and-more/a.txt", "~/a.txt/../../../../../../../../etc/passwd"],
)  # fmt: skip
def test_nothing_outside(roots, place, path):
    with pytest.raises(InputError, match="outside the folders") as caught:
        roots.read(path, 100)
    assert str(place / "one") in str(caught.value) and str(place / "two") in str(caught.value)


def test_a_folder_whose_name_goes_on_is_another(place):
    (place / "one-more").mkdir()
    (place / "one-more/a.txt").write_text("secret")
    with pytest.raises(InputError, match="outside"):
        Roots.of([place / "one"]).read("../one-more/a.txt", 100)


def test_what_is_no_file(roots, place):
    os.mkfifo(place / "one/pipe")
    for path, words in [("deep", "Is a directory"), ("", "Is a directory"), ("pipe", "device or a pipe"),
                        ("none.txt", "No such file"), ("a\0b", "is no path"), ("a\ud800", "is no path"),
                        ("a.txt/b", "Not a dir"), ("x" * 300, "too long")]:  # fmt: skip
        with pytest.raises(InputError, match=words):
            roots.read(path, 100)
    with pytest.raises(InputError, match="device or a pipe"):
        Roots.of([Path("/dev")]).read("null", 100)
    with pytest.raises(InputError, match="Is a directory"):
        Roots.of([Path("/")]).read(".", 100)


def test_size_and_encoding(roots, place):
    (place / "one/full").write_bytes(b"x" * 100)
    assert len(roots.read("full", 100)) == 100
    with pytest.raises(LimitError, match=r"has 100 bytes, more than the 99 .*--max-bytes"):
        roots.read("full", 99)
    (place / "one/latin").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"'latin' is not UTF-8 \(byte 3\)"):
        roots.read("latin", 100)
    for name in ("😀 中文.txt", "a\nb", "e\u0301"):
        text = f"\ufeffa\r\nb\x00 {name}"
        (place / "one" / name).write_bytes(text.encode())
        assert roots.read(name, 100) == text


@pytest.mark.parametrize("has_dir_fd", [True, False])
def test_a_symlink_put_there_after_the_check_is_not_followed(place, monkeypatch, has_dir_fd):
    if not has_dir_fd:
        monkeypatch.setattr(os, "supports_dir_fd", set())
    real = str((place / "one/deep/b.txt").resolve())
    with open(real, opener=_open) as file:
        assert file.read() == "inside deep"
    (place / "outside/b.txt").write_text("secret")
    (place / "one/deep").rename(place / "one/moved")
    (place / "one/deep").symlink_to(place / "outside")
    with pytest.raises(OSError, match=r"Not a directory|replaced|symbolic"):
        open(real, opener=_open)  # noqa: SIM115
    (place / "one/deep").unlink()
    (place / "one/deep").mkdir()
    (place / "one/deep/b.txt").symlink_to(place / "outside/b.txt")
    with pytest.raises(OSError, match=r"symbolic links|replaced"):
        open(real, opener=_open)  # noqa: SIM115


def test_no_descriptor_stays_open(roots):
    def count():
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for path in ("a.txt", "deep", "none.txt", "deep/b.txt"):
        with suppress(CprsError):
            roots.read(path, 3)
    assert count() == before


def test_roots_of_a_client_only_narrow(place, roots):
    def narrowed(*paths):
        return roots.narrowed(f"file://{path}" for path in paths)

    whole = narrowed("/")
    assert whole == roots == narrowed(place)
    deep = narrowed(place / "one/deep")
    assert deep.read("b.txt", 100) == "inside deep"
    for path in ("../a.txt", str(place / "one/a.txt"), str(place / "two/c.txt")):
        with pytest.raises(InputError, match="outside"):
            deep.read(path, 100)
    for nothing in (narrowed(), narrowed(place / "outside"), narrowed(place / "one/to-folder"), narrowed("/a%00b"),
                    roots.narrowed(["https://a.org/", "file", "file://["])):  # fmt: skip
        with pytest.raises(InputError, match="none that both"):
            nothing.read(str(place / "one/a.txt"), 100)
    (place / "two/a b").mkdir()
    assert narrowed(f"{place}/two/a%20b").folders == (place / "two/a b",)


def test_roots_must_be_folders(place):
    for path in (place / "none", place / "one/a.txt"):
        with pytest.raises(InputError, match="no folder"):
            Roots.of([path])


def test_no_path_leads_out(place, roots):
    piece = st.sampled_from(["..", ".", "", "one", "two", "outside", "secret.txt", "a.txt", "deep", "b.txt", "to-folder",
                             "within", "to-file", "/", str(place), "~"])  # fmt: skip

    @given(st.lists(piece, min_size=1, max_size=6).map("/".join), st.lists(piece, max_size=3).map("/".join))
    def check(path, theirs):
        for allowed in (roots, roots.narrowed([f"file://{place}/{theirs}"])):
            with suppress(CprsError):
                assert allowed.read(path, 100).startswith("inside")

    check()

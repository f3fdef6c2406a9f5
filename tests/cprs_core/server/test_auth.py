"""API keys: where they come from, and that only they open the service."""

import hashlib

import pytest

from cprs_core import InputError
from cprs_core.server.auth import Keys

KEY, OTHER = "k" * 20, "o" * 20


def test_without_keys_everyone_may():
    assert Keys().allow(None) and not len(Keys())


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        (f"Bearer {KEY}", True),
        (f"bearer  {KEY} ", True),
        (f"Bearer {OTHER}", True),
        (f"Bearer {KEY[:-1]}", False),
        (f"Basic {KEY}", False),
        (KEY, False),
        ("Bearer", False),
        ("", False),
        ("Bearer \xff\xfe", False),
    ],
)
def test_only_a_key_opens(header, allowed):
    keys = Keys([KEY, "sha256:" + hashlib.sha256(OTHER.encode()).hexdigest()])
    assert keys.allow(header.encode("latin-1")) is allowed
    assert not keys.allow(None)


def test_keys_are_kept_as_hashes_only():
    assert KEY not in repr(vars(Keys([KEY])))


def test_keys_of_a_file_and_of_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{KEY}  # Ann\n\n")
    monkeypatch.setenv("CPRS_API_KEYS", f"{OTHER}, ")
    keys = Keys.load(file)
    assert len(keys) == 2
    assert keys.allow(f"Bearer {KEY}".encode()) and keys.allow(f"Bearer {OTHER}".encode())


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"short", b"has a space in the middle", b"\xff\xfe"])
def test_a_file_that_holds_no_usable_keys_is_refused(tmp_path, content):
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(InputError):
        Keys.load(file)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        Keys.load(tmp_path / "none")

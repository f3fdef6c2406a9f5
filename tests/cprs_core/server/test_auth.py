"""API keys: where they come from, and that only they open the service."""

import hashlib
import hmac
import os
from types import SimpleNamespace

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


def allows(keys, key):
    return keys.allow(f"Bearer {key}".encode())


def test_keys_are_added_and_revoked_while_it_runs(tmp_path, caplog):
    file = tmp_path / "keys"
    file.write_text(f"{KEY}\n")
    keys = Keys(["f" * 20], file=file)
    file.write_text(f"{KEY}\n{OTHER}\n")
    assert allows(keys, KEY) and allows(keys, OTHER)
    file.write_text(f"{OTHER}\n")
    assert not allows(keys, KEY) and allows(keys, OTHER) and allows(keys, "f" * 20)
    assert "read again" in caplog.text and OTHER not in caplog.text


def test_a_file_replaced_by_one_of_the_same_size_and_time_is_read(tmp_path):
    file, other = tmp_path / "keys", tmp_path / "other"
    file.write_text(KEY)
    keys = Keys.load(file)
    other.write_text(OTHER)
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    os.utime(other, ns=times)
    other.replace(file)
    assert allows(keys, OTHER) and not allows(keys, KEY)


def test_without_any_key_left_nobody_may(tmp_path):
    file = tmp_path / "keys"
    file.write_text(KEY)
    keys = Keys.load(file)
    file.write_text("# all gone\n")
    assert not keys.open and not allows(keys, KEY) and not keys.allow(None) and not len(keys)


def test_a_line_that_is_no_key_counts_for_nothing(tmp_path, caplog):
    file = tmp_path / "keys"
    file.write_text(KEY)
    keys = Keys.load(file)
    file.write_text(f"short\n{OTHER}\nwith a space in it, and long enough\n")
    assert allows(keys, OTHER) and not allows(keys, "short") and not allows(keys, KEY)
    assert caplog.text.count("left out") == 2 and "short\n" not in caplog.text


def test_a_file_that_cannot_be_read_leaves_the_keys(tmp_path, caplog):
    file = tmp_path / "keys"
    file.write_text(KEY)
    keys = Keys.load(file)
    file.unlink()
    assert allows(keys, KEY) and allows(keys, KEY)
    assert caplog.text.count("stay as they were") == 1
    file.write_bytes(b"\xff\xfe")
    assert allows(keys, KEY) and "stay as they were" in caplog.text
    file.write_text(OTHER)
    assert allows(keys, OTHER) and not allows(keys, KEY)


def test_all_hashes_are_compared_in_constant_time(monkeypatch):
    seen = []

    def compare(given, known):
        seen.append((given, known))
        return hmac.compare_digest(given, known)

    monkeypatch.setattr("cprs_core.server.auth.hmac", SimpleNamespace(compare_digest=compare))
    keys = Keys([KEY, OTHER, "t" * 20])
    for key in (KEY, OTHER, "wrong", ""):
        seen.clear()
        allows(keys, key)
        assert [known for _, known in seen] == [hashlib.sha256(one.encode()).digest() for one in (KEY, OTHER, "t" * 20)]
        assert {given for given, _ in seen} == {hashlib.sha256(key.encode()).digest()}

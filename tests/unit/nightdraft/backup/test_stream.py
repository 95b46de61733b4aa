"""The encrypted stream: whatever is changed, cut, added or opened by another key is found."""

from __future__ import annotations

import io
import os

import pytest

from nightdraft.backup.stream import (
    MARK,
    PIECE,
    DecryptingReader,
    EncryptingWriter,
    key_id,
    make_key,
    read_key,
)
from records.errors import BackupError, SettingsError

KEY = bytes(range(32))


def encrypt(content: bytes, key: bytes = KEY, *, finish: bool = True) -> bytes:
    target = io.BytesIO()
    writer = EncryptingWriter(target, key)
    for start in range(0, len(content), 300_001):
        writer.write(content[start : start + 300_001])
    if finish:
        writer.finish()
    return target.getvalue()


def decrypt(sealed: bytes, key: bytes = KEY) -> bytes:
    return io.BufferedReader(DecryptingReader(io.BytesIO(sealed), key)).read()


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 17])
def test_what_goes_in_comes_out(size):
    content = os.urandom(size)
    sealed = encrypt(content)
    assert decrypt(sealed) == content
    assert size < 1000 or content[:1000] not in sealed
    assert encrypt(content) != sealed  # no two streams are the same


def test_another_key_is_named_as_one():
    other = bytes(32)
    with pytest.raises(BackupError, match=f"made with the key {key_id(KEY)}.*{key_id(other)}"):
        decrypt(encrypt(b"x"), other)


def test_every_changed_byte_is_found():
    sealed = encrypt(b"some words of a patient")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(BackupError):
            decrypt(bytes(changed))


def test_every_cut_is_found():
    sealed = encrypt(os.urandom(2 * PIECE + 100))
    piece = PIECE + 17
    head = len(MARK) + 16 + 24
    for length in (0, 5, head - 1, head, head + 1, head + piece, head + 2 * piece, len(sealed) - 1):
        with pytest.raises(BackupError):
            decrypt(sealed[:length])


def test_pieces_that_are_exchanged_left_out_or_added_are_found():
    sealed = encrypt(os.urandom(3 * PIECE))
    head, piece = len(MARK) + 16 + 24, PIECE + 17
    first, second = sealed[head : head + piece], sealed[head + piece : head + 2 * piece]
    rest = sealed[head + 2 * piece :]
    for wrong in (second + first + rest, second + rest, first + first + second + rest):
        with pytest.raises(BackupError, match="damaged or was cut"):
            decrypt(sealed[:head] + wrong)
    with pytest.raises(BackupError, match="behind its end"):
        decrypt(sealed + b"x")


def test_a_stream_without_its_end_was_interrupted():
    with pytest.raises(BackupError, match="has no end"):
        decrypt(encrypt(os.urandom(2 * PIECE), finish=False))


def test_a_key_is_made_once_for_this_user_alone(tmp_path):
    path = tmp_path / "key"
    make_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(read_key(path)) == 32
    with pytest.raises(BackupError, match="never written over"):
        make_key(path)
    with pytest.raises(BackupError, match="cannot be written"):
        make_key(tmp_path / "nowhere" / "key")


@pytest.mark.parametrize(("content", "mode", "problem"), [
    (b"AAAA\n", 0o600, "holds no key"),
    (b"\xff\xfe", 0o600, "holds no key"),
    (b"", 0o644, "others can read"),
])  # fmt: skip
def test_what_is_no_key_is_named(tmp_path, content, mode, problem):
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(SettingsError, match=problem):
        read_key(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_key(tmp_path / "none")

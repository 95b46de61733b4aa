import errno
import hashlib
import os

import pytest

from intake.incoming import Digest, Incoming
from intake.limits import Why


def new(folder, max_bytes=1000, has_room=lambda: True):
    return Incoming(folder, max_bytes, has_room)


def test_what_is_written_is_there_for_its_user_alone(tmp_path):
    file = new(tmp_path)
    file.write(b"a film")
    file.file.flush()
    file.close()
    file.close()
    assert file.path.read_bytes() == b"a film"
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert (file.size, file.spoiled) == (6, None)


def test_a_large_object_is_dropped_at_once_and_read_on(tmp_path):
    file = new(tmp_path)
    for _ in range(11):
        assert file.write(b"x" * 100) == 100
    assert file.spoiled is Why.TOO_LARGE
    assert file.size == 1100
    assert not list(tmp_path.iterdir())


def test_without_room_nothing_is_begun(tmp_path):
    file = new(tmp_path, has_room=lambda: False)
    file.write(b"x")
    assert file.spoiled is Why.DISK_FULL
    assert not list(tmp_path.iterdir())


def test_room_that_goes_while_a_large_object_comes(tmp_path):
    room = [True, False]
    file = new(tmp_path, 10**9, lambda: room.pop(0))
    file.write(bytes(10_000_000))
    assert file.spoiled is None
    file.write(bytes(10_000_000))
    assert file.spoiled is Why.DISK_FULL
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fails_is_told_from_one_that_is_full(tmp_path, monkeypatch):
    file = new(tmp_path / "gone")
    assert file.spoiled is Why.UNEXPECTED

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    file = new(tmp_path)
    monkeypatch.setattr(os, "write", full)
    assert file.write(b"x") == 1
    assert file.spoiled is Why.DISK_FULL
    assert not list(tmp_path.iterdir())


def test_a_short_write_is_completed(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, content: write(handle, content[:3]))
    file = new(tmp_path)
    file.write(b"a whole film")
    file.close()
    assert file.path.read_bytes() == b"a whole film"


def part10(data_set, writer):
    """A Part 10 file: preamble, group 2 with the writer's name, data set."""
    meta = b"\x02\x00\x13\x00SH" + len(writer).to_bytes(2, "little") + writer
    length = b"\x02\x00\x00\x00UL\x04\x00" + len(meta).to_bytes(4, "little")
    return b"\0" * 128 + b"DICM" + length + meta + data_set


@pytest.mark.parametrize("size", [1, 7, 131, 132, 144, 145, 200, 10_000])
@pytest.mark.parametrize("writer", [b"OLD_1 ", b"RECEIVER_20 "])
def test_the_digest_is_the_data_sets_whoever_wrote_the_file(size, writer):
    """In pieces of any size, wherever the file meta ends."""
    data_set = bytes(range(256)) * 20
    content = part10(data_set, writer)
    digest = Digest()
    for at in range(0, len(content), size):
        digest.update(memoryview(content)[at : at + size])
    assert digest.hexdigest() == hashlib.sha256(data_set).hexdigest()


def test_a_file_knows_its_data_sets_digest(tmp_path):
    data_set = os.urandom(9 << 20)  # long enough for the disk to be asked to begin
    content = part10(data_set, b"X ")
    file = new(tmp_path, max_bytes=1 << 30)
    for at in range(0, len(content), 100_000):
        file.write(content[at : at + 100_000])
    assert file.sha256 == hashlib.sha256(data_set).hexdigest()
    assert file.path.read_bytes() == content

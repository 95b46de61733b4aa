import errno
import os

from intake.limits import Why
from intake.receiving import Incoming


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

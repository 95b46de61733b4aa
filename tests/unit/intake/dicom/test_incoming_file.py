import errno
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from intake.dicom.incoming_file import BLOCK, DataSetDigest, Incoming
from intake.dicom.limits import Why


@pytest.fixture
def new(tmp_path):
    with ThreadPoolExecutor(1) as writers:
        yield lambda max_bytes=1000, has_room=lambda: True, folder=tmp_path: Incoming(
            folder, max_bytes, has_room, writers
        )


def part10(data_set, meta=b"ours"):
    """A Part 10 file as far as its digest looks: preamble, prefix, group length, meta, data set."""
    length = len(meta).to_bytes(4, "little")
    return bytes(128) + b"DICM" + b"\2\0\0\0UL\4\0" + length + meta + data_set


def test_what_is_written_is_there_for_its_user_alone(new):
    file = new()
    file.write(b"a film")
    file.finish()
    file.close()
    file.close()
    assert file.path.read_bytes() == b"a film"
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert (file.size, file.spoiled) == (6, None)


@pytest.mark.parametrize("size", [0, 1, 4096, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 4097])
def test_blocks_are_written_in_order_and_digested(new, size):
    data_set = os.urandom(size)
    content = part10(data_set)
    file = new(10**9)
    while content:
        file.write(content[:70_001])
        content = content[70_001:]
    digest = file.finish()
    file.close()
    assert file.path.read_bytes() == part10(data_set)
    assert digest == hashlib.sha256(data_set).hexdigest()


def test_what_is_put_into_its_space_is_taken(new):
    file = new(10**9)
    content = part10(os.urandom(2 * BLOCK))
    for at in range(0, len(content), 131_060):
        piece = content[at : at + 131_060]
        while piece:
            space = file.space()
            count = min(len(space), len(piece))
            space[:count] = piece[:count]
            file.take(count)
            piece = piece[count:]
    file.finish()
    assert file.path.read_bytes() == content


def test_the_digest_is_the_objects_whoever_wrote_the_file():
    def digest(*pieces):
        made = DataSetDigest()
        for piece in pieces:
            made.update(piece)
        return made.hexdigest()

    ours, theirs = part10(b"pixels"), part10(b"pixels", meta=b"RECEIVER_20")
    assert digest(ours) == digest(theirs) == hashlib.sha256(b"pixels").hexdigest()
    assert digest(*(ours[at : at + 1] for at in range(len(ours)))) == digest(ours)
    assert digest(part10(b"others")) != digest(ours)


def test_a_large_object_is_dropped_at_once_and_read_on(new, tmp_path):
    file = new()
    for _ in range(11):
        assert file.write(b"x" * 100) == 100
    assert file.spoiled is Why.TOO_LARGE
    assert not list(tmp_path.iterdir())
    file.write(bytes(3 * BLOCK))
    file.finish()
    assert file.size == 1100 + 3 * BLOCK
    assert not list(tmp_path.iterdir())


def test_without_room_nothing_is_begun(new, tmp_path):
    file = new(has_room=lambda: False)
    file.write(b"x")
    assert file.spoiled is Why.DISK_FULL
    assert not list(tmp_path.iterdir())


def test_room_that_goes_while_a_large_object_comes(new, tmp_path):
    room = [True, False]
    file = new(10**9, lambda: room.pop(0))
    file.write(bytes(10_000_000))
    assert file.spoiled is None
    file.write(bytes(10_000_000))
    assert file.spoiled is Why.DISK_FULL
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fails_is_told_from_one_that_is_full(new, tmp_path, monkeypatch):
    file = new(folder=tmp_path / "gone")
    assert file.spoiled is Why.UNEXPECTED

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    file = new()
    monkeypatch.setattr(os, "write", full)
    assert file.write(b"x") == 1
    file.finish()
    assert file.spoiled is Why.DISK_FULL
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_in_the_middle_spoils_it_before_its_end(new, tmp_path, monkeypatch):
    file = new(10**9)
    file.write(bytes(BLOCK))

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    file.write(bytes(3 * BLOCK))
    assert file.spoiled is Why.DISK_FULL
    assert not list(tmp_path.iterdir())

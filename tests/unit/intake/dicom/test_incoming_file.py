"""The file of one object while it comes in: its blocks, its digest, and what makes it refused."""

import errno
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from intake.dicom.incoming_file import BLOCK_BYTES, IncomingFile
from intake.dicom.limits import RefusalReason


@pytest.fixture
def new_file(tmp_path):
    with ThreadPoolExecutor(1) as writers:
        yield lambda max_bytes=1000, has_room=lambda: True, folder=tmp_path: IncomingFile(
            folder, max_bytes, has_room, writers
        )


def part10(data_set, meta=b"ours"):
    """A Part 10 file as far as its digest looks: preamble, prefix, group length, meta, data set."""
    length = len(meta).to_bytes(4, "little")
    return bytes(128) + b"DICM" + b"\2\0\0\0UL\4\0" + length + meta + data_set


def test_the_file_can_be_read_by_its_user_alone(new_file):
    file = new_file()
    file.write(b"an image")
    file.finish()
    file.close()
    file.close()
    assert file.path.read_bytes() == b"an image"
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert (file.size, file.refusal_reason) == (8, None)


@pytest.mark.parametrize(
    "size", [0, 1, 4096, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 4097]
)
def test_blocks_are_written_in_order_and_digested(new_file, size):
    data_set = os.urandom(size)
    content = part10(data_set)
    file = new_file(10**9)
    while content:
        file.write(content[:70_001])
        content = content[70_001:]
    digest = file.finish()
    file.close()
    assert file.path.read_bytes() == part10(data_set)
    assert digest == hashlib.sha256(data_set).hexdigest()


def test_bytes_put_into_the_buffer_are_taken(new_file):
    file = new_file(10**9)
    content = part10(os.urandom(2 * BLOCK_BYTES))
    for start in range(0, len(content), 131_060):
        piece = content[start : start + 131_060]
        while piece:
            buffer = file.get_buffer()
            count = min(len(buffer), len(piece))
            buffer[:count] = piece[:count]
            file.buffer_updated(count)
            piece = piece[count:]
    file.finish()
    assert file.path.read_bytes() == content


def test_a_large_object_is_dropped_at_once_and_read_on(new_file, tmp_path):
    file = new_file()
    for _ in range(11):
        assert file.write(b"x" * 100) == 100
    assert file.refusal_reason is RefusalReason.TOO_LARGE
    assert not list(tmp_path.iterdir())
    file.write(bytes(3 * BLOCK_BYTES))
    file.finish()
    assert file.size == 1100 + 3 * BLOCK_BYTES
    assert not list(tmp_path.iterdir())


def test_without_room_nothing_is_begun(new_file, tmp_path):
    file = new_file(has_room=lambda: False)
    file.write(b"x")
    assert file.refusal_reason is RefusalReason.DISK_FULL
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_while_a_large_object_comes(new_file, tmp_path):
    room = [True, False]
    file = new_file(10**9, lambda: room.pop(0))
    file.write(bytes(10_000_000))
    assert file.refusal_reason is None
    file.write(bytes(10_000_000))
    assert file.refusal_reason is RefusalReason.DISK_FULL
    assert not list(tmp_path.iterdir())


def test_a_failing_disk_and_a_full_disk_have_different_reasons(new_file, tmp_path, monkeypatch):
    file = new_file(folder=tmp_path / "gone")
    assert file.refusal_reason is RefusalReason.UNEXPECTED

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    file = new_file()
    monkeypatch.setattr(os, "write", full)
    assert file.write(b"x") == 1
    file.finish()
    assert file.refusal_reason is RefusalReason.DISK_FULL
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_in_the_middle_refuses_the_object_before_its_end(
    new_file, tmp_path, monkeypatch
):
    file = new_file(10**9)
    file.write(bytes(BLOCK_BYTES))

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    file.write(bytes(3 * BLOCK_BYTES))
    assert file.refusal_reason is RefusalReason.DISK_FULL
    assert not list(tmp_path.iterdir())

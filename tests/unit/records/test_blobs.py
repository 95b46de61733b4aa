"""Bytes on disk: kept whole or not at all, named by us, orphans found by age."""

import errno
import fcntl
import hashlib
import mmap
import os
import stat
import time
from unittest.mock import Mock

import pytest

from records.blobs import Blobs, DataSetDigest, data_set_sha256, write_past_cache
from records.errors import DiskFull, NotFound
from records.states import Damage


@pytest.fixture
def blobs(tmp_path):
    blobs = Blobs(tmp_path)
    blobs.make_folders()
    return blobs


def received(blobs, content=b"image", name="arriving"):
    path = blobs.incoming / name
    path.write_bytes(content)
    return path


def test_a_kept_instance_is_found_by_its_key(blobs):
    source = received(blobs)
    key = blobs.keep_instance(source)
    source.unlink()
    assert blobs.read(key) == b"image"
    assert key.startswith("instances/")


def test_two_files_never_share_a_key(blobs):
    source = received(blobs)
    assert blobs.keep_instance(source) != blobs.keep_instance(source)


def test_folders_are_closed_to_others(blobs):
    blobs.keep_instance(received(blobs))
    for folder in [blobs.root, *(p for p in blobs.root.rglob("*") if p.is_dir())]:
        assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0, folder


def test_a_prepared_input_replaces_itself_whole(blobs):
    digest = "ab" * 32
    assert blobs.write_prepared(digest, b"one") == blobs.write_prepared(digest, b"two")
    assert blobs.read(f"prepared/ab/{digest}.npz") == b"two"
    assert list(blobs.incoming.iterdir()) == []


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "instances/../../x", "prepared/ab/x.npz"])
def test_keys_not_of_our_making_are_refused(blobs, key):
    with pytest.raises(NotFound):
        blobs.path(key)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_an_error_and_leaves_nothing(blobs, monkeypatch, number):
    def full(*_):
        raise OSError(number, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        blobs.write_prepared("cd" * 32, b"prepared")
    assert not (blobs.root / f"prepared/cd/{'cd' * 32}.npz").exists()
    assert list(blobs.incoming.iterdir()) == []


def test_orphans_are_those_of_age(blobs):
    young, old = received(blobs, name="young"), received(blobs, name="old")
    hours_ago = time.time() - 25 * 3600
    os.utime(old, (hours_ago, hours_ago))
    assert list(blobs.stale_incoming(24)) == [old]
    key = blobs.keep_instance(young)
    days = blobs.instance_days()
    assert days == [key.split("/")[1]]
    assert list(blobs.old_instances(24, days)) == []
    os.utime(blobs.path(key), (hours_ago, hours_ago))
    assert list(blobs.old_instances(24, days)) == [key]
    assert list(blobs.old_instances(24, [])) == []


def test_removing_twice_is_no_error(blobs):
    key = blobs.keep_instance(received(blobs))
    blobs.remove(key)
    blobs.remove(key)
    with pytest.raises(NotFound):
        blobs.read(key)


def part10(data_set, meta=b"ours"):
    """A Part 10 file as far as its digest looks: preamble, prefix, group length, meta, data set."""
    length = len(meta).to_bytes(4, "little")
    return bytes(128) + b"DICM" + b"\2\0\0\0UL\4\0" + length + meta + data_set


def test_the_digest_is_of_the_object_and_not_of_the_file_meta():
    def digest(*pieces):
        data_set_digest = DataSetDigest()
        for piece in pieces:
            data_set_digest.update(piece)
        return data_set_digest.hexdigest()

    file, receivers_file = part10(b"pixels"), part10(b"pixels", meta=b"RECEIVER_20")
    assert digest(file) == digest(receivers_file) == hashlib.sha256(b"pixels").hexdigest()
    assert digest(*(file[start : start + 1] for start in range(len(file)))) == digest(file)
    assert digest(part10(b"others")) != digest(file)


def test_damage_is_a_file_that_is_gone_or_other_than_what_was_received(blobs):
    content = part10(os.urandom(3_000_001))
    key = blobs.keep_instance(received(blobs, content))
    path = blobs.path(key)
    stored = (key, len(content), data_set_sha256(path))
    assert blobs.find_damage(*stored) is None
    with path.open("r+b") as file:
        file.seek(2_000_000)
        file.write(os.urandom(4000))
    assert blobs.find_damage(*stored) is Damage.CHANGED
    path.write_bytes(content[:-1])
    assert blobs.find_damage(*stored) is Damage.CHANGED
    path.unlink()
    assert blobs.find_damage(*stored) is Damage.GONE
    assert blobs.find_damage(f"instances/1999-01-01/{key[21:]}", 1, "") is Damage.GONE


def test_a_disk_that_fails_is_no_damage_but_a_block_that_is_lost_is(blobs, monkeypatch):
    content = part10(b"pixels")
    key = blobs.keep_instance(received(blobs, content))
    digest = data_set_sha256(blobs.path(key))
    for number, expected in ((errno.EIO, Damage.CHANGED), (errno.EACCES, None)):
        monkeypatch.setattr(
            "records.blobs.data_set_sha256", Mock(side_effect=OSError(number, "broken"))
        )
        if expected:
            assert blobs.find_damage(key, len(content), digest) is expected
        else:
            with pytest.raises(OSError, match="broken"):
                blobs.find_damage(key, len(content), digest)


def test_a_file_that_is_set_aside_is_listed_unless_it_is_damaged(blobs):
    key, damaged = (blobs.keep_instance(received(blobs, name=name)) for name in ("a", "b"))
    aside = blobs.set_aside(key)
    blobs.set_aside(damaged, is_damaged=True)
    assert blobs.list_set_aside() == [aside]
    assert not blobs.path(key).exists()
    assert not blobs.path(damaged).exists()
    assert len(list(blobs.lost_and_found.iterdir())) == 2


def written(path, *blocks):
    handle = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        for block in blocks:
            memory = memoryview(mmap.mmap(-1, len(block)))
            memory[:] = block
            write_past_cache(handle, memory)
        assert not fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_DIRECT
    finally:
        os.close(handle)
    return path.read_bytes()


@pytest.mark.parametrize("last", [1, 4095, 4096, 10_000])
def test_blocks_past_the_cache_are_whole_with_a_last_one_of_any_length(tmp_path, last):
    blocks = [os.urandom(65536), os.urandom(65536), os.urandom(last)]
    assert written(tmp_path / "image", *blocks) == b"".join(blocks)


def test_a_block_behind_an_odd_one_goes_through_the_cache(tmp_path):
    blocks = [os.urandom(5000), os.urandom(65536)]
    assert written(tmp_path / "image", *blocks) == b"".join(blocks)


def test_where_the_file_system_cannot_go_past_the_cache_it_goes_through(tmp_path, monkeypatch):
    real = fcntl.fcntl

    def without(handle, command, argument=0):
        if command == fcntl.F_SETFL and argument & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no")
        return real(handle, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", without)
    block = os.urandom(70_000)
    assert written(tmp_path / "image", block) == block


def test_a_short_write_is_completed_and_a_full_disk_is_an_error(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, content: write(handle, content[:4097]))
    block = os.urandom(70_000)
    assert written(tmp_path / "image", block) == block

    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="full"):
        written(tmp_path / "other", block)

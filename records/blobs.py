"""Bytes on disk: received instances and prepared inputs, under names of our own making.

A file is written under a temporary name, synced, renamed, and its folder is synced.

    <root>/incoming/               being received; swept by age
    <root>/instances/<day>/<xx>/   one file for each object, never changed
    <root>/prepared/<xx>/          one file for each digest of what the content was made from
    <root>/pictures/<day>/<xx>/    a picture of an instance for people; it can be made again
    <root>/films/<xx>/             the pixels of an instance for the viewer; they can be made again
    <root>/lost+found/             what belongs to no row and could not be registered; for a person
"""

from __future__ import annotations

import datetime as dt
import errno
import fcntl
import hashlib
import mmap
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from records.errors import DiskFull, NotFound
from records.states import Damage

_KEY = re.compile(
    r"((instances|pictures)/\d{4}-\d\d-\d\d|prepared|films)/[0-9a-f]{2}/[0-9a-f-]{32,64}"
    r"\.(dcm|npz|jpg|film)"
)
_CHUNK = 1 << 20
_HEAD_BYTES = 144
"""Preamble, prefix and (0002,0000) UL of four bytes: PS3.10 table 7.1-1."""
_O_DIRECT = getattr(os, "O_DIRECT", 0)  # Linux


class Blobs:
    """The blob folder of one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir / "blobs"
        self.incoming = self.root / "incoming"
        self.lost_and_found = self.root / "lost+found"

    def make_folders(self) -> None:
        """Make the folders, readable by this user alone, for they hold patients' images."""
        for folder in (
            self.root,
            self.incoming,
            self.root / "instances",
            self.root / "prepared",
            self.lost_and_found,
        ):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, key: str) -> Path:
        """The file of a key.

        Raises:
            NotFound: the key has not the form of a key that this class makes.
        """
        if not _KEY.fullmatch(key):
            raise NotFound("that is not the key of a blob")
        return self.root / key

    def new_instance(self) -> str:
        """A new key for an instance that is to be kept."""
        name = uuid.uuid4().hex
        day = dt.datetime.now(dt.UTC).date().isoformat()
        return f"instances/{day}/{name[:2]}/{name}.dcm"

    def keep_instance(self, received: Path, key: str = "") -> str:
        """Keep a received file for good; it is synced to disk when this returns.

        Args:
            received: the file, which stays where it is; the caller removes it.
            key: the key to keep it under; a new one where it is empty.

        Returns:
            The key.

        Raises:
            DiskFull: there is no room; nothing is half kept.
        """
        key = key or self.new_instance()
        target = self.path(key)
        with _disk_errors():
            self._make_parent(target)
            with received.open("rb") as file:
                os.fsync(file.fileno())
            # A link is atomic and needs no second copy; the caller then removes its own name.
            os.link(received, target)
            _sync_folder(target.parent)
        return key

    def write_prepared(self, digest: str, content: bytes) -> str:
        """Write a prepared input, whole or not at all.

        Args:
            digest: the digest of what the input was made from, in hex.
            content: the bytes.

        Returns:
            The key.

        Raises:
            DiskFull: there is no room; nothing is half kept.
        """
        key = prepared_key(digest)
        target = self.root / key
        with _disk_errors():
            self._make_parent(target)
            temporary = self.incoming / f"{uuid.uuid4().hex}.part"
            try:
                with temporary.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(target)
                _sync_folder(target.parent)
            finally:
                temporary.unlink(missing_ok=True)
        return key

    def write_picture(self, instance_key: str, jpeg: bytes) -> None:
        """Keep the picture of an instance; it is not synced, for it can be made again.

        Args:
            instance_key: the instance's key.
            jpeg: the picture.

        Raises:
            DiskFull: there is no room; nothing is half kept.
        """
        self._write_unsynced(self.path(_picture_key(instance_key)), jpeg)

    def read_picture(self, instance_key: str) -> bytes | None:
        """The picture of an instance, a JPEG; None where none is kept."""
        return self._read_if_kept(_picture_key(instance_key))

    def write_film(self, instance_key: str, film: bytes) -> None:
        """Keep the pixels of an instance for the viewer; not synced, they can be made again.

        Args:
            instance_key: the instance's key.
            film: the pixels in the viewer's format, compressed.

        Raises:
            DiskFull: there is no room; nothing is half kept.
        """
        self._write_unsynced(self.path(_film_key(instance_key)), film)

    def read_film(self, instance_key: str) -> bytes | None:
        """The pixels of an instance for the viewer, which are as new again; None without them."""
        film = self._read_if_kept(_film_key(instance_key))
        if film is not None:
            with suppress(OSError):  # it is only removed sooner
                os.utime(self.path(_film_key(instance_key)))
        return film

    def old_films(self, hours: float) -> Iterator[str]:
        """Keys of the viewer's pixels that nobody has looked at for so many hours."""
        for file in _older((self.root / "films").glob("[0-9a-f][0-9a-f]/*.film"), hours):
            yield str(file.relative_to(self.root))

    def remove_film(self, film_key: str) -> bool:
        """Remove the pixels under a key of `old_films`; returns whether they were there."""
        try:
            self.path(film_key).unlink()
        except FileNotFoundError:
            return False
        return True

    def _write_unsynced(self, target: Path, content: bytes) -> None:
        with _disk_errors():
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = self.incoming / f"{uuid.uuid4().hex}.part"
            try:
                temporary.write_bytes(content)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)

    def _read_if_kept(self, key: str) -> bytes | None:
        try:
            return self.path(key).read_bytes()
        except FileNotFoundError:
            return None

    def read(self, key: str) -> bytes:
        """The blob's bytes.

        Raises:
            NotFound: no such blob.
        """
        try:
            return self.path(key).read_bytes()
        except FileNotFoundError:
            raise NotFound("the blob is gone from the data folder") from None

    def prepared_folders(self) -> list[str]:
        """The names of the folders of prepared inputs, in order: two digits of digests."""
        return sorted(folder.name for folder in (self.root / "prepared").glob("[0-9a-f][0-9a-f]"))

    def old_prepared(self, folder: str, hours: float) -> Iterator[str]:
        """Digests of the prepared inputs of a folder that were written so many hours ago."""
        for file in _older((self.root / "prepared" / folder).glob("*.npz"), hours):
            yield file.stem

    def prepared_size(self, digest: str) -> int:
        """The bytes of a prepared input; 0 where there is none."""
        try:
            return self.path(prepared_key(digest)).stat().st_size
        except FileNotFoundError:
            return 0

    def remove_prepared(self, digest: str) -> int:
        """Remove a prepared input; returns its bytes, 0 where there was none."""
        size = self.prepared_size(digest)
        self.path(prepared_key(digest)).unlink(missing_ok=True)
        return size

    def find_damage(self, key: str, size: int, sha256: str) -> Damage | None:
        """Compare a stored instance with what was received; None where it is whole.

        Args:
            key: the instance's key.
            size: bytes of the file.
            sha256: SHA-256 of its data set, in hex (`DataSetDigest`).

        Raises:
            OSError: the disk cannot be read; it says nothing of the file.
        """
        path = self.path(key)
        try:
            if path.stat().st_size != size or data_set_sha256(path) != sha256:
                return Damage.CHANGED
        except FileNotFoundError:
            return Damage.GONE
        except OSError as error:
            if error.errno == errno.EIO:  # a block of the file that the disk lost
                return Damage.CHANGED
            raise
        return None

    def set_aside(self, key: str, *, is_damaged: bool = False) -> Path:
        """Move an instance file into `lost+found`, where a person can look at it.

        Args:
            key: the file's key.
            is_damaged: its object has a whole file by now; this one is never registered again.
        """
        self.lost_and_found.mkdir(exist_ok=True, mode=0o700)
        source = self.path(key)
        target = self.lost_and_found / (source.name + ".damaged" * is_damaged)
        source.replace(target)
        _sync_folder(self.lost_and_found)
        self.remove(key)  # the file is gone by now, and what was made of it goes, too
        return target

    def list_set_aside(self) -> list[Path]:
        """The files in `lost+found` whose object is not registered, by name."""
        return sorted(self.lost_and_found.glob("*.dcm"))

    def remove(self, key: str) -> None:
        """Remove a blob, and what was made of an instance for people; none need be there."""
        self.path(key).unlink(missing_ok=True)
        if key.startswith("instances/"):
            self.path(_picture_key(key)).unlink(missing_ok=True)
            self.path(_film_key(key)).unlink(missing_ok=True)

    def free_mb(self) -> int:
        """Free space on the blob volume, MB."""
        return shutil.disk_usage(self.root).free // 1_000_000

    def stale_incoming(self, hours: float) -> Iterator[Path]:
        """Temporary files older than `hours`: their sender or their process died."""
        yield from _older(self.incoming.glob("*"), hours)

    def instance_days(self) -> list[str]:
        """The days on which instances were received, oldest first, as 2026-01-31."""
        return sorted(day.name for day in (self.root / "instances").glob("????-??-??"))

    def old_instances(self, hours: float, days: Sequence[str]) -> Iterator[str]:
        """Keys of instance files of these days that are older than `hours`."""
        for day in days:
            for file in _older((self.root / "instances" / day).glob("*/*.dcm"), hours):
                yield str(file.relative_to(self.root))

    def _make_parent(self, target: Path) -> None:
        missing = [folder for folder in target.parents if not folder.is_dir()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True, mode=0o700)
            _sync_folder(folder.parent)


def prepared_key(digest: str) -> str:
    """The key of the prepared input that was made from inputs of this digest, in hex."""
    return f"prepared/{digest[:2]}/{digest}.npz"


class DataSetDigest:
    """SHA-256 of the data set of a Part 10 file, computed from the file's pieces in order.

    The file meta information before the data set does not count. We write it ourselves and it names
    the version that wrote it, while an object that comes again after an update must have the same
    digest.
    """

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._head = b""
        self._skip: int | None = None  # bytes of file meta that are still to come

    def update(self, piece: bytes | memoryview) -> None:
        """Add the next piece."""
        if self._skip is None:
            piece = self._head = self._head + piece
            if len(piece) < _HEAD_BYTES:
                return
            self._head = b""
            self._skip = _HEAD_BYTES + int.from_bytes(
                piece[_HEAD_BYTES - 4 : _HEAD_BYTES], "little"
            )
        if self._skip < len(piece):
            self._sha256.update(memoryview(piece)[self._skip :])
        self._skip = max(0, self._skip - len(piece))

    def hexdigest(self) -> str:
        """The digest of all that was added, hexadecimal."""
        return self._sha256.hexdigest()


def data_set_sha256(path: Path) -> str:
    """The `DataSetDigest` of a file; uses constant memory."""
    digest = DataSetDigest()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def write_past_cache(handle: int, block: memoryview) -> None:
    """Write a whole block at a file's end, past the page cache where the file system can do that.

    O_DIRECT takes only whole pages of memory at whole pages of the file. The bytes behind the last
    whole page, and everything that is written after them, go through the cache as usual. So does a
    block on a file system without O_DIRECT. Either way nothing is durable without a sync.

    Args:
        handle: the file, open for writing.
        block: the bytes, in memory that begins at a page.

    Raises:
        OSError: the write failed; a part of the block may be written.
    """
    whole_pages = len(block) // mmap.PAGESIZE * mmap.PAGESIZE
    written = 0
    flags = fcntl.fcntl(handle, fcntl.F_GETFL)
    try:
        fcntl.fcntl(handle, fcntl.F_SETFL, flags | _O_DIRECT)
        while written < whole_pages:
            written += os.write(handle, block[written:whole_pages])
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        fcntl.fcntl(handle, fcntl.F_SETFL, flags)
    while written < len(block):
        written += os.write(handle, block[written:])


def _picture_key(instance_key: str) -> str:
    return instance_key.replace("instances/", "pictures/", 1).replace(".dcm", ".jpg")


def _film_key(instance_key: str) -> str:
    name = instance_key.rpartition("/")[2]
    return f"films/{name[:2]}/{name}".replace(".dcm", ".film")


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("the data folder's disk is full") from None
        raise


def _sync_folder(folder: Path) -> None:
    """Make a new name in the folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _older(files: Iterator[Path], hours: float) -> Iterator[Path]:
    limit = time.time() - hours * 3600
    for file in files:
        try:
            if file.is_file() and file.stat().st_mtime < limit:
                yield file
        except FileNotFoundError:
            continue  # it was removed meanwhile

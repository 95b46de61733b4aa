"""One object's file while it comes in: written, digested, and on its way to the disk.

Knows no DICOM but where a Part 10 file's data set begins.
"""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path

from intake.limits import Why
from records.killpoints import killpoint

_LOOK_EVERY = 16_000_000  # bytes between two looks at the room that is left
_TO_DISK_EVERY = 4 << 20
"""Bytes after which the system is asked to begin writing: the sync at the end then finds little."""

_GROUP_LENGTH_AT = 132  # after preamble and prefix (PS3.10 7.1)
_META_AT = _GROUP_LENGTH_AT + 12  # behind (0002,0000) UL, four bytes: PS3.10 table 7.1-1


class Digest:
    """SHA-256 of a Part 10 file behind its file meta information, as its bytes come.

    The file meta is ours: it names the version that wrote it, and an object that comes again after
    an update must have the same digest.
    """

    def __init__(self) -> None:
        self._head = bytearray()
        self._meta_ends = 0  # of the file; 0: its group length has not come yet
        self._sha256 = hashlib.sha256()

    def update(self, content: bytes | bytearray | memoryview) -> None:
        """The next bytes of the file."""
        if self._meta_ends and len(self._head) == self._meta_ends:
            self._sha256.update(content)
            return
        self._head += content
        if not self._meta_ends and len(self._head) >= _META_AT:
            self._meta_ends = _META_AT + int.from_bytes(
                self._head[_META_AT - 4 : _META_AT], "little"
            )
        if self._meta_ends and len(self._head) > self._meta_ends:
            self._sha256.update(self._head[self._meta_ends :])
            del self._head[self._meta_ends :]

    def hexdigest(self) -> str:
        """Of what came so far."""
        return self._sha256.hexdigest()


class Incoming:
    """One object's file while it comes in, as pynetdicom's chunked receive writes it.

    An object that cannot be kept is `spoiled`: its file is gone at once and the rest of it is read
    off the network and dropped, so that its sender gets an answer and goes on with the next.
    """

    def __init__(self, folder: Path, max_bytes: int, has_room: Callable[[], bool]) -> None:
        self.path = folder / f"{uuid.uuid4().hex}.dcm"
        self.name = str(self.path)  # pynetdicom reads and unlinks by this name
        self.size = 0
        self.spoiled: Why | None = None
        self._max_bytes = max_bytes
        self._has_room = has_room
        self._look_at = _LOOK_EVERY
        self._digest = Digest()
        self._to_disk = 0  # the system has been asked to write what is before
        self._handle = -1
        if not has_room():
            self.spoiled = Why.DISK_FULL
            return
        try:
            self._handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError as error:
            self._spoil(_why(error))

    @property
    def file(self) -> Incoming:
        """Pynetdicom flushes `file.file`, as NamedTemporaryFile has one."""
        return self

    @property
    def sha256(self) -> str:
        """Of the data set as it came so far, hexadecimal."""
        return self._digest.hexdigest()

    def write(self, content: bytes | bytearray | memoryview) -> int:
        """Write, or drop where the object is spoiled. Never raises."""
        self.size += len(content)
        if self.size > self._max_bytes:
            self._spoil(Why.TOO_LARGE)
        if self.size > self._look_at:
            self._look_at += _LOOK_EVERY
            if not self._has_room():
                self._spoil(Why.DISK_FULL)
        if self.spoiled is None:
            try:
                left = memoryview(content)
                while left:
                    left = left[os.write(self._handle, left) :]
                self._begin_writing()
            except OSError as error:
                self._spoil(_why(error))
            self._digest.update(content)
        return len(content)

    def _begin_writing(self) -> None:
        """Let the system write meanwhile: what it is told not to keep it first brings to the disk.

        Pages that wait to be written stay in memory all the same, for who prepares the film.
        """
        if self.size - self._to_disk >= _TO_DISK_EVERY:
            begun, self._to_disk = self._to_disk, self.size
            os.posix_fadvise(self._handle, begun, self.size - begun, os.POSIX_FADV_DONTNEED)

    def flush(self) -> None:
        """Called after each piece of the data set; writes are not buffered here."""
        killpoint("mid-transfer")

    def close(self) -> None:
        """Close; a second time does nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def discard(self) -> None:
        """Close and remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _spoil(self, why: Why) -> None:
        # The first reason stands.
        self.spoiled = self.spoiled or why
        self.discard()


def _why(error: OSError) -> Why:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return Why.DISK_FULL if full else Why.UNEXPECTED

"""One object's file while it comes in, and its digest. Knows no network, no header and no row."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import uuid
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path

from intake.dicom.limits import Why
from records.blobs import write_past_cache
from records.failpoints import failpoint

BLOCK = 1 << 20
_LOOK_EVERY = 16_000_000  # bytes between two looks at the room that is left
_HEAD = 144  # preamble, prefix and (0002,0000) UL of four bytes: PS3.10 table 7.1-1


class DataSetDigest:
    """SHA-256 of a Part 10 file behind its file meta information, from its pieces in order.

    The file meta is ours: it names the version that wrote it, and an object that comes again after
    an update must have the same digest.
    """

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._head = b""
        self._skip: int | None = None  # bytes of file meta that are still to come

    def update(self, piece: bytes | memoryview) -> None:
        """Take the next piece."""
        if self._skip is None:
            piece = self._head = self._head + piece
            if len(piece) < _HEAD:
                return
            self._head = b""
            self._skip = _HEAD + int.from_bytes(piece[_HEAD - 4 : _HEAD], "little")
        if self._skip < len(piece):
            self._sha256.update(memoryview(piece)[self._skip :])
        self._skip = max(0, self._skip - len(piece))

    def hexdigest(self) -> str:
        """Of all that was taken, hexadecimal."""
        return self._sha256.hexdigest()


class Incoming:
    """One object's file while it comes in, as pynetdicom's chunked receive writes it.

    A block is written by a thread of `writers` while it is digested here and the next one comes in.
    It goes past the page cache (O_DIRECT), where the file system can do that: copying a film into
    the cache costs more than its digest, films would drive the database out of it, and at the end
    all of them would have to be written at once.

    An object that cannot be kept is `spoiled`: its file is gone at once and the rest of it is read
    off the network and dropped, so that its sender gets an answer and goes on with the next.
    """

    def __init__(
        self, folder: Path, max_bytes: int, has_room: Callable[[], bool], writers: Executor
    ) -> None:
        self.path = folder / f"{uuid.uuid4().hex}.dcm"
        self.name = str(self.path)  # pynetdicom reads and unlinks by this name
        self.size = 0
        self.spoiled: Why | None = None
        self._digest = DataSetDigest()
        # Whole pages, as O_DIRECT wants them. One comes in while the other is written.
        self._block, self._other = (memoryview(mmap.mmap(-1, BLOCK)) for _ in range(2))
        self._filled = 0
        self._writers = writers
        self._writing: Future[None] | None = None
        self._max_bytes = max_bytes
        self._has_room = has_room
        self._look_at = _LOOK_EVERY
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

    def space(self) -> memoryview:
        """Where the next bytes may be put, to be told of with `take`; never empty."""
        return self._block[self._filled :]

    def take(self, count: int) -> None:
        """So many bytes were put into `space`: keep, or drop where it is spoiled. Never raises."""
        self.size += count
        self._filled += count
        if self.size > self._max_bytes:
            self._spoil(Why.TOO_LARGE)
        if self.size > self._look_at:
            self._look_at += _LOOK_EVERY
            if not self._has_room():
                self._spoil(Why.DISK_FULL)
        if self._filled == BLOCK:
            self._write_block()

    def write(self, content: bytes) -> int:
        """Take bytes from elsewhere. Never raises."""
        left = memoryview(content)
        while left:
            space = self.space()
            count = min(len(space), len(left))
            space[:count] = left[:count]
            self.take(count)
            left = left[count:]
        return len(content)

    def flush(self) -> None:
        """Called by pynetdicom after what it writes; when a block is written is decided here."""

    def finish(self) -> str:
        """Write what is left and return the data set's digest; look at `spoiled` then."""
        self._write_block()
        self._wait()
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close; a second time does nothing."""
        self._wait()
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def discard(self) -> None:
        """Close and remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _write_block(self) -> None:
        failpoint("mid-transfer")
        block, self._filled = self._block[: self._filled], 0
        self._wait()
        if self.spoiled is None:
            self._writing = self._writers.submit(write_past_cache, self._handle, block)
            self._digest.update(block)
            self._block, self._other = self._other, self._block

    def _wait(self) -> None:
        """Until the block before this one is written."""
        writing, self._writing = self._writing, None
        try:
            if writing:
                writing.result()
        except OSError as error:
            self._spoil(_why(error))

    def _spoil(self, why: Why) -> None:
        # The first reason stands.
        self.spoiled = self.spoiled or why
        self.discard()


def _why(error: OSError) -> Why:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return Why.DISK_FULL if full else Why.UNEXPECTED

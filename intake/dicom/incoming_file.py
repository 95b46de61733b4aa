"""The file of one object while it comes in."""

from __future__ import annotations

import errno
import mmap
import os
import uuid
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path

from intake.dicom.limits import RefusalReason
from records.blobs import DataSetDigest, write_past_cache
from records.failpoints import failpoint

BLOCK_BYTES = 1 << 20
_ROOM_CHECK_BYTES = 16_000_000
"""Bytes between two checks of the room that is left on the disk."""


class IncomingFile:
    """One object's file while it comes in. pynetdicom's chunked receive takes it for a temp file.

    A thread of `writers` writes each block while the block is digested here and the next one comes
    in. Where the file system can do that, blocks go past the page cache (O_DIRECT): copying an
    image into the cache costs more than its digest, images would push the database out of the
    cache, and at the end all of them would have to be written at once.

    An object that cannot be kept gets a `refusal_reason`. Its file is removed at once, and the rest
    of it is read off the network and dropped, so that its sender gets an answer and goes on with
    the next object.

    Args:
        folder: where the file is made, on the blob volume.
        max_bytes: a longer object is refused.
        has_room: whether the disk has room for more.
        writers: the threads that write blocks.
    """

    def __init__(
        self, folder: Path, max_bytes: int, has_room: Callable[[], bool], writers: Executor
    ) -> None:
        self.path = folder / f"{uuid.uuid4().hex}.dcm"
        self.name = str(self.path)  # pynetdicom reads and unlinks by this name
        self.size = 0
        self.refusal_reason: RefusalReason | None = None
        self._digest = DataSetDigest()
        # Whole pages, as O_DIRECT wants them. One block comes in while the other is written.
        self._block, self._spare_block = (memoryview(mmap.mmap(-1, BLOCK_BYTES)) for _ in range(2))
        self._filled = 0
        self._writers = writers
        self._pending_write: Future[None] | None = None
        self._max_bytes = max_bytes
        self._has_room = has_room
        self._next_room_check = _ROOM_CHECK_BYTES
        self._handle = -1
        if not has_room():
            self.refusal_reason = RefusalReason.DISK_FULL
            return
        try:
            self._handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError as error:
            self._refuse(_reason_of(error))

    @property
    def file(self) -> IncomingFile:
        """This object: pynetdicom flushes `file.file`, as NamedTemporaryFile has one."""
        return self

    def get_buffer(self) -> memoryview:
        """Where the next bytes may be put; never empty. `buffer_updated` says how many were."""
        return self._block[self._filled :]

    def buffer_updated(self, count: int) -> None:
        """Take `count` bytes that were put into the buffer. Never raises.

        The bytes of an object that is refused are dropped.
        """
        self.size += count
        self._filled += count
        if self.size > self._max_bytes:
            self._refuse(RefusalReason.TOO_LARGE)
        if self.size > self._next_room_check:
            self._next_room_check += _ROOM_CHECK_BYTES
            if not self._has_room():
                self._refuse(RefusalReason.DISK_FULL)
        if self._filled == BLOCK_BYTES:
            self._write_block()

    def write(self, content: bytes) -> int:
        """Take bytes that pynetdicom holds. Never raises."""
        remaining = memoryview(content)
        while remaining:
            buffer = self.get_buffer()
            count = min(len(buffer), len(remaining))
            buffer[:count] = remaining[:count]
            self.buffer_updated(count)
            remaining = remaining[count:]
        return len(content)

    def flush(self) -> None:
        """Do nothing. pynetdicom calls this after each write, but blocks are written when full."""

    def finish(self) -> str:
        """Write the last block and return the data set's digest; `refusal_reason` is final then."""
        self._write_block()
        self._wait_for_write()
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._wait_for_write()
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
        self._wait_for_write()
        if self.refusal_reason is None:
            self._pending_write = self._writers.submit(write_past_cache, self._handle, block)
            self._digest.update(block)
            self._block, self._spare_block = self._spare_block, self._block

    def _wait_for_write(self) -> None:
        """Wait until the block before this one is written."""
        pending, self._pending_write = self._pending_write, None
        try:
            if pending:
                pending.result()
        except OSError as error:
            self._refuse(_reason_of(error))

    def _refuse(self, reason: RefusalReason) -> None:
        # The first reason stands.
        self.refusal_reason = self.refusal_reason or reason
        self.discard()


def _reason_of(error: OSError) -> RefusalReason:
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return RefusalReason.DISK_FULL if is_full else RefusalReason.UNEXPECTED

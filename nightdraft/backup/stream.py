"""The encrypted stream of a backup: libsodium's secretstream (XChaCha20-Poly1305) in pieces.

Each piece is authenticated with its place, and the last one is marked as such: a changed, missing
or exchanged piece and a cut end are each found. Before the pieces stand a mark and 16 hexadecimal
digits that tell the key from another one and give nothing of it away.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nacl.bindings import (
    crypto_secretstream_xchacha20poly1305_ABYTES,
    crypto_secretstream_xchacha20poly1305_HEADERBYTES,
    crypto_secretstream_xchacha20poly1305_init_pull,
    crypto_secretstream_xchacha20poly1305_init_push,
    crypto_secretstream_xchacha20poly1305_KEYBYTES,
    crypto_secretstream_xchacha20poly1305_pull,
    crypto_secretstream_xchacha20poly1305_push,
    crypto_secretstream_xchacha20poly1305_state,
    crypto_secretstream_xchacha20poly1305_TAG_FINAL,
    crypto_secretstream_xchacha20poly1305_TAG_MESSAGE,
)
from nacl.exceptions import CryptoError

from records.errors import BackupError, SettingsError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

MARK = b"NIGHTDRAFT-BACKUP-1\n"
PIECE = 1 << 20
"""Bytes of a piece before it is encrypted; the last one may be shorter."""

KEY_BYTES: int = crypto_secretstream_xchacha20poly1305_KEYBYTES
_KEY_ID_BYTES = 16
_SEALED = PIECE + crypto_secretstream_xchacha20poly1305_ABYTES


def make_key(path: Path) -> None:
    """Make a new key in a file that this user alone can read.

    Raises:
        BackupError: the file is there already, or cannot be written.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise BackupError(f"{path} is there already: a key is never written over") from None
    except OSError as error:
        raise BackupError(f"the key cannot be written to {path} ({error.strerror})") from None


def read_key(path: Path) -> bytes:
    """Read a key that `make_key` made: 32 bytes in base64, as `openssl rand -base64 32` gives, too.

    Raises:
        SettingsError: the file cannot be read, others can read it, or it holds no key.
    """
    try:
        text = path.read_bytes()
        mode = path.stat().st_mode
    except OSError as error:
        raise SettingsError(f"the backup's key cannot be read: {path} ({error.strerror})") from None
    if mode & 0o077:
        raise SettingsError(f"others can read the backup's key: chmod 600 {path}")
    key = b""
    with suppress(binascii.Error, ValueError):
        key = base64.b64decode(text.strip(), validate=True)
    if len(key) != KEY_BYTES:
        raise SettingsError(
            f"{path} holds no key of a backup: `nightdraft backup --new-key FILE` makes one"
        )
    return key


def key_id(key: bytes) -> str:
    """16 hexadecimal digits that tell this key from another one."""
    return hashlib.blake2b(b"nightdraft backup key id", key=key, digest_size=8).hexdigest()


class EncryptingWriter(io.RawIOBase):
    """Encrypts what is written to it. Without `finish` the stream has no end, and is not whole.

    Args:
        target: where the encrypted bytes go.
        key: the key.
    """

    def __init__(self, target: BinaryIO, key: bytes) -> None:
        self._target = target
        self._buffer = bytearray()
        self._state = crypto_secretstream_xchacha20poly1305_state()
        header = crypto_secretstream_xchacha20poly1305_init_push(self._state, key)
        self._head = MARK + key_id(key).encode()
        target.write(self._head + header)

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def write(self, data: ReadableBuffer) -> int:
        """Encrypt and write; a piece goes when it is full."""
        view = memoryview(data)
        self._buffer += view
        # The last piece is kept back: whether it is the last one is not known yet.
        while len(self._buffer) > PIECE:
            self._push(
                bytes(self._buffer[:PIECE]), crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
            )
            del self._buffer[:PIECE]
        return view.nbytes

    def finish(self) -> None:
        """Write the last piece, which says that it is the last."""
        self._push(bytes(self._buffer), crypto_secretstream_xchacha20poly1305_TAG_FINAL)
        self._buffer.clear()

    def _push(self, piece: bytes, tag: int) -> None:
        self._target.write(
            crypto_secretstream_xchacha20poly1305_push(self._state, piece, self._head, tag)
        )


class DecryptingReader(io.RawIOBase):
    """Reads what an `EncryptingWriter` wrote.

    Args:
        source: the encrypted bytes, from their beginning.
        key: the key.

    Raises:
        BackupError: it is no backup, or was made with another key.
    """

    def __init__(self, source: BinaryIO, key: bytes) -> None:
        self._source = source
        self._buffer = b""
        self._at = 0
        self._ended = False
        self._pieces = 0
        head = source.read(len(MARK) + _KEY_ID_BYTES)
        if len(head) < len(MARK) + _KEY_ID_BYTES and MARK.startswith(head[: len(MARK)]):
            raise BackupError("the backup was interrupted at its beginning")
        if not head.startswith(MARK):
            raise BackupError("the file is no backup of Nightdraft, or its beginning is damaged")
        named = head[len(MARK) :].decode("ascii", "replace")
        if named != key_id(key):
            raise BackupError(
                f"the key is not the one of this backup: the backup was made with the key {named}, "
                f"and the file holds the key {key_id(key)}"
            )
        self._head = head
        header = source.read(crypto_secretstream_xchacha20poly1305_HEADERBYTES)
        if len(header) < crypto_secretstream_xchacha20poly1305_HEADERBYTES:
            raise BackupError("the backup was interrupted: it has a beginning alone")
        self._state = crypto_secretstream_xchacha20poly1305_state()
        crypto_secretstream_xchacha20poly1305_init_pull(self._state, header, key)

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read some bytes; 0 at the end of a whole stream.

        Raises:
            BackupError: a piece is damaged, or the stream was cut.
        """
        view = memoryview(buffer).cast("B")
        while self._at == len(self._buffer):
            if self._ended:
                return 0
            self._buffer, self._at = self._pull(), 0
        number = min(len(view), len(self._buffer) - self._at)
        view[:number] = self._buffer[self._at : self._at + number]
        self._at += number
        return number

    def drain(self) -> None:
        """Read on to the end.

        Raises:
            BackupError: a piece is damaged, or the stream was cut.
        """
        while self.read(PIECE):
            pass

    def _pull(self) -> bytes:
        sealed = self._source.read(_SEALED)
        if not sealed:
            raise BackupError("the backup was interrupted, or its file was cut: it has no end")
        try:
            piece, tag = crypto_secretstream_xchacha20poly1305_pull(self._state, sealed, self._head)
        except (CryptoError, ValueError, RuntimeError):
            place = self._pieces * _SEALED // 1_000_000
            raise BackupError(
                f"the backup is damaged or was cut, about {place} MB from its beginning: take an "
                "older one"
            ) from None
        self._pieces += 1
        if tag == crypto_secretstream_xchacha20poly1305_TAG_FINAL:
            self._ended = True
            if self._source.read(1):
                raise BackupError("the backup is damaged: something stands behind its end")
        result: bytes = piece
        return result

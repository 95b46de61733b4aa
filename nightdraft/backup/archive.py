"""What a backup holds, and in which order: a tar archive inside the encrypted stream.

    manifest.json           what it is of, and when it was made
    database/0000 ...       the pieces of PostgreSQL's dump
    keys/...                the keys of the data folder
    blobs/...               the files of the films that the dump names
    end.json                what came to light while it was made; without it the backup is not whole

Names are checked against this list when they are read: nothing is ever written elsewhere.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO

from nightdraft.backup.stream import DecryptingReader, EncryptingWriter
from records.errors import BackupError

FORMAT = 1

KEY_FILES = ("keys/messages.key", "keys/trail.key", "pseudonyms.key")
"""Keys in the data folder without which something of the records cannot be read or continued."""

_MANIFEST, _END, _DATABASE = "manifest.json", "end.json", "database/"
_BLOB = re.compile(
    r"blobs/(instances/\d{4}-\d\d-\d\d/[0-9a-f]{2}/[0-9a-f]{32}\.dcm"
    r"|lost\+found/[0-9a-f]{32}\.dcm(\.damaged)?)"
)
_MAX_JSON = 256 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is of.

    Attributes:
        id: a random id of the backup.
        version: of Nightdraft.
        revision: of the tables.
        made_at: when its snapshot was taken, ISO 8601.
        studies: about how many there were.
    """

    id: str
    version: str
    revision: str
    made_at: str
    studies: int
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class End:
    """What came to light while the backup was made.

    Attributes:
        files: films' files in it.
        size: their bytes.
        removed: keys of films whose files retention removed, or that were erased, meanwhile.
        missing: keys of films whose files were gone already: damage.
    """

    files: int
    size: int
    removed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class BackupWriter:
    """Writes the entries of a backup.

    Args:
        stream: the encrypted stream.
    """

    def __init__(self, stream: EncryptingWriter) -> None:
        self._stream = stream
        self._tar = tarfile.TarFile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT)
        self._pieces = 0

    def add_manifest(self, manifest: Manifest) -> None:
        """Write what the backup is of; it comes first."""
        self._add_json(_MANIFEST, asdict(manifest))

    def add_dump_piece(self, piece: bytes) -> None:
        """Write the next piece of the database's dump."""
        self._add(f"{_DATABASE}{self._pieces:06}", io.BytesIO(piece), len(piece))
        self._pieces += 1

    def add_file(self, name: str, file: BinaryIO, size: int) -> None:
        """Write a file of the data folder.

        Raises:
            BackupError: the file became shorter while it was read.
        """
        try:
            self._add(name, file, size)
        except OSError as error:
            if error.errno is None:
                raise BackupError(f"a file became shorter while it was read: {name}") from None
            raise

    def finish(self, end: End) -> None:
        """Write the last entry, and the end of the stream."""
        self._add_json(_END, asdict(end))
        self._tar.close()
        self._stream.finish()

    def _add_json(self, name: str, value: dict[str, Any]) -> None:
        content = json.dumps(value).encode()
        self._add(name, io.BytesIO(content), len(content))

    def _add(self, name: str, content: IO[bytes], size: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = size, 0o600
        self._tar.addfile(entry, content)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a backup that is read; `content` is read before the next entry.

    Attributes:
        kind: "database", "key", "blob" or "end".
        path: of a key or blob, below the data folder.
    """

    kind: str
    path: Path
    size: int
    content: IO[bytes]


class BackupReader:
    """Reads a backup from its beginning.

    Args:
        source: the encrypted file.
        key: the key.

    Raises:
        BackupError: it is no backup, of a newer format, or made with another key; also from every
            method where it is damaged or has no end.
    """

    def __init__(self, source: BinaryIO, key: bytes) -> None:
        self._stream = DecryptingReader(source, key)
        try:
            self._tar = tarfile.TarFile.open(fileobj=io.BufferedReader(self._stream), mode="r|")
        except tarfile.TarError:
            raise BackupError("the backup is damaged: its content cannot be read") from None
        first = self._next()
        if first is None or first.name != _MANIFEST:
            raise BackupError("the backup is damaged: it does not begin with its manifest")
        values = self._read_json(first)
        if values.get("format") != FORMAT:
            raise BackupError(
                f"the backup has the format {values.get('format')}, and this version reads the "
                f"format {FORMAT}: install version {values.get('version')}"
            )
        self.manifest = Manifest(**values)
        self.end: End | None = None

    def entries(self) -> Iterator[Entry]:
        """Yield the entries after the manifest; `end` is set when they are over.

        Raises:
            BackupError: it is damaged or has no end.
        """
        while (info := self._next()) is not None:
            if info.name == _END:
                self.end = End(**self._read_json(info))
                continue
            content = self._tar.extractfile(info)
            if content is None or not info.isreg():
                raise BackupError("the backup is damaged: it holds something that is no file")
            yield Entry(_kind_of(info.name), Path(info.name), info.size, content)
        if self.end is None:
            raise BackupError("the backup was interrupted: its last entry is missing")
        self._stream.drain()

    def _next(self) -> tarfile.TarInfo | None:
        try:
            return self._tar.next()
        except tarfile.TarError:
            raise BackupError("the backup is damaged: its content cannot be read") from None

    def _read_json(self, info: tarfile.TarInfo) -> dict[str, Any]:
        content = self._tar.extractfile(info)
        if content is None or info.size > _MAX_JSON:
            raise BackupError("the backup is damaged: its content cannot be read")
        values: dict[str, Any] = json.loads(content.read())
        return values


def _kind_of(name: str) -> str:
    if re.fullmatch(rf"{_DATABASE}\d{{6,}}", name):
        return "database"
    if name in KEY_FILES:
        return "key"
    if _BLOB.fullmatch(name):
        return "blob"
    raise BackupError("the backup is damaged: it holds an entry that no version writes")

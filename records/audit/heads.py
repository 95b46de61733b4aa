"""The heads of the seals outside of the database: a file with a line for each seal.

Whoever has the whole database can cut the newest seals off, or make all of them anew if he or she
has the key, too. Both show against a copy of the heads that is elsewhere: this file on a disk of
another machine, or what a syslog server was sent.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.database.audit_tables import AuditSeal
from records.errors import PartError
from records.settings import settings

_AT_ONCE = 1000
_LINE = 1024  # bytes; a line of this file is shorter


@dataclass(frozen=True, slots=True)
class Head:
    """What is sent outside of a seal: its number, and the seal itself."""

    number: int
    seal: str


def head_file() -> Path:
    """Where the heads are written: the setting, or `trail/heads.jsonl` under the data folder."""
    named = settings().trail_head_file
    return Path(named).expanduser() if named else settings().data_dir / "trail" / "heads.jsonl"


def read_heads(path: Path) -> Iterator[Head]:
    """The heads of a file, oldest first; text around them, as of a syslog server, is passed over.

    Raises:
        PartError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                head = parse_head(line)
                if head is not None:
                    yield head
    except OSError as error:
        raise PartError(f"the heads at {path} cannot be read ({error.strerror})") from None


def parse_head(line: str) -> Head | None:
    """The head that a line holds; None where it holds none."""
    begin = line.find('{"number":')
    if begin < 0:
        return None
    try:
        found = json.JSONDecoder().raw_decode(line[begin:])[0]
        return Head(int(found["number"]), str(found["seal"]))
    except (ValueError, KeyError, TypeError):
        return None


def head_line(seal: AuditSeal) -> str:
    """The head of a seal as a line."""
    at = seal.at.isoformat(timespec="seconds")
    return json.dumps({"number": seal.number, "seal": seal.seal, "at": at}, separators=(",", ":"))


def write_heads(session: Session) -> int:
    """Write the heads that the file does not have yet; returns how many.

    Raises:
        PartError: the file cannot be written, or its last head is not a seal of this database.
    """
    path = head_file()
    written = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        last = _last_head(path)
        _check(session, last, path)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
            number = last.number if last else 0
            while seals := session.scalars(
                select(AuditSeal)
                .where(AuditSeal.number > number)
                .order_by(AuditSeal.number)
                .limit(_AT_ONCE)
            ).all():
                file.write("".join(f"{head_line(seal)}\n" for seal in seals).encode())
                number = seals[-1].number
                written += len(seals)
            file.flush()
            if written:
                os.fsync(file.fileno())
    except OSError as error:
        raise PartError(
            f"the heads of the trail cannot be written to {path} ({error.strerror})"
        ) from None
    return written


def _last_head(path: Path) -> Head | None:
    """The last whole line; a line that a crash cut is ended first, and written again."""
    if not path.exists():
        return None
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2 * _LINE))
        tail = file.read()
        whole, newline, cut = tail.rpartition(b"\n")
        if cut:
            file.truncate(size - len(cut))
    if not newline:
        return None
    return parse_head(whole.rpartition(b"\n")[2].decode(errors="replace"))


def _check(session: Session, last: Head | None, path: Path) -> None:
    if last is None:
        return
    kept = session.scalar(select(AuditSeal.seal).where(AuditSeal.number == last.number))
    if kept != last.seal:
        raise PartError(
            f"the seals of the trail in the database do not go on from the head of seal "
            f"{last.number} in {path}: run `nightdraft trail verify`. After a restore from a "
            "backup move the file away; a new one begins with the seals that there are"
        )

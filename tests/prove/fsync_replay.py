"""Replays a log of `fsync_recorder.c`: what would be left after a power cut behind each line.

A power cut keeps what was synced and may drop all else, so the worst case drops all else: bytes
that were written after the last sync of their file, and names that were made after the last sync of
their folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath


@dataclass
class _File:
    size: int = 0
    synced_size: int = -1  # -1: not synced since the last write


@dataclass
class Disk:
    """Files and folders as the process sees them, and which names would survive."""

    _files: dict[str, _File] = field(default_factory=dict)
    _unsynced_names: set[str] = field(default_factory=set)

    def apply(self, line: str) -> None:
        """Apply one recorded call."""
        letter, path, *rest = line.split("\t")
        match letter:
            case "W":
                file = self._files.setdefault(path, _File())
                if path not in self._unsynced_names and file.size == 0:
                    self._unsynced_names.add(path)
                file.size, file.synced_size = int(rest[0]), -1
            case "S":
                file = self._files.setdefault(path, _File())
                file.size = file.synced_size = int(rest[0])
            case "D":
                self._unsynced_names = {
                    name for name in self._unsynced_names if _parent(name) != path
                }
            case "M":
                self._unsynced_names.add(path)
            case "L" | "R":
                self._files[rest[0]] = self._files.setdefault(path, _File())
                self._unsynced_names.add(rest[0])
                if letter == "R":
                    self._forget(path)
            case "U":
                self._forget(path)

    def survives(self, path: str) -> bool:
        """Whether the file would be there, whole, after a power cut."""
        file = self._files.get(path)
        if file is None or file.size != file.synced_size:
            return False
        name = path
        while name != "/":
            if name in self._unsynced_names:
                return False
            name = _parent(name)
        return True

    def _forget(self, path: str) -> None:
        self._files.pop(path, None)
        self._unsynced_names.discard(path)


def find_losses(lines: Iterable[str], blobs: dict[str, str]) -> tuple[int, set[str]]:
    """Cut the power behind each line of a log.

    Args:
        lines: The log. `A` and a SOP Instance UID is what the sender wrote when it was answered
            0x0000.
        blobs: The file of each SOP Instance UID, as the database has it.

    Returns:
        How many power cuts there were, and the UIDs that one of them would have lost.
    """
    disk = Disk()
    acknowledged: list[str] = []
    losses: set[str] = set()
    cuts = 0
    for line in lines:
        if line.startswith("A\t"):
            acknowledged.append(line.split("\t")[1])
        else:
            disk.apply(line)
        cuts += 1
        losses |= {uid for uid in acknowledged if uid not in blobs or not disk.survives(blobs[uid])}
    return cuts, losses


def _parent(path: str) -> str:
    return str(PurePosixPath(path).parent)

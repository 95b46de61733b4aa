"""What a random proof does to a station, by a seed, and what it finds."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from records.blobs import Blobs

KINDS = {
    "kill listener": 12,
    "kill sweep": 6,
    "kill prepare": 6,
    "kill prepare child": 10,
    "kill draft": 12,
    "kill api": 3,
    "kill backend": 10,
    "kill postmaster": 8,
    "kill valkey": 8,
    "kill station": 5,
    "flushall": 6,
    "stop listener": 3,
    "stop sweep": 2,
    "stop prepare": 2,
    "stop draft": 3,
    "stop backend": 3,
    "stop postmaster": 2,
    "stop valkey": 3,
    "stop station": 1,
    "damage blob": 6,
    "full disk": 5,
}
"""What is done to the station, with how often of a hundred or so."""


@dataclass(frozen=True)
class Step:
    """One disturbance: after a pause, of a kind, for so many seconds where it lasts."""

    pause_seconds: float
    kind: str
    seconds: float
    choice: float


def make_plan(kills: int, seed: int, *, full_disks: bool) -> list[Step]:
    """The disturbances of a seed."""
    chosen = random.Random(seed)
    kinds = {kind: weight for kind, weight in KINDS.items() if full_disks or kind != "full disk"}
    return [
        Step(
            round(chosen.expovariate(1 / 3.0), 2),
            chosen.choices(list(kinds), list(kinds.values()))[0],
            round(chosen.uniform(1.0, 12.0), 2),
            chosen.random(),
        )
        for _ in range(kills)
    ]


@dataclass
class Figures:
    """What a run found."""

    seed: int
    bundle: str
    kills: int = 0
    acknowledged: int = 0
    drafted: int = 0
    lost: int = 0
    twice: int = 0
    stuck: int = 0
    healed: int = 0
    resumed: int = 0
    station_ended: int = 0
    seconds: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def line(self) -> str:
        """The last line of a run."""
        names = [
            "kills",
            "acknowledged",
            "drafted",
            "lost",
            "twice",
            "stuck",
            "healed",
            "resumed",
            "station_ended",
        ]
        return " ".join(f"{name} {getattr(self, name)}" for name in names)

    def is_well(self) -> bool:
        """Whether nothing happened that must never happen."""
        return not (self.lost or self.twice or self.stuck or self.station_ended)


@dataclass(frozen=True)
class StoredFile:
    """What the database says of an object's file."""

    key: str
    size: int
    sha256: str


def find_losses(
    acknowledged: Mapping[str, str], stored: Mapping[str, StoredFile], data_dir: Path
) -> list[str]:
    """The acknowledged objects that have no row, or whose file is not what was received.

    Args:
        acknowledged: Study of each object that was answered 0x0000, by SOP Instance UID.
        stored: What the database has, by SOP Instance UID.
        data_dir: The station's data folder.
    """
    blobs = Blobs(data_dir)
    return [
        uid
        for uid in acknowledged
        if (file := stored.get(uid)) is None
        or blobs.find_damage(file.key, file.size, file.sha256) is not None
    ]


def add_up(lines: list[str]) -> tuple[str, bool]:
    """The sum of several runs as a last line, and whether all of them were well."""
    total = Figures(0, "all")
    for line in lines:
        values = json.loads(line)
        for name, value in values.items():
            if name == "kinds":
                total.kinds.update(value)
            elif name not in ("seed", "bundle"):
                setattr(total, name, getattr(total, name) + value)
    kinds = ", ".join(f"{kind} {count}" for kind, count in total.kinds.most_common())
    return f"{kinds}\n{total.line()}", total.is_well()

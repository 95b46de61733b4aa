"""How long the disk of the data folder lasts, for doctor and `nightdraft retention show`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from records.blobs import Blobs
from records.retention.disk import DiskPace, read_pace
from records.settings import Settings


@dataclass(frozen=True, slots=True)
class DiskOutlook:
    """Room and pace of the disk.

    Attributes:
        free: bytes until nothing more is received (NIGHTDRAFT_DISK_STOP_MB).
        pace: what came and went lately.
    """

    free: int
    pace: DiskPace

    @property
    def days_left(self) -> float | None:
        """See `DiskPace.days_left`."""
        return self.pace.days_left(self.free)

    @property
    def sentence(self) -> str:
        """Room and pace for a person."""
        return f"{self.free / 1e9:,.1f} GB are free for films. {self.pace.describe(self.free)}"

    def as_json(self) -> dict[str, Any]:
        """As `--json` of the commands gives it."""
        return {
            "free_bytes": self.free,
            "measured_days": self.pace.days,
            "arrived_bytes": self.pace.arrived,
            "removed_bytes": self.pace.removed,
            "days_left": self.days_left,
            "sentence": self.sentence,
        }


def read_disk(session: Session, config: Settings) -> DiskOutlook:
    """Measure the disk now.

    Raises:
        OSError: there is no data folder.
    """
    free = max(0, Blobs(config.data_dir).free_mb() - config.disk_stop_mb) * 1_000_000
    return DiskOutlook(free, read_pace(session))

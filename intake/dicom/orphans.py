"""Removes files that nobody will come back for: half received ones, and instances without a row.

An orphan is rare, because only a crash makes one. So many orphans at once are not believed: a
listener that was pointed at another database would find every image without a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from records.blobs import Blobs
from records.database.session import unit_of_work
from records.operations import alarms
from records.workflow import studies

PLAUSIBLE_ORPHANS = 20
"""Up to this many orphans are removed in any case; more only up to a twentieth of the files."""

ALARM_PART = "orphans"

_FILES_PER_QUERY = 500


@dataclass(frozen=True, slots=True)
class OrphanSweepResult:
    """What a sweep did.

    Attributes:
        incoming: temporary files that were removed.
        instances: instance files that were removed.
        not_removed: instance files without a row that were too many to be believed.
    """

    incoming: int = 0
    instances: int = 0
    not_removed: int = 0


def sweep_orphans(blobs: Blobs, hours: float) -> OrphanSweepResult:
    """Remove temporary files and instances without a row that are older than `hours`.

    Where there are too many orphans, no instance is removed and an alarm is raised.

    Raises:
        DatabaseDown: no instance was removed.
    """
    incoming = 0
    for path in blobs.stale_incoming(hours):
        path.unlink(missing_ok=True)
        incoming += 1

    file_count = 0
    orphans: list[str] = []
    files = blobs.old_instances(hours)
    while keys := list(islice(files, _FILES_PER_QUERY)):
        with unit_of_work() as session:
            known = studies.known_blobs(session, keys)
        file_count += len(keys)
        orphans += [key for key in keys if key not in known]
    if len(orphans) > max(PLAUSIBLE_ORPHANS, file_count // 20):
        with unit_of_work() as session:
            alarms.raise_alarm(
                session,
                ALARM_PART,
                f"{len(orphans)} of {file_count} image files have no row, and none was removed. "
                "Check that NIGHTDRAFT_DATA_DIR and NIGHTDRAFT_DATABASE_URL belong together.",
            )
        return OrphanSweepResult(incoming, 0, len(orphans))
    for key in orphans:
        blobs.remove(key)
    return OrphanSweepResult(incoming, len(orphans))

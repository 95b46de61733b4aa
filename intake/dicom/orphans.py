"""Files that nobody will come back for: half received ones, and instances without a row.

Knows that an orphan is rare (a crash makes one), and does not trust its own eyes when there are
many: a listener that was pointed at another database would find every film without a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from records.blobs import Blobs
from records.database.session import unit_of_work
from records.operations import alarms
from records.workflow import studies

FEW = 20
"""So many orphans are removed in any case; more only where they are a twentieth of the files."""

ALARM_PART = "orphans"


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did. left: orphans that were too many to be true."""

    incoming: int = 0
    instances: int = 0
    left: int = 0


def sweep_orphans(blobs: Blobs, hours: float) -> Swept:
    """Remove temporary files and instances without a row that are older than `hours`.

    Where orphans are many, none is removed and an alarm is raised.

    Raises:
        DatabaseDown: no instance was removed.
    """
    incoming = 0
    for path in blobs.stale_incoming(hours):
        path.unlink(missing_ok=True)
        incoming += 1

    looked_at = 0
    orphans: list[str] = []
    files = blobs.old_instances(hours)
    while keys := list(islice(files, 500)):
        with unit_of_work() as session:
            known = studies.known_blobs(session, keys)
        looked_at += len(keys)
        orphans += [key for key in keys if key not in known]
    if len(orphans) > max(FEW, looked_at // 20):
        with unit_of_work() as session:
            alarms.raise_alarm(
                session,
                ALARM_PART,
                f"{len(orphans)} of {looked_at} image files have no row, and none was removed: "
                "do NIGHTDRAFT_DATA_DIR and NIGHTDRAFT_DATABASE_URL belong together?",
            )
        return Swept(incoming, 0, len(orphans))
    for key in orphans:
        blobs.remove(key)
    return Swept(incoming, len(orphans))

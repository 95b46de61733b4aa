"""Files without a row: half received ones are removed, whole ones get their row back.

A whole file without a row may be an acknowledged film, for the database may have come from an older
backup. Its header says whose it is, so it is registered as if it came now. What cannot be
registered is moved to `lost+found`, and nothing that was whole is ever deleted.

An orphan is rare, because only a crash or a restored database makes one. So many at once are not
believed: a listener that was pointed at another database would find every image without a row. A
person then decides (`nightdraft blobs orphans --register`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from pydicom.filereader import read_file_meta_info

from intake.dicom.filing import (
    ObjectRefused,
    ReceivedFile,
    instance_fields,
    read_header,
    register_or_heal,
    remove_superfluous,
    structure_limits,
)
from intake.dicom.limits import RefusalReason
from records.alarm_kinds import AlarmKind
from records.blobs import Blobs, data_set_sha256
from records.database.session import unit_of_work
from records.errors import NightdraftError, PartError, safe_text
from records.operations import alarms
from records.settings import Settings
from records.states import EventKind
from records.telemetry import logger
from records.workflow import events, studies
from records.workflow.arrivals import ReceivedInstance
from records.workflow.registrations import Outcome

PLAUSIBLE_ORPHANS = 20
"""Up to this many orphans are registered in any case; more only up to a twentieth of the files."""

ALARM_PART = "orphans"
ASIDE_ALARM_PART = "lost+found"

RECOVERED_FROM = "RECOVERED"
"""The calling AE of an object that was registered from its file: who sent it is not known."""

_FILES_PER_QUERY = 500
_LISTED = 10_000
"""Orphans that a sweep remembers; it counts the rest."""


@dataclass(frozen=True, slots=True)
class OrphanSweepResult:
    """What a sweep did.

    Attributes:
        incoming: temporary files that were removed.
        registered: files that have a row now.
        set_aside: files that could not be registered, and lie in `lost+found`.
        left: files without a row that were too many to be believed, and stayed where they are.
    """

    incoming: int = 0
    registered: int = 0
    set_aside: int = 0
    left: int = 0


def sweep_orphans(blobs: Blobs, settings: Settings, *, all_days: bool = False) -> OrphanSweepResult:
    """Remove temporary files, and register instance files without a row, older than `orphan_hours`.

    Args:
        blobs: the blob folder.
        settings: the listener's settings.
        all_days: look at the files of every day; else only at those of the last days, which is
            enough for what a crash leaves behind.

    Raises:
        DatabaseDown: what is left is registered by the next sweep.
    """
    incoming = 0
    for path in blobs.stale_incoming(settings.orphan_hours):
        path.unlink(missing_ok=True)
        incoming += 1
    days = blobs.instance_days() if all_days else _last_days(blobs, settings.orphan_hours)
    file_count = orphan_count = 0
    orphans: list[str] = []
    for keys, unknown in _look_up(blobs, settings.orphan_hours, days):
        file_count += len(keys)
        orphan_count += len(unknown)
        orphans += unknown[: _LISTED - len(orphans)]
    is_plausible = orphan_count <= max(PLAUSIBLE_ORPHANS, file_count // 20)
    with unit_of_work() as session:
        if is_plausible:
            alarms.close_alarms(session, ALARM_PART)
        else:
            alarms.raise_alarm(
                session,
                AlarmKind.FILES_UNREGISTERED,
                ALARM_PART,
                f"{orphan_count} of {file_count} image files have no row. Nothing was deleted.",
            )
    registered = [register_orphan(blobs, settings, key) for key in orphans if is_plausible]
    report_set_aside(blobs)
    return OrphanSweepResult(
        incoming,
        sum(registered),
        len(registered) - sum(registered),
        0 if is_plausible else orphan_count,
    )


def find_orphans(blobs: Blobs, hours: float) -> Iterator[str]:
    """The keys of all instance files that are older than `hours` and have no row."""
    for _, unknown in _look_up(blobs, hours, blobs.instance_days()):
        yield from unknown


def register_orphan(blobs: Blobs, settings: Settings, key: str) -> bool:
    """Register one file from its own header; move it to `lost+found` where that cannot be done.

    Returns:
        Whether its object is registered.

    Raises:
        PartError: the database or the disk failed; the file stays where it is.
    """
    try:
        arrived = _read_orphan(blobs, settings, key)
        with unit_of_work() as session:
            registration, damaged_blob = register_or_heal(session, blobs, arrived)
            if registration.outcome is not Outcome.REPEATED:
                events.append_event(
                    session,
                    registration.study_id,
                    EventKind.RECOVERED,
                    "an object was registered from its file, which had no row",
                )
    except PartError:
        raise
    except (ObjectRefused, NightdraftError) as error:
        blobs.set_aside(key)
        logger().error(
            "a file without a row cannot be registered: it is in lost+found",
            path=key,
            error=safe_text(error),
        )
        return False
    remove_superfluous(blobs, registration, key, damaged_blob)
    return True


def register_all(blobs: Blobs, settings: Settings, hours: float) -> tuple[int, int]:
    """Register every file without a row, and those in `lost+found`: a person decided so.

    Args:
        blobs: the blob folder.
        settings: the listener's settings.
        hours: the least age of a file; a younger one may be about to get its row.

    Returns:
        How many were registered, and how many could not be and lie in `lost+found`.
    """
    aside = blobs.list_set_aside()
    results = [register_orphan(blobs, settings, key) for key in find_orphans(blobs, hours)]
    for path in aside:
        key = blobs.keep_instance(path)
        path.unlink()
        results.append(register_orphan(blobs, settings, key))
    report_set_aside(blobs)
    with unit_of_work() as session:
        alarms.close_alarms(session, ALARM_PART)
    return sum(results), len(results) - sum(results)


def report_set_aside(blobs: Blobs) -> None:
    """Keep an alarm open while unregistered files lie in `lost+found`."""
    with unit_of_work() as session:
        if blobs.list_set_aside():
            alarms.raise_alarm(
                session,
                AlarmKind.FILES_SET_ASIDE,
                ASIDE_ALARM_PART,
                f"Image files without a row could not be registered and lie in "
                f"{blobs.lost_and_found}.",
            )
        else:
            alarms.close_alarms(session, ASIDE_ALARM_PART)


def _read_orphan(blobs: Blobs, settings: Settings, key: str) -> ReceivedInstance:
    """What a stored file says of its object.

    Raises:
        ObjectRefused: it cannot be read.
    """
    path = blobs.path(key)
    try:
        meta = read_file_meta_info(path)
        received = ReceivedFile(
            path=path,
            sop_class_uid=str(meta.MediaStorageSOPClassUID),
            sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
            transfer_syntax_uid=str(meta.TransferSyntaxUID),
            calling_ae=RECOVERED_FROM,
            size=path.stat().st_size,
            sha256=data_set_sha256(path),
        )
    except OSError as error:
        raise PartError(f"the data folder cannot be read ({error.strerror})") from None
    except Exception:
        raise ObjectRefused(RefusalReason.UNREADABLE) from None
    header = read_header(path, structure_limits(settings))
    return ReceivedInstance(**instance_fields(header, received, settings), blob=key)


def _look_up(
    blobs: Blobs, hours: float, days: Sequence[str]
) -> Iterator[tuple[list[str], list[str]]]:
    """The keys of old files in groups, and those of each group that no row names."""
    files = blobs.old_instances(hours, days)
    while keys := list(islice(files, _FILES_PER_QUERY)):
        with unit_of_work() as session:
            known = studies.known_blobs(session, keys)
        yield keys, [key for key in keys if key not in known]


def _last_days(blobs: Blobs, hours: float) -> list[str]:
    """The days in which a crash can have left a file that no sweep has looked at."""
    first = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=int(hours / 24) + 2)
    return [day for day in blobs.instance_days() if day >= first.isoformat()]

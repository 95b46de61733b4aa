"""The certificates that our parts show to others: when they end, and the alarms about them.

Each process says in its heartbeat which certificates it shows, and whether new files of one could
not be read. So it does not matter on which machine the files are, and an alarm closes when a part
really shows the new certificate.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from records.alarm_kinds import AlarmKind
from records.database.session import database_time
from records.operations import alarms, heartbeats
from records.tls.certificates import SOON_DAYS

PART_PREFIX = "certificate of "
"""Before whose certificate it is, in the name of an alarm's part."""


@dataclass(frozen=True, slots=True)
class KnownCertificate:
    """A certificate that a running part shows.

    Attributes:
        purpose: whose TLS it is, such as "the listener".
        host: the machine of the part.
        ends: when it ends.
        days_left: days until then; negative where it has ended.
        problem: why new files cannot be used; "" where none were found, or they are used.
    """

    purpose: str
    host: str
    ends: dt.datetime
    days_left: float
    problem: str

    @property
    def part(self) -> str:
        """The name of the alarm's part."""
        return f"{PART_PREFIX}{self.purpose} on {self.host}"

    def describe_fault(self) -> str:
        """What is wrong with it, in a sentence; "" where nothing is."""
        day = f"{self.ends:%Y-%m-%d}"
        if self.days_left < 0:
            return (
                f"The certificate of {self.purpose} on {self.host} ended on {day}: whoever checks "
                "it refuses the connection."
            )
        if self.problem:
            return (
                f"New certificate files of {self.purpose} on {self.host} cannot be used, and the "
                f"certificate before stays until {day}: {self.problem}."
            )
        if self.days_left < SOON_DAYS:
            return f"The certificate of {self.purpose} on {self.host} ends on {day}."
        return ""


def list_shown(session: Session) -> Sequence[KnownCertificate]:
    """The certificates of the running parts.

    Of several processes of one machine that show one for the same purpose, the one is given that
    ends first.
    """
    now = database_time(session)
    found: dict[tuple[str, str], KnownCertificate] = {}
    for beat in heartbeats.running_parts(session):
        host = beat.owner.rpartition(":")[0]
        for one in beat.facts.get(heartbeats.CERTIFICATES, ()):
            known = _read(one, host, now)
            before = found.get((known.purpose, host))
            if before is None or (known.days_left, not known.problem) < (
                before.days_left,
                not before.problem,
            ):
                found[known.purpose, host] = known
    return [found[key] for key in sorted(found)]


def settle_alarms(session: Session) -> None:
    """Open the alarms of certificates that end, have ended or cannot be renewed; close the others.

    Args:
        session: the caller's transaction.
    """
    opened = {
        alarm.part: alarm
        for alarm in alarms.open_alarms(session)
        if alarm.kind == AlarmKind.CERTIFICATE_ENDS
    }
    causes = {one.part: cause for one in list_shown(session) if (cause := one.describe_fault())}
    for part, cause in causes.items():
        if part in opened:
            opened[part].cause = cause
        else:
            alarms.raise_alarm(session, AlarmKind.CERTIFICATE_ENDS, part, cause)
    for part in sorted(opened.keys() - causes.keys()):
        alarms.close_alarms(session, part)


def _read(one: Mapping[str, Any], host: str, now: dt.datetime) -> KnownCertificate:
    ends = dt.datetime.fromisoformat(one["ends"])
    days = (ends - now) / dt.timedelta(days=1)
    return KnownCertificate(one["purpose"], host, ends, days, one["problem"])

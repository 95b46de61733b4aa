"""Opens and closes the alarms that readers change or reject another share of drafts than before.

The sweep looks once an hour. Only days that are over count, so alarms open and close with a day.
"""

from __future__ import annotations

import datetime as dt
import time

from sqlalchemy.orm import Session

from records.alarm_kinds import AlarmKind
from records.database.session import database_time
from records.operations import alarms
from records.quality import counts, drift
from records.quality.drift import DriftLine
from records.quality.groups import local_day
from records.settings import settings
from records.workflow import sites

LOOK_SECONDS = 3600.0
"""Time between two looks at the line."""

_looked_at: float | None = None


def settle_if_due(session: Session) -> None:
    """Settle the alarms where the last look of this process is an hour old."""
    global _looked_at
    now = time.monotonic()
    if _looked_at is not None and now - _looked_at < LOOK_SECONDS:
        return
    _looked_at = now
    settle(session, local_day(database_time(session)))


def settle(session: Session, today: dt.date) -> None:
    """Open the alarm of each model at each site that drifts, and close the others.

    Args:
        session: the caller's transaction.
        today: the day that is not over, in the site's time zone.
    """
    counts.fold(session, above=0)
    config = settings()
    codes = {site.id: site.code for site in sites.list_all(session)}
    drifting: dict[str, DriftLine] = {}
    if config.quality_drift_days:
        for line in drift.read_lines(session, config, today, complete_days=True):
            if line.run >= config.quality_drift_days:
                drifting[alarm_part(codes[line.site_id], line.bundle_digest)] = line
    for alarm in alarms.open_alarms(session):
        if alarm.kind == AlarmKind.QUALITY_DRIFT and alarm.part not in drifting:
            alarms.close_alarms(session, alarm.part)
    for part, line in drifting.items():
        alarms.raise_alarm(
            session,
            AlarmKind.QUALITY_DRIFT,
            part,
            say_drift(line, codes[line.site_id], config.quality_drift_days),
        )


def alarm_part(site: str, digest: str) -> str:
    """The part whose alarm it is."""
    return f"model {digest[:12]} at {site}"


def say_drift(line: DriftLine, site: str, days: int) -> str:
    """What has happened, in sentences that name no patient and no reader."""
    baseline = line.baseline
    assert baseline is not None  # else no day is outside
    last = line.days[-days:]
    share = sum(day.differing for day in last) / sum(day.watched for day in last)
    where = "above" if line.side > 0 else "below"
    return (
        f"At site {site}, readers changed an observation of {share:.0%} of the drafts of the "
        f"model {line.bundle_digest[:12]}, or rejected them, on the last {days} days with drafts. "
        f"Each of these days is {where} the interval of the baseline: {baseline.share:.0%} "
        f"({baseline.low:.0%} to {baseline.high:.0%}) from {baseline.since} to {baseline.until}."
    )

"""A night's summary in plain lines, and as the values of its JSON; no patient is in it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from records.operations.night_summaries import NightRecord, drafts_per_hour


def zone_of_night(record: NightRecord) -> ZoneInfo | None:
    """The time zone of the night; None is this machine's."""
    return ZoneInfo(record.row.time_zone) if record.row.time_zone else None


def sort_reasons(numbers: Mapping[str, int]) -> dict[str, int]:
    """Numbers by reason, the largest first."""
    return dict(sorted(numbers.items(), key=lambda item: (-item[1], item[0])))


def describe_lines(record: NightRecord) -> list[str]:
    """The summary as plain lines, for a mail and a terminal."""
    row = record.row
    zone = zone_of_night(record)
    return [
        f"The night of {row.night}, from {_time(row.begins_at, zone)} to "
        f"{_time(row.ends_at, zone)}. This was counted at {_time(row.made_at, zone)}.",
        "",
        f"Drafted: {row.drafted}",
        _with_reasons("Skipped, not for this model", row.skipped),
        _with_reasons("Failed", row.failed),
        _with_reasons("Held, a person must decide", row.held),
        _with_reasons("Missing, images that could not be got", row.missing),
        f"Still waiting: {row.waiting}",
        f"Waiting in campaigns: {row.in_campaigns}",
        f"Nights left: {describe_nights_left(record)}",
        f"Pace: {describe_pace(record)}",
    ]


def describe_nights_left(record: NightRecord) -> str:
    """How many nights what waits will take, in words."""
    if record.is_of_some_sites:
        return "not known of some sites alone"
    left = record.nights_left
    if left is None:
        return "not known, for nothing was drafted"
    if not left:
        return "none, nothing waits"
    return "less than one at this pace" if left < 1 else f"about {left:.1f} at this pace"


def describe_pace(record: NightRecord) -> str:
    """The pace of the night beside that of the night before, in words."""
    pace = f"{record.drafts_per_hour:.3g} drafts an hour"
    before = record.before
    if before is None:
        return f"{pace}; there is no night before to compare it with"
    other = f"{drafts_per_hour(before):.3g} in the night of {before.night}"
    change = record.pace_change
    if change is None:
        return f"{pace}; {other}"
    if abs(change) < 0.005:
        return f"{pace}, as many as {other}"
    direction = "faster" if change > 0 else "slower"
    return f"{pace}, {abs(change):.0%} {direction} than {other}"


def as_values(record: NightRecord) -> dict[str, Any]:
    """The summary as JSON has it: REST, the command and the webhook give the same.

    Times are ISO 8601 in UTC. What is not known where only some sites are shown is None.
    """
    row, is_whole = record.row, not record.is_of_some_sites
    return {
        "night": row.night.isoformat(),
        "begins_at": _iso(row.begins_at),
        "ends_at": _iso(row.ends_at),
        "time_zone": row.time_zone,
        "made_at": _iso(row.made_at),
        "prepared": row.prepared,
        "drafted": row.drafted,
        "skipped": sort_reasons(row.skipped),
        "failed": sort_reasons(row.failed),
        "held": sort_reasons(row.held) if is_whole else None,
        "missing": sort_reasons(row.missing) if is_whole else None,
        "waiting": row.waiting if is_whole else None,
        "in_campaigns": row.in_campaigns if is_whole else None,
        "workers": dict(sorted(row.workers.items())),
        "drafts_per_hour": round(record.drafts_per_hour, 2),
        "drafts_per_hour_before": (
            None if record.before is None else round(drafts_per_hour(record.before), 2)
        ),
        "nights_left": None if record.nights_left is None else round(record.nights_left, 2),
    }


def _with_reasons(name: str, numbers: Mapping[str, int]) -> str:
    listed = ", ".join(
        f"{reason.replace('_', ' ').casefold() or 'no reason'} {number}"
        for reason, number in sort_reasons(numbers).items()
    )
    total = sum(numbers.values())
    return f"{name}: {total} ({listed})" if listed else f"{name}: {total}"


def _time(at: dt.datetime, zone: ZoneInfo | None) -> str:
    return at.astimezone(zone).strftime("%Y-%m-%d %H:%M %Z")


def _iso(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).isoformat()

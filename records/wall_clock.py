"""Times of a wall clock as moments, where clocks are changed twice a year: nights and windows."""

from __future__ import annotations

import datetime as dt


def moment(date: dt.date, time: dt.time, zone: dt.tzinfo | None, fold: int) -> dt.datetime:
    """A time of the wall clock as a moment in UTC.

    Args:
        date: the local date.
        time: the local time; one that the clocks skip is the moment at which they skip it.
        zone: the time zone; None is that of this machine.
        fold: which of the two it is, where it comes twice: 0 the first, 1 the second (PEP 495).
    """
    local = dt.datetime.combine(date, time)
    # Not by `astimezone`: of a time that this machine's clock skips it takes the other offset.
    first, second = (
        dt.datetime.fromtimestamp(local.replace(tzinfo=zone, fold=side).timestamp(), dt.UTC)
        for side in (0, 1)
    )
    if first <= second:
        return second if fold else first
    # The clocks skip it, at the first second at which they show a later time.
    low, high = second, first
    while high - low > dt.timedelta(seconds=1):
        middle = low + dt.timedelta(seconds=(high - low) // dt.timedelta(seconds=2))
        if middle.astimezone(zone).replace(tzinfo=None) >= local:
            high = middle
        else:
            low = middle
    return high

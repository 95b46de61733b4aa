"""How old a patient was when a study was made."""

from __future__ import annotations

import datetime as dt


def age_at(birth_date: str, study_date: str) -> str:
    """The age in words, as "73 y", "7 mo" or "12 d"; "" where a date is missing or is none.

    Args:
        birth_date: (0010,0030), eight digits (DICOM PS3.5, section 6.2, DA).
        study_date: (0008,0020), the same.
    """
    dates = _parse(birth_date, study_date)
    if dates is None:
        return ""
    months = _months(*dates)
    if months >= 24:
        return f"{months // 12} y"
    return f"{months} mo" if months else f"{(dates[1] - dates[0]).days} d"


def years_at(birth_date: str, study_date: str) -> int | None:
    """The age in whole years; None where a date is missing or is none. The dates as `age_at`."""
    dates = _parse(birth_date, study_date)
    return None if dates is None else _months(*dates) // 12


def _parse(birth_date: str, study_date: str) -> tuple[dt.date, dt.date] | None:
    dates = (birth_date, study_date)
    if not all(len(date) == 8 and date.isdecimal() and date.isascii() for date in dates):
        return None
    try:
        born, done = (dt.date.fromisoformat(date) for date in dates)
    except ValueError:
        return None
    return (born, done) if born <= done else None


def _months(born: dt.date, done: dt.date) -> int:
    return (done.year - born.year) * 12 + done.month - born.month - (done.day < born.day)

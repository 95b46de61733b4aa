"""Times and days as REST and pages take them: written out, never as a number.

Pydantic alone takes a number, and a text of digits, for seconds since 1970.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from pydantic import AwareDatetime, BeforeValidator


def _refuse_numbers(example: str) -> BeforeValidator:
    def refuse(value: object) -> object:
        is_text = isinstance(value, str) and not _is_number(value)
        if value is not None and not is_text and not isinstance(value, dt.date):
            raise ValueError(f"it is written as {example}")
        return value

    return BeforeValidator(refuse)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


Day = Annotated[dt.date, _refuse_numbers("2026-11-27")]
"""A day of the calendar (RFC 3339, full-date)."""

Time = Annotated[dt.datetime, _refuse_numbers("2026-11-27T08:30:00+01:00")]
"""A time (RFC 3339, date-time), whose zone may be left out."""

Moment = Annotated[AwareDatetime, _refuse_numbers("2026-11-27T08:30:00+01:00")]
"""A time with its zone."""

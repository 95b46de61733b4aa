"""Times and days are written out: a number is nobody's day."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from api.times import Day, Moment, Time

KINDS: dict[str, TypeAdapter[Any]] = {
    "day": TypeAdapter(Day),
    "time": TypeAdapter(Time),
    "moment": TypeAdapter(Moment),
}
NUMBERS = [
    0,
    1,
    86400,
    1764144000.5,
    "0",
    "1764144000",
    "-1",
    " 0",
    "1764144000.5",
    "1e-46",
    "inf",
    "nan",
    True,
]


@pytest.mark.parametrize("number", NUMBERS, ids=repr)
@pytest.mark.parametrize("kind", KINDS)
def test_a_number_is_refused(kind: str, number: object) -> None:
    with pytest.raises(ValidationError, match="it is written as 2026-11-27"):
        KINDS[kind].validate_python(number)


def test_what_is_written_out_is_taken() -> None:
    assert KINDS["day"].validate_python("2026-11-27") == dt.date(2026, 11, 27)
    assert KINDS["day"].validate_python(dt.date(2026, 11, 27)) == dt.date(2026, 11, 27)
    noon = dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC)
    assert KINDS["moment"].validate_python("2026-11-27T12:00:00Z") == noon
    assert KINDS["time"].validate_python("2026-11-27T12:00:00") == noon.replace(tzinfo=None)
    with pytest.raises(ValidationError):
        KINDS["moment"].validate_python("2026-11-27T12:00:00")

"""When each caller sent its last film, for so many callers and no more."""

import pytest

from records.database.session import unit_of_work
from records.operations import callers
from records.operations.callers import MAX_CALLERS

pytestmark = pytest.mark.usefixtures("database")


def record(**seconds_ago):
    with unit_of_work() as session:
        callers.record_films(session, seconds_ago)


def since():
    with unit_of_work() as session:
        return callers.seconds_since_last_film(session)


def test_the_latest_film_of_each_caller_counts_whichever_listener_writes_last():
    record(ED_CR=100.0, ICU=500.0)
    record(ED_CR=5000.0)
    assert {name: round(seconds, -2) for name, seconds in since().items()} == {
        "ED_CR": 100,
        "ICU": 500,
    }
    record(ICU=0.0)
    assert since()["ICU"] < 60


def test_made_up_titles_push_out_the_oldest_and_fill_nothing():
    record(OLDEST=90_000.0, OLD=80_000.0)
    record(**{f"CALLER{number}": float(number) for number in range(MAX_CALLERS - 1)})
    kept = since()
    assert len(kept) == MAX_CALLERS
    assert "OLD" in kept
    assert "OLDEST" not in kept

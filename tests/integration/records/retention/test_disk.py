"""How long the disk lasts: measured over the last days, and honest where these are too few."""

from __future__ import annotations

import pytest
from sqlalchemy import text, update

from records.blobs import Blobs
from records.database.session import unit_of_work
from records.database.tables import Instance
from records.retention import removal
from records.retention.disk import DiskPace, read_pace
from tests.support.retention import draft_studies, older
from tests.support.stored_studies import store_studies

GB = 10**9


@pytest.fixture(autouse=True)
def blobs(database, data_dir, setting) -> Blobs:
    setting(bundle="null", quiet_seconds=0)
    return Blobs(data_dir)


def pace() -> DiskPace:
    with unit_of_work() as session:
        return read_pace(session)


def make_large(gigabytes: float) -> None:
    with unit_of_work() as session:
        session.execute(update(Instance).values(size=int(gigabytes * GB)))


def test_nothing_is_known_on_the_first_day():
    assert not pace().is_known
    store_studies(1)
    make_large(1)
    older(0.5)
    assert not pace().is_known
    assert pace().days_left(GB) is None
    assert "not known yet" in pace().describe(GB)


def test_few_days_say_how_many_they_are():
    store_studies(1, 2)
    make_large(1)
    older(2)
    assert pace().arrived == 2 * GB
    assert pace().days == pytest.approx(2, abs=0.01)
    assert pace().days_left(10 * GB) == pytest.approx(10, abs=0.1)
    assert pace().describe(10 * GB) == (
        "It lasts 10 days at the pace of only 2.0 days (1.0 GB came a day)."
    )


def test_a_week_counts_and_what_came_before_does_not():
    store_studies(1)
    make_large(100)
    older(30)
    store_studies(2)
    with unit_of_work() as session:
        session.execute(
            update(Instance)
            .where(Instance.received_at > text("now() - interval '1 day'"))
            .values(size=14 * GB)
        )
    assert (pace().days, pace().arrived, pace().removed) == (7, 14 * GB, 0)
    assert pace().days_left(4 * GB) == pytest.approx(2)
    assert pace().describe(3 * GB).startswith("It lasts 36 hours at the pace of the last 7 days")


def test_what_is_removed_makes_room(blobs):
    draft_studies(1, 2)
    make_large(7)
    older(91)
    while removal.take_step(blobs, begin=True):
        pass
    assert (pace().days, pace().arrived, pace().removed) == (7, 0, 14 * GB)
    assert pace().days_left(GB) is None
    assert pace().describe(GB).startswith("It does not fill at the pace of the last 7 days")
    store_studies(3)
    with unit_of_work() as session:
        session.execute(
            update(Instance).where(Instance.bytes_removed_at.is_(None)).values(size=28 * GB)
        )
    assert pace().bytes_a_day == pytest.approx(2 * GB)
    assert "4.0 GB came a day and 2.0 GB were removed" in pace().describe(GB)
    older(8)  # removed more than a week ago
    assert (pace().arrived, pace().removed) == (0, 0)

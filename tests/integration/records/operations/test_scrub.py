"""The scrub: reads stored files again, names those that are damaged, and goes on where it was."""

import datetime as dt

import pytest

from records.blobs import Blobs
from records.database.operation_tables import BlobScrub
from records.database.session import unit_of_work
from records.operations import alarms, scrub
from records.settings import settings
from records.states import Damage, EventKind
from records.workflow import events
from tests.support.listener_state import read_rows
from tests.support.stored_studies import store_studies

NIGHT = dt.date(2026, 11, 24)


@pytest.fixture
def blobs(database, data_dir):
    return Blobs(data_dir)


def scrub_night(blobs, night=NIGHT, days=30.0, pause=lambda _: False):
    return scrub.scrub_night(blobs, night, days, pause)


def state():
    with unit_of_work() as session:
        return scrub.read_scrub_state(session)


def alarm_is_open():
    with unit_of_work() as session:
        return bool(alarms.open_alarms(session, scrub.ALARM_PART))


def change(path):
    with path.open("r+b") as file:
        file.seek(-2000, 2)
        file.write(b"bytes of another file")


def test_a_damaged_file_is_named_and_a_restored_one_is_whole_again(blobs):
    store_studies(1, 2, 3)
    gone, changed, _ = read_rows()
    paths = [blobs.path(row.blob) for row in (gone, changed)]
    contents = [path.read_bytes() for path in paths]
    paths[0].unlink()
    change(paths[1])
    assert scrub_night(blobs) == 3
    assert [row.damage for row in read_rows()] == [Damage.GONE, Damage.CHANGED, None]
    assert (state().damaged, alarm_is_open()) == (2, True)
    scrub.recheck_damaged(blobs)
    with unit_of_work() as session:
        kinds = [event.kind for event in events.timeline(session, gone.study_id)]
    assert kinds.count(EventKind.DAMAGED) == 1
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    scrub.recheck_damaged(blobs)
    assert [row.damage for row in read_rows()] == [None, None, None]
    assert (state().damaged, alarm_is_open()) == (0, False)
    with unit_of_work() as session:
        assert events.timeline(session, gone.study_id)[-1].kind == EventKind.HEALED


def test_a_scrub_that_is_ended_goes_on_where_it_was(blobs, monkeypatch):
    monkeypatch.setattr(scrub, "_BATCH", 2)
    store_studies(1, 2, 3, 4, 5)
    read = []
    find_damage = Blobs.find_damage
    monkeypatch.setattr(
        Blobs,
        "find_damage",
        lambda self, key, *rest: read.append(key) or find_damage(self, key, *rest),
    )
    assert scrub_night(blobs, pause=lambda _: len(read) == 2) == 2
    assert state().round_read == 2
    assert scrub_night(blobs) == 3
    assert sorted(read) == sorted(row.blob for row in read_rows())
    assert state().round_ended_at is not None
    # A small site is read through once a night, and again in the next.
    assert scrub_night(blobs) == 0
    assert scrub_night(blobs, NIGHT + dt.timedelta(days=1)) == 5


def test_a_night_reads_its_share(blobs, monkeypatch):
    monkeypatch.setattr(scrub, "_LEAST_SHARE", 1)
    store_studies(1, 2, 3, 4, 5)
    with unit_of_work() as session:
        session.connection().exec_driver_sql("ANALYZE instances")
    nights = [NIGHT + dt.timedelta(days=number) for number in range(4)]
    assert [scrub_night(blobs, night, days=2.0) for night in nights] == [3, 2, 3, 2]


def test_everything_is_read_at_once_on_request(blobs, monkeypatch):
    monkeypatch.setattr(scrub, "_BATCH", 2)
    store_studies(1, 2, 3)
    blobs.path(read_rows()[2].blob).unlink()
    assert scrub.scrub_all(blobs) == 3
    assert state().damaged == 1
    with unit_of_work() as session:
        assert session.get(BlobScrub, 1) is None


def test_the_hours_are_checked(setting):
    from records.errors import SettingsError

    setting(scrub_hours="25:00-26:00")
    with pytest.raises(SettingsError, match="SCRUB_HOURS"):
        settings()

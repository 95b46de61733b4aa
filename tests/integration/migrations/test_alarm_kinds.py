"""Alarms from before they had a kind stay readable, and go back to what they were."""

import pytest
from sqlalchemy import text

import migrations
from records.alarm_kinds import AlarmKind
from records.database.session import engine, unit_of_work
from records.operations import alarms

OLD = {
    "listener": AlarmKind.DISK_FULL,
    "draft@gpu-3": AlarmKind.WORKER_STOPPED,
    "prepare": AlarmKind.WORKER_STOPPED,
    "films": AlarmKind.FILES_DAMAGED,
    "orphans": AlarmKind.FILES_UNREGISTERED,
    "lost+found": AlarmKind.FILES_SET_ASIDE,
    "images of ED_CR": AlarmKind.FILMS_UNLIKE,
    "station waits for Valkey": AlarmKind.STATION_WAITS,
    "station draft 0": AlarmKind.PART_CRASHING,
}


@pytest.fixture
def old_alarms(database):
    migrations.downgrade(engine(), "0016")
    with engine().begin() as connection:
        for part in OLD:
            connection.execute(
                text("INSERT INTO alarms (part, sentence) VALUES (:part, 'What to do.')"),
                {"part": part},
            )
    migrations.upgrade(engine())


def test_old_alarms_have_the_kind_of_who_opened_them(old_alarms):
    with unit_of_work() as session:
        rows = alarms.open_alarms(session)
        assert {row.part: row.kind for row in rows} == OLD
        assert {(row.cause, row.remedy) for row in rows} == {("What to do.", "")}


def test_new_alarms_are_sentences_again_when_the_software_goes_back(old_alarms):
    with unit_of_work() as session:
        alarms.raise_alarm(session, AlarmKind.REDIS_DOWN, "redis", "It is away.", "Start it.")
    migrations.downgrade(engine(), "0016")
    with engine().connect() as connection:
        sentences = dict(map(tuple, connection.execute(text("SELECT part, sentence FROM alarms"))))
    assert sentences["redis"] == "It is away. Start it."
    assert sentences["films"] == "What to do."
    migrations.upgrade(engine())

"""The lights: what runs, what died, what is expected, and what processes saw of Redis and disk."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from records.database.session import unit_of_work
from records.operations import heartbeats, lights
from records.operations.lights import LightState, Seen

pytestmark = pytest.mark.usefixtures("database")

EXPECTED = ("listener", "sweep", "prepare", "draft")


def beat(part, owner, age=0.0, ended=False, died=False):
    """A heartbeat of this age; ended: its process has ended, died: without a word."""
    with unit_of_work() as session:
        session.execute(
            text(
                "INSERT INTO heartbeats (part, owner, seen_at, ended_at, died)"
                " VALUES (:part, :owner, now() - make_interval(secs => :age),"
                " CASE WHEN :ended THEN now() END, :died)"
            ),
            {"part": part, "owner": owner, "age": age, "ended": ended or died, "died": died},
        )


def shown(expected=EXPECTED, hours=12.0):
    """The lights by name: state, word, and whether it was ever seen."""
    with unit_of_work() as session:
        return {
            light.name: (light.state, light.word, light.seen_at is not None)
            for light in lights.read_lights(session, expected, hours)
        }


def test_what_is_expected_and_was_never_seen_is_shown():
    assert list(shown()) == [*EXPECTED, "redis", "database", "disk", "bundle"]
    assert shown()["draft"] == (LightState.DOWN, "is not running", False)
    assert shown()["redis"] == (LightState.UNKNOWN, "was not looked at", False)
    assert shown()["database"] == (LightState.UP, "answers", True)
    assert "draft" not in shown(expected=("listener",))


def test_a_part_that_runs_on_several_machines_has_a_light_on_each():
    beat("draft", "gpu-1:7")
    beat("draft", "gpu-1:8")
    assert shown()["draft"][0] is LightState.UP
    beat("draft", "gpu-2:7", age=90)
    assert shown()["draft on gpu-1"] == (LightState.UP, "runs", True)
    assert shown()["draft on gpu-2"] == (LightState.DOWN, "is not running", True)
    assert "draft" not in shown()


def test_a_machine_that_is_expected_stays():
    beat("draft", "gpu-1:7")
    seen = shown(expected=("draft@gpu-1", "draft@gpu-2"))
    assert seen["draft on gpu-1"][0] is LightState.UP
    assert seen["draft on gpu-2"] == (LightState.DOWN, "is not running", False)


def test_what_died_stays_dark_for_a_while_and_goes():
    beat("draft", "gpu-1:7")
    beat("draft", "gpu-2:7", age=3 * 3600, died=True)
    assert shown()["draft on gpu-2"][0] is LightState.DOWN
    assert list(shown(hours=2.0))[3] == "draft"
    with unit_of_work() as session:
        lights.forget_old(session, 2.0)
    assert "draft on gpu-2" not in shown()


def test_who_was_ended_in_order_goes_when_another_does_the_work():
    beat("draft", "pod-a:1", age=60, ended=True)
    assert shown()["draft"] == (LightState.ENDED, "was ended", True)
    beat("draft", "pod-b:1")
    assert shown()["draft"][0] is LightState.UP
    assert "draft on pod-a" not in shown()


def test_a_part_that_dies_again_and_again_keeps_its_last_death_alone():
    for number in range(5):
        beat("draft", f"gpu-1:{number}", age=600 - number, died=True)
    beat("draft", "gpu-2:1", age=600, died=True)
    beat("prepare", "gpu-1:9")
    with unit_of_work() as session:
        heartbeats.forget_ended(session, 12.0)
        owners = session.execute(text("SELECT owner FROM heartbeats ORDER BY owner")).scalars()
        assert list(owners) == ["gpu-1:4", "gpu-1:9", "gpu-2:1"]


def test_a_process_that_was_taken_for_dead_lives_again():
    with unit_of_work() as session:
        heartbeats.record_heartbeat(session, "sweep")
    with unit_of_work() as session:
        assert heartbeats.count_deaths(session, silent_seconds=0.0) == 1
    assert shown()["sweep"][0] is LightState.DOWN
    with unit_of_work() as session:
        heartbeats.record_heartbeat(session, "sweep")
    assert shown()["sweep"][0] is LightState.UP


def test_last_seen_is_when_it_was_last_well():
    def record(*seen):
        with unit_of_work() as session:
            lights.record_observations(session, seen)

    def light(name):
        with unit_of_work() as session:
            return next(
                light for light in lights.read_lights(session, (), 12.0) if light.name == name
            )

    record(Seen("redis", True, "Redis answers."), Seen("disk", True, "800 MB are free.", True))
    well = light("redis")
    assert (well.state, well.word) == (LightState.UP, "answers")
    assert (light("disk").state, light("disk").word) == (LightState.WARNING, "has little room")
    record(Seen("redis", False, "Redis does not answer."), Seen("disk", False, "100 MB are free."))
    ill = light("redis")
    assert (ill.state, ill.word) == (LightState.DOWN, "does not answer")
    assert ill.seen_at == well.seen_at
    assert ill.runbook == "/runbook#broker"
    assert light("disk").word == "cannot be written"


def test_one_process_that_sees_a_fault_is_enough_and_one_that_looks_no_more_counts_no_more():
    def look(observer, is_well, age):
        with unit_of_work() as session:
            session.execute(
                text(
                    "INSERT INTO observations (name, observer, looked_at, seen_at, is_well)"
                    " VALUES ('redis', :observer, now() - make_interval(secs => :age),"
                    " now() - make_interval(secs => :age), :is_well)"
                ),
                {"observer": observer, "is_well": is_well, "age": age},
            )

    look("host:1", True, 5)
    look("host:2", False, 20)
    assert shown()["redis"][0] is LightState.DOWN
    with unit_of_work() as session:
        session.execute(text("UPDATE observations SET looked_at = now() - interval '5 minutes'"))
    assert shown()["redis"] == (LightState.UNKNOWN, "was not looked at", True)
    look("host:3", True, 1)
    assert shown()["redis"][0] is LightState.UP


def test_what_campaigns_fetch_from_has_a_light_each_where_it_was_asked():
    seen = [
        Seen("PACS west wing", is_well=True, sentence="It answered when it was last asked."),
        Seen("PACS archive", is_well=False, sentence="It does not accept an association."),
        Seen("folders", is_well=True, sentence="It answered when it was last asked."),
    ]
    with unit_of_work() as session:
        lights.record_observations(session, seen)
    assert list(shown())[-3:] == ["PACS archive", "PACS west wing", "folders"]
    assert shown()["PACS archive"] == (LightState.DOWN, "does not answer", False)
    assert shown()["PACS west wing"] == (LightState.UP, "answers", True)
    assert shown()["folders"] == (LightState.UP, "can be read", True)
    with unit_of_work() as session:
        found = lights.read_lights(session, EXPECTED, 12.0)
    assert {light.runbook for light in found[-3:]} == {"/runbook#pacs_away"}

"""The overview: page, REST and `nightdraft status` say the same of the same rows."""

from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from typer.testing import CliRunner

from api.app import make_app
from api.rendering import duration
from nightdraft.cli.main import app
from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.operations import alarms, heartbeats, lights, overview
from records.operations.lights import Seen
from records.settings import settings
from records.states import Stage, VisibleState
from records.workflow import leases
from tests.support.registered_studies import claim, complete, draft_all, new_instance, prepare, save
from tests.support.seeded_studies import EXPECTED_PARTS, seed_heartbeats

pytestmark = pytest.mark.usefixtures("database")


def complete_studies(*names):
    for name in names:
        complete(new_instance(name))


def move_drafts_back(seconds):
    """Let all drafts have been saved so many seconds earlier."""
    with unit_of_work() as session:
        session.execute(text("ALTER TABLE drafts DISABLE TRIGGER drafts_written_once"))
        session.execute(
            text("UPDATE drafts SET created_at = created_at - make_interval(secs => :seconds)"),
            {"seconds": seconds},
        )
        session.execute(text("ALTER TABLE drafts ENABLE TRIGGER drafts_written_once"))


def workload():
    with unit_of_work() as session:
        return overview.read_workload(session, overview.read_parts(session))


def draft_next():
    prepare(claim(limit=1)[0])
    save(claim(Stage.DRAFT, limit=1)[0])


def three_answers():
    """(to do, drafts a minute, seconds left) of REST, of the command, and the page's sentence."""
    with TestClient(make_app(settings()), base_url="http://localhost") as client:
        rest = client.get("/api/counts").json()
        page = " ".join(client.get("/").text.split())
    command = json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)
    command = command["counts"]
    moving = sum(command["states"][state] for state in overview.MOVING)
    return (
        (rest["to_do"], rest["per_minute"], rest["seconds_left"]),
        (moving, command["per_minute"], command["seconds_left"]),
        page,
    )


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (0.0, (2, 2.0, 60)),  # both drafts in the last minute
        (200.0, (2, 0.2, 600)),  # none in the last minute, two in the last ten
        (1000.0, (2, 0.0, None)),
    ],
)
def test_page_rest_and_status_say_the_same(age, expected):
    seed_heartbeats(*EXPECTED_PARTS)
    complete_studies("1.1", "1.2")
    draft_all()
    move_drafts_back(age)
    complete_studies("1.3", "1.4")
    rest, command, page = three_answers()
    assert rest == command == expected
    to_do, per_minute, left = expected
    if left is None:
        sentence = "None was drafted in the last 10 minutes."
        assert f"{to_do} to draft. <strong>{sentence}</strong> No time left can be given." in page
    else:
        assert f"{to_do} to draft, {per_minute} a minute: about {duration(left)} left" in page


def test_the_last_minute_counts_where_it_saw_a_draft():
    complete_studies("1.1", "1.2", "1.3")
    draft_next()
    draft_next()
    move_drafts_back(200.0)
    assert workload().pace.per_minute == pytest.approx(0.2)
    draft_next()
    assert workload().pace.per_minute == 1.0


def test_the_workload_of_a_night():
    complete_studies("1.1", "1.2")
    draft_next()
    now = workload()
    assert (now.total, now.to_do) == (2, 1)
    assert now.counts[VisibleState.DRAFTED] == 1
    assert now.oldest_waiting is not None


def test_parts_that_do_not_run_are_missing():
    with unit_of_work() as session:
        heartbeats.record_heartbeat(session, "sweep")
        heartbeats.record_heartbeat(session, "api")
    with unit_of_work() as session:
        parts = overview.read_overview(session).parts
    assert [heartbeat.part for heartbeat in parts.running] == ["api", "sweep"]
    assert parts.missing == ["listener", "prepare", "draft"]


def silence(part):
    """Let the part have been silent for minutes."""
    with unit_of_work() as session:
        session.execute(
            text("UPDATE heartbeats SET seen_at = now() - interval '3 minutes' WHERE part = :part"),
            {"part": part},
        )


def worker(stage):
    return leases.worker_name(stage, heartbeats.this_process())


def raise_alarm(kind, part):
    with unit_of_work() as session:
        alarms.raise_alarm(session, kind, part, "It happened.")


def see_no_redis():
    with unit_of_work() as session:
        lights.record_observations(session, [Seen("redis", False, "Redis does not answer.")])


STALLS = [  # what happens while studies wait and the pace of the last minute is high
    (lambda: silence("draft"), "No draft worker is running."),
    (
        lambda: (
            silence("draft"),
            raise_alarm(AlarmKind.BUNDLE_UNUSABLE, f"bundle of {worker('draft')}"),
        ),
        "No draft worker is running: the bundle cannot be used.",
    ),
    (
        lambda: raise_alarm(AlarmKind.WORKER_STOPPED, worker("draft")),
        "Every draft worker has stopped itself; its alarm says why.",
    ),
    (see_no_redis, "Redis does not answer, so no worker is woken."),
    (lambda: silence("prepare"), "Nothing is prepared, and no prepare worker is running."),
    (
        lambda: raise_alarm(AlarmKind.WORKER_STOPPED, worker("prepare")),
        "Nothing is prepared: every prepare worker has stopped itself.",
    ),
    (lambda: move_drafts_back(700.0), "None was drafted in the last 10 minutes."),
]


@pytest.mark.parametrize(("happens", "sentence"), STALLS, ids=[stall[1] for stall in STALLS])
def test_no_time_left_is_promised_while_nothing_drafts(happens, sentence):
    seed_heartbeats(*EXPECTED_PARTS)
    complete_studies("1.1", "1.2")
    draft_all()
    complete_studies("1.3")
    assert workload().pace.stalled == ""
    happens()
    (_, _, rest_left), (_, _, command_left), page = three_answers()
    assert rest_left is None
    assert command_left is None
    assert f"<strong>{sentence}</strong> No time left can be given." in page
    assert "left." not in page.partition("No time left")[0].rpartition('class="pace"')[2]
    shown = " ".join(CliRunner().invoke(app, ["status"]).stdout.split())
    assert sentence in shown
    assert "time left not known" in shown


def test_nothing_is_promised_of_nothing():
    pace = workload().pace
    assert (pace.stalled, pace.seconds_left) == ("", 0.0)

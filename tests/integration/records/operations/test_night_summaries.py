"""The summary of a night: made once, never changed, made up for where its hour was missed."""

import datetime as dt
import multiprocessing
import os
import signal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from records.database.night_tables import UNKNOWN_SITE_ID
from records.database.session import engine, unit_of_work
from records.errors import NotFound
from records.operations import night_summaries, night_wording, work_counts
from records.operations.night_summaries import list_newest, make_due, read_night
from records.settings import settings
from records.states import HoldReason, WorkKind
from records.workflow import holds
from records.workflow.site_scope import limited_to
from tests.support.campaigns import closed_now, of_uids, tend_all
from tests.support.campaigns import create as create_campaign
from tests.support.query_plans import explained, nodes
from tests.support.registered_studies import complete, draft_all, new_instance
from tests.support.two_sites import make_north
from tests.support.work_counts import add_work

TUESDAY = dt.date(2026, 11, 24)
EVENING = dt.datetime(2026, 11, 24, 18, tzinfo=dt.UTC)  # 19:00 in Berlin
MORNING = dt.datetime(2026, 11, 25, 6, tzinfo=dt.UTC)  # 07:00 in Berlin
DAY = dt.timedelta(days=1)


@pytest.fixture(autouse=True)
def _in_berlin(database, setting):
    setting(time_zone="Europe/Berlin", night_hours="19:00-07:00")


def make(now):
    with unit_of_work() as session:
        return make_due(session, settings(), now=now)


def read(date=None):
    with unit_of_work() as session:
        return read_night(session, date)


def draft(number, day=0, hours=1):
    add_work(EVENING + day * DAY + dt.timedelta(hours=hours), WorkKind.DRAFTED, number,
             worker="draft@gpu-1")  # fmt: skip


def test_a_night_is_summed_up_once_it_is_over():
    draft(240)
    draft(9, hours=-1)  # before the night
    draft(9, hours=12)  # after it
    add_work(EVENING, WorkKind.PREPARED, 250, worker="prepare@cpu-1")
    add_work(EVENING, WorkKind.SKIPPED, 5, reason="not_chest")
    add_work(EVENING, WorkKind.SKIPPED, 6, reason="age")
    add_work(EVENING, WorkKind.FAILED, 2, reason="UNREADABLE")
    complete(new_instance("1.1"), new_instance("1.2"))
    held, _ = complete(new_instance("1.3"), new_instance("1.4"))
    with unit_of_work() as session:
        holds.open_hold(session, held, HoldReason.AGE_UNKNOWN, "-")
    assert make(MORNING - dt.timedelta(seconds=1)) == []
    assert make(MORNING) == [TUESDAY]
    assert make(MORNING) == []
    found = read()
    assert night_wording.as_values(found) == {
        "night": "2026-11-24",
        "begins_at": "2026-11-24T18:00:00+00:00",
        "ends_at": "2026-11-25T06:00:00+00:00",
        "time_zone": "Europe/Berlin",
        "made_at": found.row.made_at.isoformat(),
        "prepared": 250,
        "drafted": 240,
        "skipped": {"age": 6, "not_chest": 5},
        "failed": {"UNREADABLE": 2},
        "held": {"AGE_UNKNOWN": 1},
        "missing": {},
        "waiting": 3,
        "in_campaigns": 0,
        "workers": {"draft@gpu-1": 240, "prepare@cpu-1": 250},
        "drafts_per_hour": 20.0,
        "drafts_per_hour_before": None,
        "nights_left": round(3 / 240, 2),
    }


def test_the_pace_stands_beside_that_of_the_night_before():
    draft(120)
    make(MORNING)
    draft(90, day=1)
    complete(*(new_instance(f"1.{number}") for number in range(180)))
    assert make(MORNING + DAY) == [TUESDAY + DAY]
    found = read(TUESDAY + DAY)
    assert (found.drafts_per_hour, found.pace_change, found.nights_left) == (7.5, -0.25, 2.0)
    assert night_wording.describe_pace(found) == (
        "7.5 drafts an hour, 25% slower than 10 in the night of 2026-11-24"
    )
    assert "Nights left: about 2.0 at this pace" in night_wording.describe_lines(found)
    assert read(TUESDAY).nights_left == 0


def test_a_night_without_drafts_promises_no_number_of_nights():
    draft(1)
    make(MORNING)
    complete(new_instance("1.1"))
    make(MORNING + DAY)
    found = read()
    assert found.nights_left is None
    assert "Nights left: not known, for nothing was drafted" in night_wording.describe_lines(found)


def test_studies_of_campaigns_wait_and_are_missing(setting):
    now = dt.datetime.now(dt.UTC)
    quarter = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
    end = quarter + dt.timedelta(hours=1)
    setting(time_zone="UTC", night_hours=f"{quarter:%H:%M}-{end:%H:%M}")
    create_campaign(name="closed", window=closed_now(), studies=of_uids("5.1", "5.2", "5.3"))
    create_campaign(name="open", studies=of_uids("6.1", "6.2"))
    tend_all()
    add_work(quarter, WorkKind.DRAFTED, 2)
    make(end)
    found = read()
    assert (found.row.in_campaigns, found.row.waiting, found.nights_left) == (3, 0, 1.5)
    assert (found.row.missing, found.missing) == ({"NOT_HERE": 2}, 2)
    assert "Waiting in campaigns: 3" in night_wording.describe_lines(found)


def test_before_anything_was_done_no_night_is_summed_up():
    assert make(MORNING) == []
    with pytest.raises(NotFound):
        read()


def test_nights_that_were_missed_are_summed_up_later():
    draft(7)
    make(MORNING)
    draft(8, day=2)
    assert make(MORNING + 3 * DAY + dt.timedelta(hours=5)) == [
        TUESDAY + days * DAY for days in (1, 2, 3)
    ]
    with unit_of_work() as session:
        newest = list_newest(session, 10)
    assert [(record.row.night.day, record.row.drafted) for record in newest] == [
        (27, 0), (26, 8), (25, 0), (24, 7),
    ]  # fmt: skip
    assert make(MORNING + 400 * DAY)[0] == TUESDAY + (400 - night_summaries.MOST_MISSED + 1) * DAY


def test_the_hour_may_be_later_than_the_end_of_the_night(setting):
    setting(morning_at="08:30")
    draft(1)
    assert make(MORNING + dt.timedelta(minutes=89)) == []
    assert make(MORNING + dt.timedelta(minutes=90)) == [TUESDAY]


def test_the_night_of_a_change_of_the_clock_is_as_long_as_it_was():
    october = dt.datetime(2026, 10, 24, 20, tzinfo=dt.UTC)
    add_work(october, WorkKind.DRAFTED, 130)
    assert make(october + DAY) == [dt.date(2026, 10, 24)]
    found = read()
    assert (found.hours, found.drafts_per_hour) == (13, 10)


def test_who_sees_one_site_sees_what_was_done_for_it():
    north = make_north()
    for day, ours, theirs in ((0, 6, 40), (1, 12, 40)):
        at = EVENING + day * DAY
        add_work(at, WorkKind.DRAFTED, theirs, worker="draft@gpu-1", times=2)
        add_work(at, WorkKind.DRAFTED, ours, worker="draft@gpu-1", site_id=north)
        add_work(at, WorkKind.FAILED, theirs, reason="UNREADABLE")
    add_work(EVENING + DAY, WorkKind.SKIPPED, 3, reason="age", site_id=north)
    held, _ = complete(new_instance("1.3"), new_instance("1.4"))
    with unit_of_work() as session:
        holds.open_hold(session, held, HoldReason.CHEST_UNKNOWN, "-")
    for day in range(2):
        make(MORNING + day * DAY)
    whole = read()
    assert (whole.row.drafted, whole.failed, whole.held, whole.row.waiting) == (92, 40, 1, 1)
    for fold_above in (10_000, 0):
        with unit_of_work() as session:
            work_counts.fold(session, fold_above)
        with limited_to([north]):
            found = read()
        assert (found.row.drafted, found.skipped, found.failed) == (12, 3, 0)
        assert found.row.workers == {"draft@gpu-1": 12}
        assert (found.drafts_per_hour, found.pace_change) == (1, 1)
        values = night_wording.as_values(found)
        names = ("held", "missing", "waiting", "in_campaigns", "nights_left")
        assert [values[name] for name in names] == [None] * 5
    with limited_to([]):
        assert read().row.drafted == 0
    assert read().row.drafted == 92  # nothing of it was written
    with engine().connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM night_summaries")) == 2


def test_a_night_whose_work_has_no_site_is_for_who_sees_every_site():
    north = make_north()
    draft(7)
    add_work(EVENING + DAY, WorkKind.DRAFTED, 2, site_id=north)
    add_work(EVENING, WorkKind.DRAFTED, 5, site_id=UNKNOWN_SITE_ID)
    for day in range(2):
        make(MORNING + day * DAY)
    for fold_above in (10_000, 0):
        with unit_of_work() as session:
            work_counts.fold(session, fold_above)
            assert [record.row.drafted for record in list_newest(session, 9)] == [2, 12]
            with limited_to([north]):
                assert [record.row.drafted for record in list_newest(session, 9)] == [2]
                with pytest.raises(NotFound):
                    read_night(session, TUESDAY)


def test_a_summary_is_never_changed():
    draft(1)
    make(MORNING)
    for change in ("UPDATE night_summaries SET drafted = 2", "DELETE FROM night_summaries"):
        with pytest.raises(IntegrityError, match="written once"), engine().begin() as connection:
            connection.execute(text(change))


def _make_in_process(barrier, results):
    barrier.wait()
    results.put(len(make(MORNING)))


def test_of_many_processes_one_makes_it():
    draft(1)
    engine().dispose()
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(4), context.Queue()
    processes = [
        context.Process(target=_make_in_process, args=(barrier, results)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    counts = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert counts == [0, 0, 0, 1]


def _make_and_die():
    with unit_of_work() as session:
        make_due(session, settings(), now=MORNING)
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_before_its_commit_leaves_it_to_the_next():
    draft(1)
    process = multiprocessing.get_context("spawn").Process(target=_make_and_die)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert make(MORNING) == [TUESDAY]


def test_the_list_of_nights_is_read_by_its_index():
    with unit_of_work() as session:
        session.execute(
            text(
                "INSERT INTO night_summaries (night, begins_at, ends_at, time_zone, prepared,"
                " drafted, skipped, failed, held, missing, waiting, in_campaigns, workers)"
                " SELECT date '2000-01-01' + n, now(), now(), '', 0, 0, '{}', '{}', '{}', '{}', 0,"
                " 0, '{}' FROM generate_series(1, 5000) AS n"
            )
        )
        session.execute(text("ANALYZE night_summaries"))
    with explained() as plans, unit_of_work() as session:
        assert len(list_newest(session, 30, dt.date(2010, 1, 1))) == 30
        make_due(session, settings(), now=dt.datetime(2013, 9, 10, tzinfo=dt.UTC))
    read_by = [
        {node.get("Index Name") for node in nodes(plan)}
        for statement, plan in plans
        if "night_summaries" in statement
    ]
    assert read_by
    assert all("pk_night_summaries" in names for names in read_by)


def test_the_nights_of_one_site_are_read_by_indexes():
    north = make_north()
    with unit_of_work() as session:
        session.execute(
            text(
                "INSERT INTO night_summaries (night, begins_at, ends_at, time_zone, prepared,"
                " drafted, skipped, failed, held, missing, waiting, in_campaigns, workers)"
                " SELECT date '2000-01-01' + n, timestamptz '2000-01-01 19:00+00' + n * interval"
                " '1 day', timestamptz '2000-01-02 07:00+00' + n * interval '1 day', '', 0, 0,"
                " '{}', '{}', '{}', '{}', 0, 0, '{}' FROM generate_series(1, 5000) AS n"
            )
        )
        session.execute(
            text(
                "INSERT INTO work_counts (quarter, kind, reason, worker, site_id, number)"
                " SELECT timestamptz '2000-01-01 00:00+00' + n * interval '1 hour', 'DRAFTED', '',"
                " 'draft@gpu-1', sites.id, 1 FROM generate_series(1, 121000) AS n, sites"
            )
        )
        session.execute(text("ANALYZE night_summaries, work_counts, work_count_parts"))
    with explained() as plans, unit_of_work() as session, limited_to([north]):
        found = list_newest(session, 60)
    assert [record.row.drafted for record in found[1:]] == [12] * 59
    read_by = [
        {node.get("Index Name") for node in nodes(plan)}
        for statement, plan in plans
        if "work_counts" in statement
    ]
    assert len(read_by) == 2
    assert all({"pk_night_summaries", "pk_work_counts"} <= names for names in read_by)
    scanned = {
        node.get("Relation Name")
        for _, plan in plans
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan"
    }
    assert not scanned & {"night_summaries", "work_counts"}


def test_drafts_of_now_are_in_the_night_that_it_is(setting):
    now = dt.datetime.now(dt.UTC)
    quarter = now.minute // 15 * 15
    setting(
        time_zone="UTC",
        night_hours=f"{now.hour:02d}:{quarter:02d}-{(now.hour + 1) % 24:02d}:{quarter:02d}",
    )
    complete(new_instance("1.1"))
    draft_all()
    assert make(now + dt.timedelta(hours=1)) == [now.date()]
    assert read().row.drafted == 1

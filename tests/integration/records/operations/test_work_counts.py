"""What was done in each quarter of an hour, as a trigger counts it."""

import datetime as dt
import threading

import pytest
from sqlalchemy import text

from records.database.session import engine, unit_of_work
from records.database.site_tables import DEFAULT_SITE_ID
from records.operations import work_counts
from records.operations.work_counts import read_work
from records.states import FailReason, WorkKind
from records.workflow import attempts, requests
from records.workflow.site_scope import limited_to
from tests.support.accounts import run_sql
from tests.support.query_plans import explained, nodes
from tests.support.registered_studies import claim, complete, draft_all, new_instance, prepare
from tests.support.two_sites import make_north
from tests.support.work_counts import add_work

pytestmark = pytest.mark.usefixtures("database")

EVER = (dt.datetime(2000, 1, 1, tzinfo=dt.UTC), dt.datetime(2100, 1, 1, tzinfo=dt.UTC))
NINE = dt.datetime(2026, 11, 24, 21, tzinfo=dt.UTC)


def work(begins_at=EVER[0], ends_at=EVER[1]):
    with unit_of_work() as session:
        return read_work(session, begins_at, ends_at)


def fold(above=0):
    with unit_of_work() as session:
        return work_counts.fold(session, above)


def totals(found):
    return {kind.value: found.total(kind) for kind in WorkKind}


def test_each_end_of_work_is_counted_with_its_reason_and_worker():
    complete(*(new_instance(f"1.{number}") for number in range(4)))
    first, second, third, fourth = claim(owner="gpu-1:7")
    with unit_of_work() as session:
        requests.skip(session, first, "not_chest", "It is a knee.")
        attempts.fail(session, second, FailReason.UNREADABLE, "-", max_attempts=1, retry_seconds=0)
    prepare(third)
    prepare(fourth)
    assert len(draft_all()) == 2
    found = work()
    assert totals(found) == {"PREPARED": 2, "DRAFTED": 2, "SKIPPED": 1, "FAILED": 1}
    assert found.by_reason(WorkKind.SKIPPED) == {"not_chest": 1}
    assert found.by_reason(WorkKind.FAILED) == {"UNREADABLE": 1}
    assert found.by_worker() == {"draft@w": 2, "prepare@gpu-1": 2}
    (quarter,) = found.by_quarter(WorkKind.DRAFTED)
    with unit_of_work() as session:
        at = session.scalar(text("SELECT max(at) FROM events WHERE kind = 'DRAFTED'"))
    assert quarter <= at < quarter + work_counts.QUARTER
    assert (quarter.minute % 15, quarter.second) == (0, 0)


def test_what_is_folded_is_counted_as_before_and_once():
    for number in range(3):
        complete(new_instance(f"1.{number}"))
        draft_all()
        before = totals(work())
        assert fold() > 0
        assert totals(work()) == before == {
            "PREPARED": number + 1, "DRAFTED": number + 1, "SKIPPED": 0, "FAILED": 0,
        }  # fmt: skip
    assert fold() == 0
    complete(new_instance("1.9"))
    draft_all()
    assert fold(above=2) == 0  # so few are not worth it
    with engine().connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM work_count_parts")) == 2


def test_two_folds_at_once_count_nothing_twice():
    add_work(NINE, WorkKind.DRAFTED, 1, times=400)
    barrier = threading.Barrier(4)

    def fold_once():
        barrier.wait()
        fold()

    threads = [threading.Thread(target=fold_once) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert totals(work())["DRAFTED"] == 400
    with engine().connect() as connection:
        assert connection.scalar(text("SELECT number FROM work_counts")) == 400


def test_who_ends_work_waits_for_nobody_else():
    """A worker's row is locked until its commit; another one that ends work goes on meanwhile."""
    complete(new_instance("1.1"), new_instance("1.2"))
    first, second = claim()
    with unit_of_work() as session:
        requests.skip(session, first, "not_chest", "-")
        with unit_of_work() as other:
            other.execute(text("SET LOCAL lock_timeout = '2s'"))
            requests.skip(other, second, "not_chest", "-")
    assert totals(work())["SKIPPED"] == 2


def test_only_the_quarters_that_begin_in_the_time_count():
    for minutes in (-15, 0, 45, 60):
        add_work(NINE + dt.timedelta(minutes=minutes), WorkKind.DRAFTED, 1)
    found = work(NINE, NINE + dt.timedelta(hours=1))
    assert list(found.by_quarter(WorkKind.DRAFTED)) == [NINE, NINE + dt.timedelta(minutes=45)]


def test_work_is_of_the_site_that_the_study_had_then():
    north = make_north()
    ours, theirs = complete(new_instance("1.1"), new_instance("1.2"))
    run_sql("UPDATE studies SET site_id = :site WHERE id = :id", site=north, id=ours)
    for lease in claim():
        with unit_of_work() as session:
            requests.skip(session, lease, "not_chest", "-")
    run_sql("UPDATE studies SET site_id = :site WHERE id = :id", site=north, id=theirs)
    for _ in range(2):
        assert totals(work())["SKIPPED"] == 2
        for sites, number in (((north,), 1), ((DEFAULT_SITE_ID,), 1), ((), 0)):
            with limited_to(sites):
                assert totals(work())["SKIPPED"] == number
        fold()


@pytest.mark.parametrize("sites", [None, (DEFAULT_SITE_ID,)])
def test_a_night_is_read_by_an_index_however_many_nights_are_kept(sites):
    with unit_of_work() as session:
        session.execute(
            text(
                "INSERT INTO work_counts (quarter, kind, reason, worker, site_id, number)"
                " SELECT date_bin('15 minutes', now(), '2000-01-01 00:00+00')"
                " - n * interval '15 minutes', kind, '', 'draft@gpu-1', sites.id, 7"
                " FROM sites, generate_series(1, 20000) AS n,"
                " unnest(ARRAY['PREPARED', 'DRAFTED']) AS kind"
            )
        )
        session.execute(text("ANALYZE work_counts, work_count_parts"))
    now = dt.datetime.now(dt.UTC)
    with explained() as plans, limited_to(sites):
        assert len(work(now - dt.timedelta(hours=12), now).counts) > 90
    ((_, plan),) = [(sql, plan) for sql, plan in plans if "FROM work_counts" in sql]
    used = {node["Index Name"] for node in nodes(plan) if "Index Name" in node}
    assert "pk_work_counts" in used
    assert "work_counts" not in {
        node.get("Relation Name") for node in nodes(plan) if node["Node Type"] == "Seq Scan"
    }

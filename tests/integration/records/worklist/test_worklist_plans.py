"""Filters, orders, both directions, locks and views read indexes among twenty thousand studies."""

import pytest
from sqlalchemy import text

from nightdraft.bench.growth_fill import TABLES, fill
from records.database.session import engine, unit_of_work
from records.database.site_tables import DEFAULT_SITE_ID
from records.states import WARNING, HoldReason, Priority, VisibleState
from records.workflow import site_scope, worklist
from records.workflow.worklist_filters import AgeGroup, ListOrder, ReviewStage, WorklistFilter
from records.worklist import changes, locks, row_details, views
from records.worklist.changes import BulkAction, Change
from tests.support.accounts import make_account
from tests.support.query_plans import explained, nodes

STUDIES = 20_000
GROWING = {*TABLES, "reviews", "working_texts", "study_locks", "worklist_views"}
MOST_SORTED = 10_000
"""Rows that may be sorted at once: 500 of each leg of a list."""

CHOSEN = [
    WorklistFilter(priority=Priority.STAT),
    WorklistFilter(modality="MG"),
    WorklistFilter(procedure="portable"),
    WorklistFilter(sex="M"),
    WorklistFilter(age=AgeGroup.CHILD),
    WorklistFilter(hold_reason=HoldReason.VIEW_UNKNOWN),
    WorklistFilter(review=ReviewStage.SIGNED),
    WorklistFilter(review=ReviewStage.EDITED),
    WorklistFilter(review=ReviewStage.OPEN),
    WorklistFilter(has_prior=True),
    WorklistFilter(has_prior=False),
]

# Many rows of the tables that the fill leaves empty, so that a plan may walk them.
MORE = """
INSERT INTO study_locks (study_id, account_id, name, expires_at)
SELECT id, :account, 'x', now() + make_interval(secs => random() * 100 - 50) FROM studies;
INSERT INTO worklist_views (account_id, name, query)
SELECT :account, n::text, '' FROM generate_series(1, 20000) AS n;
INSERT INTO reviews (study_id, draft_id, decision, reader, findings)
SELECT study_id, id, 'SIGNED', 'x', 'x' FROM drafts WHERE hashtext(id::text) % 2 = 0;
INSERT INTO working_texts (draft_id, study_id, version, findings, impression, saved_by)
SELECT id, study_id, 1, 'x', 'x', 'x' FROM drafts WHERE hashtext(id::text) % 2 <> 0
"""


def fill_many(data_dir):
    account = make_account("ada").id
    other = make_account("ben").id
    with unit_of_work() as session:
        fill(session, STUDIES, WARNING)
        for statement in MORE.split(";"):
            session.execute(text(statement), {"account": other})
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))
    return account


@pytest.fixture
def many(filled_copy):
    return filled_copy(fill_many)


def faults(run):
    found = []
    with unit_of_work() as session, explained() as plans:
        run(session)
        session.rollback()
    for statement, plan in plans:
        for node in nodes(plan):
            walked = node["Node Type"].endswith("Seq Scan") and node["Relation Name"] in GROWING
            is_sorted = node["Node Type"].endswith("Sort") and node["Plan Rows"] > MOST_SORTED
            if walked or is_sorted:
                found.append(f"{node['Node Type']}: {' '.join(statement.split())[:300]}")
    assert plans
    return found


def read(**options):
    return lambda session: worklist.read_page(session, **options)


def test_every_filter_and_order_reads_indexes(many):
    middle = {}
    with unit_of_work() as session:
        for order in ListOrder:
            page = worklist.read_page(session, order=order, limit=10)
            middle[order] = page.next
    found = []
    for order in ListOrder:
        found += faults(read(order=order))
        found += faults(read(order=order, after=middle[order]))
        found += faults(read(order=order, before=middle[order]))
        for state in (VisibleState.DRAFTED, VisibleState.WAITING, VisibleState.HELD):
            found += faults(read(order=order, state=state, after=middle[order]))
    for chosen in CHOSEN:
        found += faults(read(chosen=chosen))
        found += faults(read(chosen=chosen, state=VisibleState.DRAFTED, order=ListOrder.OLDEST))
    assert not found, "\n".join(found)


def test_the_pages_of_one_site_read_indexes(many):
    with site_scope.limited_to([DEFAULT_SITE_ID]):
        for chosen in CHOSEN:
            found = faults(read(chosen=chosen, order=ListOrder.NEWEST))
            assert not found, "\n".join(found)


def test_rows_locks_views_neighbours_and_changes_read_indexes(many):
    with unit_of_work() as session:
        rows = worklist.read_page(session, state=VisibleState.DRAFTED).rows
        failed = worklist.read_page(session, state=VisibleState.FAILED, limit=5).rows
    ids = [row.id for row in rows]
    wanted = [row.id for row in failed]
    for run in (
        lambda session: row_details.describe(session, rows),
        lambda session: locks.find(session, ids),
        lambda session: locks.take(session, ids[0], many, "Dr. Ada"),
        lambda session: locks.release(session, ids[0], many),
        locks.forget_ended,
        lambda session: views.list_views(session, many),
        lambda session: views.default_query(session, many),
        lambda session: worklist.find_neighbour(session, ids[3], forward=False),
        lambda session: changes.plan(session, wanted, Change(BulkAction.RETRY)),
        lambda session: changes.plan(session, ids, Change(BulkAction.PRIORITY, Priority.STAT)),
    ):
        found = faults(run)
        assert not found, "\n".join(found)


def test_a_missing_index_is_found(many):
    with unit_of_work() as session:
        session.execute(text("DROP INDEX ix_study_locks_expires_at"))
        session.execute(text("DROP INDEX ix_studies_priority"))
    assert faults(locks.forget_ended)
    assert faults(read(order=ListOrder.OLDEST))

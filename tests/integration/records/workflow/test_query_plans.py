"""Every query of listener, workers, sweep and pages that a growing table answers has its index."""

from __future__ import annotations

import contextlib
import uuid

import pytest
from sqlalchemy import text

from nightdraft.bench import growth_operations
from nightdraft.bench.growth_fill import TABLES, fill
from nightdraft.bench.growth_operations import list_operations
from nightdraft.bench.operation import Operation
from records.database.session import engine, unit_of_work
from records.database.site_tables import DEFAULT_SITE_ID
from records.operations import refusals
from records.states import WARNING, FailReason, VisibleState
from records.workflow import doubted_priorities, requests, site_scope, worklist
from tests.support.query_plans import explained, nodes

STUDIES = 20_000
FEW = 1_500
"""Rows that may be sorted: those of a search, and of a page."""

NOT_PLANNED = ("a study's page after", "delete a study", "many")


def fill_many(data_dir):
    with unit_of_work() as session:
        fill(session, STUDIES, WARNING)
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))


@pytest.fixture
def filled_database(filled_copy):
    filled_copy(fill_many)
    yield
    growth_operations._claimed.clear()


def faults(plan):
    """What in a plan would grow with the tables."""
    for node in nodes(plan):
        if node["Node Type"].endswith("Seq Scan") and node["Relation Name"] in TABLES:
            yield f"walks {node['Relation Name']}"
        if node["Node Type"].endswith("Sort") and node["Plan Rows"] > FEW:
            yield f"sorts {node['Plan Rows']} rows"


def plan_faults(operation: Operation) -> list[str]:
    argument = operation.prepare(0) if operation.prepare is not None else None
    with explained() as plans:
        operation.run(argument)
    return [
        f"{operation.name}: {fault}: {' '.join(statement.split())[:300]}"
        for statement, plan in plans
        for fault in faults(plan)
    ]


def test_no_query_walks_or_sorts_a_growing_table(filled_database):
    operations = [
        operation
        for operation in list_operations(STUDIES)
        if not any(part in operation.name for part in NOT_PLANNED)
    ]
    assert len(operations) > 40
    found = [fault for operation in operations for fault in plan_faults(operation)]
    assert not found, "\n".join(found)


def test_the_lists_of_one_site_have_their_indexes(filled_database):
    operations = [
        operation
        for operation in list_operations(STUDIES)
        if operation.name.startswith(
            ("worklist", "search", "counts by state", "oldest waiting", "status", "failures")
        )
    ]
    assert len(operations) > 5
    with site_scope.limited_to([DEFAULT_SITE_ID, uuid.uuid4()]):
        found = [fault for operation in operations for fault in plan_faults(operation)]
    assert not found, "\n".join(found)
    with unit_of_work() as session:
        session.execute(text("DROP INDEX ix_worklist_entries_site_id"))
        session.execute(text("DROP INDEX ix_worklist_entries_state"))
    (prepared,) = [operation for operation in operations if operation.name == "worklist, PREPARED"]
    with site_scope.limited_to([DEFAULT_SITE_ID]):
        assert plan_faults(prepared)


def test_the_refusals_of_one_site_have_an_index(database):
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(
            text(
                "INSERT INTO refusals (calling_ae, sop_class_uid, sop_instance_uid, reason,"
                " sentence) SELECT 'A', '1', '2', 'X', 'a sentence' FROM generate_series(1, 5000)"
            )
        )
        connection.execute(text("ANALYZE refusals"))
    # Nothing was refused there: a walk of the newest ones would step over all rows.
    with site_scope.limited_to([uuid.uuid4()]), unit_of_work() as session, explained() as plans:
        assert refusals.list_refusals(session) == []
    used = {node.get("Index Name") for _, plan in plans for node in nodes(plan)}
    assert "ix_refusals_site_id" in used


def retry_plan_faults():
    with unit_of_work() as session, explained() as plans:
        for reason in ("not_chest", FailReason.UNREADABLE, None):
            requests.retry(session, reason=reason, limit=10)
        session.rollback()
    return [fault for _, plan in plans for fault in faults(plan)]


def test_what_failed_or_was_skipped_is_retried_by_its_index(filled_database):
    assert not retry_plan_faults()
    with unit_of_work() as session:
        session.execute(text("DROP INDEX ix_draft_requests_retriable"))
    assert retry_plan_faults()


def test_the_list_of_drafted_studies_has_an_index_of_its_own(filled_database):
    for sites, index in (
        (None, "ix_worklist_entries_drafted"),
        ([DEFAULT_SITE_ID], "ix_worklist_entries_site_id_drafted"),
    ):
        with contextlib.ExitStack() as stack:
            if sites is not None:
                stack.enter_context(site_scope.limited_to(sites))
            session = stack.enter_context(unit_of_work())
            plans = stack.enter_context(explained())
            worklist.read_page(session, state=VisibleState.DRAFTED)
        used = {node.get("Index Name") for _, plan in plans for node in nodes(plan)}
        assert {name for name in used if name and name.startswith("ix_worklist")} == {index}


def test_doctor_finds_doubted_priorities_by_indexes(filled_database):
    with unit_of_work() as session:
        old = "first_received_at < now() - interval '10 minutes'"
        older = "first_received_at = first_received_at - interval '30 days'"
        session.execute(text(f"UPDATE studies SET {older} WHERE {old}"))
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE studies"))
    found = Operation("doubted priorities", lambda _: read_doubted())
    assert not plan_faults(found)
    with unit_of_work() as session:
        session.execute(text("DROP INDEX ix_events_study_id"))
    assert plan_faults(found)


def read_doubted():
    with unit_of_work() as session:
        return doubted_priorities.recent(session)


def test_a_query_without_its_index_is_found(filled_database):
    with unit_of_work() as session:
        session.execute(text("DROP INDEX ix_worklist_entries_state"))
        session.execute(text("DROP INDEX ix_worklist_entries_site_id"))
        session.execute(text("DROP INDEX ix_studies_words"))
    names = ("worklist, PREPARED", "oldest waiting", "search for a rare name")
    for operation in list_operations(STUDIES):
        if operation.name in names:
            assert plan_faults(operation), operation.name

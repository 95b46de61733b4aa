"""A recall and the rule that withholds drafts read indexes, however many drafts there are."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from nightdraft.bench.growth_fill import fill
from records.bundles import acceptance, known, recall
from records.database.session import engine, unit_of_work
from records.database.site_tables import DEFAULT_SITE_ID
from records.states import WARNING
from tests.support.discrepant_studies import CLEAR, NODULE, draft, draft_again
from tests.support.query_plans import explained, nodes

STUDIES = 20_000
GROWING = {"drafts", "studies", "reviews", "final_comparisons"}


def fill_many(data_dir):
    """Many drafts of one bundle, and among them one of another, B."""
    draft_again(draft(1, (CLEAR, 0.9)), NODULE)
    with unit_of_work() as session:
        fill(session, STUDIES, WARNING)
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))


@pytest.fixture
def many(filled_copy):
    filled_copy(fill_many)


def indexes(plans):
    """The indexes that are read; fails where a growing table is read whole."""
    read = set()
    for statement, plan in plans:
        for node in nodes(plan):
            whole = node["Node Type"] == "Seq Scan" and node.get("Relation Name") in GROWING
            is_whole = whole and node["Relation Name"] in ("drafts", "studies")
            assert not is_whole, statement
            read.add(node.get("Index Name"))
    return read


def test_a_recall_of_the_few_drafts_of_a_bundle_reads_its_index(many):
    with unit_of_work() as session, explained() as plans:
        page = recall.read_page(session, "B")
        after = recall.read_page(session, "B", after=str(page.drafts[0].draft_id))
    assert len(page.drafts) == 1
    assert not after.drafts
    assert "ix_drafts_recalled" in indexes(plans)


def test_an_acceptance_run_reads_the_drafts_of_the_bundle_alone(many):
    with unit_of_work() as session, explained() as plans:
        assert acceptance.measure(session, DEFAULT_SITE_ID, "B").drafts == 1
    assert "ix_drafts_recalled" in indexes(plans)


def test_the_list_of_bundles_reads_no_drafts(many):
    with unit_of_work() as session, explained() as plans:
        listed = known.list_known(session)
    assert {one.bundle.digest for one in listed} >= {"B", "bundle"}
    assert not any(
        node.get("Relation Name") == "drafts" for _, plan in plans for node in nodes(plan)
    )

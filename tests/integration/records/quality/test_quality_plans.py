"""Figures read kept numbers and indexes, among those of many readers and years."""

import datetime as dt

import pytest
from sqlalchemy import text

from records.database.session import engine, unit_of_work
from records.quality import counts, drift, figures, outcomes, report_scores
from records.quality.cells import PLACES
from records.quality.counts import Choice, Dimension
from records.retention import erasure
from records.reviews import lookup
from records.settings import settings
from records.states import PeerScore, Role
from records.workflow import identifiers, site_scope
from tests.support.accounts import make_account, run_sql
from tests.support.decided_drafts import count, decide, reader_of
from tests.support.query_plans import explained, nodes

GROWING = ("draft_outcomes", "quality_counts", "quality_days", "report_scores")

# Fifty thousand outcomes of three hundred readers, and the numbers of ten years of 40 sites.
MANY = """
INSERT INTO draft_outcomes SELECT r.*
FROM draft_outcomes o, generate_series(1, 50000) AS n,
LATERAL jsonb_populate_record(o, jsonb_build_object(
    'review_id', gen_random_uuid(), 'study_id', gen_random_uuid(), 'draft_id', gen_random_uuid(),
    'account_id', ('00000000-0000-0000-0000-' || lpad((n % 300)::text, 12, '0'))::uuid,
    'day', date '2016-01-01' + n % 3650)) AS r
WHERE o.cells IS NOT NULL;

INSERT INTO quality_counts SELECT
    ('00000000-0000-0000-0001-' || lpad(site::text, 12, '0'))::uuid,
    (date '2016-01-01' + month * interval '1 month')::date, 'bundle-' || bundle, 'PA', 'FIXED',
    'FROM_40', 'F', 'WITH_DRAFT', array_fill(1::bigint, ARRAY[:width])
FROM generate_series(1, 40) site, generate_series(0, 119) month, generate_series(1, 5) bundle;

INSERT INTO quality_days SELECT
    ('00000000-0000-0000-0001-' || lpad(site::text, 12, '0'))::uuid, 'bundle-1',
    date '2016-01-01' + day, 10, 2
FROM generate_series(1, 40) site, generate_series(1, 3650) day;

INSERT INTO report_scores (review_id, study_id, account_id, score)
SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), '1' FROM generate_series(1, 50000)
"""

SITE = "00000000-0000-0000-0001-000000000007"


@pytest.fixture
def many(database):
    ada = make_account("ada", Role.READER)
    report = decide(ada)
    count()
    with engine().begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        for statement in MANY.split(";\n"):
            # As rows of an earlier version: more cannot be unedited than was made of a draft.
            values = {"width": PLACES["own_text"] - 1} if ":width" in statement else {}
            connection.execute(text(statement), values)
    decide(ada)
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    return ada, report


def scanned(plans):
    return [
        (node["Relation Name"], statement)
        for statement, plan in plans
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in GROWING
    ]


def test_each_query_reads_an_index(many):
    ada, report = many
    year = Choice(dt.date(2025, 1, 1), dt.date(2025, 12, 1))
    with explained() as plans, unit_of_work() as session:
        for choice in (year, year.narrowed(account_id=ada.id), year.narrowed(bundle_digest="b")):
            for sites in (None, [SITE]):
                with site_scope.limited_to(sites):
                    figures.read(session, choice)
                    for dimension in Dimension:
                        figures.read_breakdown(session, choice, dimension)
        with site_scope.limited_to([SITE]):
            drift.read_lines(session, settings(), dt.date(2025, 12, 1))
        outcomes.find_waiting(session)
        for claimed in outcomes.claim(session, 10):
            outcomes.complete(session, claimed, None, None)
        roe = make_account("roe", Role.READER)
        report_scores.score(session, report, PeerScore.CONCUR, reader_of(roe))
        ((study_id,),) = run_sql("SELECT study_id FROM reviews WHERE id = :id", id=report)
        report_scores.read_state(session, lookup.find_signed(session, study_id), reader_of(roe))
        counts.fold(session, above=0)
    assert not scanned(plans)
    assert len(plans) > 50


def test_an_erasure_finds_the_rows_of_a_patient_by_an_index(many):
    ((patient_id,),) = run_sql("SELECT patient_id FROM studies LIMIT 1")
    with explained() as plans, unit_of_work() as session:
        erasure.erase_patient(session, identifiers.PatientId(patient_id), "request 1")
    ours = ("draft_outcomes", "report_scores", "quality_counts", "quality_days")
    assert [found for found in scanned(plans) if found[0] in ours] == []

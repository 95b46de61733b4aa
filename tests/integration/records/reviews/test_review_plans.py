"""Each query about reviews reads an index among many of them."""

import uuid

import pytest
from sqlalchemy import text

from records.database.draft_tables import Draft
from records.database.session import engine, unit_of_work
from records.database.tables import Study
from records.retention import erasure
from records.reviews import latest, lookup, readings, signing, working_texts
from records.reviews.readers import Reader
from records.states import ReadingEnd, Role, TextState
from records.workflow import identifiers
from tests.support.accounts import make_account
from tests.support.query_plans import explained, nodes
from tests.support.registered_studies import complete, draft_all, new_instance

GROWING = ("reviews", "working_texts", "readings", "drafts", "studies")

# Thirty thousand studies like the one that is there, each with a text, a reading and reviews.
MANY = """
CREATE TEMPORARY TABLE copies ON COMMIT DROP AS
SELECT n, gen_random_uuid() AS study, gen_random_uuid() AS request, gen_random_uuid() AS draft,
    gen_random_uuid() AS report
FROM generate_series(1, 30000) AS n;

INSERT INTO studies SELECT (jsonb_populate_record(s, jsonb_build_object(
    'id', study, 'study_instance_uid', '2.25.' || n, 'request_id', NULL,
    'patient_id', 'P' || n, 'accession_number', 'A' || n))).*
FROM studies s, copies WHERE s.id = :study;

INSERT INTO draft_requests SELECT (jsonb_populate_record(r, jsonb_build_object(
    'id', request, 'study_id', study, 'draft_id', draft))).*
FROM draft_requests r, copies WHERE r.study_id = :study;

INSERT INTO drafts SELECT (jsonb_populate_record(d, jsonb_build_object(
    'id', draft, 'study_id', study, 'request_id', request))).*
FROM drafts d, copies WHERE d.study_id = :study;

INSERT INTO reviews (id, study_id, draft_id, decision, reader, findings, account_id)
SELECT report, study, draft, 'SIGNED', 'Dr. Roe', 'Clear.', :account FROM copies WHERE n % 2 = 0;

INSERT INTO reviews (study_id, draft_id, decision, reader, addendum, follows_id)
SELECT study, draft, 'ADDENDUM', 'Dr. Roe', 'more', report FROM copies WHERE n % 4 = 0;

INSERT INTO working_texts (draft_id, study_id, version, findings, impression, saved_by)
SELECT draft, study, 1, 'Clear.', '', 'Dr. Roe' FROM copies WHERE n % 2 = 1;

INSERT INTO readings (study_id, draft_id, account_id, arm)
SELECT study, draft, :account, 'WITH_DRAFT' FROM copies
"""


@pytest.fixture
def many(database):
    (study,) = complete(new_instance(sop="1.2.3.1.1"))
    (draft,) = draft_all()
    make_account("roe", Role.READER)
    with engine().begin() as connection:
        account = connection.scalar(text("SELECT id FROM accounts WHERE login = 'roe'"))
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        for statement in MANY.split(";\n"):
            connection.execute(text(statement), {"study": study, "account": account})
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    return study, draft, account


def test_each_query_reads_an_index(many):
    study, draft_id, account = many
    reader, other = Reader("Dr. Roe", account), Reader("Dr. Doe")
    with explained() as plans, unit_of_work() as session:
        draft = session.get_one(Draft, draft_id)
        readings.begin(session, draft, account)
        readings.hides_draft(session, draft, account)
        readings.list_hidden(session, {uuid.uuid4(): study, draft_id: study}, account)
        readings.note_films(session, study, account)
        readings.show_draft(session, draft, account)
        working_texts.list_left(session, study, None)
        saved = working_texts.save(session, draft_id, 0, "Clear.", "Normal.", reader)
        working_texts.send_on(session, draft_id, 1, TextState.SECOND_READER, reader)
        readings.end(session, draft_id, account, ReadingEnd.LEFT)
        report = signing.sign_text(session, draft_id, 1, saved.sha256, reader)
        signing.add_addendum(session, report, "more", reader)
        signing.countersign(session, report, other)
        signing.note_signed_elsewhere(session, study, draft_id, uuid.uuid4(), "RIS")
        lookup.list_by_study(session, study)
        lookup.find_signed(session, study)
        latest.latest_reviews(session, limit=50)
    assert len(plans) > 20
    for statement, plan in plans:
        scanned = [
            node["Relation Name"]
            for node in nodes(plan)
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] in GROWING
        ]
        assert not scanned, (scanned, statement)


def test_an_erasure_takes_texts_and_readings_by_their_indexes(many):
    study, draft_id, account = many
    with unit_of_work() as session:
        working_texts.save(session, draft_id, 0, "Clear.", "", Reader("Dr. Roe", account))
        readings.begin(session, session.get_one(Draft, draft_id), account)
        patient = session.get_one(Study, study)
        one = identifiers.PatientId(patient.patient_id, patient.patient_id_issuer)
    with explained() as plans, unit_of_work() as session:
        _, deleted = erasure.erase_patient(session, one, "request 17")
    assert (deleted["working_texts"], deleted["readings"]) == (1, 1)
    for statement, plan in plans:
        for node in nodes(plan):
            is_scan = node["Node Type"] == "Seq Scan"
            assert not (is_scan and node["Relation Name"] in GROWING), statement

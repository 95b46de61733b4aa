"""What is asked of reports from elsewhere has its index, however many there are."""

import datetime as dt
from functools import partial

import pytest
from sqlalchemy import select, text

from nightdraft.bench.growth_fill import fill
from records.database.draft_tables import Draft
from records.database.report_tables import ReceivedReport
from records.database.session import engine, unit_of_work
from records.database.site_tables import DEFAULT_SITE_ID
from records.database.tables import Study
from records.reports import (
    addenda,
    differing_finals,
    earlier_studies,
    finals,
    listing,
    prior_reports,
    reading,
    signed_reports,
)
from records.reports.listing import ReportFilter
from records.reports.receiving import receive_report
from records.reviews import lookup
from records.states import WARNING, Origin, ReportStatus
from records.workflow import later_studies, site_scope, sites, study_lookup
from records.workflow.identifiers import PatientId, patient_ids
from records.workflow.patients import Patient
from tests.support.outside_reports import new_report
from tests.support.query_plans import explained, nodes

PAGE_SIZE = 20  # of so few studies, a larger page is read faster from end to end

STUDIES, REPORTS = 3_000, 20_000
TABLES = {
    "received_reports",
    "report_keys",
    "final_comparisons",
    "studies",
    "drafts",
    "draft_requests",
    "events",
}

FILL = """
INSERT INTO received_reports (identity, origin, sender, status, placer_order_number,
    filler_order_number, accession_numbers, accession_number_issuer, study_instance_uid,
    patient_id, patient_id_issuer, other_patient_ids, patient_name, patient_birth_date,
    patient_sex, procedure, modality, body_region, performed_on, findings, impression, text, author,
    received_at)
SELECT 'HL7|RIS|report|' || n, CASE WHEN n % 5000 = 1 THEN 'FHIR' ELSE 'HL7' END, 'RIS',
    CASE WHEN n % 5000 = 2 THEN 'CANCELLED' ELSE 'FINAL' END, '', '', ARRAY['X' || n], '', '',
    'P' || n / 2, '', '[]', '', '', '', 'XR CHEST', '', '', '20260101', '', '', 'Clear.', '',
    now() - make_interval(mins => n)
FROM generate_series(1, :reports) n;

INSERT INTO report_keys (report_id, kind, value)
SELECT id, 'ACCESSION', accession_numbers[1] FROM received_reports
UNION ALL SELECT id, 'PATIENT', patient_id FROM received_reports;

INSERT INTO final_comparisons (study_id, draft_id, report_id, distances, observations)
SELECT drafts.study_id, drafts.id, report.id,
    CASE WHEN row_number() OVER () % 500 > 0 THEN '{}'::jsonb END, '{}'
FROM drafts CROSS JOIN LATERAL (
    SELECT id FROM received_reports WHERE accession_numbers[1] <> drafts.text LIMIT 20
) report;
"""


def fill_many(data_dir):
    with unit_of_work() as session:
        fill(session, STUDIES, WARNING)
        for statement in FILL.strip().split(";\n"):
            values = {"reports": REPORTS} if ":reports" in statement else {}
            session.execute(text(statement), values)
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))


@pytest.fixture
def many_reports(filled_copy):
    filled_copy(fill_many)


def test_every_question_reads_an_index(many_reports, setting):
    setting(redraft_on_prior_report=True, draft_reported_studies=True)
    with unit_of_work() as session:
        draft = session.scalars(select(Draft).limit(1)).one()
        study = session.get_one(Study, draft.study_id)
        report = session.scalars(select(ReceivedReport).limit(1)).one()
        for number in ("R1", "R2"):
            received = new_report(
                report_number=number,
                patient=Patient.of_study(study),
                accession_numbers=(study.accession_number,),
                impression=f"Nodule {number}.",
            )
            receive_report(session, received)
        asked = (
            lambda: prior_reports.read_patient_reports(session, study, ()),
            lambda: reading.list_by_study(session, study),
            lambda: reading.list_comparisons(session, study.id),
            lambda: finals.find_waiting_comparison(session),
            lambda: finals.claim_comparison(session),
            lambda: finals.end_if_reported(session, study),
            lambda: finals._asked_since(session, study, report),
            lambda: lookup.find_signed(session, study.id),
            lambda: differing_finals.list_differing(session, study),
            lambda: finals.note_comparisons_of_draft(session, study.id),
            lambda: session.scalar(
                select(ReceivedReport.id).where(
                    ReceivedReport.identity == new_report().identity,
                    ReceivedReport.superseded_at.is_(None),
                )
            ),
            lambda: study_lookup.find_study_ids(session, ["A7", "a8"], ["2.25.1", ""]),
            lambda: study_lookup.find_studies_of_patient(session, [PatientId("p7")]),
            lambda: later_studies.apply_prior_report(session, patient_ids(report), (), ""),
            lambda: lookup.list_signed_studies(session, [study.id]),
            lambda: addenda.find_parent(session, "d2", {"addendum_to": "d1"}),
            lambda: addenda.take_waiting(session, "d1", {}),
            lambda: signed_reports.list_signed_reports(session, study),
            lambda: earlier_studies.list_earlier_studies(session, study.id, 3),
        )
        assert [number for number, ask in enumerate(asked) if whole_tables(ask)] == []


def whole_tables(ask):
    """The large tables that a question reads from end to end."""
    with explained() as plans:
        ask()
    assert plans
    return [
        node["Relation Name"]
        for _, plan in plans
        for node in nodes(plan)
        if node["Node Type"].endswith("Seq Scan") and node["Relation Name"] in TABLES
    ]


def test_a_page_of_finals_to_train_on_reads_an_index(many_reports, setting):
    """Whether no report may be trained on, one in ten, or each by the site's setting."""
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        middle = connection.scalar(
            text("SELECT study_id FROM final_comparisons ORDER BY study_id OFFSET 20000 LIMIT 1")
        )
        for consented in ("none", "some", "all"):
            setting(report_training_consent=consented == "all")
            if consented == "some":
                connection.execute(
                    text("UPDATE received_reports SET consent = hashtext(identity) % 10 = 0")
                )
                connection.execute(text("VACUUM (ANALYZE) received_reports"))
            with unit_of_work() as session:
                first_page = partial(reading.list_consented_finals, session, None, PAGE_SIZE)
                next_page = partial(reading.list_consented_finals, session, middle, PAGE_SIZE)
                assert whole_tables(first_page) == []
                assert whole_tables(next_page) == []
                page = next_page()
                assert page.next_after is not None
                least, most = {"none": (0, 0), "some": (1, 20), "all": (20, 20)}[consented]
                assert least <= len(page.reviews) <= most


def _limited(ask, sites_shown):
    def ask_for_some():
        with site_scope.limited_to(sites_shown):
            ask()

    return ask_for_some


def test_every_filter_of_the_list_reads_an_index(many_reports):
    day = dt.datetime.now().astimezone().date() - dt.timedelta(days=3)
    filters = {
        "all": ReportFilter(),
        "patient": ReportFilter(patient_id="p7"),
        "accession": ReportFilter(accession_number="x77"),
        "nobody": ReportFilter(patient_id="none"),
        "status": ReportFilter(status=ReportStatus.CANCELLED),
        "no such status": ReportFilter(status=ReportStatus.PRELIMINARY),
        "origin": ReportFilter(origin=Origin.FHIR),
        "no such origin": ReportFilter(origin=Origin.DICOM),
        "days": ReportFilter(from_day=day, to_day=day),
        "days before all": ReportFilter(to_day=dt.date(2020, 1, 1)),
        "patient and status": ReportFilter(patient_id="p7", status=ReportStatus.FINAL),
        "origin and days": ReportFilter(origin=Origin.FHIR, to_day=day),
    }
    with unit_of_work() as session:
        mark = listing.read_page(session, ReportFilter()).next
        report = session.scalars(select(ReceivedReport).limit(1)).one()
        questions = {
            (name, after): lambda wanted=wanted, after=after: listing.read_page(
                session, wanted, after=after
            )
            for name, wanted in filters.items()
            for after in (None, mark)
        }
        south = sites.create(session, "south").id
        for sites_shown in ([south], [DEFAULT_SITE_ID, south]):
            questions |= {
                (*key, len(sites_shown)): _limited(ask, sites_shown)
                for key, ask in questions.items()
                if len(key) == 2
            }
        questions["one"] = lambda: listing.read_report(session, report.id)
        walked = {}
        for name, ask in questions.items():
            with explained() as plans:
                ask()
            assert plans
            for _, plan in plans:
                for node in nodes(plan):
                    if node["Node Type"].endswith("Seq Scan") and node["Relation Name"] in TABLES:
                        walked[name] = node["Relation Name"]
                    if node["Node Type"] == "Sort" and node["Plan Rows"] > REPORTS / 10:
                        walked[name] = "sort"
        assert walked == {}
        assert len(listing.read_page(session, filters["status"]).reports) == 4
        assert len(listing.read_page(session, filters["patient"]).reports) == 2

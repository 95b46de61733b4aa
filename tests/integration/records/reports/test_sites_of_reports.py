"""To which site reports from elsewhere belong, and that none counts for a study of another site."""

import pytest
from sqlalchemy import select

from records.database.report_tables import ReceivedReport
from records.database.session import unit_of_work
from records.database.tables import Event, Study
from records.errors import MessageError, NotFound
from records.reports import listing, prior_reports, reading
from records.reports.listing import ReportFilter
from records.reports.receiving import ReportOutcome, receive_report
from records.states import EventKind, ReportStatus, SiteBasis
from records.workflow import site_scope
from tests.support.accounts import run_sql
from tests.support.ordered_studies import complete
from tests.support.outside_reports import new_report, receive
from tests.support.registered_studies import new_instance
from tests.support.two_sites import NORTH_AE, NORTH_RIS, make_north, make_site, site_of

SOUTH_RIS = "RIS|SOUTH"


@pytest.fixture
def north(database, data_dir):
    return make_north()


@pytest.fixture
def south(north):
    return make_site("south", ["SOUTH_CR"], [SOUTH_RIS])


def of_kind(kind):
    with unit_of_work() as session:
        return list(session.scalars(select(Event.detail).where(Event.kind == kind)))


def prior_ids(study_id):
    with unit_of_work() as session:
        study = session.get_one(Study, study_id)
        return {report.id for report in prior_reports.list_reports(session, study)}


def test_a_report_and_its_study_share_the_site_that_is_known(north):
    unknown, known = complete(
        new_instance("1.1", accession_number="A1"),
        new_instance("1.2", accession_number="A2", calling_ae=NORTH_AE),
    )
    receive(sender=NORTH_RIS, accession_numbers=("A1",))
    assert site_of("studies", unknown) == "north"
    with unit_of_work() as session:
        assert session.get_one(Study, unknown).site_basis == SiteBasis.REPORT
    result = receive(report_number="R2", accession_numbers=("A2",))
    assert (result.study_ids, site_of("received_reports", result.report_id)) == ((known,), "north")
    # Its next version stays there.
    newer = receive(report_number="R2", accession_numbers=("A2",), impression="Effusion.")
    assert newer.outcome is ReportOutcome.CORRECTED
    assert site_of("received_reports", newer.report_id) == "north"


def test_a_report_that_came_before_its_study_takes_its_site(north):
    report_id = receive(accession_numbers=("A1",)).report_id
    complete(new_instance(accession_number="A1", calling_ae=NORTH_AE))
    with unit_of_work() as session:
        from records.reports import finals

        study = session.scalars(select(Study)).one()
        finals.end_if_reported(session, study)
    assert site_of("received_reports", report_id) == "north"


def test_a_report_of_another_site_counts_for_no_study(south):
    (study_id,) = complete(new_instance(accession_number="A1", calling_ae=NORTH_AE))
    result = receive(sender=SOUTH_RIS, accession_numbers=("A1",))
    assert result.study_ids == ()
    assert of_kind(EventKind.REPORT_RECEIVED) == [
        "a report of another site names it, and does not count: by HL7"
    ]
    with unit_of_work() as session:
        study = session.get_one(Study, study_id)
        assert reading.list_by_study(session, study) == []
        assert listing.read_report(session, result.report_id).studies == []
    assert site_of("studies", study_id) == "north"


def test_a_prior_report_is_of_the_study_s_site_or_of_no_known_one(south):
    north_study, other = complete(
        new_instance("1.1", accession_number="A1", calling_ae=NORTH_AE),
        new_instance("1.2", accession_number="A2"),
    )
    own = receive(sender=NORTH_RIS, report_number="R1", accession_numbers=("X1",)).report_id
    foreign = receive(sender=SOUTH_RIS, report_number="R2", accession_numbers=("X2",)).report_id
    nobody = receive(report_number="R3", accession_numbers=("X3",)).report_id
    assert foreign is not None
    assert prior_ids(north_study) == {own, nobody}
    assert prior_ids(other) == {nobody}


def test_what_is_asked_for_a_study_is_of_its_site(north):
    with unit_of_work() as session:
        report_id = receive_report(session, new_report(), asked_for=north).report_id
    assert site_of("received_reports", report_id) == "north"


def test_nobody_sees_or_replaces_a_report_of_another_site(north, south):
    own = receive(sender=NORTH_RIS).report_id
    other = receive(sender="REST").report_id
    run_sql("UPDATE received_reports SET site_id = :south WHERE id = :id", south=south, id=other)
    filters = [
        ReportFilter(),
        ReportFilter(status=ReportStatus.FINAL),
        ReportFilter(accession_number="A0"),
    ]
    with unit_of_work() as session, site_scope.limited_to([north]):
        for wanted in filters:
            page = listing.read_page(session, wanted)
            assert [report.id for report in page.reports] == [own], wanted
        with pytest.raises(NotFound):
            listing.read_report(session, other)
    for changed in ({"impression": "x"}, {"report_number": "R9", "parent_number": "R1"}):
        with (
            pytest.raises(MessageError, match="another site"),
            unit_of_work() as session,
            site_scope.limited_to([north]),
        ):
            receive_report(session, new_report(sender="REST", **changed))
    with unit_of_work() as session:
        kept = session.scalars(select(ReceivedReport.id)).all()
    assert set(kept) == {own, other}

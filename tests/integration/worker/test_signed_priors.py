"""A report that was signed here is a prior report of later studies, by the one rule."""

import re
from dataclasses import replace

import pytest
from starlette.testclient import TestClient

import model.manifest
import model.reporter
from api.app import make_app
from model.case import unpack
from model.prompting.prompt import read_prior
from model.reporter import NullReporter
from records import hold_decisions
from records.blobs import Blobs
from records.database.draft_tables import Draft, DraftRequest
from records.database.review_tables import Review
from records.database.session import unit_of_work
from records.database.tables import Study
from records.reviews import signing
from records.reviews.readers import Reader
from records.settings import settings
from records.states import Decision, HoldReason, ReportStatus, RequestState, Stage
from records.workflow import holds, requests, withdrawals
from records.workflow.patients import Patient
from tests.support.outside_reports import receive
from tests.support.stored_studies import close_studies, phantom_images, store_image
from worker.circuit_breaker import CircuitBreaker
from worker.drafting import draft_ready
from worker.preparing import prepare_ready

SEED = 3
PATIENT = Patient(str(phantom_images(SEED)[0].PatientID), "HOSPITAL")
TEXT = "No nodule. The lungs are clear."


@pytest.fixture(autouse=True)
def _night(night, monkeypatch):
    night(max_attempts=3, draft_reported_studies=True)
    manifest = replace(model.manifest.NULL, template="context")
    monkeypatch.setattr(model.manifest, "NULL", manifest)
    monkeypatch.setattr(model.reporter, "NULL", manifest)


def store(day, accession, number, **changed):
    film = phantom_images(SEED)[0]
    film.StudyDate = film.AcquisitionDate = day
    film.AccessionNumber = accession
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(film, keyword, f"{getattr(film, keyword)}.{number}")
    return store_image(film, **({"patient": PATIENT} | changed))


def prepare():
    close_studies()
    return prepare_ready("p", 60, CircuitBreaker(Stage.PREPARE))


def draft():
    return draft_ready(NullReporter(), "d", 60, CircuitBreaker(Stage.DRAFT))


def current_draft(study):
    with unit_of_work() as session:
        return session.get_one(Draft, withdrawals.current_draft(session, study))


def sign(study, findings="The lungs are clear.", impression="No nodule."):
    draft_id = current_draft(study).id
    with unit_of_work() as session:
        return signing.sign(session, draft_id, "Dr. Roe", findings, impression)


def request_of(study):
    with unit_of_work() as session:
        return session.get_one(DraftRequest, session.get_one(Study, study).request_id)


def prior_of(study):
    return unpack(Blobs(settings().data_dir).read(request_of(study).prepared_blob)).priors


def refusals(study):
    not_taken = request_of(study).provenance["prior_reports_not_taken"]
    return [entry["reason"] for entry in not_taken]


@pytest.fixture
def earlier():
    study = store("20260105", "A0", 1)
    prepare()
    draft()
    return study


def test_a_signed_report_is_kept_with_the_later_draft_word_for_word(earlier):
    review = sign(earlier)
    later = store("20260110", "A1", 2)
    assert prepare() == 1
    assert prior_of(later).prior_report == TEXT
    draft()
    kept = current_draft(later)
    assert kept.prior_report == {
        "report_id": str(review),
        "performed_on": "20260105",
        "accession_number": "A0",
        "procedure": str(phantom_images(SEED)[0].StudyDescription),
        "signed_by": "Dr. Roe",
        "study_id": str(earlier),
        "text": TEXT,
    }
    assert read_prior(kept.prompt, "prior_report") == TEXT


def add(review, text, reader="Dr. Doe"):
    with unit_of_work() as session:
        return signing.add_addendum(session, review, text, Reader(reader))


def test_an_addendum_follows_the_report_with_its_time_and_author(earlier):
    review = sign(earlier)
    later = store("20260110", "A1", 2)
    assert prepare() == 1
    first = add(review, "The fracture was overlooked.")
    assert prepare() == 1, "what is prepared is prepared again"
    second = add(review, "Addendum 2: it was telephoned.", "Dr. Roe")
    assert prepare() == 1
    assert add(review, "The fracture was overlooked.") == first
    assert prepare() == 0, "the same words are added once"
    text = (
        "No nodule. ADDENDUM: The fracture was overlooked. Addendum 2: it was telephoned. "
        "The lungs are clear."
    )
    assert prior_of(later).prior_report == text
    draft()
    kept = current_draft(later).prior_report
    assert kept["text"] == text.replace(":", ""), "the prompt has no colons"
    assert [(one["id"], one["by"], one["text"]) for one in kept["addenda"]] == [
        (str(first), "Dr. Doe", "The fracture was overlooked."),
        (str(second), "Dr. Roe", "Addendum 2: it was telephoned."),
    ]
    with unit_of_work() as session:
        times = [session.get_one(Review, each).decided_at.isoformat() for each in (first, second)]
    assert [one["at"] for one in kept["addenda"]] == times
    add(review, "A third one.")
    assert current_draft(later).prior_report == kept, "a draft that is made stays"


def test_the_page_of_the_later_study_has_the_addenda(earlier):
    review = sign(earlier)
    add(review, "The fracture was overlooked.")
    later = store("20260110", "A1", 2)
    prepare()
    draft()
    add(review, "It was added late.", "Dr. Roe")
    with TestClient(make_app(settings()), base_url="http://localhost") as client:
        page = client.get(f"/studies/{later}").text
    shown = page[page.index("Prior report that the model was given") :]
    assert re.search(
        r"<h4>Addendum, [\d-]+ [\d:]+ \w+, Dr\. Doe</h4><p class=\"lines\">The fracture was", shown
    )
    late = re.search(
        r"<h4>Addendum, [^<]*, Dr\. Roe</h4><p class=\"lines\">(.*?)</p>(.*?)</p>", shown
    )
    assert late[1] == "It was added late."
    assert "the model was not given it" in late[2]
    assert page.count("The fracture was overlooked.") >= 2, "it was in the prompt, too"


def test_an_unsigned_draft_and_a_rejected_one_are_never_taken(earlier):
    later = store("20260110", "A1", 2)
    prepare()
    assert prior_of(later).prior_report == ""
    with unit_of_work() as session:
        signing.reject(session, current_draft(earlier).id, "Dr. Roe", "useless")
    prepare()
    assert prior_of(later).prior_report == ""
    assert refusals(later) == []


def test_the_report_of_the_study_itself_is_never_taken(earlier):
    sign(earlier)
    with unit_of_work() as session:
        study = withdrawals.lock_study(session, earlier)
        study.revision += 1
        requests.create_request(session, study)
    assert prepare() == 1
    assert prior_of(earlier).prior_report == ""
    assert refusals(earlier) == []
    # The same examination once more, under another study UID.
    again = store("20260110", "A0", 2)
    prepare()
    assert prior_of(again).prior_report == ""
    assert refusals(again) == ["SAME_EXAMINATION"]


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        ({"patient": replace(PATIENT, issuer="CLINIC")}, ["OTHER_PATIENT"]),
        ({"patient": replace(PATIENT, patient_id="P-OTHER")}, []),
        ({"accession_number": ""}, ["NO_ACCESSION_NUMBER"]),
        ({"day": "20260105"}, ["NOT_EARLIER"]),
        ({"day": "20260101"}, ["NOT_EARLIER"]),
    ],
)
def test_what_the_rule_refuses_is_refused_of_signed_reports_too(earlier, later, reason):
    sign(earlier)
    day = later.pop("day", "20260110")
    study = store(day, "A1", 2, **later)
    prepare()
    assert (prior_of(study).prior_report, refusals(study)) == ("", reason)


def send(**changed):
    return receive(
        **(
            {
                "patient": PATIENT,
                "accession_numbers": ("A0",),
                "performed_on": "20260105",
                "impression": "No nodule.",
                "text": "",
            }
            | changed
        )
    )


def test_a_signed_report_that_came_back_counts_once_as_the_one_elsewhere(earlier):
    sign(earlier)
    copy = send()
    later = store("20260110", "A1", 2)
    prepare()
    assert prior_of(later).prior_report == TEXT
    source = request_of(later).provenance["prior_report_source"]
    assert source["report_id"] == str(copy.report_id)
    assert refusals(later) == []
    # Corrected there: the correction is taken, of the two reports of one day.
    send(status=ReportStatus.CORRECTED, impression="A nodule.")
    with unit_of_work() as session:
        hold_decisions.decide(session, earlier, Decision.PROCEED, "Dr. Roe")
    prepare()
    assert prior_of(later).prior_report == "A nodule. The lungs are clear."
    assert refusals(later) == ["OLDER"]


@pytest.mark.parametrize("decision", [None, Decision.CANCEL])
def test_a_report_in_question_or_decided_against_is_not_taken(earlier, decision):
    sign(earlier)
    with unit_of_work() as session:
        holds.open_hold(session, earlier, HoldReason.SIGNED_REJECTED, "a film")
        if decision is not None:
            hold_decisions.decide(session, earlier, decision, "Dr. Roe")
    later = store("20260110", "A1", 2)
    prepare()
    assert (prior_of(later).prior_report, refusals(later)) == ("", ["HELD"])


@pytest.mark.parametrize("redraft", [False, True])
def test_what_is_prepared_or_drafted_before_the_signature(earlier, night, redraft):
    night(redraft_on_prior_report=redraft)
    drafted = store("20260109", "A1", 2)
    prepare()
    draft()
    prepared = store("20260110", "A2", 3)
    assert prepare() == 1
    sign(earlier)
    assert request_of(prepared).state == RequestState.WAITING
    assert prepare() == 1 + redraft
    assert prior_of(prepared).prior_report == TEXT
    assert request_of(earlier).state == RequestState.DRAFTED
    state = RequestState.PREPARED if redraft else RequestState.DRAFTED
    assert request_of(drafted).state == state

"""The prior report: chosen when a study is prepared, in the prompt, and kept with the draft."""

from dataclasses import replace

import pytest
from sqlalchemy import select

import model.manifest
import model.reporter
from model.case import unpack
from model.prompting.prompt import read_prior
from model.reporter import NullReporter
from records.blobs import Blobs
from records.database.draft_tables import Draft, DraftRequest
from records.database.session import unit_of_work
from records.database.tables import Event, Study
from records.settings import settings
from records.states import EventKind, ReportStatus, RequestState, Stage
from records.workflow.identifiers import PatientId
from records.workflow.patients import Patient
from tests.support.outside_reports import receive
from tests.support.stored_studies import close_studies, phantom_images, store_image
from worker import preparing
from worker.circuit_breaker import CircuitBreaker
from worker.drafting import draft_ready
from worker.preparing import prepare_ready

SEED = 3
TEXT = "No disease. The lungs are clear."


@pytest.fixture(autouse=True)
def _night(night, monkeypatch):
    # The study's own report is here, too, which would end it.
    night(max_attempts=3, draft_reported_studies=True)
    serve_template(monkeypatch, "context")


def serve_template(monkeypatch, template):
    manifest = replace(model.manifest.NULL, template=template)
    monkeypatch.setattr(model.manifest, "NULL", manifest)
    monkeypatch.setattr(model.reporter, "NULL", manifest)


@pytest.fixture
def film():
    film = phantom_images(SEED)[0]
    film.StudyDate = film.AcquisitionDate = "20260110"
    film.StudyTime = film.AcquisitionTime = "120000"
    film.AccessionNumber = "A1"
    return film


def send(number="R1", **changed):
    patient = Patient(str(phantom_images(SEED)[0].PatientID))
    return receive(**({"report_number": number, "patient": patient} | changed))


def prepare():
    close_studies()
    return prepare_ready("p", 60, CircuitBreaker(Stage.PREPARE))


def draft():
    assert draft_ready(NullReporter(), "d", 60, CircuitBreaker(Stage.DRAFT)) == 1
    with unit_of_work() as session:
        return session.scalars(select(Draft).where(Draft.superseded_at.is_(None))).one()


def request_of(study_id):
    with unit_of_work() as session:
        return session.get(DraftRequest, session.get(Study, study_id).request_id)


def prepared_priors(study_id):
    return unpack(Blobs(settings().data_dir).read(request_of(study_id).prepared_blob)).priors


def test_the_prior_is_in_the_prompt_and_kept_word_for_word(film):
    chosen = send(performed_on="20260109", procedure="XR CHEST 2 VIEWS")
    refused = {
        send("old", performed_on="20250101", accession_numbers=("A5",)).report_id: "OLDER",
        send("own", accession_numbers=("A1",)).report_id: "SAME_EXAMINATION",
        send("later", performed_on="20260111").report_id: "NOT_EARLIER",
        send("draft", status=ReportStatus.PRELIMINARY).report_id: "NOT_FINAL",
        send("knee", procedure="XR KNEE LEFT").report_id: "OTHER_REGION",
        send("blank", findings="", impression="", text="").report_id: "NO_TEXT",
    }
    study = store_image(film)
    assert prepare() == 1
    assert prepared_priors(study).prior_report == TEXT
    not_taken = request_of(study).provenance["prior_reports_not_taken"]
    assert {entry["report_id"]: entry["reason"] for entry in not_taken} == {
        str(report_id): reason for report_id, reason in refused.items()
    }
    kept = draft()
    assert kept.prior_report == {
        "report_id": str(chosen.report_id),
        "performed_on": "20260109",
        "accession_number": "A0",
        "procedure": "XR CHEST 2 VIEWS",
        "text": TEXT,
    }
    assert read_prior(kept.prompt, "prior_report") == TEXT


@pytest.mark.parametrize(
    ("performed_on", "is_prior"),
    [("20260110115900", True), ("20260110120000", False), ("20260110", False)],
)
def test_the_header_says_when_the_study_was_performed(film, performed_on, is_prior):
    send(performed_on=performed_on)
    study = store_image(film)
    prepare()
    assert prepared_priors(study).prior_report == (TEXT if is_prior else "")


def test_the_same_id_of_another_issuer_is_another_patient(film):
    patient = Patient(str(film.PatientID), "CLINIC")
    send(patient=patient)
    study = store_image(film, patient=replace(patient, issuer="HOSPITAL"))
    prepare()
    assert prepared_priors(study).prior_report == ""
    assert request_of(study).provenance["prior_reports_not_taken"][0]["reason"] == "OTHER_PATIENT"
    # An id from before a merge, of the right issuer, makes it this patient's.
    send(
        patient=Patient("NEW", "HOSPITAL"),
        other_patient_ids=(PatientId(str(film.PatientID), "HOSPITAL"),),
    )
    assert request_of(study).state == RequestState.WAITING
    prepare()
    assert prepared_priors(study).prior_report == TEXT


def test_a_template_without_a_line_for_it_gets_none_and_its_digest_stays(film, monkeypatch):
    study = store_image(film)
    serve_template(monkeypatch, "none")
    prepare()
    digest = request_of(study).inputs_digest
    send()
    prepare()
    request = request_of(study)
    assert (request.state, request.inputs_digest) == (RequestState.PREPARED, digest)
    assert prepared_priors(study).prior_report == ""
    assert "prior_report" not in request.provenance


def test_a_report_that_comes_while_a_study_is_prepared_is_not_missed(film, monkeypatch):
    study = store_image(film)
    build = preparing.build_case

    def build_and_receive(*args, **more):
        built = build(*args, **more)
        monkeypatch.setattr(preparing, "build_case", build)
        send()
        return built

    monkeypatch.setattr(preparing, "build_case", build_and_receive)
    assert prepare() == 1  # the first try was released, the second one counts
    assert prepared_priors(study).prior_report == TEXT
    assert request_of(study).attempts == 0


def test_a_report_that_comes_or_changes_before_the_draft_is_taken(film):
    study = store_image(film)
    prepare()
    send()
    assert request_of(study).state == RequestState.WAITING
    prepare()
    assert prepared_priors(study).prior_report == TEXT
    send(status=ReportStatus.CORRECTED, impression="Small effusion.")
    prepare()
    assert prepared_priors(study).prior_report == "Small effusion. The lungs are clear."
    send(status=ReportStatus.CANCELLED)
    prepare()
    assert prepared_priors(study).prior_report == ""
    with unit_of_work() as session:
        again = session.scalars(
            select(Event.detail).where(Event.kind == EventKind.PREPARE_AGAIN)
        ).all()
    assert again == ["a report of an earlier study came or changed"] * 3


@pytest.mark.parametrize("redraft", [False, True])
def test_a_report_that_comes_after_the_draft_makes_a_new_one_where_the_site_asks(
    film, night, redraft
):
    night(redraft_on_prior_report=redraft)
    study = store_image(film)
    prepare()
    first = draft()
    send()
    assert prepare() == redraft
    assert request_of(study).state == (RequestState.PREPARED if redraft else RequestState.DRAFTED)
    if redraft:
        second = draft()
        assert (second.revision, second.prior_report["text"]) == (first.revision + 1, TEXT)

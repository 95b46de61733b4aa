"""A campaign drafts an archive that is reported: without the answer, and compared with it."""

from dataclasses import replace

import pytest
from sqlalchemy import select

import model.manifest
import model.reporter
from model.reporter import NullReporter
from records.database.draft_tables import Draft, DraftRequest
from records.database.report_tables import FinalComparison
from records.database.session import unit_of_work
from records.states import Priority, Stage, VisibleState
from records.workflow.patients import Patient
from tests.support.campaigns import create, ends, of_uids, tend_all
from tests.support.outside_reports import receive
from tests.support.stored_studies import close_studies, phantom_images, store_image, visible_state
from worker.circuit_breaker import CircuitBreaker
from worker.drafting import draft_ready
from worker.final_comparisons import compare_finals
from worker.preparing import prepare_ready

SEED = 3


@pytest.fixture(autouse=True)
def _night(night, monkeypatch):
    night(max_attempts=3)
    manifest = replace(model.manifest.NULL, template="context")
    monkeypatch.setattr(model.manifest, "NULL", manifest)
    monkeypatch.setattr(model.reporter, "NULL", manifest)


@pytest.fixture
def film():
    film = phantom_images(SEED)[0]
    film.StudyDate = film.AcquisitionDate = "20260110"
    film.AccessionNumber = "A1"
    return film


def send(film, number, performed_on, text):
    return receive(
        report_number=number,
        patient=Patient(str(film.PatientID)),
        accession_numbers=(number,),
        performed_on=performed_on,
        findings="",
        impression=text,
        text=text,
    ).report_id


def work():
    close_studies()
    prepare_ready("p", 60, CircuitBreaker(Stage.PREPARE))
    draft_ready(NullReporter(), "d", 60, CircuitBreaker(Stage.DRAFT))


def test_an_archive_is_drafted_without_its_own_and_later_reports_and_compared(film):
    send(film, "E1", "20251224", "Earlier.")
    own = send(film, "A1", "20260110", "The answer.")
    send(film, "L1", "20260301", "Later.")
    study = store_image(film)
    work()
    assert visible_state(study) is VisibleState.CANCELLED  # it is reported
    uid = str(film.StudyInstanceUID)
    campaign = create(studies=of_uids(uid), skip_reported=False)
    tend_all()
    work()
    assert visible_state(study) is VisibleState.DRAFTED
    with unit_of_work() as session:
        draft = session.scalars(select(Draft)).one()
        assert draft.prior_report["text"] == "Earlier."
        assert "answer" not in draft.prompt
        assert "Later" not in draft.prompt
        assert session.scalars(select(FinalComparison.report_id)).all() == [own]
    assert compare_finals() == 1
    tend_all()
    assert ends(campaign)[uid] == ("DRAFTED", "")


def test_a_campaign_by_another_bundle_has_its_reported_studies_drafted_by_that_bundle(film):
    send(film, "A1", "20260110", "The answer.")
    study = store_image(film)
    work()
    assert visible_state(study) is VisibleState.CANCELLED
    campaign = create(
        studies=of_uids(str(film.StudyInstanceUID)), skip_reported=False, bundle="another"
    )
    tend_all()
    with unit_of_work() as session:
        request = session.scalars(select(DraftRequest)).one()
        assert (request.bundle, request.priority) == ("another", Priority.BACKLOG)
    work()  # by the bundle that is served, which is not the campaign's
    tend_all()
    assert ends(campaign) == {str(film.StudyInstanceUID): ("IN_WORK", "")}
    with unit_of_work() as session:
        assert session.scalars(select(Draft)).all() == []


def test_a_campaign_that_skips_reported_studies_drafts_and_compares_none(film):
    send(film, "A1", "20260110", "The answer.")
    study = store_image(film)
    work()
    uid = str(film.StudyInstanceUID)
    campaign = create(studies=of_uids(uid))
    tend_all()
    work()
    assert visible_state(study) is VisibleState.CANCELLED
    assert ends(campaign)[uid] == ("SKIPPED", "ALREADY_FINAL")
    assert compare_finals() == 0

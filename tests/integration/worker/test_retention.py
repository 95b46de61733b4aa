"""The sweep removes films' files; what a redraft, a film that comes again and a page do then.

Everything goes the way of the real system: the listener's filing, the sweep's work, the tasks.
"""

from __future__ import annotations

import uuid

import pytest
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless
from sqlalchemy import update
from starlette.testclient import TestClient

from api.app import make_app
from intake.dicom.filing import ReceivedFile, file_instance
from model.reporter import load_reporter
from records.blobs import Blobs, data_set_sha256
from records.campaigns import pulling
from records.database.draft_tables import DraftRequest
from records.database.session import unit_of_work
from records.database.tables import Hold, Study
from records.operations import refusals
from records.settings import settings
from records.states import CampaignKind, EventKind, FailReason, Priority, RequestState, Stage
from records.workflow import events, requests, studies
from records.workflow.registrations import Outcome
from tests.support.campaigns import create, ends, tend_all
from tests.support.dicom_senders import write_part10
from tests.support.retention import files_of, has_files, instances_of, older, sign
from tests.support.stored_studies import close_studies, phantom_images
from worker import retention
from worker.circuit_breaker import CircuitBreaker
from worker.drafting import draft_ready
from worker.preparing import prepare_ready
from worker.sweep import sweep


@pytest.fixture(autouse=True)
def _night(night):
    night(disk_stop_mb=0)


@pytest.fixture
def blobs() -> Blobs:
    return Blobs(settings().data_dir)


def file_image(image, name="x") -> Outcome:
    """File one image as the listener does."""
    blobs = Blobs(settings().data_dir)
    path = write_part10(image, blobs.incoming / f"{uuid.uuid4().hex}.dcm")
    received = ReceivedFile(
        path=path,
        sop_class_uid=image.SOPClassUID,
        sop_instance_uid=image.SOPInstanceUID,
        transfer_syntax_uid=image.file_meta.TransferSyntaxUID,
        calling_ae="PACS",
        size=path.stat().st_size,
        sha256=data_set_sha256(path),
    )
    outcome = file_instance(received, blobs, settings()).outcome
    path.unlink()
    return outcome


def draft_all() -> None:
    close_studies()
    prepare_ready("p", 60, CircuitBreaker(Stage.PREPARE))
    draft_ready(load_reporter("null"), "d", 60, CircuitBreaker(Stage.DRAFT))


def study_of(image) -> uuid.UUID:
    with unit_of_work() as session:
        return studies.get_by_uid(session, str(image.StudyInstanceUID)).id


def request_of(study: uuid.UUID) -> DraftRequest:
    with unit_of_work() as session:
        return session.get_one(DraftRequest, session.get_one(Study, study).request_id)


def redraft(study: uuid.UUID) -> None:
    """What a person's or a campaign's redraft does: a new request of the same revision."""
    with unit_of_work() as session:
        row = session.get_one(Study, study, with_for_update={"key_share": True})
        requests.create_request(session, row, priority=Priority.ROUTINE)


@pytest.fixture
def removed(blobs):
    """A phantom study that was drafted and signed, and whose file the sweep has removed."""
    (image,) = phantom_images(1)[:1]
    assert file_image(image) is Outcome.KEPT
    study = study_of(image)
    draft_all()
    assert request_of(study).state == RequestState.DRAFTED
    older(95)
    sweep()
    assert not has_files(study)
    return image, study


def test_the_sweep_removes_a_little_of_each_rule(removed, blobs, setting):
    assert list(blobs.root.rglob("*.npz")) == []
    assert list(blobs.root.rglob("*.jpg")) == []
    with unit_of_work() as session:
        refusals.record_refusal(
            session, calling_ae="CR", sop_class_uid="1", sop_instance_uid="2", reason="X",
            sentence="x",
        )  # fmt: skip
    older(11)
    sweep()
    with unit_of_work() as session:
        assert len(refusals.list_refusals(session)) == 1  # by default they are kept
    setting(retention_refusals_days=10)
    sweep()
    with unit_of_work() as session:
        assert refusals.list_refusals(session) == []
        assert refusals.count_by_reason(session) == {"X": 1}


def test_a_machine_without_the_blobs_removes_nothing(blobs, setting, tmp_path):
    (image,) = phantom_images(1)[:1]
    file_image(image)
    draft_all()
    older(95)
    setting(data_dir=tmp_path)
    retention.remove_due()
    (row,) = instances_of(study_of(image))
    assert row.bytes_removed_at is None


def test_a_redraft_without_the_file_says_what_to_do(removed):
    _, study = removed
    redraft(study)
    draft_all()
    request = request_of(study)
    assert (request.state, request.reason) == (RequestState.FAILED, FailReason.REMOVED)
    assert request.detail.startswith("The file of its film was removed on ")
    assert "from the PACS, as a campaign does" in request.detail
    with unit_of_work() as session:
        assert not session.query(Hold).all()


@pytest.mark.parametrize("form", ["the same bytes", "encoded otherwise", "with a newer name"])
def test_a_film_that_comes_again_brings_its_file_back_and_the_draft_goes_on(removed, form, blobs):
    image, study = removed
    redraft(study)
    draft_all()
    assert request_of(study).state == RequestState.FAILED
    if form == "encoded otherwise":
        image.compress(JPEGLSLossless, generate_instance_uid=False)
    if form == "with a newer name":
        image.StudyDescription = "CHEST, CORRECTED"
    assert file_image(image) is Outcome.RESTORED
    (row,) = instances_of(study)
    assert row.bytes_removed_at is None
    assert row.bytes_restored_at is not None
    if form == "with a newer name":
        with unit_of_work() as session:
            assert session.get_one(Study, study).study_description == "CHEST, CORRECTED"
    (path,) = files_of(study)
    assert blobs.find_damage(row.blob, row.size, row.sha256) is None
    assert dcmread(path).file_meta.TransferSyntaxUID == row.transfer_syntax_uid
    draft_all()
    assert request_of(study).state == RequestState.DRAFTED
    with unit_of_work() as session:
        kinds = [event.kind for event in events.timeline(session, study)]
        assert not session.query(Hold).all()
        assert session.get_one(Study, study).revision == 1
    assert kinds.count(EventKind.BYTES_RESTORED) == 1
    # It is kept for as long as when it had come for the first time.
    older(89)
    sweep()
    assert has_files(study)
    older(2)
    sweep()
    assert not has_files(study)


def test_a_film_that_comes_again_unasked_makes_no_new_draft(removed):
    image, study = removed
    assert file_image(image) is Outcome.RESTORED
    draft_all()
    with unit_of_work() as session:
        assert len(session.query(DraftRequest).all()) == 1
    assert request_of(study).state == RequestState.DRAFTED


def test_another_patient_under_the_uid_is_still_asked_about(removed):
    image, study = removed
    image.PatientName, image.PatientID = "SOMEBODY^ELSE", "OTHER-1"
    image.PatientBirthDate = "19010101"
    assert file_image(image) is Outcome.MISMATCH
    with unit_of_work() as session:
        assert [hold.reason for hold in session.query(Hold)] == ["PATIENT_MISMATCH"]
    assert [row.bytes_removed_at is None for row in instances_of(study)] == [False, True]


def test_all_films_must_be_here_again(blobs):
    images = next(images for seed in range(1, 50) if len(images := phantom_images(seed)) == 2)
    for image in images:
        file_image(image)
    study = study_of(images[0])
    draft_all()
    older(95)
    sweep()
    redraft(study)
    draft_all()
    assert "The files of 2 of 2 films were removed on " in request_of(study).detail
    assert file_image(images[0]) is Outcome.RESTORED
    assert request_of(study).state == RequestState.FAILED
    assert file_image(images[1]) is Outcome.RESTORED
    draft_all()
    assert request_of(study).state == RequestState.DRAFTED


# ---- Campaigns ----


def test_a_campaign_without_a_pacs_leaves_the_draft_that_there_is(removed):
    image, study = removed
    campaign = create(
        CampaignKind.AGAIN, source={"from_bundle": "null"}, bundle="newer", name="again"
    )
    before = request_of(study).id
    with unit_of_work() as session:
        from records.database.campaign_tables import Campaign
        from records.database.draft_tables import Draft

        digest = session.query(Draft).one().bundle_digest
        session.execute(
            update(Campaign).where(Campaign.id == campaign).values(source={"from_bundle": digest})
        )
    tend_all()
    assert ends(campaign) == {str(image.StudyInstanceUID): ("MISSING", "BYTES_REMOVED")}
    assert request_of(study).id == before


def test_a_campaign_with_a_pacs_fetches_the_film_again(removed):
    image, _ = removed
    with unit_of_work() as session:
        assert pulling.list_present(session, str(image.StudyInstanceUID)) == set()
    file_image(image)
    with unit_of_work() as session:
        assert pulling.list_present(session, str(image.StudyInstanceUID)) == {
            str(image.SOPInstanceUID)
        }


# ---- Pages ----


def test_pages_and_rest_say_that_the_file_is_gone_and_when(removed):
    image, study = removed
    sign(study)
    with TestClient(make_app(settings()), base_url="http://localhost") as client:
        (row,) = instances_of(study)
        answer = client.get(f"/studies/{study}/views/{row.id}.jpg")
        assert answer.status_code == 410
        assert "was removed here, as the rules of retention say" in answer.text
        page = client.get(f"/studies/{study}").text
        assert "was removed here, as the rules of retention say" in page
        assert f"/views/{row.id}.jpg" not in page
        record = client.get(f"/api/studies/{study}").json()
        (shown,) = record["instances"]
        assert shown["bytes_removed_at"] is not None
        assert shown["image"] is None
        assert file_image(image) is Outcome.RESTORED
        assert client.get(f"/studies/{study}/views/{row.id}.jpg").status_code == 200
        assert f"/views/{row.id}.jpg" in client.get(f"/studies/{study}").text

"""Preparing: what becomes of a study, when a person must decide, and whose fault it is."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from pydicom.encaps import encapsulate
from sqlalchemy import update

from model.case import unpack
from records import hold_decisions
from records.blobs import Blobs
from records.database.draft_tables import DraftRequest
from records.database.session import unit_of_work
from records.database.tables import Study
from records.errors import BundleUnusable, DiskFull, PartError, WorkerSick
from records.operations import alarms, scrub
from records.orders.order import OrderText
from records.settings import settings
from records.states import (
    Decision,
    EventKind,
    HoldReason,
    InstanceState,
    OrderTextSource,
    RejectionReason,
    RequestState,
    Stage,
    VisibleState,
)
from records.workflow import events, holds, rejections, studies, worklist_rows
from records.workflow.patients import Patient
from records.workflow.rejections import RejectionNote
from tests.support.dicom_images import change_coding, enlarge
from tests.support.ordered_studies import receive
from tests.support.stored_studies import (
    close_studies,
    lease_of,
    pass_lease_on,
    phantom_images,
    store_image,
    store_studies,
    visible_state,
)
from worker import preparing
from worker.circuit_breaker import CircuitBreaker
from worker.preparing import prepare_ready

PREPARED, FAILED = VisibleState.PREPARED, VisibleState.FAILED


@pytest.fixture(autouse=True)
def _night(night):
    night(max_attempts=3)


def prepare(breaker=None, **more):
    close_studies()
    return prepare_ready("p", 60, breaker or CircuitBreaker(Stage.PREPARE), **more)


def request_of(study_id):
    with unit_of_work() as session:
        return session.get(DraftRequest, session.get(Study, study_id).request_id)


def frontal_and_lateral():
    return next(images for seed in range(1, 50) if len(images := phantom_images(seed)) == 2)


def blob_paths(study_id):
    with unit_of_work() as session:
        rows = studies.list_instances(session, study_id, InstanceState.KEPT)
    return [Blobs(settings().data_dir).path(row.blob) for row in rows]


def test_a_prepared_input_holds_the_views_and_their_story():
    frontal, lateral = frontal_and_lateral()
    study = store_image(lateral)
    assert store_image(frontal) == study
    assert prepare() == 1
    row = request_of(study)
    case = unpack(Blobs(settings().data_dir).read(row.prepared_blob))
    assert case.key == row.inputs_digest
    assert [view.position for view in case.views] == ["frontal", "lateral"]
    assert case.views[0].pixels.shape == (64, 64)
    assert [view["sop_instance_uid"] for view in row.provenance["views"]] == [
        frontal.SOPInstanceUID,
        lateral.SOPInstanceUID,
    ]
    assert row.provenance["left_out"] == []
    assert row.provenance["procedure"] == frontal.StudyDescription


def test_other_objects_are_named_and_images_are_drafted():
    study = store_image(phantom_images(1)[0])
    report = phantom_images(1)[0]
    report.SOPInstanceUID += ".9"
    store_image(report, is_radiograph=False, skip_reason="It is a dose report.")
    assert prepare() == 1
    (left,) = request_of(study).provenance["left_out"]
    assert left == {
        "sop_instance_uid": report.SOPInstanceUID,
        "reason": "other_object",
        "sentence": "It is a dose report.",
    }


def reject(study, *images):
    with unit_of_work() as session:
        uid = session.get(Study, study).study_instance_uid
        note = RejectionNote(
            "1.2.3.99",
            RejectionReason.QUALITY,
            Patient(str(images[0].PatientID), "", str(images[0].PatientName)),
            tuple((uid, str(image.SOPInstanceUID)) for image in images),
            True,
            "PACS",
        )
        rejections.apply_note(session, session.get(Study, study), note)


def test_a_rejected_film_is_left_out_with_the_reason():
    frontal, lateral = frontal_and_lateral()
    study = store_image(frontal)
    store_image(lateral)
    reject(study, lateral)
    assert prepare() == 1
    (left,) = request_of(study).provenance["left_out"]
    assert left == {
        "sop_instance_uid": lateral.SOPInstanceUID,
        "reason": "rejected",
        "sentence": "It was rejected for quality reasons.",
    }


def test_a_study_whose_films_are_all_rejected_is_skipped_with_that_reason():
    frontal, lateral = frontal_and_lateral()
    study = store_image(frontal)
    store_image(lateral)
    assert prepare() == 1
    reject(study, frontal, lateral)
    assert prepare() == 0
    with unit_of_work() as session:
        row = worklist_rows.read_row(session, study)
    assert (row.state, row.reason) == (VisibleState.SKIPPED, "rejected")
    assert "rejected for quality reasons" in row.detail


def test_a_study_without_images_is_skipped_with_the_reason():
    study = store_image(
        phantom_images(1)[0], is_radiograph=False, skip_reason="It is a dose report."
    )
    assert prepare() == 0
    with unit_of_work() as session:
        row = worklist_rows.read_row(session, study)
    assert (row.state, row.reason) == (VisibleState.SKIPPED, "no_films")
    assert "dose report" in row.detail


def test_what_the_model_is_not_for_is_skipped():
    hand = phantom_images(1)[0]
    hand.BodyPartExamined = "HAND"
    hand.StudyDescription = hand.SeriesDescription = "HAND AP"
    del hand.RequestAttributesSequence, hand.ProcedureCodeSequence
    study = store_image(hand)
    assert prepare() == 0
    with unit_of_work() as session:
        assert worklist_rows.read_row(session, study).reason == "not_chest"


def test_one_unreadable_image_of_two_is_left_out_with_the_reason():
    frontal, lateral = frontal_and_lateral()
    study = store_image(frontal)
    store_image(lateral, damage=True)
    assert prepare() == 1
    (left,) = request_of(study).provenance["left_out"]
    assert (left["sop_instance_uid"], left["reason"]) == (lateral.SOPInstanceUID, "unreadable")
    assert "A film of the study could not be read." in request_of(study).provenance["notes"]


def test_a_study_whose_images_are_all_unreadable_failed_for_good():
    study = store_image(phantom_images(1)[0], damage=True)
    good = store_studies(2)[0]
    assert prepare() == 1
    with unit_of_work() as session:
        row = worklist_rows.read_row(session, study)
    assert (row.state, row.reason) == (FAILED, "UNREADABLE")
    assert "pixels" in row.detail
    assert request_of(study).attempts == 1
    assert visible_state(good) is PREPARED


def test_unreadable_images_are_no_sick_worker():
    for seed in (1, 2, 3, 4):
        store_image(phantom_images(seed)[0], damage=True)
    assert prepare() == 0
    with unit_of_work() as session:
        assert not alarms.open_alarms(session)


def unknown_chest():
    image = phantom_images(1)[0]
    image.BodyPartExamined = image.StudyDescription = image.SeriesDescription = ""
    del image.RequestAttributesSequence, image.ProcedureCodeSequence
    return image


def test_what_the_headers_leave_open_opens_one_hold():
    study = store_image(unknown_chest())
    assert prepare() == 0
    assert visible_state(study) is VisibleState.HELD
    assert prepare() == 0
    with unit_of_work() as session:
        (hold,) = holds.list_by_study(session, study)
        assert hold.reason == HoldReason.CHEST_UNKNOWN
        hold_decisions.decide(session, study, Decision.PROCEED, "a reader")
    assert prepare() == 1
    assert visible_state(study) is PREPARED
    assert "Body part not certain for every film." in request_of(study).provenance["notes"]
    with unit_of_work() as session:
        assert len(holds.list_by_study(session, study)) == 1


def test_the_same_study_has_the_same_inputs_and_others_have_others(night):
    first_study, second_study = store_studies(1, 2)
    assert prepare() == 2
    first = request_of(first_study).inputs_digest
    assert first != request_of(second_study).inputs_digest
    with unit_of_work() as session:
        row = session.get(DraftRequest, request_of(first_study).id)
        row.state = RequestState.WAITING
    assert prepare() == 1
    assert request_of(first_study).inputs_digest == first
    with unit_of_work() as session:
        session.get(DraftRequest, request_of(first_study).id).state = RequestState.WAITING
    night(indication_sources="reason")  # another prior, another key
    assert prepare() == 1
    assert request_of(first_study).inputs_digest != first


def test_a_late_image_under_preparation_belongs_to_the_next_revision():
    frontal, lateral = frontal_and_lateral()
    study = store_image(frontal)
    close_studies()
    arrived = []

    def arrive():
        if not arrived:
            arrived.append(store_image(lateral))
        return False

    close_studies()
    prepare_ready(
        "p", 60, CircuitBreaker(Stage.PREPARE), arrive
    )  # nothing is claimed: it receives again
    assert visible_state(study) is VisibleState.RECEIVING
    assert prepare() == 1
    assert len(request_of(study).provenance["views"]) == 2


def test_a_lost_lease_prepares_nothing(monkeypatch):
    study = store_studies(1)[0]

    def steal(*arguments):
        pass_lease_on(study)
        return build_case(*arguments)

    build_case = preparing.build_case
    monkeypatch.setattr(preparing, "build_case", steal)
    prepare()
    assert request_of(study).state == RequestState.WAITING
    assert lease_of(study).owner == "another"


def test_a_full_disk_costs_no_attempt(monkeypatch):
    study = store_studies(1)[0]

    def full(*_):
        raise DiskFull("the data folder's disk is full")

    monkeypatch.setattr(Blobs, "write_prepared", full)
    with pytest.raises(DiskFull):
        prepare()
    row = request_of(study)
    assert (row.attempts, row.state) == (0, RequestState.WAITING)
    assert lease_of(study) is None


def test_a_missing_data_folder_costs_no_study_an_attempt():
    study = store_studies(1)[0]
    instances = Blobs(settings().data_dir).root / "instances"
    instances.rename(instances.with_name("elsewhere"))
    with pytest.raises(PartError, match="is its disk mounted"):
        prepare()
    assert request_of(study).attempts == 0
    instances.with_name("elsewhere").rename(instances)
    assert prepare() == 1


def change(path):
    """4,000 bytes of another file, as a disk that lost its place writes them."""
    with path.open("r+b") as file:
        file.seek(-5000, 2)
        file.write(b"\x55" * 4000)


@pytest.mark.parametrize(("harm", "word"), [("GONE", "gone"), ("CHANGED", "received")])
def test_nothing_is_drafted_from_a_file_that_is_gone_or_changed(harm, word):
    study = store_studies(1)[0]
    (path,) = blob_paths(study)
    content = path.read_bytes()
    if harm == "GONE":
        path.unlink()
    else:
        change(path)
    assert prepare() == 0
    with unit_of_work() as session:
        row = worklist_rows.read_row(session, study)
        (instance,) = studies.list_instances(session, study)
        lines = [(event.kind, event.reason) for event in events.timeline(session, study)]
        assert alarms.open_alarms(session, "films")
    assert (row.state, row.reason) == (FAILED, "DAMAGED")
    assert word in row.detail
    assert instance.damage == harm
    assert lines[-2:] == [(EventKind.DAMAGED, harm), (EventKind.FAILED, "DAMAGED")]
    # Restored from a backup, it goes on by itself.
    path.write_bytes(content)
    scrub.recheck_damaged(Blobs(settings().data_dir))
    assert prepare() == 1
    assert visible_state(study) is PREPARED


def test_a_damaged_film_leaves_the_studies_beside_it_alone():
    damaged, whole = store_studies(1, 2)
    change(blob_paths(damaged)[0])
    assert prepare() == 1
    assert [visible_state(study) for study in (damaged, whole)] == [FAILED, PREPARED]


def test_a_film_that_is_healed_while_it_is_looked_at_is_prepared_again(monkeypatch):
    study = store_studies(1)[0]
    (path,) = blob_paths(study)
    blobs = Blobs(settings().data_dir)
    kept = blobs.incoming / "again"
    kept.write_bytes(path.read_bytes())
    path.unlink()
    find_damage = Blobs.find_damage

    def heal_after(self, *stored):
        harm = find_damage(self, *stored)
        if harm:
            key = blobs.keep_instance(kept)
            with unit_of_work() as session:
                studies.list_instances(session, study)[0].blob = key
        return harm

    monkeypatch.setattr(Blobs, "find_damage", heal_after)
    assert prepare() == 1
    assert visible_state(study) is PREPARED


def test_files_that_are_known_to_be_damaged_do_not_stop_the_worker(night):
    ids = store_studies(1, 2, 3, 4)
    for study in ids:
        change(blob_paths(study)[0])
    scrub.scrub_all(Blobs(settings().data_dir))
    assert prepare() == 0
    assert {visible_state(study) for study in ids} == {FAILED}


def test_many_files_gone_are_the_disks_fault(night):
    night(retry_seconds=60)
    ids = store_studies(1, 2, 3)
    for study in ids:
        blob_paths(study)[0].unlink()
    with pytest.raises(WorkerSick):
        prepare()
    assert [request_of(study).attempts for study in ids] == [0, 0, 0]
    with unit_of_work() as session:
        assert alarms.open_alarms(session, "prepare")
    assert prepare() == 0


def test_an_unexpected_error_costs_an_attempt_and_quotes_nothing(monkeypatch):
    study = store_studies(1)[0]

    def odd(*_):
        raise ValueError("ZEPPELINOWITSCH")

    monkeypatch.setattr(preparing, "build_case", odd)
    assert prepare() == 0
    with unit_of_work() as session:
        row = worklist_rows.read_row(session, study)
        details = " ".join(event.detail for event in events.timeline(session, study))
    assert (row.state, row.reason) == (FAILED, "UNEXPECTED")
    assert row.detail.startswith("ValueError at ")
    assert "ZEPPELIN" not in details


def test_without_a_bundle_nothing_is_claimed(night):
    study = store_studies(1)[0]
    for bundle in ("", "/nowhere"):
        night(bundle=bundle)
        with pytest.raises(BundleUnusable):
            prepare()
    with unit_of_work() as session:
        kinds = [event.kind for event in events.timeline(session, study)]
    assert EventKind.CLAIMED not in kinds


def test_only_requests_of_this_bundle_are_claimed():
    study = store_studies(1)[0]
    close_studies()
    with unit_of_work() as session:
        session.get(DraftRequest, request_of(study).id).bundle = "another's digest"
    assert prepare() == 0


def test_a_film_that_shows_nothing_waits_for_a_person_and_its_picture_is_kept():
    film = phantom_images(1)[0]
    film.PixelData = b"\0" * len(film.PixelData)
    study = store_image(film)
    assert prepare() == 0
    assert visible_state(study) is VisibleState.HELD
    blobs = Blobs(settings().data_dir)
    with unit_of_work() as session:
        (hold,) = holds.list_by_study(session, study)
        assert hold.reason == HoldReason.IMAGE_EMPTY
        (instance,) = studies.list_instances(session, study, InstanceState.KEPT)
        assert (blobs.read_picture(instance.blob) or b"")[:2] == b"\xff\xd8"
        hold_decisions.decide(session, study, Decision.PROCEED, "Dr. Roe")
    assert prepare() == 1
    assert "A film of the study shows nothing." in request_of(study).provenance["notes"]
    blobs.remove(instance.blob)
    assert blobs.read_picture(instance.blob) is None


def test_a_film_that_asks_for_too_much_fails_alone():
    """Its neighbours are prepared, and the reason says what it was."""
    film = phantom_images(2)[0]
    data = bytes(
        imagecodecs.jpeg2k_encode(np.zeros((32, 32), np.uint8), level=0, codecformat="j2k")
    )
    film.Rows = film.Columns = 6000
    film.BitsAllocated = film.BitsStored = 8
    film.HighBit = 7
    film.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.90"
    film.PixelData = encapsulate([change_coding(enlarge(data, 6000), precincts=b"\x11" * 6)])
    film["PixelData"].is_undefined_length = True
    (good,), bad, (last,) = store_studies(1), store_image(film), store_studies(3)
    assert prepare() == 2
    assert visible_state(good) is PREPARED
    assert visible_state(last) is PREPARED
    assert visible_state(bad) is FAILED
    assert request_of(bad).attempts == 1
    assert "precincts" in request_of(bad).detail


def order_for(study_id, text, **changed):
    """An order for a phantom's study comes."""
    with unit_of_work() as session:
        row = session.get(Study, study_id)
        patient, number = Patient.of_study(row), row.accession_number
    why = OrderText(OrderTextSource.REASON, text)
    receive(patient=patient, accession_numbers=(number,), texts=(why,), **changed)


def test_the_text_of_an_order_is_read_before_that_of_the_header():
    (study,) = store_studies(1)
    order_for(study, "Fever since Monday.")
    assert prepare() == 1
    row = request_of(study)
    case = unpack(Blobs(settings().data_dir).read(row.prepared_blob))
    assert case.priors.indication == row.provenance["indication"] == "Fever since Monday."
    assert row.provenance["indication_source"] == "order_reason"
    taken = [text["taken"] for text in row.provenance["indications"]]
    assert taken == [True] + [False] * (len(taken) - 1)
    assert all(text["at"] for text in row.provenance["indications"])
    digest = row.inputs_digest
    order_for(study, "Cough.")
    assert request_of(study).state == RequestState.WAITING
    assert prepare() == 1
    assert request_of(study).inputs_digest != digest


def test_an_order_that_comes_while_a_study_is_prepared_is_not_missed(monkeypatch):
    (study,) = store_studies(1)
    build = preparing.build_case
    calls = []

    def build_slowly(*arguments):
        result = build(*arguments)
        calls.append(result)
        if len(calls) == 1:
            order_for(study, "It came meanwhile.")
        return result

    monkeypatch.setattr(preparing, "build_case", build_slowly)
    assert prepare() == 1
    assert len(calls) == 2
    assert request_of(study).provenance["indication"] == "It came meanwhile."
    assert request_of(study).attempts == 0


def test_a_study_that_waited_in_vain_says_so(setting):
    setting(order_wait_minutes="*=10")
    (study,) = store_studies(1)
    assert prepare() == 0
    with unit_of_work() as session:
        session.execute(update(DraftRequest).values(not_before=None, waits_for_order=False))
    assert prepare() == 1
    note = "No order came within 10 min: it is drafted without one."
    assert note in request_of(study).provenance["notes"]


def test_an_order_of_another_patient_that_the_sweep_did_not_see_is_held(monkeypatch):
    (study,) = store_studies(1)
    close_studies()
    with unit_of_work() as session:
        number = session.get(Study, study).accession_number
    with monkeypatch.context() as patched:
        patched.setattr("records.orders.matching.find_studies", lambda *_: [])
        receive(accession_numbers=(number,))
    assert prepare() == 0
    assert visible_state(study) is VisibleState.HELD
    assert lease_of(study) is None

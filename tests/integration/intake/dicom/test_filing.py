"""Filing: what the listener does with objects that come again, and with rejection notes."""

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless

from intake.dicom import rejection_note
from intake.dicom.filing import ObjectRefused
from records import hold_decisions
from records.database.session import unit_of_work
from records.orders import effects
from records.states import Decision, HoldReason, InstanceState, VisibleState
from records.workflow import rejections, studies, worklist_rows
from records.workflow.registrations import Outcome
from tests.support.dicom_senders import make_image
from tests.support.filed_objects import file_dataset, file_sample, make_note
from tests.support.listener_state import kept_files, read_rows, read_study
from tests.support.ordered_studies import close, receive
from worker.comparing import compare_waiting

pytestmark = pytest.mark.usefixtures("database", "data_dir")


@pytest.fixture(autouse=True)
def _room(setting):
    setting(disk_stop_mb=0, disk_warn_mb=0)


def states():
    return {row.sop_instance_uid: row.state for row in read_rows()}


def held_reasons(uid="1.2.3"):
    with unit_of_work() as session:
        return worklist_rows.read_row(session, studies.get_by_uid(session, uid).id).hold_reasons


def test_the_sample_of_a_rejected_film(samples):
    folder = samples / "cases" / "rejected_film"
    (study_id,) = {file_sample(folder / "1_film.dcm").study_id}
    file_sample(folder / "2_note.dcm")
    with unit_of_work() as session:
        assert [row.state for row in studies.list_instances(session, study_id)] == [
            InstanceState.REJECTED,
            InstanceState.SKIPPED,
        ]
        assert worklist_rows.read_row(session, study_id).state is VisibleState.RECEIVING


def test_the_sample_of_another_encoding_is_a_repeat(samples, data_dir):
    folder = samples / "cases" / "reencoded_lengths"
    file_sample(folder / "1_undefined.dcm")
    assert file_sample(folder / "2_explicit.dcm").outcome is Outcome.REPEATED
    assert len(kept_files(data_dir)) == 1


def test_the_sample_of_another_spelling_is_one_patient(samples):
    folder = samples / "cases" / "same_person_middle_name"
    file_sample(folder / "1_pa.dcm")
    registration = file_sample(folder / "2_lat.dcm")
    with unit_of_work() as session:
        row = worklist_rows.read_row(session, registration.study_id)
    assert (row.image_count, row.hold_reasons, row.patient_name) == (2, (), "PHANTOM^JANE")


def test_the_sample_of_a_moved_film_is_taken_by_a_decision(samples):
    folder = samples / "cases" / "moved_to_right_patient"
    wrong = file_sample(folder / "1_wrong.dcm").study_id
    right = file_sample(folder / "2_right.dcm").study_id
    with unit_of_work() as session:
        hold_decisions.decide(session, right, Decision.TAKE_NEW, "Dr. Roe")
        rows = {study: worklist_rows.read_row(session, study) for study in (wrong, right)}
    assert (rows[wrong].image_count, rows[right].image_count) == (0, 1)
    assert rows[wrong].hold_reasons == rows[right].hold_reasons == ()


def test_a_film_that_comes_decompressed_is_compared_by_a_worker(data_dir):
    pixels = (np.arange(4096).reshape(64, 64) * 7 % 4096).astype(np.uint16)
    image = {
        "sop": "1.2.3.1.1",
        "pixels": pixels.tobytes(),
        "Rows": 64,
        "Columns": 64,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
    }
    compressed = make_image(**image)
    compressed.compress(JPEG2000Lossless, generate_instance_uid=False)
    file_dataset(compressed)
    assert file_dataset(make_image(**image)).outcome is Outcome.UNCOMPARED
    assert held_reasons() == ()
    assert compare_waiting() == 1
    assert (states(), held_reasons()) == ({"1.2.3.1.1": InstanceState.KEPT}, ())
    assert len(kept_files(data_dir)) == 1
    other = make_image(**(image | {"pixels": (pixels ^ 1).tobytes()}))
    file_dataset(other)
    assert compare_waiting() == 1
    assert held_reasons() == (HoldReason.CONFLICTING_BYTES,)


def test_a_corrected_name_on_the_same_film_is_an_update():
    film = make_image(sop="1.2.3.1.1")
    file_dataset(film)
    film.PatientName = "PHANTOM^MARRIED"
    registration = file_dataset(film)
    assert registration.outcome is Outcome.UPDATED
    with unit_of_work() as session:
        row = worklist_rows.read_row(session, registration.study_id)
    assert (row.patient_name, row.hold_reasons) == ("PHANTOM^MARRIED", ())


def requests(*numbers):
    items = [Dataset() for _ in numbers]
    for item, number in zip(items, numbers, strict=True):
        item.AccessionNumber = number
    return Sequence(items)


def test_accession_numbers_of_the_requests_are_kept_with_their_issuer():
    """(0040,0275)>(0008,0050) and (0008,0051): one study may answer several orders."""
    film = make_image(sop="1.2.3.1.1", AccessionNumber="A1")
    film.RequestAttributesSequence = requests("a1 ", "b7", "", "C8\x00", "b7")
    issuer = Dataset()
    issuer.UniversalEntityID = "1.2.276"
    film.IssuerOfAccessionNumberSequence = Sequence([issuer])
    file_dataset(film)
    study = read_study()
    assert study.requested_accession_numbers == ["B7", "C8"]
    assert (study.accession_number, study.accession_number_issuer) == ("A1", "1.2.276")
    # Those of a second film come beside them.
    film.SOPInstanceUID = "1.2.3.1.2"
    film.RequestAttributesSequence = requests("D9")
    file_dataset(film)
    assert read_study().requested_accession_numbers == ["B7", "C8", "D9"]


def test_a_corrected_accession_number_takes_the_order_along():
    wrong = receive(placer_order_number="1", accession_numbers=("A1",))
    right = receive(placer_order_number="2", accession_numbers=("A2",))
    film = make_image(sop="1.2.3.1.1", AccessionNumber="A1")
    study_id = file_dataset(film).study_id
    close()
    with unit_of_work() as session:
        (order,) = effects.counting_orders(session, study_id)
    assert order.id == wrong.order_id
    film.AccessionNumber = "A2"
    assert file_dataset(film).outcome is Outcome.UPDATED
    with unit_of_work() as session:
        (order,) = effects.counting_orders(session, study_id)
    assert order.id == right.order_id


def test_a_film_with_other_pixels_asks_a_person():
    file_dataset(make_image(sop="1.2.3.1.1"))
    file_dataset(make_image(sop="1.2.3.1.1", pixels=b"\1\0" * 64))
    assert held_reasons() == (HoldReason.CONFLICTING_BYTES,)


def test_a_note_is_taken_where_other_objects_are_refused(setting):
    setting(other_objects="refuse")
    film = make_image(sop="1.2.3.1.1")
    file_dataset(film)
    with pytest.raises(ObjectRefused):
        file_dataset(make_note(film, title="113000"))
    file_dataset(make_note(film))
    assert states() == {"1.2.3.1.1": InstanceState.REJECTED, "1.2.3.99": InstanceState.SKIPPED}


@pytest.mark.parametrize(("title", "scheme"), [("113000", "DCM"), ("113001", "99LOCAL"), ("", "")])
def test_a_title_that_rejects_nothing(title, scheme):
    film = make_image(sop="1.2.3.1.1")
    file_dataset(film)
    file_dataset(make_note(film, title=title, scheme=scheme))
    assert states()["1.2.3.1.1"] == InstanceState.KEPT
    assert held_reasons() == ()


@pytest.mark.parametrize("scheme", ["DCM ", "dcm", ""])
def test_a_title_whose_scheme_is_written_otherwise_rejects(scheme):
    film = make_image(sop="1.2.3.1.1")
    file_dataset(film)
    file_dataset(make_note(film, title="113001", scheme=scheme))
    assert states()["1.2.3.1.1"] == InstanceState.REJECTED


def test_a_note_may_list_films_as_other_evidence():
    first, second = make_image(sop="1.2.3.1.1"), make_image("4.5.6", sop="4.5.6.1.1")
    file_dataset(first)
    file_dataset(second)
    note = make_note(first)
    other = make_note(second).CurrentRequestedProcedureEvidenceSequence
    note.PertinentOtherEvidenceSequence = other
    file_dataset(note)
    assert states()["4.5.6.1.1"] == states()["1.2.3.1.1"] == InstanceState.REJECTED
    assert held_reasons() == ()


def test_a_note_may_name_films_of_several_studies():
    first, second = make_image(sop="1.2.3.1.1"), make_image("4.5.6", sop="4.5.6.1.1")
    file_dataset(first)
    file_dataset(second)
    note = make_note(first)
    other = make_note(second)
    note.CurrentRequestedProcedureEvidenceSequence.extend(
        other.CurrentRequestedProcedureEvidenceSequence
    )
    file_dataset(note)
    assert states()["4.5.6.1.1"] == states()["1.2.3.1.1"] == InstanceState.REJECTED


def empty_evidence(note):
    note.CurrentRequestedProcedureEvidenceSequence = Sequence([])


def invalid_uid(note):
    evidence = note.CurrentRequestedProcedureEvidenceSequence[0]
    evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence.append(Dataset())


@pytest.mark.parametrize("damage", [empty_evidence, invalid_uid])
def test_a_note_that_cannot_be_read_whole_asks_a_person(damage):
    film = make_image(sop="1.2.3.1.1")
    file_dataset(film)
    note = make_note(film)
    damage(note)
    assert file_dataset(note).outcome is Outcome.SKIPPED
    assert held_reasons() == (HoldReason.REJECTION_UNCLEAR,)


@pytest.mark.parametrize("limit", ["MAX_NOTE_BYTES", "MAX_IMAGES"])
def test_a_note_over_the_limits_asks_a_person(limit, monkeypatch):
    films = [make_image(sop=f"1.2.3.1.{number}") for number in range(3)]
    file_dataset(films[0])
    monkeypatch.setattr(rejection_note, limit, 2)
    file_dataset(make_note(*films))
    assert held_reasons() == (HoldReason.REJECTION_UNCLEAR,)


def test_the_bytes_of_a_film_that_comes_back_are_kept_once(data_dir):
    film = make_image(sop="1.2.3.1.1")
    file_dataset(film)
    file_dataset(make_note(film, title="113039"))
    assert file_dataset(film).outcome is Outcome.REINSTATED
    assert len(kept_files(data_dir)) == 2
    with unit_of_work() as session:
        (rejection,) = rejections.list_by_study(session, "1.2.3")
    assert rejection.ended_by == "the film came again"

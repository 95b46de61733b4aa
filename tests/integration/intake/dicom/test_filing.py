"""Filing: what the listener does with rejection notes, as files."""

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from intake.dicom import rejection_note
from intake.dicom.filing import ObjectRefused
from records.database.session import unit_of_work
from records.states import HoldReason, InstanceState, VisibleState
from records.workflow import rejections, studies, worklist
from records.workflow.studies import Outcome
from tests.support.dicom_senders import make_image
from tests.support.filed_objects import file_dataset, file_sample, make_note
from tests.support.listener_state import kept_files, read_rows

pytestmark = pytest.mark.usefixtures("database", "data_dir")


@pytest.fixture(autouse=True)
def _room(setting):
    setting(disk_stop_mb=0, disk_warn_mb=0)


def states():
    return {row.sop_instance_uid: row.state for row in read_rows()}


def held_reasons(uid="1.2.3"):
    with unit_of_work() as session:
        return worklist.read_row(session, studies.get_by_uid(session, uid).id).hold_reasons


def test_the_sample_of_a_rejected_film(samples):
    folder = samples / "cases" / "rejected_film"
    (study_id,) = {file_sample(folder / "1_film.dcm").study_id}
    file_sample(folder / "2_note.dcm")
    with unit_of_work() as session:
        assert [row.state for row in studies.list_instances(session, study_id)] == [
            InstanceState.REJECTED,
            InstanceState.SKIPPED,
        ]
        assert worklist.read_row(session, study_id).state is VisibleState.RECEIVING


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

"""Rejection notes: before, with and after the film; twice; of another patient; taken back."""

from dataclasses import replace

import pytest

from records import hold_decisions
from records.database.session import unit_of_work
from records.errors import NotAllowed
from records.reviews import signing
from records.states import (
    Decision,
    EventKind,
    HoldReason,
    InstanceState,
    RejectionReason,
    Stage,
    VisibleState,
)
from records.workflow import (
    events,
    holds,
    rejections,
    studies,
    withdrawals,
    worklist_rows,
)
from records.workflow.registrations import Outcome
from records.workflow.rejections import RejectionNote
from tests.support.registered_studies import (
    OTHER_PATIENT,
    PATIENT,
    claim,
    complete,
    draft_all,
    new_instance,
    prepare,
    register,
    save,
)

pytestmark = pytest.mark.usefixtures("database")

FILM, SECOND = "1.2.3.1.1", "1.2.3.1.2"
SAFETY, EXPIRED = RejectionReason.PATIENT_SAFETY, RejectionReason.RETENTION_EXPIRED


def new_note(*films, reason=SAFETY, study="1.2.3", sop="1.2.3.99", patient=PATIENT, whole=True):
    images = tuple((study, film) for film in films)
    return new_instance(
        study,
        sop=sop,
        content=f"{sop} {images}",
        patient=patient,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.59",
        modality="KO",
        is_radiograph=False,
        skip_reason="A note.",
        rejects=RejectionNote(sop, reason, patient, images, whole, "PACS"),
    )


def row_of(study_id):
    with unit_of_work() as session:
        return worklist_rows.read_row(session, study_id)


def states_of(study_id):
    with unit_of_work() as session:
        return {
            (row.sop_instance_uid, row.state) for row in studies.list_instances(session, study_id)
        }


def kinds_of(study_id):
    with unit_of_work() as session:
        return [event.kind for event in events.timeline(session, study_id)]


def film(sop=FILM, study="1.2.3", **changed):
    return new_instance(study, sop=sop, content=sop, **changed)


@pytest.mark.parametrize("order", ["note first", "film first", "in one transaction"])
def test_a_rejected_film_is_not_drafted_from(order):
    for reason in RejectionReason:
        study = f"1.2.{reason}"
        rejected, kept = film(f"{study}.1", study=study), film(f"{study}.2", study=study)
        note = new_note(f"{study}.1", reason=reason, study=study, sop=f"{study}.99")
        if order == "in one transaction":
            register(rejected, kept, note)
        else:
            arrivals = [note, rejected, kept] if order == "note first" else [rejected, kept, note]
            for arrival in arrivals:
                register(arrival)
        (study_id,) = complete(kept)
        assert states_of(study_id) == {
            (f"{study}.1", InstanceState.REJECTED),
            (f"{study}.2", InstanceState.KEPT),
            (f"{study}.99", InstanceState.SKIPPED),
        }
        assert row_of(study_id).state is VisibleState.WAITING


def test_a_draft_that_is_there_is_withdrawn_with_the_note():
    for reason in RejectionReason:
        study = f"1.2.{reason}"
        rejected, kept = film(f"{study}.1", study=study), film(f"{study}.2", study=study)
        (study_id,) = complete(rejected, kept)
        (old,) = draft_all()
        register(new_note(f"{study}.1", reason=reason, study=study, sop=f"{study}.99"))
        row = row_of(study_id)
        assert (row.draft_id, row.revision, row.state) == (None, 2, VisibleState.RECEIVING)
        with unit_of_work() as session:
            lines = events.timeline(session, study_id)
            (line,) = [event for event in lines if event.kind == EventKind.WITHDRAWN]
        assert reason in line.detail
        complete(kept)
        (new,) = draft_all()
        assert new != old
        assert row_of(study_id).draft_id == new


def test_a_worker_that_drafts_the_film_cannot_save():
    complete(film())
    (lease,) = claim()
    prepare(lease)
    (lease,) = claim(Stage.DRAFT)
    register(new_note(FILM))
    assert save(lease) is None


def test_a_note_that_comes_twice_rejects_once():
    (study_id,) = complete(film())
    draft_all()
    register(new_note(FILM), new_note(FILM))
    assert row_of(study_id).revision == 2
    assert kinds_of(study_id).count(EventKind.IMAGE_REJECTED) == 1


def test_a_note_for_a_study_that_never_comes_is_kept():
    (noted,) = register(new_note("9.9", study="9"))
    with unit_of_work() as session:
        (rejection,) = rejections.list_by_study(session, "9")
    assert (rejection.sop_instance_uid, rejection.reason) == ("9.9", SAFETY)
    assert row_of(noted.study_id).hold_reasons == ()


@pytest.mark.parametrize("order", [0, 1])
def test_a_note_of_another_patient_rejects_nothing_and_asks(order):
    arrivals = [film(), new_note(FILM, study="1.2.3", patient=OTHER_PATIENT)]
    if order:
        # The note lies in a study of its own patient and names a film of this one.
        note = new_note(FILM, patient=OTHER_PATIENT)
        arrivals = [
            new_instance(
                "7.7",
                sop=note.sop_instance_uid,
                patient=OTHER_PATIENT,
                is_radiograph=False,
                rejects=note.rejects,
            ),
            film(),
        ]
    for arrival in arrivals:
        register(arrival)
    with unit_of_work() as session:
        study_id = studies.get_by_uid(session, "1.2.3").id
    assert (FILM, InstanceState.KEPT) in states_of(study_id)
    assert HoldReason.REJECTION_UNCLEAR in row_of(study_id).hold_reasons


@pytest.mark.parametrize("order", [0, 1])
def test_a_note_with_a_name_that_was_corrected_since_rejects(order):
    married = replace(PATIENT, name="MARRIED^ONE")
    arrivals = [film(), new_note(FILM, patient=married)]
    study_id = None
    for arrival in arrivals[:: -1 if order else 1]:
        (registered,) = register(arrival)
        study_id = registered.study_id
    assert (FILM, InstanceState.REJECTED) in states_of(study_id)
    assert HoldReason.REJECTION_UNCLEAR not in row_of(study_id).hold_reasons


def test_a_person_applies_a_note_of_another_patient():
    (study_id,) = complete(film(), film(SECOND))
    draft_all()
    register(new_note(FILM, study="1.2.3", patient=OTHER_PATIENT))
    with unit_of_work() as session:
        assert hold_decisions.decide(session, study_id, Decision.TAKE_NEW, "Dr. Roe") == 1
    assert (FILM, InstanceState.REJECTED) in states_of(study_id)
    assert (SECOND, InstanceState.KEPT) in states_of(study_id)
    row = row_of(study_id)
    assert (row.revision, row.draft_id, row.hold_reasons) == (2, None, ())  # a new draft is made
    register(film())
    assert (FILM, InstanceState.KEPT) not in states_of(study_id)
    assert row_of(study_id).hold_reasons == ()


def test_a_person_ignores_a_note_of_another_patient():
    (study_id,) = complete(film())
    (draft,) = draft_all()
    register(new_note(FILM, study="1.2.3", patient=OTHER_PATIENT))
    with unit_of_work() as session:
        assert hold_decisions.decide(session, study_id, Decision.PROCEED, "Dr. Roe") == 1
        (rejection,) = rejections.list_by_study(session, "1.2.3")
        assert rejection.ended_by == "Dr. Roe"
    # Nobody is asked once more when the film or the note comes again.
    register(film(), new_note(FILM, study="1.2.3", patient=OTHER_PATIENT))
    row = row_of(study_id)
    assert (row.draft_id, row.hold_reasons) == (draft, ())


def test_a_note_that_names_no_film_that_counts_cannot_be_applied():
    (study_id,) = complete(film(), film(SECOND), new_note(FILM, whole=False))
    with unit_of_work() as session, pytest.raises(NotAllowed, match="no film"):
        hold_decisions.decide(session, study_id, Decision.TAKE_NEW, "Dr. Roe")
    assert row_of(study_id).hold_reasons == (HoldReason.REJECTION_UNCLEAR,)


def test_a_note_that_was_not_read_whole_asks():
    (study_id,) = complete(film(), film(SECOND), new_note(FILM, whole=False))
    assert row_of(study_id).hold_reasons == (HoldReason.REJECTION_UNCLEAR,)
    assert (FILM, InstanceState.REJECTED) in states_of(study_id)


@pytest.mark.parametrize("content", ["the same", "other bytes"])
def test_a_rejected_film_that_is_sent_again_stays_rejected(content):
    register(film(), new_note(FILM))
    again = new_instance(sop=FILM, content=FILM if content == "the same" else content)
    (registered,) = register(again)
    assert registered.outcome in (Outcome.REPEATED, Outcome.REJECTED)
    assert (FILM, InstanceState.KEPT) not in states_of(registered.study_id)
    assert row_of(registered.study_id).hold_reasons == ()


@pytest.mark.parametrize("content", ["the same", "other bytes"])
def test_a_film_whose_retention_was_over_may_come_back(content):
    (study_id,) = complete(film())
    register(new_note(FILM, reason=EXPIRED))
    again = new_instance(sop=FILM, content=FILM if content == "the same" else content)
    (registered,) = register(again)
    assert registered.outcome.keeps_blob == (content != "the same")
    assert (FILM, InstanceState.KEPT) in states_of(study_id)
    register(new_note(FILM, reason=SAFETY, sop="1.2.3.98"))  # and may be rejected again
    assert (FILM, InstanceState.KEPT) not in states_of(study_id)


def test_the_film_counts_in_another_study():
    register(film(), new_note(FILM, reason=RejectionReason.WORKLIST_ENTRY))
    (moved,) = register(new_instance("4.5.6", sop=FILM, content=FILM, patient=OTHER_PATIENT))
    assert moved.outcome is Outcome.KEPT
    assert row_of(moved.study_id).hold_reasons == ()


def test_a_signed_report_is_not_touched_and_a_person_is_asked():
    (study_id,) = complete(film())
    (draft,) = draft_all()
    with unit_of_work() as session:
        signing.sign(session, draft, "Dr. Roe", "clear.", "normal.")
    register(new_note(FILM))
    row = row_of(study_id)
    assert (row.draft_id, row.revision) == (draft, 1)
    assert (row.state, row.hold_reasons) == (VisibleState.HELD, (HoldReason.SIGNED_REJECTED,))
    assert (FILM, InstanceState.REJECTED) in states_of(study_id)
    with unit_of_work() as session:
        with pytest.raises(NotAllowed, match="signed"):
            withdrawals.withdraw(session, study_id, "a reader", "why")
        hold_decisions.decide(session, study_id, Decision.PROCEED, "a reader")
    assert row_of(study_id).draft_id == draft


def test_a_person_takes_the_rejection_back():
    (study_id,) = complete(film())
    draft_all()
    register(new_note(FILM))
    with unit_of_work() as session:
        assert rejections.reinstate(session, study_id, "Dr. Roe", "the wrong film") == 1
    assert (FILM, InstanceState.KEPT) in states_of(study_id)
    register(new_note(FILM))  # the same note once more does not undo what a person decided
    assert (FILM, InstanceState.KEPT) in states_of(study_id)
    complete(film(SECOND))
    draft_all()
    assert row_of(study_id).state is VisibleState.DRAFTED
    with unit_of_work() as session:
        (rejection,) = rejections.list_by_study(session, "1.2.3")
        assert rejection.ended_by == "Dr. Roe"
        with pytest.raises(NotAllowed, match="no film"):
            rejections.reinstate(session, study_id, "Dr. Roe")


def test_what_a_person_cancelled_stays_cancelled():
    (study_id,) = complete(film(), film(SECOND))
    draft_all()
    with unit_of_work() as session:
        withdrawals.withdraw(session, study_id, "Dr. Roe", "another patient's words")
    row = row_of(study_id)
    assert (row.state, row.draft_id, row.reason) == (VisibleState.CANCELLED, None, "WITHDRAWN")
    assert row.detail == "withdrawn by Dr. Roe: another patient's words"
    register(new_note(FILM))
    complete(film(SECOND))
    assert row_of(study_id).state is VisibleState.CANCELLED
    assert row_of(study_id).reason == "WITHDRAWN"


def test_a_withdrawn_study_is_drafted_again_by_retry():
    (study_id,) = complete(film())
    (draft,) = draft_all()
    with unit_of_work() as session:
        withdrawals.withdraw(session, study_id, "Dr. Roe", "why", draft)
        studies.requests.retry(session, study_id=study_id)
    assert row_of(study_id).state is VisibleState.WAITING
    draft_all()
    assert row_of(study_id).state is VisibleState.DRAFTED


@pytest.mark.parametrize(("by", "why"), [("", "why"), ("Dr. Roe", " ")])
def test_a_withdrawal_says_who_and_why(by, why):
    (study_id,) = complete(film())
    draft_all()
    with unit_of_work() as session, pytest.raises(NotAllowed, match="somebody"):
        withdrawals.withdraw(session, study_id, by, why)


def test_a_draft_is_withdrawn_while_a_hold_is_open_or_images_come():
    (study_id,) = complete(film())
    (draft,) = draft_all()
    register(film(SECOND))  # late: receiving again
    with unit_of_work() as session:
        holds.open_hold(session, study_id, HoldReason.CHEST_UNKNOWN, "a question")
        assert withdrawals.withdraw(session, study_id, "Dr. Roe", "why") == draft
        with pytest.raises(NotAllowed, match="no draft"):
            withdrawals.withdraw(session, study_id, "Dr. Roe", "why")
    assert row_of(study_id).draft_id is None
    assert row_of(study_id).reason == "WITHDRAWN"


def test_another_draft_than_was_looked_at_is_not_withdrawn():
    (study_id,) = complete(film())
    (old,) = draft_all()
    complete(film(SECOND))
    draft_all()
    with unit_of_work() as session, pytest.raises(NotAllowed, match="looked at"):
        withdrawals.withdraw(session, study_id, "Dr. Roe", "why", old)

"""Patients are corrected, merged and moved: orders, reports, studies and holds move along."""

import pytest
from sqlalchemy import select

from records.database.draft_tables import Draft
from records.database.order_tables import Order, OrderChange, PatientAlias, StudyOrder
from records.database.report_tables import ReceivedReport, ReportKey
from records.database.session import unit_of_work
from records.database.tables import Hold, Instance, Study, StudyChange
from records.errors import MessageError, NotFound
from records.orders.order import OrderText
from records.patient_changes import (
    PatientChange,
    correct_patient,
    merge_patients,
    move_visit,
    undo_merge,
)
from records.reports.receiving import receive_report
from records.reports.report import OutsideReport
from records.reviews import signing
from records.states import (
    ChangeOrigin,
    HoldReason,
    MatchState,
    OrderTextSource,
    Origin,
    ReportStatus,
)
from records.workflow import holds
from records.workflow.identifiers import PatientId
from records.workflow.patient_aliases import list_ids, resolve_id
from records.workflow.patients import Patient
from records.workflow.registrations import Outcome
from tests.support.ordered_studies import close, complete, draft, receive
from tests.support.registered_studies import OTHER_PATIENT, PATIENT, new_instance, register

MARRIED = Patient("P-1", "", "PHANTOM^MARRIED", "19700101", "F")


def rows(table, *conditions):
    with unit_of_work() as session:
        return session.scalars(select(table).where(*conditions)).all()


def correct(patient, *ids):
    with unit_of_work() as session:
        known = ids or (PatientId(patient.patient_id, patient.issuer),)
        return correct_patient(session, Origin.HL7, "ADT|HOSPITAL", known, patient, None)


def merge(surviving, *retired):
    with unit_of_work() as session:
        own = [PatientId(surviving.patient_id, surviving.issuer)]
        return merge_patients(session, Origin.HL7, "ADT|HOSPITAL", surviving, own, retired, None)


def move(to, visit):
    with unit_of_work() as session:
        own = [PatientId(to.patient_id, to.issuer)]
        return move_visit(session, Origin.HL7, "ADT|HOSPITAL", to, own, visit, None)


def keep_report(patient=PATIENT, accession="OLD", number="R1"):
    with unit_of_work() as session:
        return receive_report(
            session,
            OutsideReport(
                origin=Origin.HL7,
                sender="RIS|HOSPITAL",
                status=ReportStatus.FINAL,
                patient=patient,
                report_number=number,
                accession_numbers=(accession,),
                performed_on="20250101",
                text="The lungs are clear.",
            ),
        ).report_id


def sign():
    with unit_of_work() as session:
        draft_id = session.scalar(select(Draft.id).where(Draft.superseded_at.is_(None)))
        signing.sign(session, draft_id, "Dr. Roe", findings="Clear.", impression="Normal.")


def test_a_correction_changes_the_words_and_makes_no_new_draft(database):
    receive()
    keep_report()
    complete(new_instance())
    draft()
    assert correct(MARRIED) == PatientChange(1, 1, 1)
    assert correct(MARRIED) == PatientChange(0, 0, 0)
    assert {
        row.patient_name for table in (Order, ReceivedReport, Study) for row in rows(table)
    } == {"PHANTOM^MARRIED"}
    (change,) = rows(OrderChange, OrderChange.kind == "PATIENT_CORRECTED")
    assert (change.old_values, change.new_values) == (
        {"patient_name": "PHANTOM^ONE"},
        {"patient_name": "PHANTOM^MARRIED"},
    )
    (shown,) = rows(StudyChange)
    assert (shown.old_value, shown.origin, shown.calling_ae) == (
        "PHANTOM^ONE",
        "HL7",
        "ADT|HOSPITAL",
    )
    assert [row.revision for row in rows(Study)] == [1]
    assert [row.superseded_at for row in rows(Draft)] == [None]


def test_the_same_id_of_another_issuer_is_left_alone(database):
    complete(new_instance(patient=Patient("P-1", "SOUTH", "PHANTOM^ONE")))
    assert correct(Patient("P-1", "NORTH", "PHANTOM^MARRIED")) == PatientChange(0, 0, 0)
    assert [row.patient_name for row in rows(Study)] == ["PHANTOM^ONE"]


def test_a_correction_leaves_merges_of_the_same_id_of_another_issuer_alone(database):
    south = Patient("P-2", "SOUTH", "PHANTOM^TWO")
    merge(south, PatientId("P-1", "SOUTH"))
    correct(Patient("P-2", "NORTH", "SOMEBODY^ELSE"))
    assert rows(PatientAlias.surviving_name) == ["PHANTOM^TWO"]
    correct(Patient("P-2", "SOUTH", "PHANTOM^MARRIED"))
    assert rows(PatientAlias.surviving_name) == ["PHANTOM^MARRIED"]


def test_a_film_that_still_has_the_older_name_is_the_same_patients(database):
    """A modality goes on sending what its worklist said, after the name was corrected."""
    complete(new_instance())
    correct(Patient("P-1", "", "SOMEBODY^ELSE", "19800202", "M"))
    (late,) = register(new_instance())
    assert late.outcome is Outcome.KEPT
    assert [row.patient_name for row in rows(Study)] == ["SOMEBODY^ELSE"]
    (stranger,) = register(new_instance(patient=OTHER_PATIENT))
    assert stranger.outcome is Outcome.MISMATCH


def test_a_merge_moves_all_and_later_films_are_known(database):
    receive()
    report_id = keep_report()
    complete(new_instance())
    assert merge(OTHER_PATIENT, PatientId("P-1")) == PatientChange(1, 1, 1)
    for table in (Order, ReceivedReport, Study):
        assert [(row.patient_id, row.patient_name) for row in rows(table)] == [
            ("P-2", "PHANTOM^TWO")
        ]
    keys = rows(ReportKey.value, ReportKey.report_id == report_id, ReportKey.kind == "PATIENT")
    assert keys == ["P-2"]
    assert [row.state for row in rows(StudyOrder)] == [MatchState.MATCHED]
    # A late film of the study, and a study that comes later, are the surviving patient's.
    (late,) = register(new_instance())
    assert late.outcome is Outcome.KEPT
    complete(new_instance("4.5.6", accession_number="A2"))
    assert {row.patient_name for row in rows(Study)} == {"PHANTOM^TWO"}
    # An order that still names the retired id is no mismatch.
    receive(placer_order_number="2", accession_numbers=("A2",))
    assert rows(Hold) == []
    later = keep_report(number="R2")
    (report,) = rows(ReceivedReport, ReceivedReport.id == later)
    assert (report.patient_id, report.patient_name) == ("P-2", "PHANTOM^TWO")
    assert {order.patient_id for order in rows(Order)} == {"P-2"}
    with unit_of_work() as session:
        assert list_ids(session, PatientId("p-1")) == [PatientId("P-2"), PatientId("P-1")]


def test_a_merge_is_taken_back(database):
    receive()
    keep_report()
    complete(new_instance())
    merge(OTHER_PATIENT, PatientId("P-1"))
    draft()
    with unit_of_work() as session:
        assert undo_merge(session, PatientId("p-1 "), "Dr. Roe") == PatientChange(1, 1, 1)
    for table in (Order, ReceivedReport, Study):
        assert [(row.patient_id, row.patient_name) for row in rows(table)] == [
            ("P-1", "PHANTOM^ONE")
        ]
    assert rows(PatientAlias) == []
    # It was drafted as another patient's study.
    assert [row.revision for row in rows(Study)] == [2]
    assert rows(Draft.superseded_at) != [None]
    assert rows(ReportKey.value, ReportKey.kind == "PATIENT") == ["P-1"]
    assert [row.state for row in rows(StudyOrder)] == [MatchState.MATCHED]
    (undone,) = rows(OrderChange, OrderChange.kind == "PATIENT_SEPARATED")
    assert (undone.sender, undone.new_values["patient_id"]) == ("Dr. Roe", "P-1")
    assert undone.origin == ChangeOrigin.PERSON
    assert {
        (row.origin, row.calling_ae) for row in rows(StudyChange) if row.new_value == "P-1"
    } == {(ChangeOrigin.PERSON, "Dr. Roe")}
    with unit_of_work() as session, pytest.raises(NotFound, match="no merge retired"):
        undo_merge(session, PatientId("P-1"), "Dr. Roe")


def test_merges_follow_each_other_and_can_turn_round(database):
    third = Patient("P-3", "", "PHANTOM^THREE")
    merge(OTHER_PATIENT, PatientId("P-1"))
    merge(third, PatientId("P-2"))
    with unit_of_work() as session:
        for retired in ("P-1", "P-2", "P-3"):
            assert resolve_id(session, PatientId(retired)) == PatientId("P-3")
    merge(OTHER_PATIENT, PatientId("P-3"))
    with unit_of_work() as session:
        for retired in ("P-1", "P-2", "P-3"):
            assert resolve_id(session, PatientId(retired)) == PatientId("P-2")
    assert merge(OTHER_PATIENT, PatientId("P-2")) == PatientChange(0, 0, 0)
    assert len(rows(PatientAlias)) == 2


def test_a_retired_id_of_two_survivors_is_nobodys(database):
    merge(Patient("P-2", "NORTH"), PatientId("P-1", "NORTH"))
    merge(Patient("P-3", "SOUTH"), PatientId("P-1", "SOUTH"))
    with unit_of_work() as session:
        assert resolve_id(session, PatientId("P-1")) == PatientId("P-1")
        assert resolve_id(session, PatientId("P-1", "south")) == PatientId("P-3", "SOUTH")


def test_a_merge_settles_a_mismatch_and_both_sides_of_a_hold_about_films_agree(database):
    (study_id,) = complete(new_instance())
    receive(patient=OTHER_PATIENT)
    register(new_instance(patient=OTHER_PATIENT))
    reasons = {hold.reason for hold in rows(Hold)}
    assert reasons == {HoldReason.ORDER_MISMATCH, HoldReason.PATIENT_MISMATCH}
    merge(PATIENT, PatientId("P-2"))
    with unit_of_work() as session:
        still_open = holds.list_open_of_study(session, study_id)
        assert [hold.reason for hold in still_open] == [HoldReason.PATIENT_MISMATCH]
    (aside,) = rows(Instance, Instance.state == "MISMATCH")
    assert (aside.sent["patient_id"], aside.sent["patient_name"]) == ("P-1", "PHANTOM^ONE")


def test_a_merge_leaves_a_signed_report_and_an_equal_draft(database):
    receive()
    complete(new_instance())
    draft()
    sign()
    assert merge(OTHER_PATIENT, PatientId("P-1")).studies == 1
    (study,) = rows(Study)
    assert (study.revision, study.state) == (1, "COMPLETE")
    assert [row.superseded_at for row in rows(Draft)] == [None]
    assert rows(Hold) == []


def test_a_visit_moves_with_its_orders_reports_and_studies(database):
    receive(visit_number="V1")
    receive(placer_order_number="2", accession_numbers=("A2",), visit_number="V2")
    keep_report(accession="A1")
    keep_report(accession="A2", number="R2")
    complete(new_instance(), new_instance("4.5.6", accession_number="A2"))
    assert move(OTHER_PATIENT, "v1") == PatientChange(1, 1, 1)
    moved = {row.accession_number: row.patient_id for row in rows(Study)}
    assert moved == {"A1": "P-2", "A2": "P-1"}
    assert {row.accession_numbers[0]: row.patient_id for row in rows(ReceivedReport)} == moved
    assert [row.state for row in rows(StudyOrder)] == [MatchState.MATCHED] * 2
    assert rows(Hold) == []
    # Other films under the old id are nobody's business: the id still exists.
    assert rows(PatientAlias) == []


@pytest.mark.parametrize("signed", [False, True])
def test_a_moved_visit_withdraws_a_draft_and_asks_about_a_signed_report(database, signed):
    receive(visit_number="V1")
    complete(new_instance())
    draft()
    if signed:
        sign()
    move(OTHER_PATIENT, "V1")
    (study,) = rows(Study)
    (made,) = rows(Draft)
    if signed:
        assert (study.patient_id, study.revision, made.superseded_at) == ("P-1", 1, None)
        assert [hold.reason for hold in rows(Hold)] == [HoldReason.ORDER_MISMATCH]
    else:
        assert (study.patient_id, study.revision) == ("P-2", 2)
        assert made.superseded_at is not None
        close()
        assert draft() == ["Fever and cough."]


def test_messages_that_name_nobody_are_refused(database):
    with pytest.raises(MessageError, match="no patient id"):
        correct(Patient(name="X"), PatientId("\x00 "))
    with pytest.raises(MessageError, match="no visit"):
        move(OTHER_PATIENT, " ")


def test_a_text_is_drafted_anew_where_a_merge_brings_an_order(database):
    """The order was for another id, and a person had not decided yet."""
    complete(new_instance())
    draft()
    why = OrderText(OrderTextSource.REASON, "Chest pain.")
    receive(patient=OTHER_PATIENT, texts=(why,))
    merge(PATIENT, PatientId("P-2"))
    assert [row.revision for row in rows(Study)] == [2]
    close()
    assert draft() == ["Chest pain."]

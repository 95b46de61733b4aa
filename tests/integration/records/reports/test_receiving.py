"""Reports from elsewhere are kept by version, and what we sent ourselves is none of them."""

import dataclasses
import datetime as dt
import threading

import pytest
from sqlalchemy import select

from records.database.report_tables import ReceivedReport, ReportKey
from records.database.session import unit_of_work
from records.database.tables import Event
from records.errors import MessageError
from records.reports.receiving import ReportOutcome
from records.states import WARNING, EventKind, Origin, ReportStatus
from records.workflow.identifiers import PatientId
from tests.support.outside_reports import new_report, receive
from tests.support.registered_studies import OTHER_PATIENT, PATIENT, complete, new_instance

NOON = dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)


def versions():
    with unit_of_work() as session:
        return session.scalars(
            select(ReceivedReport).order_by(
                ReceivedReport.superseded_at.nulls_last(), ReceivedReport.id
            )
        ).all()


def test_a_report_is_kept_once_and_its_older_versions_stay(database):
    first = receive(sent_at=NOON)
    assert first.outcome is ReportOutcome.NEW
    assert receive(sent_at=NOON).outcome is ReportOutcome.UNCHANGED
    assert receive().outcome is ReportOutcome.UNCHANGED
    second = receive(
        sent_at=NOON + MINUTE, status=ReportStatus.CORRECTED, impression="Left effusion."
    )
    assert second.outcome is ReportOutcome.CORRECTED
    # Mirrored once more, and late.
    outdated = receive(sent_at=NOON)
    assert (outdated.outcome, outdated.report_id) == (ReportOutcome.OUTDATED, second.report_id)
    # A cancellation is often sent with little more than a number.
    cancelled = receive(
        sent_at=NOON + 2 * MINUTE,
        status=ReportStatus.CANCELLED,
        patient=dataclasses.replace(PATIENT, patient_id=""),
        accession_numbers=(),
        text="",
        findings="",
        impression="",
    )
    assert cancelled.outcome is ReportOutcome.CANCELLED
    kept = versions()
    assert [(row.id, row.status, row.impression) for row in kept] == [
        (first.report_id, "FINAL", "No disease."),
        (second.report_id, "CORRECTED", "Left effusion."),
        (cancelled.report_id, "CANCELLED", "Left effusion."),
    ]
    assert [row.superseded_at is None for row in kept] == [False, False, True]
    assert kept[-1].patient_id == PATIENT.patient_id


def test_a_preliminary_report_takes_the_place_of_a_final_one_only_where_it_is_newer(database):
    receive()
    assert receive(status=ReportStatus.PRELIMINARY).outcome is ReportOutcome.OUTDATED
    receive(sent_at=NOON, text="Other words.")
    later = receive(
        sent_at=NOON + MINUTE, status=ReportStatus.PRELIMINARY, text="It is open again."
    )
    assert later.outcome is ReportOutcome.CORRECTED


def test_it_is_found_by_each_of_its_keys(database):
    result = receive(
        accession_numbers=("a7 ", "A8"),
        study_instance_uid="1.2.9",
        placer_order_number="77^RIS",
        other_patient_ids=(PatientId("old-1", "WARD"),),
    )
    with unit_of_work() as session:
        rows = session.execute(select(ReportKey.report_id, ReportKey.kind, ReportKey.value)).all()
    assert {row.report_id for row in rows} == {result.report_id}
    assert sorted((row.kind, row.value) for row in rows) == [
        ("ACCESSION", "A7"),
        ("ACCESSION", "A8"),
        ("ORDER", "77^RIS"),
        ("PATIENT", "OLD-1"),
        ("PATIENT", "P-1"),
        ("STUDY", "1.2.9"),
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"text": f"{WARNING}\n\nThe lungs are clear."},
        # An interface engine broke its lines and has dashes of its own.
        {"findings": "ai-generated draft – not\r\nreviewed by a  radiologist, lungs are clear"},
        {"sender": "NIGHTDRAFT|HOSPITAL"},
        {"sender": "Nightdraft^1.2.3^ISO|HOSPITAL"},
        {"origin": Origin.DICOM, "sender": "NIGHTDRAFT"},
        {"author": "Nightdraft"},
    ],
)
def test_what_we_sent_ourselves_is_never_a_report(database, changed):
    for _ in range(3):
        result = receive(**changed)
        assert (result.report_id, result.outcome) == (None, ReportOutcome.OWN)
    assert versions() == []


def test_others_with_like_names_are_not_taken_for_us(database):
    assert receive(sender="NIGHTDRAFTS|X").outcome is ReportOutcome.NEW
    same_file = receive(origin=Origin.FILE, sender="nightdraft.csv")
    assert same_file.outcome is ReportOutcome.NEW


def test_a_report_that_nothing_identifies_is_refused(database):
    with pytest.raises(MessageError, match="no number"):
        receive(report_number="", accession_numbers=())
    for nothing in ("\x01", "\t\n", "\u202e"):
        with pytest.raises(MessageError, match="no number"):
            receive(report_number=nothing, accession_numbers=(nothing, nothing))
        with pytest.raises(MessageError, match="no patient id"):
            receive(patient=dataclasses.replace(PATIENT, patient_id=nothing))
    with pytest.raises(MessageError, match="no patient id"):
        receive(patient=dataclasses.replace(PATIENT, patient_id=" "))
    with pytest.raises(MessageError, match="no patient id"):
        receive(patient=dataclasses.replace(PATIENT, patient_id=""), status=ReportStatus.CANCELLED)


def test_it_is_applied_to_the_studies_of_its_patient_alone(database):
    (study_id,) = complete(new_instance(accession_number="A1"))
    complete(new_instance(study="1.2.4", patient=OTHER_PATIENT, accession_number="A1"))
    result = receive(accession_numbers=("a1",))
    assert result.study_ids == (study_id,)
    with unit_of_work() as session:
        events = session.execute(
            select(Event.study_id, Event.detail).where(Event.kind == EventKind.REPORT_RECEIVED)
        ).all()
    assert events == [(study_id, "final report by HL7")]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("2026-01-02T03:04:05+01:00", "20260102030405+0100"),
        ("20260102030405.123-0500", "20260102030405-0500"),
        ("202601020304", "20260102030400"),
        ("20260102", "20260102"),
        ("2026-01-02T03:04Z", "20260102030400+0000"),
        ("2026", ""),
        ("20261302", ""),
        ("", ""),
    ],
)
def test_when_it_was_performed_is_kept_in_one_form(database, sent, kept):
    receive(performed_on=sent)
    assert versions()[0].performed_on == kept


def test_a_report_is_kept_whole_and_without_control_characters(database):
    body = "Clear.\r\nNo effusion.\0\ud800\x1b[2J\u009b31m \u202eelbon\u202c" + "Seen. " * 5_000
    first = receive(
        report_number="R\u200f1\0",
        sender="RIS\x1b|HOSPITAL",
        text=body,
        findings="Clear.\x07",
        impression="\u202eNone.",
        procedure="XR\u202e CHEST\r\n2 views",
        author="Roe^\x9bJane",
        accession_numbers=("A\u200f1", "A1", "\0"),
        other_patient_ids=(PatientId("9\u202e", "X\0"),),
        patient=dataclasses.replace(PATIENT, name="Doe^\u202eJane"),
    )
    # The same without them is the same report.
    assert receive(sender="RIS|HOSPITAL", patient=PATIENT).outcome is ReportOutcome.CORRECTED
    (row,) = (row for row in versions() if row.id == first.report_id)
    assert row.text == "Clear.\nNo effusion.[2J31m elbon" + ("Seen. " * 5_000).strip()
    assert (row.findings, row.impression) == ("Clear.", "None.")
    assert (row.procedure, row.author) == ("XR CHEST 2 views", "Roe^Jane")
    assert (row.sender, row.accession_numbers) == ("RIS|HOSPITAL", ["A1"])
    assert row.other_patient_ids == [PatientId("9", "X").as_json()]
    assert row.patient_name == "Doe^Jane"


def test_sections_without_a_text_make_one(database):
    receive(text="")
    assert versions()[0].text == new_report().text


def test_versions_at_once_leave_one_that_stands(database):
    start = threading.Barrier(8)
    outcomes = []

    def send(number):
        start.wait()
        outcomes.append(receive(text=f"Version {number}.", sent_at=NOON + number * MINUTE).outcome)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 8
    standing = [row for row in versions() if row.superseded_at is None]
    assert [row.text for row in standing] == ["Version 7."]

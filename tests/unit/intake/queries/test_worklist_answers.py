"""What a worklist is asked for, and its answers as orders."""

import datetime as dt
from io import BytesIO

import pydicom.config
import pytest
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from intake.queries.worklist_answers import (
    RETURN_KEYS,
    join_steps,
    make_identifier,
    read_answer,
)
from records.orders.order import OrderAction
from records.states import OrderTextSource, Priority
from records.workflow.identifiers import PatientId
from tests.support.worklists import REASON, make_entry


@pytest.fixture(autouse=True)
def _values_may_break_rules(monkeypatch):
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)


def received(dataset):
    """A data set as it comes over the network: encoded and read again."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    write_dataset(buffer, dataset)
    return read_dataset(BytesIO(buffer.getvalue()), is_implicit_VR=True, is_little_endian=True)


def item(**fields):
    dataset = Dataset()
    for keyword, value in fields.items():
        setattr(dataset, keyword, value)
    return dataset


def test_return_keys_are_named_by_their_tags():
    for key in RETURN_KEYS:
        *_, keyword = key.keyword.split(".")
        tag = tag_for_keyword(keyword)
        assert tag is not None, key
        assert key.tag.rpartition(">")[2] == f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def test_the_question_has_its_keys_and_asks_for_the_rest():
    asked = received(make_identifier(PatientID="P-1", ScheduledProcedureStepStartDate="20260101"))
    assert asked.PatientID == "P-1"
    assert asked.AccessionNumber == ""
    (step,) = asked.ScheduledProcedureStepSequence
    assert step.ScheduledProcedureStepStartDate == "20260101"
    assert "ReasonForTheRequestedProcedure" in asked
    assert received(make_identifier(PatientID="Ä1")).SpecificCharacterSet == "ISO_IR 192"


def test_an_accession_number_that_is_too_long_is_asked_for_as_it_is():
    assert received(make_identifier(AccessionNumber="A" * 20)).AccessionNumber == "A" * 20


def test_an_answer_is_an_order():
    issuer = item(LocalNamespaceEntityID="RADIOLOGY")
    reason = item(CodeValue="R05", CodingSchemeDesignator="I10", CodeMeaning="Cough")
    other = item(PatientID="77", IssuerOfPatientID="CLINIC", TypeOfPatientID="TEXT")
    entry = make_entry(
        IssuerOfPatientID="HOSPITAL",
        OtherPatientIDsSequence=[other],
        IssuerOfAccessionNumberSequence=[issuer],
        PlacerOrderNumberImagingServiceRequest="P77",
        FillerOrderNumberImagingServiceRequest="F88",
        ReasonForRequestedProcedureCodeSequence=[reason],
        RequestedProcedureComments="Compare with January.\nBeds 3.",
        AdditionalPatientHistory="Smoker.",
        AdmittingDiagnosesDescription="Pneumonia",
        AdmissionID="V1",
        InstitutionName="Ward 3",
        TimezoneOffsetFromUTC="+0200",
    )
    order = read_answer(received(entry), "RIS")
    assert (order.sender, order.action) == ("RIS", OrderAction.PLACE)
    assert order.patient.patient_id == "P-1"
    assert order.patient.issuer == "HOSPITAL"
    assert order.other_patient_ids == (PatientId("77", "CLINIC"),)
    assert order.accession_numbers == ("A1",)
    assert order.accession_number_issuer == "RADIOLOGY"
    assert (order.placer_order_number, order.filler_order_number) == ("P77", "F88")
    assert order.study_instance_uids == ("1.2.999.1",)
    assert (order.visit_number, order.site) == ("V1", "Ward 3")
    assert [(text.source, text.text) for text in order.texts] == [
        (OrderTextSource.REASON, REASON),
        (OrderTextSource.REASON_CODE, "Cough"),
        (OrderTextSource.CLINICAL_INFORMATION, "Smoker."),
        (OrderTextSource.NOTE, "Compare with January. Beds 3."),
        (OrderTextSource.DIAGNOSIS, "Pneumonia"),
    ]
    assert order.procedure == "XR CHEST 2 VIEWS"
    assert order.priority is Priority.URGENT
    assert order.scheduled_at == dt.datetime(2026, 1, 1, 6, 15, tzinfo=dt.UTC)


def test_an_answer_with_little_in_it_is_an_order_with_little_in_it():
    order = read_answer(received(item(PatientID="P-1")), "RIS")
    assert (order.texts, order.priority, order.scheduled_at) == ((), None, None)
    assert order.identity == ""


@pytest.mark.parametrize(
    ("character_set", "encoded", "text"),
    [
        ("ISO_IR 100", "Fräulein".encode("latin-1"), "Fräulein"),
        ("ISO_IR 192", "咳嗽".encode(), "咳嗽"),
        (r"\ISO 2022 IR 87", b"\x1b$B3Q\x1b(B", "角"),
        ("ISO_IR 100", "Müller, Fieber".encode(), "Müller, Fieber"),  # it says Latin-1 and is UTF-8
    ],
)
def test_character_sets_are_read_as_the_listener_reads_them(character_set, encoded, text):
    entry = make_entry(SpecificCharacterSet=character_set.split("\\"))
    entry["ReasonForTheRequestedProcedure"]._value = encoded
    buffer = received(entry)
    (first, *_) = read_answer(buffer, "RIS").texts
    assert first.text == text


def test_a_text_cannot_command_what_shows_it():
    entry = make_entry(ReasonForTheRequestedProcedure="Fever\x1b[2J\u202e and cough")
    entry.SpecificCharacterSet = "ISO_IR 192"
    (text, *_) = read_answer(received(entry), "RIS").texts
    assert "\x1b" not in text.text
    assert "\u202e" not in text.text


def test_the_steps_of_a_procedure_are_one_order():
    steps = [
        read_answer(make_entry({"ScheduledProcedureStepStartTime": time}), "RIS")
        for time in ("093000", "081500")
    ]
    (order,) = join_steps(steps)
    assert order.scheduled_at == steps[1].scheduled_at
    assert order.texts == steps[0].texts


def test_an_order_is_cancelled_where_all_its_steps_are():
    cancelled = read_answer(make_entry({"ScheduledProcedureStepStatus": "CANCELED"}), "RIS")
    planned = read_answer(make_entry({"ScheduledProcedureStepStatus": "SCHEDULED"}), "RIS")
    assert cancelled.action is OrderAction.CANCEL
    assert [order.action for order in join_steps([cancelled, planned])] == [OrderAction.PLACE]
    assert [order.action for order in join_steps([planned, cancelled])] == [OrderAction.PLACE]
    assert [order.action for order in join_steps([cancelled])] == [OrderAction.CANCEL]

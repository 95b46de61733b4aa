"""Real worklists: Orthanc's plugin and DCMTK's wlmscpfs, set up as the page says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from intake.queries.asking import QuestionFailed
from intake.queries.worklist import AskedStudy
from records.orders.order import OrderText
from records.states import OrderTextSource, Priority
from records.workflow.identifiers import KeyKind, PatientId
from tests.support.worklists import (
    REASON,
    TITLE,
    dcmtk_worklist,
    make_entry,
    make_worklist,
    orthanc_worklist,
    write_entry,
)

PROGRAMS = {"Orthanc": shutil.which("Orthanc"), "wlmscpfs": shutil.which("wlmscpfs")}
PLUGIN = Path("/usr/share/orthanc/plugins/libModalityWorklists.so")

pytestmark = pytest.mark.skipif(
    not (all(PROGRAMS.values()) and PLUGIN.exists()),
    reason="Orthanc and wlmscpfs are needed (apt install orthanc dcmtk)",
)


@pytest.fixture(scope="module")
def entries(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("worklists") / TITLE
    folder.mkdir()
    umlaut = {"SpecificCharacterSet": "ISO_IR 192", "ReasonForTheRequestedProcedure": "Übelkeit"}
    for name, entry in {
        "ours": make_entry(),
        "another": make_entry(AccessionNumber="A2", PatientID="P-2", StudyInstanceUID="1.2.2"),
        "umlaut": make_entry(
            AccessionNumber="A3", PatientID="P-3", StudyInstanceUID="1.2.3", **umlaut
        ),
        "ct": make_entry({"Modality": "CT"}, AccessionNumber="A4", StudyInstanceUID="1.2.4"),
    }.items():
        write_entry(entry, folder / f"{name}.wl")
    return folder


@pytest.fixture(scope="module", params=["Orthanc", "wlmscpfs"])
def port(request, entries):
    if request.param == "Orthanc":
        with orthanc_worklist(entries, PROGRAMS["Orthanc"]) as port:
            yield port
    else:
        with dcmtk_worklist(entries, PROGRAMS["wlmscpfs"]) as port:
            yield port


def find(port, number, patient, date="20260101"):
    asked = AskedStudy((number,) if number else (), "", PatientId(patient), date)
    return make_worklist(port).find(asked)


def test_by_accession_number(port):
    matched_by, (order,) = find(port, "A1", "P-1")
    assert matched_by is KeyKind.ACCESSION
    assert order.texts == (OrderText(OrderTextSource.REASON, REASON),)
    assert (order.procedure, order.priority) == ("XR CHEST 2 VIEWS", Priority.URGENT)
    assert (order.patient.name, order.patient.birth_date) == ("PHANTOM^ONE", "19700101")
    assert order.study_instance_uids == ("1.2.999.1",)
    assert order.scheduled_at is not None


def test_by_patient_and_date(port):
    matched_by, (order,) = find(port, "", "P-1")
    assert matched_by is KeyKind.PATIENT
    assert order.accession_numbers == ("A1",)
    assert find(port, "", "P-1", "20260102")[1] == []
    assert find(port, "", "P-9")[1] == []


def test_in_another_character_set(port):
    (order,) = find(port, "A3", "P-3")[1]
    assert order.texts[0].text == "Übelkeit"


def test_every_answer_to_a_universal_question_is_read(port):
    worklist = make_worklist(port)
    answers = worklist._find()
    assert {answer.AccessionNumber for answer in answers} == {"A1", "A2", "A3", "A4"}
    with pytest.raises(QuestionFailed, match="more than"):
        make_worklist(port, worklist_answers=2)._find()
    assert find(port, "A1", "P-1")[1]  # it goes on after the C-CANCEL

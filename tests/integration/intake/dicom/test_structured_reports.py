"""Structured reports that come by C-STORE are kept as objects, and as the reports that they are."""

import pytest
from pydicom.dataset import Dataset
from sqlalchemy import select

from intake.dicom import structured_report
from records.database.draft_tables import Draft, DraftRequest
from records.database.report_tables import ReceivedReport
from records.database.session import unit_of_work
from records.database.tables import Study
from records.states import OWN_OUTPUT, WARNING, EndReason, InstanceState
from records.workflow import studies
from tests.support.dicom_senders import make_image
from tests.support.filed_objects import file_dataset, file_sample
from tests.support.listener_state import read_rows
from tests.support.registered_studies import complete, draft_all

pytestmark = pytest.mark.usefixtures("database", "data_dir")

BASIC_TEXT = "1.2.840.10008.5.1.4.1.1.88.11"


@pytest.fixture(autouse=True)
def _room(setting):
    setting(disk_stop_mb=0, disk_warn_mb=0)


def named(code, meaning):
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = code, "LN", meaning
    return name


def section(code, meaning, text):
    container, leaf = Dataset(), Dataset()
    leaf.RelationshipType, leaf.ValueType, leaf.TextValue = "CONTAINS", "TEXT", text
    leaf.ConceptNameCodeSequence = [named(str(int(code) + 1), meaning.rstrip("s"))]
    container.RelationshipType, container.ValueType = "CONTAINS", "CONTAINER"
    container.ConceptNameCodeSequence = [named(code, meaning)]
    container.ContentSequence = [leaf]
    return container


def make_report(sop="1.2.3.9.1", **changed):
    document = make_image(study="1.2.3", sop=sop)
    for keyword in ("PixelData", "Rows", "Columns"):
        if keyword in document:
            delattr(document, keyword)
    values = {
        "SOPClassUID": BASIC_TEXT,
        "Modality": "SR",
        "PatientID": "P-7",
        "AccessionNumber": "A7",
        "StudyDate": "20260301",
        "StudyTime": "101500.25",
        "ContentDate": "20260302",
        "ContentTime": "090000",
        "StudyDescription": "XR CHEST",
        "ConceptNameCodeSequence": [named("18748-4", "Diagnostic Imaging Report")],
        "CompletionFlag": "COMPLETE",
        "VerificationFlag": "VERIFIED",
        "ContentSequence": [
            section("121070", "Findings", "The lungs are clear."),
            section("121072", "Impressions", "No disease."),
        ],
    }
    for keyword, value in (values | changed).items():
        setattr(document, keyword, value)
    return document


def reports():
    with unit_of_work() as session:
        return session.scalars(
            select(ReceivedReport).where(ReceivedReport.superseded_at.is_(None))
        ).all()


def test_a_report_is_taken_by_its_sections_and_kept_as_an_object():
    file_dataset(make_report(), "PACS")
    file_dataset(make_report(), "PACS")
    (row,) = read_rows()
    assert row.state == InstanceState.SKIPPED
    (report,) = reports()
    assert (report.origin, report.sender, report.status) == ("DICOM", "PACS", "FINAL")
    assert (report.patient_id, report.accession_numbers) == ("P-7", ["A7"])
    assert (report.study_instance_uid, report.performed_on) == ("1.2.3", "20260301101500")
    assert (report.findings, report.impression) == ("The lungs are clear.", "No disease.")
    assert "The lungs are clear." in report.text


def test_a_document_that_corrects_another_takes_its_place():
    file_dataset(make_report())
    predecessor = Dataset()
    predecessor.StudyInstanceUID = "1.2.3"
    corrected = make_report(
        "1.2.3.9.2",
        ContentTime="100000",
        PredecessorDocumentsSequence=[predecessor],
        ContentSequence=[section("121072", "Impressions", "Left effusion.")],
    )
    file_dataset(corrected)
    file_dataset(make_report())  # the older one once more
    (report,) = reports()
    assert (report.status, report.impression) == ("CORRECTED", "Left effusion.")


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"CompletionFlag": "PARTIAL"}, "PRELIMINARY"),
        ({"VerificationFlag": "UNVERIFIED"}, "PRELIMINARY"),
        ({"VerificationFlag": "UNVERIFIED", "PreliminaryFlag": "FINAL"}, "FINAL"),
        ({"PreliminaryFlag": "PRELIMINARY"}, "PRELIMINARY"),
    ],
)
def test_only_what_somebody_answers_for_is_final(changed, status):
    file_dataset(make_report(**changed))
    assert [report.status for report in reports()] == [status]


def equipment(manufacturer):
    item = Dataset()
    item.Manufacturer = manufacturer
    return item


@pytest.mark.parametrize(
    "changed",
    [
        # Ours, routed back.
        {"Manufacturer": "Nightdraft"},
        {"ManufacturerModelName": "NIGHTDRAFT 1.0"},
        {"ContributingEquipmentSequence": [equipment("PACS"), equipment("Nightdraft")]},
        {"ContentSequence": [section("121070", "Findings", f"{WARNING} The lungs are clear.")]},
        # No reports.
        {"ConceptNameCodeSequence": [named("126000", "Imaging Measurement Report")]},
        {"ConceptNameCodeSequence": [named("113701", "X-Ray Radiation Dose Report")]},
        {"ConceptNameCodeSequence": []},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67"},
        {"PatientID": ""},
    ],
)
def test_what_is_no_report_is_an_object_alone(changed):
    for _ in range(2):
        file_dataset(make_report(**changed))
    assert reports() == []
    assert [row.state for row in read_rows()] == [InstanceState.SKIPPED]


OWN = [
    {"Manufacturer": "Nightdraft"},
    {"ManufacturerModelName": "NIGHTDRAFT 1.0"},
    {"ContributingEquipmentSequence": [equipment("PACS"), equipment("Nightdraft")]},
    # Signed text has no warning, and a draft's is there where a PACS writes its own equipment.
    {"ContentSequence": [section("121070", "Findings", f"{WARNING} The lungs are clear.")]},
    {"Manufacturer": "Nightdraft", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.104.1"},
    {"Manufacturer": "Nightdraft", "ConceptNameCodeSequence": []},
]
OTHER_VALUES = {
    "StudyDescription": "AI draft",
    "PatientBirthDate": "19700101",
    "NumberOfStudyRelatedInstances": "1",
    "StudyPriorityID": "HIGH",
}


def study_as_it_is():
    """What must not change: the study's row, its requests and its drafts."""
    with unit_of_work() as session:
        (study,) = session.execute(select(*Study.__table__.columns)).mappings()
        requests = session.execute(select(*DraftRequest.__table__.columns)).mappings().all()
        drafts = session.execute(select(Draft.id, Draft.superseded_at)).all()
    return dict(study), [dict(row) for row in requests], drafts


@pytest.mark.parametrize("is_late", [False, True])
def test_what_we_sent_changes_nothing_of_its_study_however_often_it_comes_back(is_late):
    film = make_image(study="1.2.3")
    film.PatientID, film.AccessionNumber = "P-7", "A7"
    film.NumberOfStudyRelatedInstances = "3"
    file_dataset(film)
    if is_late:
        complete()
        draft_all()
    before = study_as_it_is()
    for number, changed in enumerate(OWN):
        for copy in range(3):
            # The same object, and the same text under a UID that a PACS gave it.
            sop = f"1.2.3.8.{number}.{max(copy, 1)}"
            file_dataset(make_report(sop, **OTHER_VALUES | changed), "PACS")
    assert study_as_it_is() == before
    assert reports() == []
    kept = [row for row in read_rows() if row.state == InstanceState.SKIPPED]
    assert [row.reason for row in kept] == [OWN_OUTPUT] * 2 * len(OWN)
    # They are none of the objects for which the study waits.
    with unit_of_work() as session:
        assert studies.close_quiet(session, 60.0) == []


def test_a_report_signed_elsewhere_on_a_like_name_is_no_object_of_ours():
    file_dataset(make_report(Manufacturer="Nightdrafting Inc."))
    assert len(reports()) == 1
    assert OWN_OUTPUT not in [row.reason for row in read_rows()]


def test_a_document_that_cannot_be_read_is_an_object_alone(monkeypatch):
    def fail(_):
        raise RecursionError

    monkeypatch.setattr(structured_report, "read_texts", fail)
    file_dataset(make_report())
    assert reports() == []
    assert len(read_rows()) == 1


def test_the_samples_are_taken_for_what_they_are(samples):
    for path in sorted((samples / "dicom" / "sr").glob("*.dcm")):
        file_sample(path)
    # A measurement, annotations, a document without a patient, and one that nobody has verified.
    (report,) = reports()
    assert (report.status, report.patient_id) == ("PRELIMINARY", "1005")
    assert report.text.startswith("Befund")


def test_a_final_that_comes_so_ends_the_request_of_its_study():
    film = make_image(study="1.2.3")
    film.PatientID, film.AccessionNumber = "P-7", "A7"
    file_dataset(film)
    complete()
    file_dataset(make_report())
    with unit_of_work() as session:
        reasons = session.scalars(select(DraftRequest.reason)).all()
    assert EndReason.REPORTED_ELSEWHERE in reasons

"""What of a DiagnosticReport makes a report from elsewhere."""

import base64

import pytest

from records.fhir.diagnostic_reports import read_diagnostic_report
from records.fhir.elements import ResourceError
from records.fhir.references import ReadingRules
from records.fhir.versions import FhirVersion, check
from records.states import ReportStatus
from tests.support.fhir_resources import (
    diagnostic_report,
    identifier,
    load_samples,
    observation,
    patient,
)

NO_RULES = ReadingRules()
PDF = {"contentType": "application/pdf", "data": "JVBERi0="}


def read(rules=NO_RULES, **changed):
    resource = diagnostic_report(**changed)
    check(resource, FhirVersion.R4)
    return read_diagnostic_report(resource, rules, "RIS")


def form(content_type, written, encoding="utf-8"):
    data = base64.b64encode(written.encode(encoding)).decode()
    return {"contentType": content_type, "data": data}


def test_a_report_has_what_the_resource_says():
    report = read(
        meta={"lastUpdated": "2026-11-20T09:00:00Z"},
        resultsInterpreter=[{"display": "Dr. Roe"}],
        basedOn=[{"identifier": identifier("FILL", "F7")}],
    )
    assert report.status is ReportStatus.FINAL
    assert report.accession_numbers == ("A0",)
    assert report.report_number == "A0"
    assert report.filler_order_number == "F7"
    assert report.performed_on == "2026-11-20T08:00:00+01:00"
    assert (report.author, report.procedure) == ("Dr. Roe", "Chest 2 views")
    assert (report.findings, report.impression) == ("", "No acute disease.")
    assert report.text == "IMPRESSION:\nNo acute disease."
    assert report.sent_at.isoformat() == "2026-11-20T09:00:00+00:00"


@pytest.mark.parametrize(
    ("status", "kept"),
    [
        ("registered", None),
        ("unknown", None),
        ("partial", "PRELIMINARY"),
        ("preliminary", "PRELIMINARY"),
        ("final", "FINAL"),
        ("amended", "CORRECTED"),
        ("corrected", "CORRECTED"),
        ("appended", "CORRECTED"),
        ("cancelled", "CANCELLED"),
        ("entered-in-error", "CANCELLED"),
    ],
)
def test_statuses(status, kept):
    report = read(status=status)
    assert (report and report.status) == kept


def test_sections_come_from_results_by_their_codes():
    report = read(
        contained=[
            patient(id="p"),
            observation("18782-3", "Clear lungs.", id="f"),
            observation("59776-5", "Heart normal.", id="g"),
            observation("19005-8", "Normal.", id="i"),
            observation("8310-5", "39.2", id="h", code={"text": "Temperature"}),
            observation("59776-5", "Wrong.", id="x", status="entered-in-error"),
        ],
        result=[{"reference": f"#{id_}"} for id_ in "fgihx"],
    )
    assert report.findings == "Clear lungs.\nHeart normal."
    assert report.impression == "Normal."
    assert report.text == (
        "TEMPERATURE:\n39.2\n\nFINDINGS:\nClear lungs.\nHeart normal.\n\nIMPRESSION:\nNormal."
    )


def test_what_is_presented_is_the_text():
    page = "<html><head><title>T</title></head><body><p>FINDINGS:</p>A &amp; B<br/>C</body></html>"
    assert read(presentedForm=[PDF, form("text/html", page)]).text == "FINDINGS:\nA & B\nC"
    plain = form("text/plain; charset=iso-8859-1", "Bef\u00fcnd\r\nx", "iso-8859-1")
    assert read(presentedForm=[plain]).text == "Bef\u00fcnd\nx"
    assert read(presentedForm=[PDF]).text == "IMPRESSION:\nNo acute disease."


@pytest.mark.parametrize(
    ("changed", "code", "expression"),
    [
        ({"status": "bogus"}, "code-invalid", "DiagnosticReport.status"),
        (
            {"conclusion": "", "presentedForm": [PDF]},
            "not-supported",
            "DiagnosticReport.presentedForm",
        ),
        (
            {"conclusion": "", "presentedForm": [{"contentType": "text/plain", "url": "http://x"}]},
            "not-supported",
            "DiagnosticReport.presentedForm",
        ),
        (
            {"presentedForm": [{"contentType": "text/plain", "data": "%%%%"}]},
            "value",
            "DiagnosticReport.presentedForm.data",
        ),
        (
            {"presentedForm": [form("text/plain", "\u00fc", "latin-1")]},
            "value",
            "DiagnosticReport.presentedForm.data",
        ),
        (
            {"conclusion": "", "result": [{"reference": "Observation/far"}]},
            "not-found",
            "DiagnosticReport.result",
        ),
        ({"conclusion": ""}, "business-rule", "DiagnosticReport"),
        ({"conclusion": "\u202e"}, "business-rule", "DiagnosticReport"),
        ({"subject": {"reference": "Patient/far"}}, "not-found", "DiagnosticReport.subject"),
    ],
)
def test_what_cannot_be_used_is_named(changed, code, expression):
    with pytest.raises(ResourceError) as raised:
        read_diagnostic_report(diagnostic_report(**changed), NO_RULES, "")
    assert (raised.value.code, raised.value.expression) == (code, expression)


def test_a_cancelled_report_needs_no_text():
    resource = diagnostic_report(status="entered-in-error", conclusion="")
    assert read_diagnostic_report(resource, NO_RULES, "").status is ReportStatus.CANCELLED


def test_a_report_on_something_else_and_one_by_software_are_none():
    section = "http://terminology.hl7.org/CodeSystem/v2-0074"
    laboratory = {"coding": [{"system": section, "code": "LAB"}]}
    radiology = {"coding": [{"system": section, "code": "RAD"}]}
    assert read(category=[laboratory]) is None
    assert read(category=[laboratory, radiology]) is not None
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "AIAST"}
    assert read(meta={"security": [label]}) is None


@pytest.mark.parametrize("element", ["imagingStudy", "study"])  # R4, R5
def test_study_and_order_are_found_by_reference(element):
    study = {
        "resourceType": "ImagingStudy",
        "modality": [{"code": "DX"}],
        "started": "2026-11-19T07:00:00+01:00",
        "identifier": [
            identifier("ACSN", "A2"),
            {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"},
        ],
    }
    order = {
        "resourceType": "ServiceRequest",
        "identifier": [identifier("PLAC", "77"), identifier("ACSN", "A3")],
    }
    rules = ReadingRules(find={"ImagingStudy/1": study, "ServiceRequest/1": order}.get)
    resource = diagnostic_report(
        basedOn=[{"reference": "ServiceRequest/1"}],
        identifier=[],
        **{element: [{"reference": "ImagingStudy/1"}]},
    )
    del resource["effectiveDateTime"]
    report = read_diagnostic_report(resource, rules, "RIS", "DiagnosticReport/9")
    assert report.accession_numbers == ("A3", "A2")
    assert (report.placer_order_number, report.study_instance_uid) == ("77", "1.2.3")
    assert (report.modality, report.performed_on) == ("DX", "2026-11-19T07:00:00+01:00")
    assert report.report_number == "DiagnosticReport/9"


def test_the_samples_are_read(samples):
    resources = load_samples(samples)
    known = {f"{entry['resourceType']}/{entry['id']}": entry for entry in resources.values()}
    rules = ReadingRules(find=(known | {"Patient/example": patient()}).get)
    for resource in resources.values():
        check(resource, FhirVersion.R4)
    ultrasound = resources["r4_DiagnosticReport-ultrasound"]
    report = read_diagnostic_report(ultrasound, rules, "")
    assert (report.procedure, report.impression) == ("Abdominal Ultrasound", "Unremarkable study")
    film = resources["uscore_DiagnosticReport-chest-xray-report"]
    report = read_diagnostic_report(film, rules, "")
    assert report.findings.startswith("LINES AND TUBES: None.\nLUNGS AND PLEURA:\nClear lungs.")
    assert (report.impression, report.author) == ("No acute abnormality", "Dr Ronald Bone")
    assert "INDICATION/CLINICAL QUESTION: Fever / Pneumonia" in report.text
    with pytest.raises(ResourceError, match="the subject is not known here"):
        read_diagnostic_report(film, NO_RULES, "")

"""What of a ServiceRequest makes an order."""

import datetime as dt

import pytest

from records.fhir.elements import ResourceError
from records.fhir.references import ReadingRules
from records.fhir.service_requests import read_service_request
from records.fhir.versions import FhirVersion, check
from records.orders.order import OrderAction, OrderText
from records.states import OrderTextSource, Origin, Priority
from records.workflow.identifiers import PatientId
from records.workflow.patients import Patient
from tests.support.fhir_resources import (
    MRN,
    diagnostic_report,
    identifier,
    load_samples,
    observation,
    patient,
    service_request,
)

REASON, CODE, CLINICAL, NOTE, DIAGNOSIS = OrderTextSource
JANE = Patient("P1", MRN, "Roe^Jane", "19700131", "F")
NO_RULES = ReadingRules()


def read(rules=NO_RULES, version=FhirVersion.R4, **changed):
    resource = service_request(**changed)
    check(resource, version)
    return read_service_request(resource, rules, "EHR")


def test_an_order_has_what_the_resource_says():
    order = read(
        ReadingRules({"http://ris.example/acsn": "RIS"}),
        meta={"lastUpdated": "2026-11-27T08:00:00.123Z"},
        identifier=[
            identifier("PLAC", "77", "http://ehr.example/orders"),
            identifier("FILL", "F7"),
            identifier("ACSN", "A1", "http://ris.example/acsn"),
            {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"},
        ],
        occurrencePeriod={"start": "2026-11-27T09:00:00+01:00"},
        encounter={"identifier": {"value": "V1"}},
        locationReference=[{"display": "Emergency"}],
    )
    assert (order.origin, order.sender, order.action) == (Origin.FHIR, "EHR", OrderAction.PLACE)
    assert order.patient == JANE
    assert order.placer_order_number == "77^http://ehr.example/orders"
    assert order.filler_order_number == "F7"
    assert order.accession_numbers == ("A1",)
    assert order.accession_number_issuer == "RIS"
    assert order.study_instance_uids == ("1.2.3",)
    assert (order.visit_number, order.site) == ("V1", "Emergency")
    assert (order.procedure, order.priority) == ("Chest 2 views", Priority.STAT)
    assert order.texts == (OrderText(REASON, "Fever and cough."),)
    assert order.scheduled_at == dt.datetime(2026, 11, 27, 8, tzinfo=dt.UTC)
    assert order.sent_at == dt.datetime(2026, 11, 27, 8, 0, 0, 123000, tzinfo=dt.UTC)


def test_every_reason_is_a_text_with_its_source():
    condition = {
        "resourceType": "Condition",
        "id": "c",
        "code": {"text": "Pneumonia"},
        "subject": {"reference": "#p"},
    }
    fever = observation("8310-5", "39.2", id="o", code={"text": "Temperature"})
    order = read(
        contained=[patient(id="p"), condition, fever],
        reasonCode=[
            {"text": "Fever", "coding": [{"code": "386661006", "display": "Fever (finding)"}]},
            {"coding": [{"code": "49727002", "display": "Cough"}]},
            {"coding": [{"code": "29857009"}]},
        ],
        reasonReference=[{"reference": "#c"}, {"reference": "Condition/far", "display": "COPD"}],
        supportingInfo=[{"reference": "#o"}, {"reference": "Observation/unknown"}],
        note=[{"text": "Allergic\\nto contrast"}],
    )
    assert order.texts == (
        OrderText(REASON, "Fever"),
        OrderText(REASON, "Cough"),
        OrderText(CODE, "29857009"),
        OrderText(DIAGNOSIS, "Pneumonia"),
        OrderText(DIAGNOSIS, "COPD"),
        OrderText(CLINICAL, "Temperature: 39.2"),
        OrderText(NOTE, "Allergic\nto contrast"),
    )


def test_an_order_brings_no_report_and_no_procedure_as_its_reason():
    """A report reaches the model by the rule of prior reports alone: it may be of this study."""
    report = diagnostic_report(id="r", conclusion="Large left effusion.")
    del report["contained"]
    findings = observation("59776-5", "Large left effusion.", id="f")
    previous = observation("18834-2", "Large left effusion.", id="v")
    imaging = observation(
        "36643-5", "Effusion.", id="i", category=[{"coding": [{"code": "imaging"}]}]
    )
    history = observation("11329-0", "Smoker for 20 years.", id="h")
    other = service_request(id="s", code={"text": "CT abdomen"})
    del other["contained"]
    names = [{"reference": f"#{name}"} for name in "rfvihs"]
    order = read(
        contained=[patient(id="p"), report, findings, previous, imaging, history, other],
        reasonCode=[],
        reasonReference=[*names, {"reference": "#r", "display": "Report of last week"}],
        supportingInfo=names,
    )
    assert order.texts == (
        OrderText(CLINICAL, "Smoker for 20 years."),
        OrderText(CLINICAL, "Report of last week"),
    )


def test_r5_has_reasons_and_codes_elsewhere():
    r5 = service_request(
        code={"concept": {"text": "Chest 2 views"}},
        reason=[
            {"concept": {"text": "Fever"}},
            {"reference": {"reference": "Condition/1", "display": "COPD"}},
        ],
        supportingInfo=[{"concept": {"text": "Smoker"}}],
        location=[{"concept": {"text": "Ward 3"}}],
    )
    del r5["reasonCode"]
    check(r5, FhirVersion.R5)
    order = read_service_request(r5, NO_RULES, "EHR")
    assert (order.procedure, order.site) == ("Chest 2 views", "Ward 3")
    assert order.texts == (
        OrderText(REASON, "Fever"),
        OrderText(DIAGNOSIS, "COPD"),
        OrderText(CLINICAL, "Smoker"),
    )
    for resource, version in ((r5, FhirVersion.R4), (service_request(), FhirVersion.R5)):
        with pytest.raises(ResourceError, match="not known in this version"):
            check(resource, version)


@pytest.mark.parametrize(
    ("status", "action"),
    [
        ("active", OrderAction.PLACE),
        ("on-hold", OrderAction.PLACE),
        ("unknown", OrderAction.PLACE),
        ("completed", OrderAction.COMPLETE),
        ("revoked", OrderAction.CANCEL),
        ("entered-in-error", OrderAction.CANCEL),
    ],
)
def test_the_status_says_what_is_done(status, action):
    assert read(status=status).action is action


@pytest.mark.parametrize(
    "changed",
    [{"status": "draft"}, {"intent": "plan"}, {"intent": "proposal"}, {"doNotPerform": True}],
)
def test_what_is_no_order_makes_none(changed):
    assert read(**changed) is None


@pytest.mark.parametrize(
    ("written", "priority"), [("stat", 0), ("asap", 1), ("urgent", 1), ("routine", 2)]
)
def test_priorities(written, priority):
    assert read(priority=written).priority == priority


def test_an_order_without_a_priority_has_none():
    resource = service_request()
    del resource["priority"]
    assert read_service_request(resource, NO_RULES, "").priority is None


@pytest.mark.parametrize(
    ("changed", "code", "expression"),
    [
        ({"status": "bogus"}, "code-invalid", "ServiceRequest.status"),
        ({"intent": "bogus"}, "code-invalid", "ServiceRequest.intent"),
        ({"priority": "soon"}, "code-invalid", "ServiceRequest.priority"),
        ({"subject": {"reference": "Patient/far"}}, "not-found", "ServiceRequest.subject"),
        ({"subject": {"reference": "#none"}}, "not-found", "ServiceRequest.subject"),
        ({"subject": {"display": "Jane Roe"}}, "not-found", "ServiceRequest.subject"),
        (
            {"contained": [patient(id="p", identifier=[])]},
            "business-rule",
            "ServiceRequest.subject.resolve()",
        ),
        (
            {"contained": [patient(id="p", resourceType="Group")]},
            "business-rule",
            "ServiceRequest.subject",
        ),
    ],
)
def test_what_cannot_be_used_is_named(changed, code, expression):
    with pytest.raises(ResourceError) as raised:
        read_service_request(service_request(**changed), NO_RULES, "")
    assert (raised.value.code, raised.value.expression) == (code, expression)


def test_a_patient_is_found_by_reference_or_named_by_identifier():
    rules = ReadingRules({MRN: "HOSPITAL"}, find={"Patient/jane": patient()}.get)
    order = read(rules, contained=[], subject={"reference": "Patient/jane/_history/2"})
    assert order.patient == Patient("P1", "HOSPITAL", "Roe^Jane", "19700131", "F")
    named = {"reference": "Patient/far", "identifier": {"system": MRN, "value": "P9"}}
    assert read(rules, contained=[], subject=named).patient == Patient("P9", "HOSPITAL")


def test_the_patient_id_is_the_likeliest_and_the_others_are_kept():
    identifiers = [
        identifier("SS", "444-22"),
        identifier("MR", "OLD") | {"use": "old"},
        identifier("MR", "ENDED") | {"period": {"end": "2001-01-01"}},
        identifier("PI", "I1", "urn:oid:1.2"),
        identifier("MR", "P1", MRN),
    ]
    order = read(contained=[patient(id="p", identifier=identifiers)])
    assert order.patient.patient_id == "P1"
    assert order.other_patient_ids == (PatientId("I1", "urn:oid:1.2"), PatientId("444-22"))


def test_names_are_written_as_dicom_has_them():
    representation = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
    names = [
        {"use": "maiden", "family": "Miles"},
        {"family": "Yamada", "given": ["Tarou", "B"], "prefix": ["Dr"], "suffix": ["Jr"]},
        {
            "family": "\u5c71\u7530",
            "given": ["\u592a\u90ce"],
            "extension": [{"url": representation, "valueCode": "IDE"}],
        },
    ]
    order = read(contained=[patient(id="p", name=names, birthDate="1970", gender="unknown")])
    assert order.patient.name == "Yamada^Tarou^B^Dr^Jr=\u5c71\u7530^\u592a\u90ce"
    assert (order.patient.birth_date, order.patient.sex) == ("", "")
    assert read(contained=[patient(id="p", name=[{"text": "Jane Roe"}])]).patient.name == ""


def test_accession_numbers_come_from_imaging_studies_and_systems_too():
    study = {
        "resourceType": "ImagingStudy",
        "id": "s",
        "status": "registered",
        "subject": {"reference": "#p"},
        "identifier": [
            identifier("ACSN", "A2"),
            {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"},
        ],
    }
    order = read(
        ReadingRules(accession_systems=("http://ris.example/acsn",)),
        contained=[patient(id="p"), study],
        supportingInfo=[{"reference": "#s"}],
        identifier=[{"system": "http://ris.example/acsn", "value": "A1"}, {"value": "77"}],
        requisition=identifier("ACSN", "A0"),
    )
    assert order.accession_numbers == ("A1", "A0", "A2")
    assert order.accession_number_issuer == ""  # an URI would contradict (0008,0051)
    assert order.study_instance_uids == ("1.2.3",)
    assert order.placer_order_number == "77"


SAMPLES = {
    "r4_ServiceRequest-di": ("Check for metastatic disease", "Chest CT"),
    "uscore_servicerequest-chest-xray": ("Bicycle accident", "Portable XR Chest Views"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_are_read_where_their_patient_is_known(samples, name):
    resource = load_samples(samples)[name]
    check(resource, FhirVersion.R4)
    with pytest.raises(ResourceError, match="the subject is not known here"):
        read_service_request(resource, NO_RULES, "")
    rules = ReadingRules(find={resource["subject"]["reference"]: patient()}.get)
    order = read_service_request(resource, rules, "")
    assert (order.texts[0].text, order.procedure) == SAMPLES[name]
    assert order.patient == JANE

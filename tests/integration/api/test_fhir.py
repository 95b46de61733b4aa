"""The FHIR server: orders and reports come in, one by one and in transactions, all or none."""

import json

import pytest
from fastapi.routing import APIRoute
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.operationoutcome import OperationOutcome
from sqlalchemy import select
from starlette.testclient import TestClient

from api.app import make_app
from api.fhir.routes import router
from records import received_messages
from records.database.fhir_tables import FhirResource
from records.database.order_tables import Order, OrderChange, ReceivedMessage
from records.database.report_tables import ReceivedReport
from records.database.session import unit_of_work
from records.settings import settings
from tests.support.fhir_resources import (
    MRN,
    diagnostic_report,
    identifier,
    load_samples,
    observation,
    patient,
    service_request,
)


def send(client, method, path, resource, status, **headers):
    response = client.request(
        method,
        f"/fhir{path}",
        content=resource if isinstance(resource, bytes) else json.dumps(resource),
        headers={"content-type": "application/fhir+json", **headers},
    )
    assert response.status_code == status, response.text
    return response


def refusal(response):
    outcome = response.json()
    OperationOutcome.model_validate(outcome)
    assert response.headers["content-type"] == "application/fhir+json"
    issue = outcome["issue"][0]
    return issue["code"], issue.get("expression", [""])[0]


def read(column, *order):
    with unit_of_work() as session:
        return session.scalars(select(column).order_by(*order)).all()


def transaction(*entries):
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries)}


def entry(method, resource, full_url="", **request):
    url = resource["resourceType"]
    if method == "PUT":
        url += f"/{resource['id']}"
    own = {"resource": resource, "request": {"method": method, "url": url, **request}}
    return own | ({"fullUrl": full_url} if full_url else {})


def test_an_order_is_created_changed_and_cancelled_by_its_id(client):
    request = service_request(id="x1")
    created = send(client, "PUT", "/ServiceRequest/x1", request, 201)
    assert created.headers["location"] == ("http://localhost/fhir/ServiceRequest/x1/_history/1")
    assert created.headers["etag"] == 'W/"1"'
    assert created.json()["meta"]["versionId"] == "1"
    again = send(client, "PUT", "/ServiceRequest/x1", request, 200)
    assert again.headers["etag"] == 'W/"1"'
    changed = request | {"identifier": [identifier("FILL", "F1"), identifier("ACSN", "A9")]}
    assert send(client, "PUT", "/ServiceRequest/x1", changed, 200).headers["etag"] == 'W/"2"'
    revoked = changed | {"status": "revoked"}
    send(client, "PUT", "/ServiceRequest/x1", revoked, 200)
    send(client, "PUT", "/ServiceRequest/x1", changed | {"status": "draft"}, 200)
    (order,) = read(Order)
    assert (order.status, order.accession_numbers) == ("CANCELLED", ["A9"])
    assert read(OrderChange.kind, OrderChange.id) == ["PLACED", "CHANGED", "CANCELLED"]


def test_an_order_is_known_again_by_its_identifier(client):
    first = send(client, "POST", "/ServiceRequest", service_request(), 201)
    location = first.headers["location"].partition("/_history")[0]
    again = send(client, "POST", "/ServiceRequest", service_request(id="theirs"), 200)
    assert again.json()["id"] == location.rpartition("/")[2]
    changed = service_request(priority="routine")
    assert send(client, "POST", "/ServiceRequest", changed, 200).headers["etag"] == 'W/"2"'
    # The accession number alone does not make it the same order.
    other = service_request(identifier=[identifier("PLAC", "78"), identifier("ACSN", "A1")])
    send(client, "POST", "/ServiceRequest", other, 201)
    assert [order.priority for order in read(Order, Order.received_at)] == [2, 0]
    both = service_request(identifier=[identifier("PLAC", "77"), identifier("PLAC", "78")])
    assert refusal(send(client, "POST", "/ServiceRequest", both, 412))[0] == "duplicate"
    nothing = service_request(identifier=[])
    assert refusal(send(client, "POST", "/ServiceRequest", nothing, 422)) == (
        "business-rule",
        "ServiceRequest.identifier",
    )


def test_a_patient_that_was_sent_before_is_found(client):
    order = service_request(id="x1", contained=[], subject={"reference": "Patient/jane"})
    refused = send(client, "PUT", "/ServiceRequest/x1", order, 422)
    assert refusal(refused) == ("not-found", "ServiceRequest.subject")
    send(client, "PUT", "/Patient/jane", patient(), 201)
    send(client, "PUT", "/ServiceRequest/x1", order, 201)
    absolute = order | {"id": "x2", "subject": {"reference": "https://localhost/fhir/Patient/jane"}}
    absolute["identifier"] = [identifier("PLAC", "79")]
    send(client, "PUT", "/ServiceRequest/x2", absolute, 201)
    assert {(o.patient_id, o.patient_name) for o in read(Order)} == {("P1", "Roe^Jane")}
    # What is sent again is read again with the patient as he is now.
    send(client, "PUT", "/Patient/jane", patient(birthDate="1971-01-31"), 200)
    send(client, "PUT", "/ServiceRequest/x1", order, 200)
    assert "19710131" in {o.patient_birth_date for o in read(Order)}


def test_a_patient_that_changes_is_corrected_and_one_that_is_replaced_merged(client):
    send(client, "PUT", "/Patient/jane", patient(), 201)
    send(client, "PUT", "/ServiceRequest/x", service_request(id="x"), 201)
    married = patient(name=[{"family": "Doe", "given": ["Jane"]}])
    send(client, "PUT", "/Patient/jane", married, 200)
    assert [order.patient_name for order in read(Order)] == ["Doe^Jane"]
    assert "PATIENT_CORRECTED" in read(OrderChange.kind)
    surviving = patient(id="j2", identifier=[identifier("MR", "P2", MRN)])
    send(client, "PUT", "/Patient/j2", surviving, 201)
    link = {"other": {"reference": "Patient/j2"}, "type": "replaced-by"}
    for _ in range(2):
        send(client, "PUT", "/Patient/jane", married | {"active": False, "link": [link]}, 200)
    assert [order.patient_id for order in read(Order)] == ["P2"]
    assert list(read(OrderChange.kind)).count("PATIENT_MERGED") == 1
    nowhere = link | {"other": {"reference": "Patient/none"}}
    refused = send(client, "PUT", "/Patient/j2", surviving | {"link": [nowhere]}, 422)
    assert refusal(refused) == ("not-found", "Patient.link.other")


def test_an_order_that_is_older_changes_nothing(client):
    new = service_request(id="x", meta={"lastUpdated": "2026-11-27T09:00:00Z"})
    old = service_request(
        id="x", meta={"lastUpdated": "2026-11-27T08:00:00Z"}, code={"text": "Hand"}
    )
    send(client, "PUT", "/ServiceRequest/x", new, 201)
    answer = send(client, "PUT", "/ServiceRequest/x", old, 200)
    assert answer.json()["code"]["text"] == "Chest 2 views"
    assert [order.procedure for order in read(Order)] == ["Chest 2 views"]


def test_what_was_sent_is_served_by_its_id(client):
    sent = patient(meta={"source": "http://ehr.example", "versionId": "77"})
    send(client, "PUT", "/Patient/jane", sent, 201)
    answer = client.get("/fhir/Patient/jane", params={"_format": "json", "_pretty": "true"})
    served = answer.json()
    meta = served.pop("meta")
    assert served == patient()
    assert (meta["source"], meta["versionId"]) == ("http://ehr.example", "1")
    tag = answer.headers["etag"]
    assert client.get("/fhir/Patient/jane", headers={"if-none-match": tag}).status_code == 304
    assert refusal(client.get("/fhir/Patient/none"))[0] == "not-found"
    assert refusal(client.get("/fhir/Patient/a%20b"))[0] == "not-found"


def test_versions_and_conditions(client):
    send(client, "PUT", "/Patient/jane", patient(), 201)
    send(client, "PUT", "/Patient/jane", patient(gender="other"), 412, **{"if-match": 'W/"2"'})
    send(client, "PUT", "/Patient/jane", patient(gender="other"), 200, **{"if-match": 'W/"1"'})
    send(client, "PUT", "/Patient/jane", patient(gender="other"), 412, **{"if-match": "x"})
    known = {"if-none-exist": "identifier=http://hospital.example/mrn|P1"}
    kept = send(client, "POST", "/Patient", patient(gender="male"), 200, **known)
    assert (kept.json()["id"], kept.json()["gender"]) == ("jane", "other")
    unread = {"if-none-exist": "name=Roe"}
    assert refusal(send(client, "POST", "/Patient", patient(), 422, **unread))[0] == "not-supported"


def test_the_answer_has_the_form_that_is_preferred(client):
    minimal = send(client, "PUT", "/Patient/a", patient(id="a"), 201, prefer="return=minimal")
    assert minimal.content == b""
    told = send(client, "PUT", "/Patient/a", patient(id="a"), 200, prefer="return=OperationOutcome")
    assert told.json()["issue"][0]["severity"] == "information"


def test_reports_are_kept_with_their_versions(client):
    report = diagnostic_report(id="r1")
    send(client, "PUT", "/DiagnosticReport/r1", report, 201)
    send(client, "PUT", "/DiagnosticReport/r1", report, 200)
    corrected = report | {"status": "corrected", "conclusion": "Small effusion."}
    send(client, "PUT", "/DiagnosticReport/r1", corrected, 200)
    versions = read(ReceivedReport, ReceivedReport.received_at)
    assert [version.impression for version in versions] == ["No acute disease.", "Small effusion."]
    assert versions[0].superseded_at
    again = send(client, "POST", "/DiagnosticReport", diagnostic_report(), 200)
    assert again.json()["id"] == "r1"  # by its identifier


def test_a_transaction_is_taken_in_whole(client):
    urns = {
        kind: f"urn:uuid:00000000-0000-0000-0000-00000000000{n}"
        for n, kind in enumerate(("patient", "order", "study", "findings", "report"))
    }
    subject = {"reference": urns["patient"]}
    order = service_request(contained=[], subject=subject, identifier=[identifier("PLAC", "7")])
    study = {
        "resourceType": "ImagingStudy",
        "status": "registered",
        "subject": subject,
        "identifier": [identifier("ACSN", "A7")],
        "basedOn": [{"reference": urns["order"]}],
    }
    report = diagnostic_report(
        contained=[],
        subject=subject,
        identifier=[{"system": "urn:ris", "value": "R7"}],
        imagingStudy=[{"reference": urns["study"]}],
        result=[{"reference": urns["findings"]}],
    )
    findings = observation("59776-5", "Clear lungs.", subject=subject)
    bundle = transaction(
        entry("POST", report, urns["report"]),
        entry("POST", order, urns["order"]),
        entry("POST", findings, urns["findings"]),
        entry("POST", study, urns["study"]),
        entry("PUT", patient(), urns["patient"]),
    )
    answer = send(client, "POST", "", bundle, 200).json()
    Bundle.model_validate(answer)
    assert answer["type"] == "transaction-response"
    assert [e["response"]["status"] for e in answer["entry"]] == ["201 Created"] * 5
    kinds = [e["response"]["location"].partition("/")[0] for e in answer["entry"]]
    assert kinds == ["DiagnosticReport", "ServiceRequest", "Observation", "ImagingStudy", "Patient"]
    (kept,) = read(Order)
    assert (kept.patient_id, kept.accession_numbers) == ("P1", ["A7"])
    (kept_report,) = read(ReceivedReport)
    assert (kept_report.findings, kept_report.accession_numbers) == ("Clear lungs.", ["A7"])
    location = answer["entry"][1]["response"]["location"].partition("/_history")[0]
    served = client.get(f"/fhir/{location}").json()
    assert served["subject"]["reference"] == "Patient/jane"
    again = send(client, "POST", "/", bundle, 200, prefer="return=representation").json()
    # Observation and ImagingStudy have no identifier with a system here: they are other ones.
    states = [e["response"]["status"] for e in again["entry"]]
    assert states == ["200 OK", "200 OK", "201 Created", "201 Created", "200 OK"]
    assert again["entry"][4]["resource"]["id"] == "jane"
    assert len(read(Order)) == 1


BAD_TRANSACTIONS = [
    (
        transaction(
            entry("PUT", patient()),
            entry("POST", service_request(contained=[], subject={"reference": "urn:uuid:9"})),
        ),
        422,
        "not-found",
        "Bundle.entry[1].resource",
    ),
    (
        transaction(
            entry("PUT", patient()),
            entry("POST", service_request(priority="soon")),
        ),
        422,
        "code-invalid",
        "Bundle.entry[1].resource.priority",
    ),
    (
        transaction(entry("PUT", patient()), entry("PUT", patient())),
        412,
        "duplicate",
        "Bundle.entry[1].resource",
    ),
    (
        transaction(entry("PUT", patient(), ifMatch='W/"3"')),
        412,
        "conflict",
        "Bundle.entry[0].resource",
    ),
    (
        transaction({"request": {"method": "DELETE", "url": "Patient/jane"}}),
        422,
        "not-supported",
        "Bundle.entry[0].request.method",
    ),
    (
        transaction({"resource": patient(), "request": {"method": "PUT", "url": "Patient/x"}}),
        422,
        "invalid",
        "Bundle.entry[0].request.url",
    ),
    (
        transaction(entry("POST", {"resourceType": "Basic", "code": {"text": "x"}})),
        422,
        "not-supported",
        "Bundle.entry[0].resource",
    ),
    (transaction() | {"type": "batch"}, 422, "not-supported", "Bundle.type"),
    (patient(), 422, "not-supported", "Bundle.type"),
    (
        transaction(entry("PUT", patient(nickname="x"))),
        400,
        "structure",
        "Bundle.entry[0].resource.nickname",
    ),
]


def test_a_transaction_that_cannot_be_used_leaves_nothing(client):
    for bundle, status, code, expression in BAD_TRANSACTIONS:
        assert refusal(send(client, "POST", "", bundle, status)) == (code, expression)
    assert read(FhirResource) == []


def test_a_transaction_has_a_limit_of_entries(client):
    entries = [entry("PUT", patient(id=f"p{n}", identifier=[])) for n in range(1001)]
    answer = send(client, "POST", "", transaction(*entries), 413)
    assert refusal(answer) == ("too-costly", "Bundle.entry")


BAD_REQUESTS = [
    ("GET", "/Nothing/1", None, {}, 404, "not-found"),
    ("POST", "/Basic", b"{}", {}, 404, "not-found"),
    ("GET", "/ServiceRequest", None, {}, 405, "not-supported"),
    ("DELETE", "/ServiceRequest/1", None, {}, 405, "not-supported"),
    ("GET", "/metadata", None, {"accept": "application/fhir+xml"}, 406, "not-supported"),
    ("GET", "/metadata?_format=xml", None, {}, 406, "not-supported"),
    ("GET", "/metadata?_elements=rest", None, {}, 422, "invalid"),
    ("POST", "/Patient", b"<Patient/>", {"content-type": "application/fhir+xml"}, 415, None),
    ("POST", "/Patient", b"{}", {"content-type": ""}, 415, None),
    (
        "POST",
        "/Patient",
        b"{}",
        {"content-type": "application/fhir+json; fhirVersion=3.0"},
        415,
        None,
    ),
    ("POST", "/Patient", b"{", {}, 400, "structure"),
    ("POST", "/Patient", b"[]", {}, 400, "structure"),
    ("POST", "/Patient", b'{"a": NaN}', {}, 400, "structure"),
    ("POST", "/Patient", b"[" * 200_000, {}, 400, "structure"),
    ("POST", "/Patient", b"\xff", {}, 400, "structure"),
    ("POST", "/Patient", b'{"resourceType": "Group"}', {}, 422, None),
    ("PUT", "/Patient/x", json.dumps(patient()).encode(), {}, 400, "structure"),
    ("POST", "/Patient", b" " * 2_000_001, {}, 413, "too-long"),
    ("POST", "/Patient", b"{}", {"origin": "http://evil.example"}, 403, "forbidden"),
    ("GET", "/metadata", None, {"host": "evil.example"}, 421, "forbidden"),
]


def test_every_error_is_an_operation_outcome(client):
    for method, path, body, headers, status, code in BAD_REQUESTS:
        sent = {"content-type": "application/fhir+json"} | headers
        response = client.request(method, f"/fhir{path}", content=body, headers=sent)
        assert response.status_code == status, response.text
        assert code in (None, refusal(response)[0])


@pytest.fixture
def client(database, data_dir, setting):
    setting(fhir_max_mb=2)
    with TestClient(make_app(settings()), base_url="http://localhost") as client:
        yield client


def test_an_unexpected_error_is_an_operation_outcome(client, monkeypatch):
    def fail(*_arguments, **_options):
        raise ZeroDivisionError("PLANTED")

    monkeypatch.setattr("api.fhir.routes.receive", fail)
    quiet = TestClient(client.app, base_url="http://localhost", raise_server_exceptions=False)
    response = send(quiet, "POST", "/Patient", patient(), 500)
    assert refusal(response)[0] == "exception"
    assert "PLANTED" not in response.text


def test_what_is_refused_is_kept_encrypted_and_counted(client):
    body = json.dumps(service_request(status="bogus", note=[{"text": "PLANTED"}])).encode()
    send(client, "POST", "/ServiceRequest", body, 422)
    send(client, "POST", "/ServiceRequest", body, 422)
    (row,) = read(ReceivedMessage)
    assert (row.outcome, row.answer_code, row.repeats) == ("REFUSED", "422", 1)
    assert (row.message_type, row.location) == ("POST ServiceRequest", "ServiceRequest.status")
    assert b"PLANTED" not in row.content
    assert received_messages.read_content(row) == body


def test_r5_is_taken_where_the_content_type_says_so(client):
    r5 = service_request(id="x", reason=[{"concept": {"text": "Fever"}}])
    del r5["reasonCode"]
    r5["code"] = {"concept": {"text": "Chest 2 views"}}
    assert refusal(send(client, "PUT", "/ServiceRequest/x", r5, 400))[0] == "structure"
    kind = {"content-type": "application/fhir+json; fhirVersion=5.0"}
    send(client, "PUT", "/ServiceRequest/x", r5, 201, **kind)
    (order,) = read(Order)
    assert (order.procedure, order.texts[0]["text"]) == ("Chest 2 views", "Fever")


def test_the_capability_statement_says_what_is_served(client):
    statement = client.get("/fhir/metadata").json()
    CapabilityStatement.model_validate(statement)
    (rest,) = statement["rest"]
    said = {
        (resource["type"], interaction["code"])
        for resource in rest["resource"]
        for interaction in resource["interaction"]
    }
    methods = {"create": ("POST", ""), "update": ("PUT", "/{resource_id}")}
    methods["read"] = ("GET", "/{resource_id}")
    expected = {
        (m, f"/fhir/{kind}{methods[code][1]}") for kind, code in said for m in [methods[code][0]]
    }
    served = {
        (method, route.path)
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    others = {("GET", "/fhir/metadata"), ("POST", "/fhir"), ("POST", "/fhir/")}
    assert served == expected | others
    assert rest["interaction"] == [{"code": "transaction"}]
    assert statement["implementation"]["url"] == "http://localhost/fhir"


# Each sample, in the order in which it is sent: the answer before and after its Patient is known.
SAMPLES = {
    "uscore_observation-xray-chest-findings": (201, 200),
    "uscore_observation-xray-chest-impression": (201, 200),
    "r4_ServiceRequest-di": ((422, "ServiceRequest.subject"), 201),
    "uscore_servicerequest-chest-xray": ((422, "ServiceRequest.subject"), 201),
    "r4_DiagnosticReport-ultrasound": ((422, "DiagnosticReport.subject"), 201),
    "uscore_DiagnosticReport-chest-xray-report": ((422, "DiagnosticReport.subject"), 201),
    "r4_ImagingStudy-example-xr": (201, 200),
    "r4_ImagingStudy-example": (201, 200),
}


def test_the_samples_end_accepted_or_refused_with_the_right_reason(client, samples):
    resources = load_samples(samples)
    assert set(resources) == set(SAMPLES)
    for is_known in (False, True):
        if is_known:
            for id_ in ("example", "dicom"):
                send(client, "PUT", f"/Patient/{id_}", patient(id=id_), 201)
        for name, answers in SAMPLES.items():
            resource, answer = resources[name], answers[is_known]
            path = f"/{resource['resourceType']}/{resource['id']}"
            if isinstance(answer, tuple):
                refused = send(client, "PUT", path, resource, answer[0])
                assert refusal(refused) == ("not-found", answer[1])
            else:
                send(client, "PUT", path, resource, answer)
    texts = {text["text"] for order in read(Order) for text in order.texts}
    assert texts == {"Check for metastatic disease", "Bicycle accident"}
    impressions = {report.impression for report in read(ReceivedReport)}
    assert impressions == {"Unremarkable study", "No acute abnormality"}

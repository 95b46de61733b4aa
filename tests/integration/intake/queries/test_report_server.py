"""A FHIR server is asked for a patient's earlier reports, and for nobody else's."""

from __future__ import annotations

import pytest
from joserfc.jwk import ECKey, RSAKey
from sqlalchemy import select, text, update

from intake.queries.asking import Asker, QuestionFailed
from intake.queries.report_server import AskedPatient, ReportServer
from intake.turns import SystemAway
from records.database.draft_tables import DraftRequest
from records.database.operation_tables import Alarm
from records.database.order_tables import StudyQuery
from records.database.report_tables import ReceivedReport
from records.database.session import unit_of_work
from records.database.tables import Study
from records.errors import SettingsError
from records.orders import effects, queries
from records.orders.order import OrderAction, ReceivedOrder
from records.orders.receiving import receive_order
from records.settings import read_settings, settings
from records.states import Origin, QueryState
from records.workflow import events, requests
from records.workflow.identifiers import PatientId
from tests.support.fhir_server import (
    CLIENT,
    SYSTEM,
    FhirServer,
    as_json,
    make_patient,
    make_report,
    outcome,
)
from tests.support.registered_studies import PATIENT, complete, new_instance

ASKED = AskedPatient("P-1", SYSTEM, SYSTEM)


@pytest.fixture
def server():
    with FhirServer() as running:
        running.put(make_patient(), make_report())
        yield running


def client(server, **changed):
    values = {"reports_url": server.base, "reports_patient_system": SYSTEM, "reports_seconds": 5}
    return ReportServer(read_settings(**(values | changed)))


def find(server, **changed):
    return client(server, **changed).find(ASKED)


@pytest.fixture
def asked(database, setting, server):
    """A study that waits for its patient's earlier reports."""
    setting(reports_url=server.base, reports_patient_system=SYSTEM, reports_retry_seconds=0)
    return ask_about(new_instance())


def ask_about(*instances):
    study_ids = complete(*instances)
    with unit_of_work() as session:
        queries.open_queries(session, study_ids, settings())
    return study_ids[0]


def read(*columns):
    with unit_of_work() as session:
        rows = session.execute(select(*columns)).all()
        return [row[0] if len(columns) == 1 else tuple(row) for row in rows]


def details(study_id):
    with unit_of_work() as session:
        return [event.detail for event in events.timeline(session, study_id)]


@pytest.mark.parametrize("search", ["patient", "chained"])
def test_the_reports_of_the_patient_are_found(server, search):
    server.put(make_patient("pat2", "P-1", "urn:other"), make_report("r2", "pat2"))
    (report,), unread = find(server, reports_search=search)
    assert unread == 0
    assert report.report_number == f"{server.base}/DiagnosticReport/r1"
    assert report.impression == "No acute disease."
    assert (report.patient.patient_id, report.patient.issuer) == ("P-1", SYSTEM)


def test_a_server_that_ignores_the_patient_gives_no_other_patients_report(server):
    server.ignores_patient = True
    server.put(make_patient("pat2", "P-2"), make_report("r2", "pat2"))
    reports, _ = find(server)
    assert [report.patient.patient_id for report in reports] == ["P-1"]


def test_pages_are_followed_up_to_the_limit(server):
    server.page_size = 10
    server.put(*(make_report(f"n{number}") for number in range(34)))
    assert len(find(server)[0]) == 35
    assert len(find(server, reports_limit=12)[0]) == 12


def test_texts_in_results_are_read_from_the_server(server):
    observation = {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "59776-5"}]},
        "valueString": "The lungs are clear.",
    }
    server.put(observation, make_report(conclusion=None, result=[{"reference": "Observation/o1"}]))
    (report,), _ = find(server)
    assert report.findings == "The lungs are clear."


def test_what_cannot_be_read_is_counted_and_the_rest_is_read(server):
    server.put(
        make_report("r2", status="no such status"),
        make_report("r3", conclusion=None, result=[{"reference": "Observation/gone"}]),
        make_report("r4", study=[{"reference": "ImagingStudy/x"}]),  # as in R5
    )
    reports, unread = find(server)
    assert (len(reports), unread) == (2, 2)


def answering(server, path, *answer):
    server.fault = lambda asked: answer if path in asked else None


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (as_json(outcome("forbidden"), 403), SystemAway, "does not let us search"),
        (as_json(outcome("not-found"), 404), SystemAway, "nothing at this address"),
        ((503, {"Retry-After": "7"}, b""), SystemAway, "answered 503"),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), SystemAway, "redirect"),
        (as_json(outcome("invalid"), 400), QuestionFailed, r"answered 400 \(invalid\)"),
        (as_json(outcome("too-costly")), QuestionFailed, "too-costly"),
        (as_json({"resourceType": "Patient"}), QuestionFailed, "is no Bundle"),
        ((200, {}, b"<html>PHANTOM^ONE"), QuestionFailed, "is no JSON"),
        ((200, {}, b"[" * 100_000), QuestionFailed, "is no JSON"),
        ((200, {}, b'"' + b"x" * 10_100_000), QuestionFailed, "larger than 10 MB"),
    ],
    ids=["403", "404", "503", "302", "400", "OperationOutcome", "Patient", "html", "deep", "huge"],
)
def test_an_answer_that_is_none_is_an_error_without_a_patient(server, answer, error, message):
    answering(server, "DiagnosticReport?", *answer)
    with pytest.raises(error, match=message) as raised:
        find(server)
    assert "PHANTOM" not in str(raised.value)
    assert "P-1" not in str(raised.value)


def test_a_server_that_asks_for_a_pause_gets_it(server):
    answering(server, "DiagnosticReport?", 429, {"Retry-After": "90"}, b"")
    with pytest.raises(SystemAway, match="less often") as raised:
        find(server)
    assert raised.value.retry_seconds == 90
    answering(server, "", 503, {"Retry-After": "Fri, 27 Nov 2020 00:00:00 GMT"}, b"")
    with pytest.raises(SystemAway) as raised:
        find(server)
    assert raised.value.retry_seconds == 0


@pytest.mark.parametrize("next_url", ["", "http://127.0.0.1:1/fhir/DiagnosticReport?page=2"])
def test_next_links_lead_neither_round_nor_elsewhere(server, next_url):
    def fault(path):
        if "DiagnosticReport?" not in path:
            return None
        link = [{"relation": "next", "url": next_url or f"http://127.0.0.1:{server.port}{path}"}]
        return as_json({"resourceType": "Bundle", "type": "searchset", "link": link})

    server.fault = fault
    with pytest.raises(QuestionFailed, match="another server" if next_url else "lead back"):
        find(server)


@pytest.mark.parametrize("next_url", ["http://[", "http://127.0.0.1:99999/"])
def test_a_next_link_that_is_no_address_is_this_questions_fault(server, next_url):
    link = [{"relation": "next", "url": next_url}]
    answering(
        server,
        "DiagnosticReport?",
        *as_json({"resourceType": "Bundle", "type": "searchset", "link": link}),
    )
    with pytest.raises(QuestionFailed, match="next link"):
        find(server)


def test_a_next_link_with_a_blank_is_followed(server):
    def fault(path):
        if "DiagnosticReport?" not in path or "second" in path:
            return None
        link = [{"relation": "next", "url": "DiagnosticReport?patient=pat1&mark=the second é"}]
        return as_json({"resourceType": "Bundle", "type": "searchset", "link": link})

    server.fault = fault
    assert [report.impression for report in find(server)[0]] == ["No acute disease."]


def test_a_reference_that_is_no_address_leaves_out_what_it_names(server):
    server.put(
        make_report("r2", basedOn=[{"reference": "http://["}]),
        make_report("r3", conclusion=None, result=[{"reference": "http://["}]),
    )
    reports, unread = find(server)
    assert (len(reports), unread) == (2, 1)


@pytest.mark.parametrize("pause", ["\xb2", "Fri, 27 Nov 99999999999999999999 00:00:00 GMT", "soon"])
def test_a_pause_that_nobody_can_read_is_none(server, pause):
    answering(server, "DiagnosticReport?", 429, {"Retry-After": pause}, b"")
    with pytest.raises(SystemAway, match="less often") as raised:
        find(server)
    assert raised.value.retry_seconds is None


def test_endless_pages_are_bounded(server):
    def fault(path):
        if "DiagnosticReport?" not in path:
            return None
        link = [{"relation": "next", "url": f"DiagnosticReport?page={len(server.asked)}"}]
        return as_json({"resourceType": "Bundle", "type": "searchset", "link": link})

    server.fault = fault
    with pytest.raises(QuestionFailed, match="more than 20 pages"):
        find(server)


def write_key(tmp_path, server, key):
    path = tmp_path / "key.pem"
    path.write_bytes(key.as_pem(private=True))
    server.keys = {key.thumbprint(): key}
    return {"reports_login": "smart", "reports_client_id": CLIENT, "reports_key_file": str(path)}


@pytest.mark.parametrize("kind", ["RS384", "ES384"])
def test_smart_backend_services(server, tmp_path, kind):
    key = RSAKey.generate_key(2048) if kind == "RS384" else ECKey.generate_key("P-384")
    login = write_key(tmp_path, server, key)
    ours = client(server, **login)
    assert len(ours.find(ASKED)[0]) == 1
    ours.find(ASKED)
    assert len(server.assertions) == 1  # the token is kept
    server.tokens.clear()  # the server forgets it
    assert len(ours.find(ASKED)[0]) == 1
    assert len(server.assertions) == 2
    server.token_seconds = 10  # less than the time before its end at which it is renewed
    server.tokens.clear()
    ours.find(ASKED)
    ours.find(ASKED)
    assert len(server.assertions) > 4


def test_a_client_that_is_not_known_is_away_and_names_no_secret(server, tmp_path):
    login = write_key(tmp_path, server, RSAKey.generate_key(2048))
    server.keys = {name: RSAKey.generate_key(2048) for name in server.keys}
    with pytest.raises(SystemAway, match="no token: the authorization server answered 400"):
        find(server, **login)


def test_a_bearer_token(server):
    server.keys = {"x": None}
    server.tokens = ["a-token"]
    assert find(server, reports_login="bearer", reports_bearer_token="a-token")[0]
    with pytest.raises(SystemAway, match="does not accept our login"):
        find(server, reports_login="bearer", reports_bearer_token="another")


@pytest.mark.parametrize(
    "changed",
    [
        {"reports_login": "bearer"},
        {"reports_login": "smart"},
        {"reports_login": "smart", "reports_client_id": CLIENT, "reports_key_file": "/none"},
        {"reports_url": "http://fhir.example", "reports_login": "bearer"},
        {"reports_ca_file": "/none"},
    ],
)
def test_a_login_that_cannot_be_used_is_named_at_the_start(server, changed):
    with pytest.raises(SettingsError, match="NIGHTDRAFT_REPORTS_"):
        client(server, **changed)


def test_a_key_of_another_curve_is_refused(server, tmp_path):
    with pytest.raises(SettingsError, match="RS384"):
        client(server, **write_key(tmp_path, server, ECKey.generate_key("P-256")))


def test_reports_are_kept_before_the_study_is_prepared(asked, server):
    (until,) = read(StudyQuery.wait_until)
    assert read(DraftRequest.not_before, DraftRequest.claimable) == [(until, False)]
    Asker(client(server)).take_turn()
    assert read(ReceivedReport.impression, ReceivedReport.status) == [
        ("No acute disease.", "FINAL")
    ]
    assert read(DraftRequest.not_before, DraftRequest.claimable) == [(None, True)]
    assert read(StudyQuery.state, StudyQuery.answers) == [(QueryState.ANSWERED, 1)]
    assert "asked the report server: 1 report" in details(asked)


def test_the_same_reports_again_change_nothing(asked, server):
    asker = Asker(client(server))
    asker.take_turn()
    with unit_of_work() as session:
        session.execute(update(StudyQuery).values(state="WAITING", not_before=text("now()")))
    asker.take_turn()
    assert len(read(ReceivedReport.id)) == 1


def test_a_study_waits_for_its_order_though_its_reports_are_there(database, setting, server):
    setting(reports_url=server.base, reports_patient_system=SYSTEM, order_wait_minutes="*=60")
    study_ids = complete(new_instance())
    with unit_of_work() as session:
        effects.take_up_closed(session, study_ids)
        queries.open_queries(session, study_ids, settings())
    Asker(client(server)).take_turn()
    ((waits, until),) = read(DraftRequest.waits_for_order, DraftRequest.not_before)
    (arrived_at,) = read(Study.first_received_at)
    assert waits
    assert (until - arrived_at).total_seconds() == 3600


def test_an_order_that_comes_first_leaves_the_wait_for_reports(asked):
    with unit_of_work() as session:
        session.execute(update(DraftRequest).values(waits_for_order=True))
    order = ReceivedOrder(Origin.HL7, "RIS", OrderAction.PLACE, PATIENT, accession_numbers=("A1",))
    with unit_of_work() as session:
        receive_order(session, order)
    (until,) = read(StudyQuery.wait_until)
    assert read(DraftRequest.waits_for_order, DraftRequest.not_before) == [(False, until)]


def test_a_study_is_drafted_without_where_the_server_is_away(asked, server):
    server.stop()
    asker = Asker(client(server, query_alarm_seconds=0))
    assert asker.take_turn() == 5
    assert read(Alarm.kind, Alarm.part) == [("REPORT_SERVER_AWAY", "report server")]
    with unit_of_work() as session:  # its wait is over
        session.execute(update(DraftRequest).values(not_before=text("now()")))
    with unit_of_work() as session:
        assert requests.wake_due(session, 10) == 1
    assert read(DraftRequest.claimable) == [True]
    with server:
        asker.take_turn()
    assert read(Alarm.closed_at) != [None]
    assert len(read(ReceivedReport.id)) == 1


def test_a_patient_without_a_system_is_not_asked_for(database, setting, server):
    setting(reports_url=server.base)
    study_id = ask_about(new_instance())
    Asker(client(server, reports_patient_system="")).take_turn()
    assert [path for path in server.asked if "Patient" in path] == []
    assert any("has no system" in detail for detail in details(study_id))


@pytest.mark.parametrize(
    ("issuer", "issuers", "wanted"),
    [
        ("", {}, ("P-1", SYSTEM)),
        ("HOSPITAL", {"urn:mrn": "hospital"}, ("P-1", "urn:mrn")),
        ("urn:mrn", {}, ("P-1", "urn:mrn")),
        ("HOSPITAL", {}, None),
    ],
)
def test_the_system_of_a_patients_id(server, issuer, issuers, wanted):
    asked = client(server, fhir_issuers=issuers)._asked_patient(PatientId("P-1", issuer))
    assert (asked and (asked.value, asked.system)) == wanted

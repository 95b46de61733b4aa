"""Whoever is shown a patient is in the trail: every address is asked, and its answer searched."""

import re
import uuid
from dataclasses import replace

import pytest
from sqlalchemy import select, text
from starlette.testclient import TestClient

from api.access.table import TABLE, Scope
from api.app import make_app
from api.idempotency import IdempotencyKeys
from api.looks import LookRecorder
from model.dicom.image_process import compress
from records.audit.keys import load_key
from records.blobs import Blobs
from records.database.audit_tables import AuditEntry
from records.database.session import engine, unit_of_work
from records.settings import settings
from tests.support.accounts import PASSWORD, make_account
from tests.support.filled_records import SETTINGS, addresses, fill
from tests.support.registered_studies import new_instance, register

FHIR_PATIENT = {
    "resourceType": "Patient",
    "id": "f1",
    "identifier": [{"value": "P1", "type": {"coding": [{"code": "MR"}]}}],
    "name": [{"family": "PHANTOM", "given": ["1"]}],
}


def last_id():
    with unit_of_work() as session:
        return session.scalar(select(AuditEntry.id).order_by(AuditEntry.id.desc()).limit(1)) or 0


def entries(after=0):
    with unit_of_work() as session:
        return session.scalars(
            select(AuditEntry).where(AuditEntry.id > after).order_by(AuditEntry.id)
        ).all()


@pytest.fixture
def filled(client, data_dir, setting):
    """A record of every kind of thing that is shown, of patients P1 to P4; their ids by name."""
    setting(**SETTINGS)
    ids = fill()
    answer = client.put(
        "/fhir/Patient/f1", json=FHIR_PATIENT, headers={"content-type": "application/fhir+json"}
    )
    assert answer.status_code == 201, answer.text
    return ids | {"resource_id": "f1"}


def shown_patients(answer):
    return set(re.findall(r"\bP[1-4]\b", answer.text))


def test_every_address_that_shows_a_patient_writes_an_entry(client, filled, data_dir):
    blobs = Blobs(data_dir)
    blobs.write_picture(filled["blob"], b"a picture")
    blobs.write_film(filled["blob"], compress(b"a film"))
    key = load_key()
    seen = {}
    for route, path in addresses(filled):
        query = {"seen": "x"} if route.endswith("/changed") else {}
        if path == "/comparisons":
            query = {"first": "bundle", "second": "B"}
        before = last_id()
        leads_on = route.endswith(("/next", "/previous"))
        answer = client.get(path, params=query, follow_redirects=not leads_on)
        written = entries(before)
        names = shown_patients(answer)
        seen[route] = names
        assert len(written) <= 1, (route, written)
        if names:
            assert written, f"{route} shows {names} and writes nothing"
            assert {key.pseudonym(name, "") for name in names} <= set(written[0].patients), route
            assert written[0].detail.startswith(f"GET {route}")
            assert written[0].actor_address == "testclient"
    # What the walk must have met, or it would prove little.
    for route in (
        "/", "/live", "/studies/{study}", "/holds", "/orders", "/orders/{order_id}", "/reports",
        "/reports/{report_id}", "/discrepancies", "/discrepancies/{discrepancy_id}",
        "/comparisons", "/comparisons/{comparison_id}", "/api/studies", "/api/studies/{uid}",
        "/api/holds", "/api/orders", "/api/reports", "/fhir/Patient/{resource_id}",
    ):  # fmt: skip
        assert seen[route], route
    assert {"P1", "P2", "P4"} <= seen["/"]


@pytest.mark.parametrize(
    ("path", "patient"),
    [
        ("/studies/{study}/views/{instance}.jpg", "P4"),
        ("/studies/{study}/instances/{instance}/pixels", "P4"),
        ("/api/campaigns/{campaign_id}/studies", "P1"),
        ("/api/campaigns/{campaign_id}/export", "P1"),
        ("/second-look/{discrepancy_id}", "P1"),
    ],
)
def test_who_is_shown_without_a_name_is_named_all_the_same(client, filled, data_dir, path, patient):
    """A picture, a row of a campaign and a blind question are a patient's, too."""
    Blobs(data_dir).write_picture(filled["blob"], b"a picture")
    Blobs(data_dir).write_film(filled["blob"], compress(b"a film"))
    before = last_id()
    answer = client.get(path.format(**filled))
    assert answer.status_code == 200
    (entry,) = entries(before)
    assert load_key().pseudonym(patient, "") in entry.patients
    assert entry.action == ("EXPORT" if path.endswith("export") else "VIEW")


def test_a_message_that_names_somebody_is_named_by_its_own_id(client, filled):
    before = last_id()
    assert "4711" in client.get(f"/messages/{filled['message_id']}").text
    (entry,) = entries(before)
    assert entry.patients == []
    assert f"message {filled['message_id']}" in entry.detail
    assert "4711" not in entry.detail


def test_what_is_not_shown_is_not_written(client, filled):
    page = client.get("/").text
    seen = re.search(r'data-seen="(\w+)"', page)[1]
    before = last_id()
    assert client.get("/live", params={"seen": seen}).status_code == 200
    assert client.get(f"/studies/{uuid.uuid4()}").status_code == 404
    assert client.get(f"/api/studies/{filled['study']}/none").status_code == 404
    assert client.get("/healthz").status_code == 200
    assert client.get("/api/counts").status_code == 200
    assert entries(before) == []


def test_a_look_that_cannot_be_recorded_is_not_shown(client, filled):
    with engine().begin() as connection:
        connection.execute(text("ALTER TABLE audit_entries RENAME TO audit_entries_away"))
    for path in ("/", f"/studies/{filled['study']}", "/api/studies", "/api/orders"):
        answer = client.get(path)
        assert answer.status_code == 503, path
        assert "could not be recorded in the trail" in answer.text
        assert shown_patients(answer) == set()
        assert answer.headers["x-frame-options"] or answer.headers["content-security-policy"]
    assert client.get("/api/counts").status_code == 200
    with engine().begin() as connection:
        connection.execute(text("ALTER TABLE audit_entries_away RENAME TO audit_entries"))
    assert client.get("/").status_code == 200


def test_patients_are_not_shown_where_the_table_says_that_none_are(client, filled, monkeypatch):
    for path in ("/", "/api/studies", "/holds"):
        before = last_id()
        assert client.get(path).status_code == 200
        row = TABLE["GET", path]
        monkeypatch.setitem(TABLE, ("GET", path), replace(row, scope=Scope.NONE))
        shown = last_id()
        assert shown > before
        answer = client.get(path)
        assert answer.status_code == 500
        assert "whose patients" in answer.text
        assert shown_patients(answer) == set()
        assert last_id() == shown


def test_who_asked_is_named_where_it_is_known(database, data_dir):
    """What finds out who asks stands outside of the recorder."""
    register(new_instance())
    account = make_account("ana")
    app = make_app(settings())
    places = [middleware.cls for middleware in app.user_middleware]
    assert places[-2:] == [LookRecorder, IdempotencyKeys]
    far = ("10.0.0.7", 50_000)
    with TestClient(app, base_url="http://localhost", client=far) as client:
        client.post("/login", data={"login": "ana", "password": PASSWORD}, follow_redirects=False)
        before = last_id()
        assert client.get("/").status_code == 200
    (entry,) = entries(before)
    assert (entry.actor_kind, entry.actor_name) == ("ACCOUNT", "ana")
    assert entry.actor_id == str(account.id)
    assert entry.actor_address == "10.0.0.7"

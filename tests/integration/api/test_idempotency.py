"""Calls of REST with an Idempotency-Key: carried out once, and answered to nobody else."""

import uuid

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from api import idempotency
from records.accounts import programs
from records.bundles import stops
from records.database.session import engine, unit_of_work
from records.operations import kept_answers
from records.retention.erasure import erase_patient
from records.states import Permission
from records.workflow.identifiers import PatientId
from tests.support.accounts import let_pass, make_account, run_sql
from tests.support.two_sites import make_north

KEY = '"8e03978e-40d5-43e8-bc93-6894a57f9324"'
REPLAYED = "idempotent-replayed"


def post(client, address, body=None, key=KEY, **headers):
    if key is not None:
        headers["idempotency-key"] = key
    return client.post(address, json=body, headers=headers)


def campaign(name="Backlog"):
    return {"name": name, "by": "Dr. Roe", "studies": [{"accession_number": "A1"}]}


def count(table="campaigns"):
    return run_sql(f"SELECT count(*) FROM {table}")[0][0]


def as_program(client, name, permissions, *site):
    """A client of the same application with a token of its own."""
    with unit_of_work() as session:
        token = programs.create(session, name, permissions, "a test", *site)
    other = TestClient(client.app, base_url="http://localhost")
    other.headers["authorization"] = f"Bearer {token}"
    return other


def test_the_same_call_changes_once_and_is_answered_the_same(client):
    first = post(client, "/api/campaigns", campaign())
    assert first.status_code == 201
    assert REPLAYED not in first.headers
    again = post(client, "/api/campaigns", campaign())
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers[REPLAYED] == "true"
    assert count() == 1
    bare = post(client, "/api/campaigns", campaign(), KEY.strip('"'))
    assert bare.content == first.content, "quotation marks are no part of the key"


def test_an_addendum_that_is_sent_again_is_added_once(client, seeder):
    study = seeder.draft_study(1)
    shown = client.get(f"/api/studies/{study}/working-text").json()
    body = {key: shown[key] for key in ("draft", "version", "sha256")} | {"by": "Dr. Roe"}
    signed = post(client, f"/api/studies/{study}/reviews/sign", body)
    assert signed.status_code == 200, signed.text
    address = f"/api/studies/{study}/reviews/{signed.json()['id']}/addendum"
    addendum = {"text": "The left base was looked at again.", "by": "Dr. Roe"}
    answers = {post(client, address, addendum, "addendum").content for _ in range(3)}
    assert (len(answers), count("reviews")) == (1, 2)


def test_what_is_refused_the_second_time_is_answered_as_the_first(client, seeder):
    (study,) = seeder.complete(1)
    seeder.fail(study)
    address = f"/api/studies/{study}/retry"
    first = post(client, address)
    assert first.status_code == 200
    assert post(client, address).content == first.content
    assert post(client, address, key=None).status_code == 409, "a call of its own"


def test_a_key_belongs_to_one_call(client):
    assert post(client, "/api/campaigns", campaign()).status_code == 201
    for refused in (
        post(client, "/api/campaigns", campaign("Another")),
        post(client, "/api/campaigns/dry-run", campaign()),
        post(client, "/api/campaigns", campaign(), **{"if-match": '"1"'}),
    ):
        assert refused.status_code == 422
        assert refused.headers["content-type"] == "application/problem+json"
        assert "belongs to another call" in refused.json()["title"]
    assert count() == 1


@pytest.mark.parametrize("key", ["", '""', '"half', "two words", 'a"b', "x" * 201, "naïve"])
def test_a_key_that_is_none_is_refused(client, key):
    refused = post(client, "/api/campaigns", campaign(), key.encode("latin-1"))
    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/problem+json"
    assert count() == 0


def test_two_keys_are_refused(client):
    keys = [("idempotency-key", "one"), ("idempotency-key", "two")]
    refused = client.post("/api/campaigns", json=campaign(), headers=keys)
    assert (refused.status_code, count()) == (400, 0)


def test_a_refusal_is_repeated_too(client, seeder):
    study = seeder.draft_study(1)
    first = post(client, f"/api/studies/{study}/retry")
    assert first.status_code == 409
    again = post(client, f"/api/studies/{study}/retry")
    assert (again.status_code, again.content) == (409, first.content)
    assert again.headers["content-type"] == "application/problem+json"


def test_an_error_of_the_server_keeps_nothing_and_changes_nothing(client, monkeypatch):
    def fail_later(*_):
        raise RuntimeError("after the campaign was made")

    with monkeypatch.context() as patched:
        patched.setattr("api.campaigns.read_campaign", fail_later)
        quiet = TestClient(client.app, "http://localhost", raise_server_exceptions=False)
        assert post(quiet, "/api/campaigns", campaign()).status_code == 500
    assert (count(), count("kept_answers")) == (0, 0)
    answer = post(client, "/api/campaigns", campaign())
    assert (answer.status_code, count()) == (201, 1)
    assert REPLAYED not in answer.headers


def test_a_database_that_refuses_the_commit_keeps_nothing(client, monkeypatch):
    run_sql("ALTER TABLE kept_answers ADD CONSTRAINT none_fits CHECK (status = 0)")
    assert post(client, "/api/campaigns", campaign()).status_code == 500
    assert count() == 0
    run_sql("ALTER TABLE kept_answers DROP CONSTRAINT none_fits")
    assert post(client, "/api/campaigns", campaign()).status_code == 201


def test_a_change_of_several_studies_is_one_call(client, seeder):
    failed, other = seeder.complete(1, 2)
    seeder.fail(failed)
    wanted = [str(failed), str(other), str(uuid.uuid4())]
    body = {"studies": wanted, "action": "RETRY", "by": "Dr. Roe"}
    first = post(client, "/api/worklist/changes", body)
    assert first.status_code == 200, first.text
    assert run_sql("SELECT count(*) FROM draft_requests WHERE state = 'FAILED'") == [(0,)]
    assert post(client, "/api/worklist/changes", body).content == first.content


def test_a_call_that_runs_is_not_carried_out_twice(client):
    caller, key = "NOBODY", KEY.strip('"')
    running = kept_answers.KeyedCall.open(caller, key, "0" * 64)
    try:
        refused = post(client, "/api/campaigns", campaign())
        assert (refused.status_code, refused.headers["retry-after"]) == (409, "1")
        assert "is being carried out" in refused.json()["title"]
        assert post(client, "/api/campaigns", campaign("B"), "another").status_code == 201
    finally:
        running.close()
    assert post(client, "/api/campaigns", campaign()).status_code == 201


def test_a_key_of_another_caller_gives_nothing_away(client):
    ours = as_program(client, "ours", [Permission.MANAGE_CAMPAIGNS])
    theirs = as_program(client, "theirs", [Permission.MANAGE_CAMPAIGNS])
    make_account()
    first = post(ours, "/api/campaigns", campaign())
    assert first.status_code == 201
    other = post(theirs, "/api/campaigns", campaign("Theirs"))
    assert (other.status_code, count()) == (201, 2)
    assert other.json()["id"] != first.json()["id"]
    for client_without in (client, as_program(client, "reader", [Permission.READ_STUDIES])):
        refused = post(client_without, "/api/campaigns", campaign())
        assert refused.status_code in (401, 403)
        assert REPLAYED not in refused.headers
    assert count("kept_answers") == 2


def test_who_may_not_see_it_any_more_gets_no_answer(client, seeder):
    north = make_north()
    study = seeder.draft_study(1)
    program = as_program(client, "pacs", [Permission.CHANGE_WORK])
    make_account()
    address = f"/api/studies/{study}/retry"
    first = post(program, address)
    assert first.status_code == 409
    run_sql("UPDATE program_tokens SET site_id = :north", north=north)
    gone = post(program, address)
    assert gone.status_code == 410
    assert "may not be shown any more" in gone.json()["title"]


def test_an_answer_with_a_draft_that_was_stopped_is_not_given_again(client, seeder):
    study = seeder.draft_study(1)
    address = f"/api/studies/{study}/reviews/show-draft"
    first = post(client, address)
    assert first.status_code == 200
    assert first.json()["findings"]
    assert post(client, address).content == first.content
    ((digest,),) = run_sql("SELECT bundle_digest FROM drafts")
    with unit_of_work() as session:
        stops.stop(session, digest, "Dr. Roe", "it misses nodules")
    assert post(client, address).status_code == 410


def test_an_answer_that_is_given_again_is_a_look(client, seeder):
    study = seeder.draft_study(1)
    address = f"/api/studies/{study}/reviews/show-draft"
    post(client, address)
    post(client, address)
    ((detail, number),) = run_sql(
        "SELECT detail, count(*) FROM audit_entries WHERE action = 'VIEW' GROUP BY detail"
    )
    assert (detail, number) == ("POST /api/studies/{uid}/reviews/show-draft", 2)


def test_answers_are_kept_for_the_setting_s_hours(client, setting):
    setting(idempotency_hours=2)
    first = post(client, "/api/campaigns", campaign())
    let_pass("kept_answers", 2 * 3600 - 60, "kept_at")
    assert post(client, "/api/campaigns", campaign()).content == first.content
    let_pass("kept_answers", 120, "kept_at")
    with unit_of_work() as session:
        assert kept_answers.remove_old(session, 3) == 0
    second = post(client, "/api/campaigns", campaign("Of today"))
    assert second.json()["id"] != first.json()["id"]
    assert post(client, "/api/campaigns", campaign("Of today")).content == second.content
    let_pass("kept_answers", 3 * 3600, "kept_at")
    with unit_of_work() as session:
        assert kept_answers.remove_old(session, 2) == 1
    assert count("kept_answers") == 0


def test_an_erased_patient_is_in_no_kept_answer(client, seeder):
    study, other = seeder.draft_study(1), seeder.draft_study(2)
    for number, one in enumerate((study, other)):
        shown = post(client, f"/api/studies/{one}/reviews/show-draft", key=f"show-{number}")
        assert shown.status_code == 200
    placed = post(
        client,
        "/api/orders",
        {"placer_order_number": "P1", "patient_id": "ERASE-ME-1", "texts": []},
        "order",
    )
    assert placed.status_code == 201, placed.text
    ((patient, issuer),) = run_sql(
        "SELECT patient_id, patient_id_issuer FROM studies WHERE id = :id", id=study
    )
    for given in (PatientId(patient, issuer), PatientId("ERASE-ME-1", "")):
        with unit_of_work() as session:
            _, deleted = erase_patient(session, given, "a request")
        assert deleted["kept_answers"] == 1
    ((body, shown),) = run_sql("SELECT body, shown FROM kept_answers")
    assert shown["studies"] == [str(other)]
    assert patient not in body


def test_the_key_itself_is_not_kept(client):
    post(client, "/api/campaigns", campaign(), "MRN-4711-DOE")
    with engine().connect() as connection:
        rows = connection.execute(text("SELECT kept_answers::text FROM kept_answers")).scalars()
        assert all("4711" not in row for row in rows)


def test_pages_and_other_methods_take_no_key():
    assert idempotency.takes_key("POST", "/api/orders")
    for method, path in (("PUT", "/api/orders/1"), ("POST", "/login"), ("POST", "/auth/token")):
        assert not idempotency.takes_key(method, path)

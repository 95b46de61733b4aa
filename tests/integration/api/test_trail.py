"""The trail: page, REST and command show the same lines, and whoever reads them is in it."""

import json
import re
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from nightdraft.cli.main import app
from records.actors import Actor, acting_as
from records.audit import heads, sealing, trail
from records.audit.keys import load_key
from records.database.session import engine, unit_of_work
from records.errors import NightdraftError, NotAllowed
from records.states import ActorKind, AuditAction, EventKind
from records.workflow import events
from tests.integration.records.audit.test_messages import check
from tests.support.registered_studies import OTHER_PATIENT, PATIENT, new_instance, register

ANA = Actor(ActorKind.ACCOUNT, "ana <b>", "17", "10.0.0.7")


def run(*arguments):
    result = CliRunner().invoke(app, ["trail", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.fixture
def done(client):
    """Ana sees two patients, releases a study of the first, and exports the second."""
    studies = [
        one.study_id
        for one in register(new_instance("1.1"), new_instance("1.2", patient=OTHER_PATIENT))
    ]
    with acting_as(ANA), unit_of_work() as session:
        trail.record(session, AuditAction.VIEW, study_ids=studies, detail="the worklist")
        events.append_event(session, studies[0], EventKind.RELEASED, "by hand")
        trail.record(session, AuditAction.EXPORT, patient=OTHER_PATIENT, detail="a file")
    return studies


def seal():
    with unit_of_work() as session:
        sealing.seal_next(session)
        heads.write_heads(session)


def listed(client, **query):
    answer = client.get("/api/trail", params={"person": "ana <b>", **query})
    assert answer.status_code == 200, answer.text
    return answer.json()


def shown(page):
    return re.findall(r'id="((?:event|entry)-\d+)"', page)


def names(answer):
    return [f"{line['kind']}-{line['id']}" for line in answer["lines"]]


def test_page_rest_and_command_show_the_same_lines(client, done):
    answer = listed(client)
    assert [line["action"] for line in answer["lines"]] == ["EXPORT", "RELEASED", "VIEW"]
    page = client.get("/trail", params={"person": "ana <b>"}).text
    assert shown(page) == names(answer)
    assert "ana &lt;b&gt;" in page
    assert "<b>" not in page
    assert json.loads(run("list", "--person", "ana <b>", "--json")[1]) == answer
    output = run("list", "--person", "ana <b>")[1]
    assert [row.split()[2 if "event" not in row else 3] for row in output.splitlines()[1:]]
    assert "RELEASED" in output
    assert run("list", "--person", "nobody")[1] == "no lines\n"


def test_the_search_is_by_patient_and_day(client, done):
    assert [line["action"] for line in listed(client, patient="P-1")["lines"]] == [
        "RELEASED",
        "VIEW",
    ]
    pseudonym = str(load_key().pseudonym("P-2", ""))
    assert [line["action"] for line in listed(client, patient=pseudonym)["lines"]] == [
        "EXPORT",
        "VIEW",
    ]
    today = listed(client)["lines"][0]["at"][:10]
    for query, count in (
        ({"since": "2020-01-01"}, 3),
        ({"until": "2020-01-01"}, 0),
        ({"since": today, "until": "2999-01-01"}, 3),
        ({"action": "VIEW"}, 1),
    ):
        page = client.get("/trail", params={"person": "ana <b>", **query})
        assert page.status_code == 200
        assert len(shown(page.text)) == count, query


def test_the_next_page_begins_where_the_first_ends(client, done):
    everything = names(listed(client))
    first = listed(client, limit=1)
    second = listed(client, limit=2, after=first["next"])
    assert names(first) + names(second) == everything
    assert second["next"] is None
    _, output = run("list", "--person", "ana <b>", "--limit", 1)
    assert output.splitlines()[-1].startswith("more: nightdraft trail list --person 'ana <b>'")
    assert client.get("/api/trail", params={"after": "x"}).status_code == 409


def test_whoever_reads_the_trail_is_in_it_and_whom_they_searched(client, done):
    client.get("/trail", params={"patient": "P-2"})
    client.get("/api/trail")
    run("list")
    lines = client.get("/api/trail", params={"action": "TRAIL"}).json()["lines"]
    assert [line["detail"] for line in lines] == [
        "nightdraft trail list",
        "GET /api/trail",
        "GET /trail, searched by patient",
    ]
    assert [one["patient_id"] for one in lines[2]["patients"]] == ["P-2"]
    assert lines[0]["actor_kind"] == "COMMAND"


def test_the_trail_is_not_read_where_that_cannot_be_recorded(client, done):
    with engine().begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
                "CREATE TRIGGER no BEFORE INSERT ON audit_entries EXECUTE FUNCTION refuse()"
            )
        )
    for path in ("/trail", "/api/trail"):
        answer = client.get(path)
        assert answer.status_code >= 500
        assert "P-1" not in answer.text
    assert run("list")[0] == 1


def test_one_line_is_shown_whole(client, done):
    line = listed(client)["lines"][-1]
    assert json.loads(run("show", line["id"], "--json")[1]) == line
    code, output = run("show", line["id"])
    assert code == 0
    assert output.count("P-1") == output.count("P-2") == 1
    event = listed(client)["lines"][1]
    assert json.loads(run("show", event["id"], "--event", "--json")[1]) == event
    assert run("show", 10**6)[0] == 1


def test_verify_says_what_is_wrong_and_ends_with_1(client, done):
    seal()
    code, output = run("verify")
    assert code == 0
    assert "1 seals over" in output
    with engine().begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("UPDATE audit_entries SET actor_name = 'bob' WHERE id = 1"))
    code, output = run("verify")
    assert code == 1
    assert output.startswith("ROW_CHANGED: Seal 1 of ")
    code, output = run("verify", "--json")
    assert code == 1
    assert json.loads(output)["findings"][0]["kind"] == "ROW_CHANGED"
    copy = heads.head_file().with_name("copy")
    copy.write_text('{"number":9,"seal":"x"}')
    assert "TAIL_CUT: Seal 9" in run("verify", "--heads", copy)[1]


def test_an_export_has_every_line(client, done, tmp_path):
    answer = listed(client)
    assert run("export", tmp_path / "trail.jsonl", "--person", "ana <b>") == (
        0,
        f"3 lines are in {tmp_path / 'trail.jsonl'}\n",
    )
    rows = [json.loads(row) for row in (tmp_path / "trail.jsonl").read_text().splitlines()]
    assert rows == answer["lines"][::-1]
    code, output = run("export", "-", "--form", "dicom", "--person", "ana <b>")
    assert code == 0
    messages = output.splitlines()
    assert len(messages) == 3
    assert check(tmp_path, messages) == (0, "")
    assert ET.fromstring(messages[0]).find(".//EventID").get("csd-code") == "110103"
    assert run("export", tmp_path / "none" / "x")[0] == 1


def test_the_status_says_up_to_when_it_is_sealed(client, done):
    assert "the newest: never" in run("status")[1]
    seal()
    status = json.loads(run("status", "--json")[1])
    assert status["seals"] == 1
    assert status["unsealed"] == 0
    assert status["key_id"] == load_key().key_id
    assert load_key().secret.hex() not in run("status")[1]
    assert "Seal 1 is of" in client.get("/trail").text


def test_an_erased_patient_is_shown_as_a_pseudonym(client, done):
    with unit_of_work() as session:
        trail.forget_patient(session, [PATIENT])
    line = listed(client)["lines"][-1]
    pseudonym = str(load_key().pseudonym("P-1", ""))
    assert {"pseudonym": pseudonym, "patient_id": "", "issuer": ""} in line["patients"]
    assert pseudonym in client.get("/trail").text


def test_a_timeline_says_who_did_it(client, done):
    line = client.get(f"/api/studies/{done[0]}").json()["timeline"][-1]
    assert (line["kind"], line["actor_kind"], line["actor_name"]) == (
        "RELEASED",
        "ACCOUNT",
        "ana <b>",
    )
    assert "by ana &lt;b&gt;" in client.get(f"/studies/{done[0]}").text


def test_a_wrong_time_is_refused(client, done):
    result = CliRunner().invoke(app, ["trail", "list", "--since", "soon"])
    assert isinstance(result.exception, NotAllowed)
    assert isinstance(result.exception, NightdraftError)
    assert client.get("/api/trail", params={"since": "soon"}).status_code == 422

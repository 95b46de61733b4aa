"""Models: a stop hides every draft everywhere, a recall lists them, a mode needs two persons."""

import csv
import io
import json
import re

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from api.access.table import TABLE
from api.app import make_app
from nightdraft.cli.main import app
from records.database.session import unit_of_work
from records.errors import NotAllowed
from records.operations import alarms
from records.reviews import signing
from records.reviews.readers import Reader
from records.settings import settings
from records.states import RejectReason, Role
from tests.support.accounts import PASSWORD, make_account, run_sql, trail_lines
from tests.support.discrepant_studies import CLEAR, NODULE, PNEUMOTHORAX, draft, draft_again, report
from tests.support.discrepant_studies import work as compare_and_check
from tests.support.filled_records import addresses
from tests.support.planted_rows import plant
from tests.support.two_sites import make_site
from worker.draft_comparisons import compare_drafts

SAID = "small left pneumothorax"
"""What the draft of the bundle `bundle` says, and no report does."""
OTHER_SAID = "right pulmonary nodule"
"""What the draft of the bundle `B` says."""
WHY = {"by": "Dr. Roe", "reason": "It invents findings."}


def run(*arguments):
    result = CliRunner().invoke(app, ["model", *map(str, arguments)])
    return result.exit_code, result.output


def current(study):
    return run_sql("SELECT id FROM drafts WHERE study_id = :id AND purpose = 'PRIMARY'"
                       " AND superseded_at IS NULL", id=study)[0][0]  # fmt: skip


@pytest.fixture
def planted(client, setting):
    """A study of the first site with a draft of two bundles, a report and all that hangs on it."""
    setting(draft_reported_studies=True)
    ((site,),) = run_sql("SELECT id FROM sites WHERE code = 'default'")
    return plant("XYZZY", 1, site, "default", "RIS|X", client)


def answers(client, planted):
    """{address: text} of every page and call that answers GET, with what there is."""
    ids = {k: v for k, v in planted.items() if k != "resources"} | {"night": "2026-11-24"}
    found = {}
    for _, path in addresses(ids):
        if path == "/api/openapi.json":
            continue  # its examples have the words of phantoms
        for query in ("", "?side=MISS_OF_MODEL", "?first=bundle&second=B", "?state=UNCHECKED"):
            answer = client.get(path + query)
            assert answer.status_code < 500 or path == "/readyz", (path, answer.text)
            found[path + query] = answer.text
    for command in (
        ["study", planted["uid"]], ["study", planted["uid"], "--json"], ["list"],
        ["list", "--json"], ["comparisons", "show", str(planted["comparison_id"])],
        ["comparisons", "list", "--first", "bundle", "--second", "B", "--json"],
        ["discrepancies", "list", "--json"], ["campaign", "list", "--json"],
    ):  # fmt: skip
        found[" ".join(command)] = CliRunner().invoke(app, command).output
    return found


def saying(found, words):
    return {address for address, text in found.items() if words in " ".join(text.split())}


def test_a_stopped_model_is_shown_nowhere_and_all_is_back_after_the_stop(client, planted):
    before = saying(answers(client, planted), SAID)
    study = planted["study"]
    assert {f"/studies/{study}", f"/api/studies/{planted['uid']}", "/", "/api/studies", "/live",
            f"/comparisons/{planted['comparison_id']}",
            f"/discrepancies/{planted['discrepancy_id']}",
            f"study {planted['uid']} --json"} <= before  # fmt: skip
    assert client.post("/api/models/bundle/stop", json=WHY).status_code == 200
    during = answers(client, planted)
    assert not saying(during, SAID)
    assert f"/studies/{study}" in saying(during, OTHER_SAID)  # the other model is not stopped
    page = client.get(f"/studies/{study}").text
    assert "a person stopped the model that made it" in re.search(r'id="withheld">(.*?)<', page)[1]
    assert "a person stopped the model" in client.get("/").text
    detail = client.get(f"/api/studies/{planted['uid']}").json()
    assert detail["study"]["draft"] is None
    assert detail["study"]["withheld"] == "STOPPED"
    assert [one["why"] for one in detail["withheld"]] == ["STOPPED"]
    assert client.post("/api/models/bundle/lift", json=WHY).status_code == 200
    assert saying(answers(client, planted), SAID) == before


def test_a_stopped_draft_is_not_signed(client, planted):
    client.post("/api/models/bundle/stop", json=WHY)
    with unit_of_work() as session, pytest.raises(NotAllowed, match="stopped the model"):
        signing.sign(session, current(planted["study"]), "Dr. Roe", "Clear.", "")


def test_a_stop_opens_one_alarm_and_is_in_the_trail_with_who_and_why(client, planted):
    assert client.post("/api/models/bundle/stop", json=WHY | {"reason": " "}).status_code == 422
    assert client.post("/api/models/nosuch/stop", json=WHY).status_code == 404
    client.post("/api/models/bundle/stop", json=WHY)
    client.post("/api/models/B/stop", json=WHY)
    again = client.post("/api/models/bundle/stop", json=WHY)
    assert again.status_code == 409
    assert "is stopped already" in again.json()["title"]
    with unit_of_work() as session:
        opened = [(alarm.kind, alarm.part) for alarm in alarms.open_alarms(session)]
    assert opened == [("MODEL_STOPPED", "model bundle"), ("MODEL_STOPPED", "model B")]
    client.post("/api/models/bundle/lift", json=WHY | {"reason": "It was the display."})
    assert client.post("/api/models/bundle/lift", json=WHY).status_code == 409
    with unit_of_work() as session:
        assert [alarm.part for alarm in alarms.open_alarms(session)] == ["model B"]
    said = [line[-1] for line in trail_lines() if line[0] == "SETTING"]
    assert "model bundle stopped by Dr. Roe: It invents findings." in said
    assert "stop of model bundle lifted by Dr. Roe: It was the display." in said
    (model,) = (one for one in client.get("/api/models").json()["models"]
                if one["digest"] == "bundle")  # fmt: skip
    assert model["stop"] is None
    assert model["earlier_stops"][0]["lift_reason"] == "It was the display."
    assert model["cleared"] is False


def test_the_command_stops_and_lifts(client, planted):
    assert run("stop", "bundle", "--because", "It invents findings.")[0] == 0
    assert not saying(answers(client, planted), SAID)
    assert "stopped by" in run("list")[1]
    assert (
        json.loads(run("list", "--json")[1])["models"]
        == (client.get("/api/models").json()["models"])
    )
    lifted = json.loads(run("lift", "bundle", "--because", "It is well.", "--json")[1])
    assert lifted["lift_reason"] == "It is well."
    assert run("lift", "bundle", "--because", "Again.")[0] == 1


def test_a_recall_tells_a_draft_that_was_reported_elsewhere_from_one_that_was_rejected(client):
    draft(1, (NODULE, 0.9))
    report(1, CLEAR)
    page = client.get("/models/bundle/drafts").text
    assert "a report of another system took its place" in page
    assert "Rejected." not in page


def test_a_recall_lists_every_draft_with_who_signed_it(client, tmp_path):
    studies = [draft(number, (CLEAR, 0.9)) for number in (1, 2, 3)]
    draft_again(studies[0], NODULE)
    with unit_of_work() as session:
        signing.sign(session, current(studies[1]), "Dr. Roe", "The lungs are clear.", "")
        signing.reject(
            session, current(studies[2]), Reader("Dr. Doe"), "It is poor.", RejectReason.POOR_TEXT
        )
    first = client.get("/api/models/bundle/drafts", params={"limit": 2}).json()
    rest = client.get("/api/models/bundle/drafts", params={"after": first["next"]}).json()
    listed = first["drafts"] + rest["drafts"]
    assert [one["patient_id"] for one in listed] == ["P3", "P2", "P1"]
    assert [one["signed_by"] for one in listed] == ["", "Dr. Roe", ""]
    assert [one["rejected"] for one in listed] == [1, 0, 0]
    assert rest["next"] is None
    page = client.get("/models/bundle/drafts").text
    assert len(re.findall(r'<tr id="draft-', page)) == 3
    assert "Dr. Roe" in page
    rows = list(csv.DictReader(io.StringIO(client.get("/api/models/bundle/drafts.csv").text)))
    assert [row["signed_by"] for row in rows] == ["", "Dr. Roe", ""]
    whole = json.loads(run("recall", "bundle", "--json")[1])
    assert whole["drafts"] == listed
    more = run("recall", "bundle", "--limit", 1)[1].splitlines()[-1]
    assert "P2" in run(*more.removeprefix("more: nightdraft model ").split())[1]
    file = tmp_path / "recall.csv"
    assert run("recall", "bundle", "--csv", file)[0] == 0
    assert list(csv.DictReader(io.StringIO(file.read_text()))) == rows
    assert client.get("/api/models/bundle/drafts", params={"after": "x"}).status_code == 409


def log_in(application, login, role, *sites):
    make_account(login, role, sites=sites)
    client = TestClient(application, base_url="http://localhost", follow_redirects=False)
    client.post("/login", data={"login": login, "password": PASSWORD})
    page = client.get("/account").text
    client.headers["x-form-token"] = re.search(r'name="form-token" content="(\w+)"', page)[1]
    return client


@pytest.fixture
def leads(client):
    """Two lead readers of the first site, and one of another one."""
    make_site("north")
    application = client.app
    return [
        log_in(application, login, Role.LEAD, site)
        for login, site in (("ada", "default"), ("bob", "default"), ("eve", "north"))
    ]


def propose(client, mode="CLINICAL", site="default", model="bundle"):
    return client.post(
        "/api/mode-proposals",
        json={"site": site, "model": model, "mode": mode, "reason": "It was tried."},
    )


def shown(client, study):
    return client.get(f"/api/studies/{study}").json()["study"]["withheld"]


def test_a_mode_is_in_force_when_another_person_consents(client, leads, setting):
    setting(draft_reported_studies=True)
    ada, bob, eve = leads
    study = draft(1, (PNEUMOTHORAX, 0.9))
    report(1)
    compare_and_check()
    with unit_of_work() as session:
        signing.sign(session, current(study), "Dr. Roe", PNEUMOTHORAX, "")
    proposed = propose(ada, "SHADOW").json()
    figures = proposed["acceptance"]
    assert (figures["drafts"], figures["signed"], figures["unchanged"]) == (1, 1, 1)
    assert figures["compared"] == 1
    assert 0 < figures["changed_share"] < 1
    assert figures["is_enough"] is False
    assert "Too few signed studies" in bob.get("/models").text
    assert propose(bob).status_code == 409  # one at a time
    consent = f"/api/mode-proposals/{proposed['id']}/consent"
    assert "second person" in ada.post(consent, json={}).json()["title"]
    assert eve.post(consent, json={}).status_code == 404
    assert shown(ada, study) is None
    assert bob.post(consent, json={}).json()["decided_by"] == "bob"
    assert shown(ada, study) == "SHADOW"
    assert ada.get(f"/api/studies/{study}").json()["drafts"] == []
    assert bob.post(consent, json={}).status_code == 409
    details = [line[-1] for line in trail_lines()]
    assert "site default: mode SHADOW with model bundle in force" in details


def test_in_clinical_mode_only_models_are_shown_on_which_two_agreed(client, leads):
    ada, bob, _ = leads
    study = draft(1, (CLEAR, 0.9))
    draft_again(study, NODULE)
    draft_again(study, NODULE, "C")
    proposed = propose(ada, model="B").json()
    assert bob.post(f"/api/mode-proposals/{proposed['id']}/consent", json={}).status_code == 200
    assert shown(ada, study) == "NOT_AGREED"
    listed = ada.get(f"/api/studies/{study}").json()
    assert [one["bundle_digest"] for one in listed["drafts"]] == ["B"]
    proposed = propose(bob).json()
    ada.post(f"/api/mode-proposals/{proposed['id']}/consent", json={})
    assert shown(ada, study) is None
    sites = ada.get("/api/models").json()["sites"]
    assert sites == [{"site": "default", "name": "default", "mode": "CLINICAL"}] or (
        sites[0]["mode"] == "CLINICAL"
    )


def test_a_refusal_has_a_reason_and_changes_nothing(client, leads):
    ada, bob, _ = leads
    draft(1, (CLEAR, 0.9))
    refuse = f"/api/mode-proposals/{propose(ada, 'SHADOW').json()['id']}/refuse"
    assert bob.post(refuse, json={}).status_code == 409
    assert bob.post(refuse, json={"note": "Too early."}).json()["state"] == "REFUSED"
    assert ada.get("/api/models").json()["sites"][0]["mode"] == "RESEARCH"
    # Who proposed it can take it back.
    own = propose(ada, "SHADOW").json()["id"]
    taken = ada.post(f"/api/mode-proposals/{own}/refuse", json={"note": "By mistake."})
    assert taken.json()["decided_by"] == "ada"


def test_nobody_without_an_account_proposes(client):
    draft(1, (CLEAR, 0.9))
    assert propose(client).status_code == 409


def test_the_forms_of_the_page_do_the_same(client, leads):
    ada, bob, _ = leads
    study = draft(1, (PNEUMOTHORAX, 0.9))

    def post(who, path, **fields):
        page = who.get("/models").text
        token = re.search(r'name="form-token" content="(\w+)"', page)[1]
        return who.post(path, data=fields, headers={"x-form-token": token}).status_code

    assert post(ada, "/models/bundle/stop", reason="It invents.") == 303
    assert shown(ada, study) == "STOPPED"
    assert "It invents." in bob.get("/models").text
    assert post(bob, "/models/bundle/lift", reason="It was not so.") == 303
    fields = {"site": "default", "mode": "SHADOW", "model": "bundle", "reason": "A trial."}
    assert post(ada, "/mode-proposals", **fields) == 303
    (proposal,) = re.findall(r'id="proposal-([0-9a-f-]+)"', bob.get("/models").text)
    decision = f"/mode-proposals/{proposal}/decision"
    assert post(bob, decision, answer="consent") == 303
    assert shown(ada, study) == "SHADOW"


def test_administrators_see_models_and_no_drafts_and_stop_nothing(client):
    draft(1, (CLEAR, 0.9))
    make_account("ada", Role.LEAD, sites=["default"])
    root = TestClient(make_app(settings()), base_url="http://localhost", follow_redirects=False)
    make_account("admin", Role.ADMINISTRATOR)
    root.post("/login", data={"login": "admin", "password": PASSWORD})
    assert root.get("/models").status_code == 200
    assert "/models/bundle/drafts" not in root.get("/models").text
    assert root.get("/models/bundle/drafts").status_code == 403
    assert root.get("/api/models/bundle/drafts.csv").status_code == 403


def test_a_new_site_begins_in_shadow_and_the_first_one_shows_its_drafts(client):
    CliRunner().invoke(app, ["site", "create", "south"])
    modes = {one["site"]: one["mode"] for one in client.get("/api/models").json()["sites"]}
    assert modes == {"default": "RESEARCH", "south": "SHADOW"}
    assert ("GET", "/models") in TABLE


def test_a_pair_of_drafts_tells_of_the_shown_one_alone(client):
    draft_again(draft(1, (PNEUMOTHORAX, 0.9)), NODULE)
    compare_drafts()
    client.post("/api/models/B/stop", json=WHY)
    listed = client.get("/api/comparisons/drafts?first=bundle&second=B").json()["comparisons"]
    assert [one["observations"] for one in listed] == [{}]
    detail = client.get(f"/api/comparisons/drafts/{listed[0]['id']}").json()
    assert SAID in detail["first_text"]
    assert "stopped the model" in detail["second_text"]

"""Who decides is the account that is logged in; a typed name counts before the first account."""

import pytest
from starlette.testclient import TestClient

from api.app import make_app
from records.accounts import programs
from records.database.session import unit_of_work
from records.settings import settings
from records.states import Permission, Role
from records.workflow import holds
from tests.support.accounts import PASSWORD, make_account, run_sql
from tests.support.filled_records import SETTINGS, add_states, fill

ADA = "Ada Lovelace (ada)"


def fill_all(data_dir):
    return fill() | add_states(data_dir)


@pytest.fixture
def ids(filled_copy, setting):
    setting(**SETTINGS)
    return filled_copy(fill_all)


@pytest.fixture
def client(ids):
    with TestClient(
        make_app(settings()), base_url="http://localhost", follow_redirects=False
    ) as client:
        yield client


def log_in(client):
    make_account("ada", Role.LEAD, name="Ada Lovelace")
    client.post("/login", data={"login": "ada", "password": PASSWORD})
    page = client.get("/account").text
    client.headers["x-form-token"] = page.partition('name="form-token" content="')[2][:64]


def open_holds(study):
    with unit_of_work() as session:
        return [
            str(hold.id) for hold in holds.list_by_study(session, study) if hold.decision is None
        ]


def draft_of(study):
    ((draft,),) = run_sql(
        "SELECT id FROM drafts WHERE study_id = :study AND superseded_at IS NULL", study=study
    )
    return str(draft)


def decisions(ids):
    """Each call that takes `by`: its address, its body, and what is kept of who decided."""
    held, rejected = open_holds(ids["held"]), ids["rejected"]
    return {
        "decision": (
            f"/api/studies/{ids['held']}/decision",
            {"decision": "PROCEED", "holds": held},
            f"SELECT decided_by FROM holds WHERE id = '{held[0]}'",
        ),
        "many": (
            "/api/holds/decision",
            {"decision": "PROCEED", "holds": held},
            f"SELECT decided_by FROM holds WHERE id = '{held[0]}'",
        ),
        "withdrawal": (
            f"/api/studies/{ids['drafted']}/withdraw",
            {"reason": "wrong side"},
            "SELECT detail FROM events WHERE kind = 'WITHDRAWN' ORDER BY id DESC LIMIT 1",
        ),
        "reinstatement": (
            f"/api/studies/{rejected}/reinstate",
            {},
            "SELECT ended_by FROM rejections",
        ),
        "settlement": (
            f"/api/messages/{ids['message_id']}/settle",
            {},
            f"SELECT settled_by FROM received_messages WHERE id = '{ids['message_id']}'",
        ),
        "rejection": (
            f"/api/studies/{ids['drafted']}/reviews/reject",
            {"draft": draft_of(ids["drafted"]), "reason": "WRONG_SIDE"},
            "SELECT reader FROM reviews",
        ),
        "campaign": (
            "/api/campaigns",
            {"name": "by whom", "studies": [{"accession_number": "A1"}]},
            "SELECT created_by FROM campaigns WHERE name = 'by whom'",
        ),
        "stop": (
            f"/api/models/{run_sql('SELECT bundle_digest FROM drafts')[0][0]}/stop",
            {"reason": "wrong sides"},
            "SELECT stopped_by FROM bundle_stops",
        ),
        "style": (
            "/api/report-styles/sites/default/end",
            {"version": 1},
            "SELECT saved_by FROM report_styles WHERE version > 1",
        ),
        "priority": (
            "/api/worklist/changes",
            {"studies": [str(ids["drafted"])], "action": "PRIORITY", "priority": "STAT"},
            "SELECT detail FROM events WHERE kind = 'PRIORITY_CHOSEN'",
        ),
    }


KINDS = [
    *("decision", "many", "withdrawal", "reinstatement"),
    *("settlement", "rejection", "campaign", "stop", "priority", "style"),
]


def kept(query):
    return str(run_sql(query))


@pytest.mark.parametrize("kind", KINDS)
def test_the_account_is_kept_whoever_is_named(client, ids, kind):
    log_in(client)
    address, body, query = decisions(ids)[kind]
    before = kept(query)
    refused = client.post(address, json=body | {"by": "Dr. Roe"})
    assert refused.status_code == 422
    assert "somebody else than the account" in refused.json()["detail"]
    assert "Roe" not in refused.text
    assert kept(query) == before
    done = client.post(address, json=body)
    assert done.status_code in (200, 201), done.text
    assert ADA in kept(query)


@pytest.mark.parametrize("own", ["ada", "ADA", "Ada Lovelace", ADA, " ada lovelace "])
def test_ones_own_name_may_be_given(client, ids, own):
    log_in(client)
    address, body, query = decisions(ids)["settlement"]
    assert client.post(address, json=body | {"by": own}).status_code == 200
    assert kept(query) == str([(ADA,)])


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_is_kept_with_whom_it_acts_for(client, ids, kind):
    make_account()
    with unit_of_work() as session:
        token = programs.create(
            session,
            "ris",
            [Permission.CHANGE_WORK, Permission.MANAGE_CAMPAIGNS, Permission.MANAGE_MODELS],
            "a test",
        )
    headers = {"authorization": f"Bearer {token}"}
    address, body, query = decisions(ids)[kind]
    answer = client.post(address, json=body | {"by": "Dr. Roe"}, headers=headers)
    if kind in ("decision", "many", "settlement", "rejection", "style"):
        # No program can be given the right to decide about these.
        assert answer.status_code == 403
        return
    assert answer.status_code in (200, 201), answer.text
    assert "ris for Dr. Roe" in kept(query)


def test_a_program_need_name_nobody(client, ids):
    make_account()
    with unit_of_work() as session:
        token = programs.create(session, "ris", [Permission.SEND_ORDERS], "a test")
    address = f"/api/orders/{ids['order_id']}/cancel"
    answer = client.post(address, json={}, headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    assert ("ris",) in run_sql("SELECT sender FROM order_changes")


@pytest.mark.parametrize("kind", KINDS)
def test_before_the_first_account_a_name_must_be_given(client, ids, kind):
    address, body, query = decisions(ids)[kind]
    for by in ({}, {"by": ""}, {"by": "  "}):
        refused = client.post(address, json=body | by)
        assert refused.status_code == 409
        assert "nobody is logged in" in refused.json()["title"]
    done = client.post(address, json=body | {"by": " Dr. Roe "})
    assert done.status_code in (200, 201), done.text
    assert "Dr. Roe" in kept(query)


def test_pages_ask_for_a_name_only_before_the_first_account(client, ids):
    pages = [
        f"/studies/{ids['held']}",
        f"/studies/{ids['drafted']}",
        f"/studies/{ids['rejected']}",
        "/holds?reason=CHEST_UNKNOWN",
        f"/messages/{ids['message_id']}",
    ]
    for page in pages:
        shown = client.get(page).text
        assert '<input name="by"' in shown, page
        assert "Ada" not in shown
    log_in(client)
    for page in pages:
        shown = client.get(page).text
        assert 'name="by"' not in shown, page
        assert "as <strong>Ada Lovelace</strong>" in shown, page


def test_a_form_of_a_page_is_kept_as_the_account_s(client, ids):
    log_in(client)
    fields = {"form_token": client.headers["x-form-token"]}
    path = f"/messages/{ids['message_id']}"
    assert client.post(f"{path}/settle", data=fields).status_code == 303
    assert f"Settled by {ADA}" in client.get(path).text
    forged = {"holds": open_holds(ids["held"]), "decision": "PROCEED", "by": "Dr. Roe"}
    refused = client.post(f"/studies/{ids['held']}/decision", data=fields | forged)
    assert refused.status_code == 422
    assert open_holds(ids["held"]) != []


def test_every_call_that_takes_a_name_takes_it_so(client):
    schemas = client.get("/api/openapi.json").json()["components"]["schemas"]
    taking = {name for name, schema in schemas.items() if "by" in schema.get("properties", {})}
    assert taking == {
        "AddendumRequest",
        "BulkDecisionRequest",
        "CampaignRequest",
        "CancellationRequest",
        "CountersignRequest",
        "DecisionRequest",
        "DiscardRequest",
        "EndRequest",
        "ReinstatementRequest",
        "RejectRequest",
        "ScoreRequest",
        "SendRequest",
        "SettlementRequest",
        "SignRequest",
        "SiteMoveRequest",
        "StopRequest",
        "StudyChangeRequest",
        "StyleRequest",
        "TextRequest",
        "WithdrawalRequest",
    }
    for name in taking:
        field = schemas[name]["properties"]["by"]
        assert "With an account it is the account" in field["description"], name
        assert "by" not in schemas[name].get("required", [])

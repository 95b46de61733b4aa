"""The worklist by REST and by its forms: filters in the address, views, who reads what, changes."""

import datetime as dt
import uuid

import pytest
from starlette.testclient import TestClient

from api.app import make_app
from api.worklist.query import WorklistQuery
from records.settings import settings
from records.states import Priority, Role
from tests.support.accounts import PASSWORD, make_account, run_sql


@pytest.fixture
def reader(client, seeder):
    make_account("ada", Role.READER, sites=("default",), name="Dr. Ada")
    client.post("/login", data={"login": "ada", "password": PASSWORD})
    page = client.get("/").text
    client.headers["x-form-token"] = page.split('name="form-token" content="')[1].split('"')[0]
    return client


def listed(client, **query):
    answer = client.get("/api/worklist", params=query)
    assert answer.status_code == 200, answer.text
    return [uuid.UUID(one["id"]) for one in answer.json()["studies"]]


def test_filters_and_orders_by_rest_are_those_of_the_page(client, seeder):
    first, second = seeder.receive(1), seeder.receive(2, Priority.STAT)
    assert listed(client) == [second, first]
    assert listed(client, order="OLDEST") == [first, second]
    assert listed(client, priority="STAT") == [second]
    assert listed(client, site="default", priority="ROUTINE") == [first]
    assert listed(client, modality="mg") == []
    page = client.get("/", params={"priority": "STAT", "order": "NEWEST"}).text
    assert f"study-{second}" in page
    assert f"study-{first}" not in page
    assert "order=NEWEST" in page
    for wrong in ({"priority": "SOON"}, {"order": "x"}, {"age": "x"}):
        assert client.get("/api/worklist", params=wrong).status_code == 422
    assert client.get("/api/worklist", params={"site": "nowhere"}).status_code == 404
    both = client.get("/api/worklist", params={"after": "a", "before": "b"})
    assert both.status_code == 409


def test_days_of_arrival_are_whole_days_of_this_machines_clock(client, seeder):
    study = seeder.receive(1)
    late = dt.datetime(2026, 3, 4, 23, 59, 59).astimezone()
    run_sql("UPDATE studies SET first_received_at = :late", late=late)
    shown = "2026-03-04"
    for from_, to, is_there in (
        (shown, shown, True),
        ("", shown, True),
        ("2026-03-07", "", False),
        ("", "2026-03-01", False),
    ):
        page = client.get("/", params={"received_from": from_, "received_to": to}).text
        assert (f"study-{study}" in page) is is_there, (from_, to)


def test_a_row_tells_age_indication_prior_and_flags(client, seeder):
    support = {
        "statements": [{"verdict": "not supported", "observation": "Edema", "sentence": "x"}],
        "omissions": [{"observation": "Fracture", "is_denied": False}],
        "undecided_share": None,
        "studies": 1,
        "error_rate": 0.1,
    }
    seeder.draft_study(1, indication="Dyspnea for two days.", support=support, cut=True)
    (row,) = client.get("/api/worklist").json()["studies"]
    assert row["indication"] == "Dyspnea for two days."
    assert (row["contradictions"], row["cut_short"], row["prior_used"]) == (2, True, False)
    assert row["age"].endswith(" y")
    assert row["modalities"]
    page = client.get("/").text
    for words in ("Dyspnea for two days.", "2 against the image", "cut short", "no prior report"):
        assert words in page, words


def test_what_runs_in_an_indication_is_text(client, seeder):
    seeder.draft_study(1, indication="<script>alert(1)</script>")
    page = client.get("/").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_pages_go_back_to_where_they_came_from(client, seeder, monkeypatch):
    from api.worklist import pages

    monkeypatch.setattr(pages, "PAGE_SIZE", 2)
    ids = [seeder.receive(n) for n in range(1, 6)][::-1]

    def follow(page, name):
        address = page.split(f'id="{name}" href="')[1].split('"')[0]
        return client.get(address.replace("&amp;", "&")).text

    first = client.get("/").text
    second = follow(first, "older")
    third = follow(second, "older")
    assert [f"study-{ids[4]}" in page for page in (first, second, third)] == [False, False, True]
    assert 'id="older"' not in third
    back = follow(third, "newer")
    assert f"study-{ids[2]}" in back
    assert f"study-{ids[3]}" in back
    start = follow(back, "newer")
    assert f"study-{ids[0]}" in start
    assert 'id="newer"' not in start


def test_views_by_rest(reader):
    answer = reader.post(
        "/api/worklist/views", json={"name": "Held", "query": "state=HELD", "is_default": True}
    )
    assert answer.status_code == 200, answer.text
    (view,) = reader.get("/api/worklist/views").json()
    assert view == answer.json()
    opened = reader.get("/", follow_redirects=False)
    assert (opened.status_code, opened.headers["location"]) == (303, "/?state=HELD")
    assert reader.get("/?all=1", follow_redirects=False).status_code == 200
    make_account("ben", sites=("default",))
    with TestClient(make_app(settings()), base_url="http://localhost") as other:
        other.post("/login", data={"login": "ben", "password": PASSWORD})
        assert other.get("/api/worklist/views").json() == []
        token = other.get("/").text.split('name="form-token" content="')[1].split('"')[0]
        theirs = other.delete(f"/api/worklist/views/{view['id']}", headers={"x-form-token": token})
        assert theirs.status_code == 404
    assert reader.delete(f"/api/worklist/views/{view['id']}").status_code == 204
    assert reader.get("/api/worklist/views").json() == []


def test_before_the_first_account_nobody_has_a_view_or_reads(client, seeder):
    study = seeder.receive(1)
    assert client.get("/api/worklist/views").status_code == 409
    assert client.post(f"/api/studies/{study}/lock").status_code == 409
    assert client.post(f"/studies/{study}/lock").status_code == 204
    assert "Save this view" not in client.get("/").text


def test_who_reads_a_study_by_rest_and_on_the_page(reader, seeder):
    study = seeder.draft_study(1)
    read = reader.post(f"/api/studies/{study}/lock").json()
    assert read["name"] == "Dr. Ada"
    (row,) = reader.get("/api/worklist").json()["studies"]
    assert row["read_by"] == read
    assert "You read it" in reader.get("/").text
    assert reader.post(f"/studies/{study}/lock").status_code == 204
    run_sql(
        "UPDATE study_locks SET account_id = (SELECT id FROM accounts WHERE login = 'root'),"
        " name = 'Dr. <b>Roe</b>'"
    )
    told = reader.post(f"/studies/{study}/lock")
    assert told.status_code == 200
    assert "Dr. &lt;b&gt;Roe&lt;/b&gt;" in told.text
    assert "reads this study since" in reader.get(f"/studies/{study}").text
    assert reader.delete(f"/api/studies/{study}/lock").status_code == 204
    assert run_sql("SELECT count(*) FROM study_locks") == [(1,)]
    # What the page asks by itself is no look at the patient, and keeps no login open.
    before = run_sql("SELECT count(*) FROM audit_entries WHERE action = 'VIEW'")
    reader.post(f"/studies/{study}/lock")
    reader.post(f"/studies/{study}/unlock")
    assert run_sql("SELECT count(*) FROM audit_entries WHERE action = 'VIEW'") == before


def test_the_next_study_of_a_list(client, seeder):
    first, second = seeder.draft_study(1), seeder.draft_study(2)

    def go(study, way, listed):
        answer = client.get(
            f"/studies/{study}/{way}", params={"list": listed}, follow_redirects=False
        )
        assert answer.status_code == 303
        return answer.headers["location"]

    assert go(first, "next", "order=OLDEST") == f"/studies/{second}?list=order%3DOLDEST"
    assert go(second, "next", "order=OLDEST") == f"/?order=OLDEST#study-{second}"
    assert go(second, "previous", "order=OLDEST&x=1&state=DRAFTED").startswith(f"/studies/{first}?")
    assert go(second, "next", "state=NONSENSE") == f"/studies/{first}?list=all%3D1"
    near = client.get(f"/api/studies/{first}/neighbours", params={"order": "OLDEST"}).json()
    assert near == {"previous": None, "next": str(second)}
    assert client.get(f"/studies/{uuid.uuid4()}/next").status_code == 404


def test_changes_by_rest_say_what_they_would_do_and_did(client, seeder):
    failed, waiting = seeder.complete(1, 2)
    seeder.fail(failed)
    body = {"studies": [str(failed), str(waiting)], "action": "RETRY", "by": "Dr. Roe"}
    plan = client.post("/api/worklist/plan", json=body).json()
    assert plan["changed"] == 1
    assert [bool(one["why_not"]) for one in plan["studies"]] == [False, True]
    assert client.get("/api/worklist", params={"state": "FAILED"}).json()["studies"]
    assert client.post("/api/worklist/changes", json=body).json() == plan
    assert not client.get("/api/worklist", params={"state": "FAILED"}).json()["studies"]
    wrong = {"studies": [str(failed)], "action": "PRIORITY", "by": "Dr. Roe"}
    assert client.post("/api/worklist/changes", json=wrong).status_code == 409
    assert client.post("/api/worklist/changes", json=body | {"studies": []}).status_code == 422
    moved = client.post("/api/worklist/changes", json=wrong | {"priority": "STAT"})
    assert moved.json()["changed"] == 1
    assert listed(client, priority="STAT") == [failed]


def test_who_may_not_change_work_changes_none(client, seeder):
    study = seeder.receive(1)
    make_account("tia", Role.AUDITOR)
    client.post("/login", data={"login": "tia", "password": PASSWORD})
    answer = client.post(
        "/api/worklist/changes", json={"studies": [str(study)], "action": "CANCEL"}
    )
    assert answer.status_code == 403
    assert run_sql("SELECT count(*) FROM events WHERE kind = 'CANCELLED'") == [(0,)]


def test_the_query_of_a_list_survives_its_address():
    query = WorklistQuery(state="HELD", words="a&b=c", sex="F", order="NEWEST", after="x")
    again = WorklistQuery.of_list(query.listed)
    assert again.values() == query.values()
    assert again.after is None
    assert WorklistQuery.of_list("%%%&&==").listed == "all=1"

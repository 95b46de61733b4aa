"""Quality by REST and on the page: whose figures are shown to whom, and the score of a report."""

import csv
import io
import re

import pytest
from starlette.testclient import TestClient

from records.states import Role
from tests.support.accounts import PASSWORD, make_account, run_sql
from tests.support.decided_drafts import count, decide, fill_quality
from tests.support.two_sites import NORTH_AE, make_north


def log_in(application, login):
    client = TestClient(application, base_url="http://localhost", follow_redirects=False)
    client.post("/login", data={"login": login, "password": PASSWORD})
    page = client.get("/account").text
    client.headers["x-form-token"] = re.search(r'name="form-token" content="(\w+)"', page)[1]
    return client


@pytest.fixture
def people(client):
    """{login: (account, client)}: two readers and a lead of the first site, a lead of another."""
    make_north()
    found = {}
    for login, role, site in (
        ("ada", Role.READER, "default"),
        ("bob", Role.READER, "default"),
        ("lea", Role.LEAD, "default"),
        ("nora", Role.LEAD, "north"),
        ("tom", Role.TRAINEE, "default"),
    ):
        account = make_account(login, role, sites=[site])
        found[login] = (account, log_in(client.app, login))
    return found


@pytest.fixture
def decided(people):
    """Three drafts that Ada decided on, one of Bob, and two at the other site; their reviews."""
    reviews = {
        "ada": [decide(people["ada"][0], how) for how in ("unedited", "unedited", "rejected")],
        "bob": [decide(people["bob"][0], "differing")],
        "nora": [decide(people["nora"][0], calling_ae=NORTH_AE) for _ in range(2)],
    }
    count()
    return reviews


def read(people, login, **query):
    return people[login][1].get("/api/quality", params=query)


def decided_of(people, login, **query):
    found = read(people, login, **query)
    assert found.status_code == 200, found.text
    return found.json()["whose"], found.json()["acceptance"]["decided"]


def test_a_reader_sees_own_figures_and_a_lead_the_sum_of_the_sites(people, decided):
    assert decided_of(people, "ada") == ("own", 3)
    assert decided_of(people, "bob") == ("own", 1)
    assert decided_of(people, "tom") == ("own", 0)
    assert decided_of(people, "lea") == ("sites", 4)
    assert decided_of(people, "lea", whose="own") == ("own", 0)
    assert decided_of(people, "nora") == ("sites", 2)


@pytest.mark.parametrize("login", ["ada", "bob", "tom"])
def test_a_reader_gets_no_sum_of_a_site_on_any_way(people, decided, login):
    _, client = people[login]
    for address in (
        "/quality?whose=sites",
        "/api/quality?whose=sites",
        "/api/quality.csv?whose=sites",
        "/api/quality/by/site?whose=sites",
        "/api/quality/drift",
    ):
        assert client.get(address).status_code == 403, address
    page = client.get("/quality").text
    assert "Only you see these figures" in page
    assert 'id="drift-title"' not in page


def test_nobody_can_name_another_person(people, decided):
    ada, _ = people["ada"]
    for login in ("bob", "lea"):
        _, client = people[login]
        for name in ("account", "account_id", "reader", "by"):
            for address in ("/api/quality", "/api/quality.csv", "/api/quality/by/month"):
                assert client.get(address, params={name: str(ada.id)}).status_code == 422
        for address in ("/quality", "/api/quality", "/api/quality/by/month", "/api/quality.csv"):
            text = client.get(address).text
            assert not re.search(r"\bada\b", text)
            assert str(ada.id) not in text


def test_a_site_that_one_does_not_see_has_no_figures(people, decided):
    assert read(people, "lea", site="north").status_code == 404
    assert read(people, "ada", site="north").status_code == 404
    assert decided_of(people, "lea", site="default") == ("sites", 4)
    by_site = people["lea"][1].get("/api/quality/by/site").json()["rows"]
    assert [(row["value"], row["acceptance"]["decided"]) for row in by_site] == [("default", 4)]


def test_own_figures_are_of_the_sites_that_one_sees_now(people, decided):
    run_sql("UPDATE studies SET site_id = (SELECT id FROM sites WHERE code = 'north')")
    assert decided_of(people, "ada") == ("own", 0)
    assert decided_of(people, "lea") == ("sites", 0)
    assert decided_of(people, "nora") == ("sites", 6)


def test_before_the_first_account_the_sum_of_all_is_shown(client):
    answer = client.get("/api/quality")
    assert answer.json()["whose"] == "sites"
    assert client.get("/api/quality?whose=own").status_code == 403
    assert "No draft was signed or rejected" in client.get("/quality").text


def test_figures_are_narrowed_and_broken_down(people, decided):
    assert decided_of(people, "lea", model="bundle-1") == ("sites", 4)
    assert decided_of(people, "lea", view="AP") == ("sites", 0)
    assert decided_of(people, "lea", since="2020-01", until="2020-12") == ("sites", 0)
    assert decided_of(people, "lea", age="FROM_40", sex="F", device="FIXED") == ("sites", 4)
    assert read(people, "lea", model="nothing-like-it").status_code == 404
    assert read(people, "lea", since="2020-13").status_code == 422
    _, client = people["lea"]
    for by in ("month", "model", "site", "view", "device", "age", "sex", "arm"):
        rows = client.get(f"/api/quality/by/{by}").json()["rows"]
        assert sum(row["acceptance"]["decided"] for row in rows) == 4
        assert client.get(f"/quality?by={by}").status_code == 200


def test_fields_of_the_form_that_are_left_empty_choose_nothing(people, decided):
    empty = "since=&until=&model=&site=&view=&device=&age=&sex=&arm="
    _, client = people["lea"]
    assert client.get(f"/quality?whose=&by=month&{empty}").status_code == 200
    found = client.get(f"/api/quality?whose=&{empty}")
    assert found.json()["acceptance"]["decided"] == 4


def test_the_page_says_the_figures_their_intervals_and_what_others_published(people, decided):
    page = " ".join(people["lea"][1].get("/quality").text.split())
    assert "2 of 4" in page
    assert '<b>50 %</b> <span class="bounds">15 to 85 %</span>' in page
    assert "4 are too few to say much" in page
    for published in ("66.8 %", "75.7 %", "88.4 %", "89.2 %", "1.3 %", "10.1148/radiol.250568"):
        assert published in page


def test_csv_has_each_figure_in_a_line(people, decided):
    answer = people["lea"][1].get("/api/quality.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    (unedited,) = [row for row in rows if (row["figure"], row["of"]) == ("acceptance", "unedited")]
    assert (unedited["part"], unedited["number"], unedited["value"]) == ("2", "4", "0.5")
    assert {row["of"] for row in rows if row["figure"] == "kappa"} >= {"Edema", "No Finding"}


def test_the_drift_is_shown_to_leads_of_the_site(people):
    fill_quality(people["ada"][0])
    (line,) = people["lea"][1].get("/api/quality/drift").json()["lines"]
    assert (line["site"], line["model"], line["run"]) == ("default", "bundle-1", 7)
    assert line["days"][-1]["outside"]
    assert line["baseline"]["since"] < line["baseline"]["until"]
    page = people["lea"][1].get("/quality").text
    assert "The last 7 days are above what it expects" in page
    assert page.count('<polygon class="outside"') == 7
    assert people["nora"][1].get("/api/quality/drift").json()["lines"] == []
    assert '<polygon class="outside"' not in people["nora"][1].get("/quality").text


def test_a_second_reader_scores_a_report_by_rest_and_on_the_page(people, decided):
    first, second, _ = decided["ada"]
    studies = dict(run_sql("SELECT reviews.id, study_id FROM reviews"))
    uids = dict(
        run_sql(
            "SELECT reviews.id, study_instance_uid FROM reviews"
            " JOIN studies ON studies.id = study_id"
        )
    )
    _, bob = people["bob"]
    answer = bob.post(f"/api/studies/{uids[first]}/reviews/{first}/score", json={"score": "2b"})
    assert answer.json()["score"] == "2b"
    page = f"/studies/{studies[second]}"
    assert 'id="score"' in bob.get(page).text
    sent = bob.post(f"{page}/score", data={"report": str(second), "score": "1"})
    assert sent.status_code == 303
    assert "You have scored this report: 1" in bob.get(page).text
    again = bob.post(f"/api/studies/{uids[second]}/reviews/{second}/score", json={"score": "3b"})
    assert again.status_code == 409
    count()
    peers = read(people, "ada").json()["peer_review"]
    assert (peers["significant"]["part"], peers["significant"]["number"]) == (1, 2)
    assert read(people, "bob").json()["peer_review"]["significant"]["number"] == 0


def test_who_may_not_score_is_refused_and_is_offered_nothing(people, decided):
    first = decided["ada"][0]
    ((study, uid),) = run_sql(
        "SELECT study_id, study_instance_uid FROM reviews JOIN studies ON studies.id = study_id"
        " WHERE reviews.id = :id",
        id=first,
    )
    address = f"/api/studies/{uid}/reviews/{first}/score"
    for login, status in (("ada", 409), ("tom", 403), ("nora", 404)):
        _, client = people[login]
        assert client.post(address, json={"score": "1"}).status_code == status, login
        assert 'id="score"' not in client.get(f"/studies/{study}").text
    bob = people["bob"][1]
    for body in ({}, {"score": "4"}, {"score": "2"}):
        assert bob.post(address, json=body).status_code == 422
    other = decided["ada"][1]
    assert (
        bob.post(f"/api/studies/{uid}/reviews/{other}/score", json={"score": "1"}).status_code
        == 404
    )
    assert run_sql("SELECT count(*) FROM report_scores") == [(0,)]


def test_figures_are_no_look_at_patients_and_name_none(people, decided):
    _, client = people["lea"]
    before = run_sql("SELECT count(*) FROM audit_entries WHERE action = 'VIEW'")
    for address in ("/quality", "/api/quality", "/api/quality.csv", "/api/quality/by/month"):
        assert "PHANTOM" not in client.get(address).text
    assert run_sql("SELECT count(*) FROM audit_entries WHERE action = 'VIEW'") == before

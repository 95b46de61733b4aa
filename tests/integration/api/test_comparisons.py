"""Drafts of two bundles: REST, pages and the command show one table and one list."""

import json
import re

import pytest
from typer.testing import CliRunner

from nightdraft.cli.main import app
from records.states import READ_FIRST_SENTENCE, Role
from tests.support.accounts import PASSWORD, make_account, run_sql
from tests.support.discrepant_studies import CLEAR, NODULE, PNEUMOTHORAX, draft, draft_again
from worker.draft_comparisons import compare_drafts

PAIR = {"first": "bundle", "second": "B"}
OPTIONS = ("--first", "bundle", "--second", "B")


@pytest.fixture
def again(client):
    """Two studies that two bundles drafted: alike, and differing in two findings."""
    draft_again(draft(1, (CLEAR, 0.9)), CLEAR)
    draft_again(draft(2, (NODULE, 0.9)), PNEUMOTHORAX)
    compare_drafts()


def run(*arguments):
    result = CliRunner().invoke(app, ["comparisons", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_table_is_the_same_everywhere(client, again):
    table = client.get("/api/comparisons/table", params=PAIR).json()
    assert table["compared"] == 2
    assert table["numbers"]["Lung Lesion"] == {"BOTH": 0, "FIRST": 1, "SECOND": 0, "NEITHER": 1}
    assert json.loads(run("table", *OPTIONS, "--json")[1]) == table
    assert re.search(r"Lung Lesion +0 +1 +0 +1 *\n", run("table", *OPTIONS)[1])
    page = client.get("/comparisons", params=PAIR).text
    row = re.search(r"<tr><td>Lung Lesion</td>(.*?)</tr>", page)[1]
    assert re.findall(r">(\d+)</td>", row) == ["0", "1", "0", "1"]
    assert client.get("/comparisons").text == page  # without a choice, the largest pair
    pairs = client.get("/api/comparisons").json()
    assert pairs == {"pairs": [{"first": "bundle", "second": "B", "compared": 2}]}
    assert json.loads(run("pairs", "--json")[1]) == pairs
    assert "bundle" in run("pairs")[1]


def test_the_list_has_those_first_that_differ_most(client, again):
    listed = client.get("/api/comparisons/drafts", params=PAIR).json()
    assert [entry["patient_id"] for entry in listed["comparisons"]] == ["P2", "P1"]
    assert json.loads(run("list", *OPTIONS, "--json")[1]) == listed
    ids = [str(entry["id"]) for entry in listed["comparisons"]]
    page = client.get("/comparisons", params=PAIR).text
    assert re.findall(r'id="comparison-(\d+)"', page) == ids
    first = client.get("/api/comparisons/drafts", params={**PAIR, "limit": 1}).json()
    after = {**PAIR, "after": first["next"]}
    second = client.get("/api/comparisons/drafts", params=after).json()
    assert [str(entry["id"]) for entry in second["comparisons"]] == ids[1:]
    assert (
        re.findall(r'id="comparison-(\d+)"', client.get("/comparisons", params=after).text)
        == ids[1:]
    )
    more = run("list", *OPTIONS, "--limit", 1)[1].splitlines()[-1]
    assert "P1" in run(*more.removeprefix("more: nightdraft comparisons ").split())[1]
    assert client.get("/api/comparisons/drafts", params={"after": "x"}).status_code == 409


def test_a_pair_has_both_texts_under_their_warnings(client, again):
    (entry, _) = client.get("/api/comparisons/drafts", params=PAIR).json()["comparisons"]
    detail = client.get(f"/api/comparisons/drafts/{entry['id']}").json()
    assert json.loads(run("show", entry["id"], "--json")[1]) == detail
    shown = run("show", entry["id"])[1]
    assert "Lung Lesion: present, blank" in shown
    page = client.get(f"/comparisons/{entry['id']}").text
    for text in (page, shown):
        assert text.count("NOT REVIEWED BY A RADIOLOGIST") == 2
        assert NODULE in text
    for missing in ("/comparisons/0", "/comparisons/99", f"/api/comparisons/drafts/{2**70}"):
        assert client.get(missing).status_code == 404


def test_where_nothing_is_compared_it_says_so(client):
    assert "No two drafts were compared." in client.get("/comparisons").text
    assert run("pairs")[1] == "no two drafts were compared\n"
    assert run("list", *OPTIONS)[1] == "no comparisons\n"
    assert client.get("/api/comparisons/table").json() == {"compared": 0, "numbers": {}}


@pytest.mark.parametrize(
    "options",
    [(), ("--first", "x"), ("--campaign", "x"), (*OPTIONS, "--campaign", "x")],
)
def test_a_table_of_nobody_is_refused(database, options):
    assert run("table", *options)[0] == 1


@pytest.mark.parametrize("how", [{"read_first": True}, {"without_draft_share": 1.0}])
def test_from_whom_drafts_are_hidden_sees_neither(client, again, setting, how):
    make_account("roe", Role.LEAD)
    client.post("/login", data={"login": "roe", "password": PASSWORD})
    (entry, _) = client.get("/api/comparisons/drafts", params=PAIR).json()["comparisons"]
    assert entry["observations"]
    setting(**how)
    path = f"comparisons/drafts/{entry['id']}"
    detail = client.get(f"/api/{path}").json()
    assert detail["first_text"] == detail["second_text"] == READ_FIRST_SENTENCE
    listed = client.get("/api/comparisons/drafts", params=PAIR).json()["comparisons"]
    assert [one["observations"] for one in [detail, *listed]] == [{}, {}, {}]
    page = client.get(f"/comparisons/{entry['id']}").text
    assert page.count(READ_FIRST_SENTENCE) == 2
    assert NODULE not in page
    assert "says it" not in page
    # Who has read the films sees the draft that was shown then, and still not the other.
    run_sql(
        "INSERT INTO readings (id, study_id, draft_id, account_id, arm, draft_shown_at)"
        " SELECT gen_random_uuid(), :study, :draft, id, 'READ_FIRST', now() FROM accounts",
        study=entry["study"],
        draft=entry["first_draft"],
    )
    detail = client.get(f"/api/{path}").json()
    assert NODULE in detail["first_text"]
    assert detail["second_text"] == READ_FIRST_SENTENCE
    assert detail["observations"] == {}

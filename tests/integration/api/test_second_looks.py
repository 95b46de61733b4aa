"""Where draft and report differ: REST, pages and the command agree, and a question is blind."""

import json
import re
import uuid

import pytest
from typer.testing import CliRunner

from api.discrepancy_schemas import CLINICAL_WORTH
from nightdraft.cli.main import app
from tests.support.discrepant_studies import CLEAR, NODULE, PNEUMOTHORAX, draft, report, work

SCRIPT = "<script>alert('x')</script>"


@pytest.fixture
def archive(client, setting):
    """Two misses of the report and an error of the model, by the number of their patients."""
    setting(draft_reported_studies=True, second_look_controls=0)
    draft(1, (PNEUMOTHORAX, 0.5))
    report(1, author="ROE^JANE^^DR")
    draft(2, (NODULE, 0.9))
    report(2, f"{CLEAR} {SCRIPT}", author="ROE^JANE^^DR")
    draft(3, (CLEAR, 0.9))
    report(3, NODULE)
    work()


def run(*arguments):
    result = CliRunner().invoke(app, ["discrepancies", *map(str, arguments)])
    return result.exit_code, result.output


def listed(client, **query):
    return client.get("/api/discrepancies", params=query).json()


def shown(page):
    return re.findall(r'id="discrepancy-([^"]+)"', page)


def test_page_rest_and_command_list_the_same_in_the_same_order(client, archive):
    answer = listed(client)
    ids = [entry["id"] for entry in answer["discrepancies"]]
    assert [entry["patient_id"] for entry in answer["discrepancies"]] == ["P2", "P1"]
    assert answer["note"] == CLINICAL_WORTH
    assert shown(client.get("/discrepancies").text) == ids
    assert json.loads(run("list", "--json")[1]) == answer
    assert [line.split()[-1] for line in run("list")[1].splitlines()[1:]] == ids
    nodules = {"side": "MISS_OF_MODEL", "observation": "Lung Lesion"}
    (error,) = listed(client, **nodules)["discrepancies"]
    assert error["patient_id"] == "P3"
    assert shown(client.get("/discrepancies", params=nodules).text) == [error["id"]]
    assert error["id"] in run("list", "--side", "model", "--observation", "lung lesion")[1]
    assert run("list", "--state", "denied")[1] == "no entries\n"


def test_the_next_page_begins_where_the_first_ends(client, archive):
    first = listed(client, limit=1)
    second = listed(client, limit=1, after=first["next"])
    assert second["next"] is None
    assert first["discrepancies"] != second["discrepancies"]
    _, output = run("list", "--limit", 1)
    more = output.splitlines()[-1].removeprefix("more: nightdraft discrepancies ").split()
    assert second["discrepancies"][0]["id"] in run(*more)[1]
    assert client.get("/discrepancies", params={"after": first["next"]}).status_code == 200
    assert client.get("/api/discrepancies", params={"after": "x"}).status_code == 409


def test_one_entry_has_both_texts_and_escapes_them(client, archive):
    first = listed(client)["discrepancies"][0]["id"]
    page = client.get(f"/discrepancies/{first}").text
    assert NODULE in page
    assert "NOT REVIEWED BY A RADIOLOGIST" in page
    assert SCRIPT not in page
    detail = client.get(f"/api/discrepancies/{first}").json()
    assert SCRIPT in detail["report_text"]
    assert json.loads(run("show", first, "--json")[1]) == detail
    assert NODULE in run("show", first)[1]
    for missing in (f"/discrepancies/{uuid.uuid4()}", f"/api/discrepancies/{uuid.uuid4()}"):
        assert client.get(missing).status_code == 404


def test_nobody_is_named_in_a_list_a_count_or_a_question(client, archive):
    question = client.post("/api/second-looks").json()["question"]["id"]
    texts = [
        client.get("/discrepancies").text,
        client.get("/discrepancies", params={"side": "MISS_OF_MODEL"}).text,
        client.get(f"/second-look/{question}").text,
        client.get("/api/second-looks").text,
        client.get("/api/discrepancies").text,
        run("list")[1],
        run("counts")[1],
        run("ask")[1],
    ]
    assert [text for text in texts if "ROE" in text] == []


@pytest.mark.parametrize("controls", [0, 1])
def test_a_question_does_not_tell_who_says_it(client, archive, setting, controls):
    setting(second_look_controls=controls)
    posted = client.post("/second-look", follow_redirects=False)
    page = client.get(posted.headers["location"]).text
    assert "Do the films show a nodule or a mass?" in page
    for told in (NODULE, CLEAR, "MISS_OF", "0.9", "only the draft", "/discrepancies/"):
        assert told not in page


def test_an_answer_is_counted_once_and_shown_everywhere(client, archive, setting):
    setting(second_look_reads=2)
    question = client.post("/api/second-looks").json()["question"]
    assert question["patient_id"] == "P2"
    answered = client.post(
        f"/api/second-looks/{question['id']}/answer", json={"verdict": "CONFIRMED"}
    )
    assert (answered.json()["used"], answered.json()["left"]) == (1, 1)
    again = client.post(f"/second-look/{question['id']}/answer", data={"verdict": "DENIED"})
    assert again.status_code == 409
    assert client.get(f"/second-look/{question['id']}").status_code == 404
    asked = json.loads(run("ask", "--json")[1])["question"]
    assert asked["patient_id"] == "P1"
    code, output = run("answer", asked["id"], "denied")
    assert (code, "2 of 2 reads this week" in output) == (0, True)
    summary = client.get("/api/second-looks").json()
    assert (summary["reads"], summary["confirmed"], summary["reads_per_confirmed"]) == (2, 1, 2.0)
    assert json.loads(run("counts", "--json")[1]) == summary
    assert "reads for each confirmed finding: 2.0" in run("counts")[1]
    page = client.get("/discrepancies", params={"state": "CONFIRMED"}).text
    assert "This week: 2 of 2 reads" in page
    assert "one confirmed finding took 2.0 reads" in page
    assert client.post("/api/second-looks").status_code == 409
    assert "The budget is used up" in client.get("/second-look").text


def test_where_nothing_is_open_it_says_so(client):
    assert client.post("/api/second-looks").json() == {"question": None}
    assert run("ask")[1] == "no question is open\n"
    assert "No question is open now." in client.post("/second-look").text
    assert "No question is open now." not in client.get("/second-look").text
    assert "No entry is in this list." in client.get("/discrepancies").text
    assert "no finding is confirmed yet" in run("counts")[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--side", "nobody"),
        ("list", "--state", "nothing"),
        ("list", "--observation", "nothing"),
        ("list", "--campaign", "nothing"),
        ("errors", "--campaign", "nothing"),
        ("answer", uuid.UUID(int=1), "perhaps"),
        ("answer", uuid.UUID(int=1), "denied"),
        ("show", uuid.UUID(int=1)),
    ],
)
def test_a_wrong_command_is_refused(database, arguments):
    assert run(*arguments)[0] == 1


def test_a_form_without_an_answer_is_refused(client, archive):
    question = client.post("/api/second-looks").json()["question"]["id"]
    refused = client.post(f"/second-look/{question}/answer", data={"verdict": "OPEN"})
    assert refused.status_code == 422

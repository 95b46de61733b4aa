import re

import pytest
from starlette.testclient import TestClient

from api.app import make_app
from records.database.session import unit_of_work
from records.operations import alarms, refusals
from records.settings import settings
from records.states import WARNING, HoldReason
from records.workflow import studies
from records.workflow.studies import Patient
from tests.support.seeded_studies import parts_run

SCRIPT = "<script>alert('x')</script>"


def test_the_worklist_counts_filters_and_marks_drafts(client, night):
    drafted = night.drafted(1)
    (waiting,) = night.complete(2)
    page = client.get("/").text
    assert f"/studies/{drafted}" in page
    assert f"/studies/{waiting}" in page
    assert "AI draft, not reviewed" in page
    only = client.get("/", params={"state": "WAITING"}).text
    assert f"/studies/{waiting}" in only
    assert f"/studies/{drafted}" not in only


def test_live_answers_only_when_something_moved(client, night):
    parts_run("listener")
    night.arrive(1)
    page = client.get("/").text
    (asked,) = re.findall(r'hx-get="(/live[^"]*)"', page)
    assert client.get(asked.replace("&amp;", "&")).status_code == 204
    night.arrive(2)
    moved = client.get(asked.replace("&amp;", "&"))
    assert moved.status_code == 200
    assert moved.text.count('class="patient"') == 2


def test_missing_parts_and_alarms_are_on_top(client, night):
    parts_run("listener", "sweep", "prepare")
    with unit_of_work() as session:
        alarms.raise_alarm(session, "prepare", "The disk of the worker is sick.")
    page = client.get("/").text
    assert "draft is not running" in page
    assert "listener runs" in page
    assert "The disk of the worker is sick." in page


def test_a_draft_stands_under_the_warning_with_all_it_came_from(client, night):
    study = night.drafted(1, notice="Knows drawn phantoms only.", notes=["View unknown."])
    page = client.get(f"/studies/{study}").text
    before, after = page.split('class="report"')
    assert WARNING in before
    assert after.index(WARNING) < after.index("Findings") < after.index("Impression")
    for words in ("Knows drawn phantoms only.", "View unknown.", "ViewPosition says", "digest"):
        assert words in page


def test_words_that_the_model_was_unsure_of_are_dotted_and_explained(client, night):
    sentences = [
        {"section": "findings", "text": "No <b>nodule</b>.", "confidence": 0.41, "least": 0.05},
        {"section": "findings", "text": "Clear.", "confidence": 0.95, "least": 0.9},
    ]
    unsure = night.drafted(1, findings="No <b>nodule</b>. Clear.", sentences=sentences)
    page = client.get(f"/studies/{unsure}").text
    (title, dotted) = re.search(r'<span class="unsure" title="([^"]+)">(.*?)</span>', page).groups()
    assert dotted == "No &lt;b&gt;nodule&lt;/b&gt;."
    assert "0.41" in title
    assert "0.05" in title
    assert "</span> Clear.</p>" in page
    assert "what is not may be wrong" in page
    sure = night.drafted(2, findings="Clear.", sentences=sentences[1:])
    assert "unsure" not in client.get(f"/studies/{sure}").text


def test_a_draft_of_earlier_images_says_so(client, night):
    study = night.drafted(1)
    with unit_of_work() as session:
        uid = studies.get_by_uid(session, str(study)).study_instance_uid
        row = studies.get_by_uid(session, str(study))
        same = Patient(row.patient_id, "", row.patient_name, "", "")
    night.arrive(7, study_instance_uid=uid, patient=same)
    assert "does not show everything that is known" in client.get(f"/studies/{study}").text
    assert "and of earlier images" in client.get("/").text


def test_text_from_headers_and_models_cannot_run(client, night):
    stranger = Patient(SCRIPT, "", f"{SCRIPT}^EVIL", SCRIPT, "F")
    (study,) = night.complete(1, patient=stranger, study_description=SCRIPT, accession_number='"><')
    night.draft(
        study,
        1,
        indication=SCRIPT,
        findings=SCRIPT,
        impression=SCRIPT,
        prompt=SCRIPT,
        notes=[SCRIPT],
        notice=SCRIPT,
    )
    (held,) = night.complete(2, patient=Patient("X", "", SCRIPT))
    night.hold(held, HoldReason.AGE_UNKNOWN)
    pages = ("/", f"/studies/{study}", f"/studies/{held}", "/?words=%3Cscript%3Ealert")
    for page in pages:
        html = client.get(page).text
        assert "<script>" not in html
        assert "&lt;script&gt;" in html


def test_a_person_decides_on_the_page(client, night):
    (study,) = night.complete(1)
    night.hold(study)
    page = client.get(f"/studies/{study}").text
    (hold,) = re.findall(r'name="holds" value="([^"]+)"', page)
    said = {"by": "Dr. Roe", "note": "", "decision": "PROCEED", "holds": hold}
    done = client.post(f"/studies/{study}/decision", data=said)
    assert done.url.path == f"/studies/{study}"
    assert "Dr. Roe" in done.text
    again = client.post(f"/studies/{study}/decision", data=said)
    assert again.status_code == 409
    assert client.post(f"/studies/{study}/decision", data={}).status_code == 422


def test_a_draft_in_question_can_be_withdrawn_and_asked_for_again(client, night):
    study = night.drafted(1)
    night.hold(study, HoldReason.PATIENT_MISMATCH)
    page = client.get(f"/studies/{study}").text
    assert "may be of the wrong images" in page
    assert "and in question" in client.get("/").text
    (hold,) = re.findall(r'name="holds" value="([^"]+)"', page)
    said = {"by": "Dr. Roe", "note": "", "decision": "CANCEL", "holds": hold}
    page = client.post(f"/studies/{study}/decision", data=said).text
    assert "A person decided against a draft." in page
    assert "not current" in page
    assert "not reviewed" not in client.get("/live").text.partition("<tbody>")[2]
    assert "Draft it after all" in page
    assert "Waits to be prepared." in client.post(f"/studies/{study}/retry").text


def test_retry_and_release_on_the_page(client, night):
    (failed,) = night.complete(1)
    night.fail(failed)
    assert "Draft it again" in client.get(f"/studies/{failed}").text
    assert "Waiting" in client.post(f"/studies/{failed}/retry").text
    coming = night.arrive(2)
    assert client.post(f"/studies/{coming}/release").status_code == 200


def test_the_page_tells_when_its_study_has_changed(client, night):
    (study,) = night.complete(1)
    page = client.get(f"/studies/{study}").text
    (asked,) = re.findall(r'hx-get="(/studies/[^"]+)"', page)
    assert client.get(asked).status_code == 204
    night.draft(study, 1)
    assert "it is drafted now" in client.get(asked).text


def test_refusals_have_a_page(client, night):
    with unit_of_work() as session:
        refusals.record_refusal(
            session,
            calling_ae="CT1",
            sop_class_uid="1.2",
            sop_instance_uid="1.3",
            reason="sop_class",
            sentence="Only films are received.",
        )
    assert "Only films are received." in client.get("/refusals").text
    assert "1 refused at the door" in client.get("/").text


@pytest.mark.parametrize("path", ["/nothing", "/studies/7", "/studies/1.2.3/x"])
def test_what_is_not_there_is_a_page(client, path):
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert "Back to the worklist" in answer.text


def test_nothing_of_a_patient_is_cached(client, night):
    study = night.drafted(1)
    film = client.get(f"/api/studies/{study}").json()["instances"][0]["image"]
    for path in ("/", f"/studies/{study}", film, "/live", "/api/studies"):
        assert client.get(path).headers["cache-control"] == "no-store"


def test_without_a_database_a_page_says_so(data_dir, setting):
    setting(database_url="postgresql://nobody@127.0.0.1:1/none")
    with TestClient(make_app(settings()), base_url="http://localhost") as client:
        page = client.get("/")
        assert page.status_code == 503
        assert "PostgreSQL does not answer" in page.text
        assert "Traceback" not in page.text
        problem = client.get("/api/counts")
        assert problem.status_code == 503
        assert problem.json()["title"].startswith("PostgreSQL does not answer")


def test_without_a_station_a_page_says_what_to_set(data_dir, setting):
    with TestClient(make_app(settings()), base_url="http://localhost") as client:
        page = client.get("/")
    assert page.status_code == 503
    assert "NIGHTDRAFT_DATABASE_URL" in page.text

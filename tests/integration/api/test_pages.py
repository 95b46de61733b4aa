"""The pages: what they show, what they escape, and what a person can do on them."""

import re

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from api.app import make_app
from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.operations import alarms, refusals
from records.settings import settings
from records.states import WARNING, HoldReason
from records.workflow import events, studies
from records.workflow.events import TIMELINE_LINES
from records.workflow.patients import Patient
from tests.support.seeded_studies import seed_heartbeats

SCRIPT = "<script>alert('x')</script>"


def test_the_worklist_counts_filters_and_marks_drafts(client, seeder):
    drafted = seeder.draft_study(1)
    (waiting,) = seeder.complete(2)
    page = client.get("/").text
    assert f"/studies/{drafted}" in page
    assert f"/studies/{waiting}" in page
    assert "AI draft, not reviewed" in page
    filtered = client.get("/", params={"state": "WAITING"}).text
    assert f"/studies/{waiting}" in filtered
    assert f"/studies/{drafted}" not in filtered


def test_a_draft_without_an_indication_says_so_in_words(client, seeder):
    without_indication = seeder.draft_study(
        1,
        indication="Not provided",
        indication_source="none",
        prompt="Image: Chest, 1 view, frontal",
    )
    page = client.get(f"/studies/{without_indication}").text
    assert "None was given to the model" in page
    assert "from none" not in page
    with_indication = seeder.draft_study(
        2, indication="Cough.", indication_source="request_reason", prompt="Indication: Cough."
    )
    page = client.get(f"/studies/{with_indication}").text
    assert "None was given to the model" not in page
    assert "As sent" not in page


def test_a_draft_shows_the_indication_that_the_model_really_got(client, seeder):
    long = "cough " * 70
    for number, sent, given, note in (
        (1, "n/a", "", "It says nothing, so the model did not get it."),
        (2, long, ("cough " * 49).strip(), "The model got the first 293 characters of it."),
        (3, "Cough", "", "The model did not get it: its prompt has no line or no room for it."),
    ):
        study = seeder.draft_study(
            number,
            indication=sent,
            indication_source="request_reason",
            prompt=f"Image: Chest, 1 view \n {f'Indication: {given}' if given else ''}",
        )
        page = client.get(f"/studies/{study}").text
        assert note in page
        assert ("None was given to the model" in page) is (not given)
        draft = client.get(f"/api/studies/{study}").json()["drafts"][0]
        assert draft["indication"] == sent
        assert draft["indication_given"] == given
        assert draft["indication_note"] == note


def test_live_answers_only_when_something_changed(client, seeder):
    seed_heartbeats("listener")
    seeder.receive(1)
    page = client.get("/").text
    (seen,) = re.findall(r'data-seen="([^"]+)"', page)
    same = client.get("/live", params={"seen": seen})
    assert "studies" not in same.text
    assert same.text.startswith('<ul id="parts"')  # when the parts were last seen
    seeder.receive(2)
    changed = client.get("/live", params={"seen": seen})
    assert changed.text.count('class="patient"') == 2


def test_missing_parts_and_alarms_are_on_top(client, seeder):
    seed_heartbeats("listener", "sweep", "prepare")
    with unit_of_work() as session:
        alarms.raise_alarm(
            session,
            AlarmKind.WORKER_STOPPED,
            "prepare",
            "The disk of the worker is failing.",
            "Replace the disk.",
        )
    page = client.get("/").text
    assert "draft is not running</a><small>never seen" in page
    assert "listener runs</a><small>seen <time" in page
    assert "redis was not looked at" in page
    assert "database answers</a><small>seen <time" in page
    assert "The disk of the worker is failing. Replace the disk." in page
    addresses = re.findall(r'href="(/runbook#[^"]*)"', page)
    runbook = client.get("/runbook").text
    assert 'id="worker_stopped">WORKER_STOPPED<' in runbook
    assert addresses[0] == "/runbook#worker_stopped"
    for address in addresses:
        assert f'id="{address.partition("#")[2]}">' in runbook


def test_a_draft_is_shown_under_the_warning_with_all_its_inputs(client, seeder):
    study = seeder.draft_study(1, notice="Knows drawn phantoms only.", notes=["View unknown."])
    page = client.get(f"/studies/{study}").text
    before, after = page.split('class="report writing"')
    assert WARNING in before
    assert after.index(WARNING) < after.index("Findings") < after.index("Impression")
    for part in ("Knows drawn phantoms only.", "View unknown.", "ViewPosition says", "digest"):
        assert part in page


@pytest.mark.parametrize(
    ("position", "contradicted", "sentence"),
    [
        ("frontal", False, "Frontal view. At least 95% sure, and nothing in the header speaks"),
        ("lateral", True, "Lateral view. At least 95% sure, but something in the header speaks"),
        ("frontal", None, "Frontal view. The header makes it at least 95% sure."),
        ("unknown", False, "The header does not say enough to know which view this is."),
    ],
)
def test_the_evidence_for_a_view_is_folded_into_one_sentence(
    client, seeder, position, contradicted, sentence
):
    (study,) = seeder.complete(1)
    image = client.get(f"/api/studies/{study}").json()["instances"][0]["sop_instance_uid"]
    view = {"sop_instance_uid": image, "position": position, "why": 'A "1" says x; B "<2>" says y'}
    if contradicted is not None:
        view["contradicted"] = contradicted
    seeder.draft(study, 1, views=[view])
    page = client.get(f"/studies/{study}").text
    folded = page.partition('<details class="why"><summary>')[2].partition("</details>")[0]
    summary, _, evidence = folded.partition("</summary>")
    assert summary.startswith(sentence)
    assert "says" not in summary
    assert "<li>A &#34;1&#34; says x</li><li>B &#34;&lt;2&gt;&#34; says y</li>" in evidence


def test_a_page_marks_no_sentence_by_the_models_confidence(client, seeder):
    sentences = [
        {"section": "findings", "text": "No <b>nodule</b>.", "confidence": 0.41, "least": 0.05},
        {"section": "findings", "text": "Clear.", "confidence": 0.95, "least": 0.9},
    ]
    findings = "No <b>nodule</b>. Clear."
    study = seeder.draft_study(1, findings=findings, sentences=sentences)
    page = client.get(f"/studies/{study}").text
    assert '<p class="text">No &lt;b&gt;nodule&lt;/b&gt;. Clear.</p>' in page
    style = client.get("/static/nightdraft.css").text
    for term in ("unsure", "dotted", "confidence", "probability", "0.41"):
        assert term not in page.casefold()
        assert term not in style.casefold()


def test_a_draft_of_earlier_images_says_so(client, seeder):
    study = seeder.draft_study(1)
    with unit_of_work() as session:
        uid = studies.get_by_uid(session, str(study)).study_instance_uid
        row = studies.get_by_uid(session, str(study))
        patient = Patient(row.patient_id, "", row.patient_name, "", "")
    seeder.receive(7, study_instance_uid=uid, patient=patient)
    assert "does not show everything that is known" in client.get(f"/studies/{study}").text
    assert "and of earlier images" in client.get("/").text


def test_text_from_headers_and_models_cannot_run(client, seeder):
    stranger = Patient(SCRIPT, "", f"{SCRIPT}^EVIL", SCRIPT, "F")
    (study,) = seeder.complete(
        1, patient=stranger, study_description=SCRIPT, accession_number='"><'
    )
    seeder.draft(
        study,
        1,
        indication=SCRIPT,
        findings=SCRIPT,
        impression=SCRIPT,
        prompt=SCRIPT,
        notes=[SCRIPT],
        notice=SCRIPT,
    )
    (held,) = seeder.complete(2, patient=Patient("X", "", SCRIPT))
    seeder.hold(held, HoldReason.AGE_UNKNOWN)
    pages = ("/", f"/studies/{study}", f"/studies/{held}", "/?words=%3Cscript%3Ealert")
    for page in pages:
        html = client.get(page).text
        assert "<script>" not in html
        assert "&lt;script&gt;" in html


def test_a_person_decides_on_the_page(client, seeder):
    (study,) = seeder.complete(1)
    seeder.hold(study)
    page = client.get(f"/studies/{study}").text
    (hold,) = re.findall(r'name="holds" value="([^"]+)"', page)
    fields = {"by": "Dr. Roe", "note": "", "decision": "PROCEED", "holds": hold}
    response = client.post(f"/studies/{study}/decision", data=fields)
    assert response.url.path == f"/studies/{study}"
    assert "Dr. Roe" in response.text
    repeated = client.post(f"/studies/{study}/decision", data=fields)
    assert repeated.status_code == 409
    assert client.post(f"/studies/{study}/decision", content="&a=1" * 15_000).status_code == 413
    assert client.post(f"/studies/{study}/decision", data={"by": "Dr. Roe"}).status_code == 422
    assert client.post(f"/studies/{study}/decision", data={}).status_code == 409


def test_a_draft_in_question_can_be_withdrawn_and_requested_again(client, seeder):
    study = seeder.draft_study(1)
    seeder.hold(study, HoldReason.PATIENT_MISMATCH)
    page = client.get(f"/studies/{study}").text
    assert "may be of the wrong images" in page
    assert "and in question" in client.get("/").text
    (hold,) = re.findall(r'name="holds" value="([^"]+)"', page)
    fields = {"by": "Dr. Roe", "note": "", "decision": "CANCEL", "holds": hold}
    page = client.post(f"/studies/{study}/decision", data=fields).text
    assert "A person decided against a draft." in page
    assert "This draft was withdrawn" in page
    assert "not reviewed" not in client.get("/live").text.partition("<tbody>")[2]
    assert "Draft it after all" in page
    assert "It waits to be prepared." in client.post(f"/studies/{study}/retry").text


def test_a_draft_is_withdrawn_on_the_page(client, seeder):
    study = seeder.draft_study(1)
    page = client.get(f"/studies/{study}").text
    (draft,) = set(re.findall(r'name="draft" value="([^"]+)"', page))
    fields = {"draft": draft, "by": "Dr. Roe", "reason": "wrong side"}
    page = client.post(f"/studies/{study}/withdraw", data=fields).text
    assert "withdrawn by Dr. Roe: wrong side" in page
    assert "Draft it after all" in page
    assert "This draft was withdrawn" in page
    assert "Withdraw the draft" not in page
    assert client.post(f"/studies/{study}/withdraw", data=fields).status_code == 409


def test_retry_and_release_on_the_page(client, seeder):
    (failed,) = seeder.complete(1)
    seeder.fail(failed)
    assert "Draft it again" in client.get(f"/studies/{failed}").text
    assert "Waiting" in client.post(f"/studies/{failed}/retry").text
    receiving = seeder.receive(2)
    assert client.post(f"/studies/{receiving}/release").status_code == 200


def test_the_page_reports_that_its_study_has_changed(client, seeder):
    (study,) = seeder.complete(1)
    page = client.get(f"/studies/{study}").text
    (address,) = re.findall(r'data-live="(/studies/[^"]+)"', page)
    assert client.get(address).status_code == 204
    seeder.draft(study, 1)
    assert "it is drafted now" in client.get(address).text


def test_received_objects_stand_by_name(client, seeder):
    study = seeder.receive(1)
    page = client.get(f"/studies/{study}").text
    for_presentation = "Digital X-Ray Image Storage - For Presentation"
    assert f'<abbr title="1.2.840.10008.5.1.4.1.1.1.1">{for_presentation}</abbr>' in page
    assert '<abbr title="1.2.840.10008.1.2.1">Explicit VR Little Endian</abbr>' in page
    assert '<abbr title="Digital Radiography">DX</abbr>' in page
    instance = client.get(f"/api/studies/{study}").json()["instances"][0]
    assert instance["sop_class"] == for_presentation
    assert instance["transfer_syntax"] == "Explicit VR Little Endian"
    assert instance["modality"] == "DX"


def test_refusals_have_a_page(client, seeder):
    with unit_of_work() as session:
        refusals.record_refusal(
            session,
            calling_ae="CT1",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            sop_instance_uid="1.3",
            reason="sop_class",
            sentence="Only films are received.",
        )
    page = client.get("/refusals").text
    assert "Only films are received." in page
    assert '<abbr title="1.2.840.10008.5.1.4.1.1.2">CT Image Storage</abbr>' in page
    (refusal,) = client.get("/api/refusals").json()
    assert refusal["sop_class"] == "CT Image Storage"
    assert "1 refused" in client.get("/").text


@pytest.mark.parametrize("path", ["/nothing", "/studies/7", "/studies/1.2.3/x"])
def test_what_is_not_there_is_a_page(client, path):
    response = client.get(path)
    assert response.status_code in (404, 422)
    assert "Back to your first page" in response.text


def test_nothing_of_a_patient_is_cached(client, seeder):
    study = seeder.draft_study(1)
    image = client.get(f"/api/studies/{study}").json()["instances"][0]["image"]
    for path in ("/", f"/studies/{study}", image, "/live", "/api/studies"):
        assert client.get(path).headers["cache-control"] == "no-store"


def test_the_pages_own_files_are_kept_by_their_version_alone(client, seeder):
    addresses = re.findall(r'(?:src|href)="(/static/[^"]+)"', client.get("/").text)
    assert len(addresses) >= 5
    for address in addresses:
        path, _, version = address.partition("?")
        kept = client.get(address)
        assert kept.status_code == 200
        assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
        again = client.get(address, headers={"if-none-match": kept.headers["etag"]})
        assert (again.status_code, again.headers["cache-control"]) == (
            304,
            kept.headers["cache-control"],
        )
        for other in (path, f"{path}?v=0123456789ab", f"{path}?{version}&{version}", f"{path}?v="):
            assert client.get(other).headers["cache-control"] == "no-store"
    missing = client.get(f"/static/none.js?{version}")
    assert (missing.status_code, missing.headers["cache-control"]) == (404, "no-store")


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


def append_repeats(study, number):
    """Write the lines of a film that came again so many times."""
    with unit_of_work() as session:
        session.execute(
            text(
                "INSERT INTO events (study_id, kind, detail)"
                " SELECT :study, 'REPEATED', 'repeat ' || n FROM generate_series(1, :number) n"
            ),
            {"study": study, "number": number},
        )


def test_a_long_timeline_is_shown_in_parts(client, seeder):
    study = seeder.receive(1)
    append_repeats(study, 2 * TIMELINE_LINES + 5)

    def shown(page):
        return [int(number) for number in re.findall(r"<td>repeat (\d+)</td>", page)]

    page = client.get(f"/studies/{study}").text
    numbers = shown(page)
    assert numbers == list(range(TIMELINE_LINES + 6, 2 * TIMELINE_LINES + 6))
    assert "Newest lines" not in page
    while "Earlier lines" in page:
        (link,) = re.findall(r'id="earlier" href="([^"]+)"', page)
        page = client.get(link).text
        numbers = shown(page) + numbers
        assert "Newest lines" in page
    assert numbers == list(range(1, 2 * TIMELINE_LINES + 6))
    assert "<td>Arrived</td>" in page


def test_rest_gives_a_long_timeline_in_parts(client, seeder):
    study = seeder.receive(1)
    append_repeats(study, TIMELINE_LINES + 5)
    newest = client.get(f"/api/studies/{study}").json()
    assert len(newest["timeline"]) == TIMELINE_LINES
    earlier = client.get(f"/api/studies/{study}", params={"before": newest["earlier"]}).json()
    assert earlier["earlier"] is None
    details = [line["detail"] for line in earlier["timeline"] + newest["timeline"]]
    assert details[-TIMELINE_LINES - 5 :] == [f"repeat {n + 1}" for n in range(TIMELINE_LINES + 5)]
    assert client.get(f"/api/studies/{study}", params={"before": 0}).status_code == 422


def test_a_page_that_is_open_asks_for_no_timeline(client, seeder, monkeypatch):
    study = seeder.draft_study(1)
    (seen,) = re.findall(r"changed\?seen=(\w+)", client.get(f"/studies/{study}").text)
    monkeypatch.setattr(events, "timeline", None)
    assert client.get(f"/studies/{study}/changed", params={"seen": seen}).status_code == 204
    seeder.hold(study)
    assert "has changed" in client.get(f"/studies/{study}/changed", params={"seen": seen}).text

"""REST and forms of the editor: writing, signing, rejecting and adding."""

import html
import re
import uuid

import pytest

from records.database.session import unit_of_work
from records.states import WARNING, HoldReason
from records.workflow import holds
from tests.support.accounts import PASSWORD, run_sql
from tests.support.report_readers import (
    editor_form,
    logged_in_people,
    page_fields,
    path_of,
    put,
    sign,
    uid_of,
)
from tests.support.seeded_studies import StudySeeder


@pytest.fixture
def study(database, data_dir):
    return StudySeeder(data_dir).draft_study(1)


@pytest.fixture
def people(study):
    """Clients by login: a trainee, a reader and a lead, all of the site of the study."""
    with logged_in_people() as clients:
        yield clients


def test_a_save_needs_the_text_it_was_made_from(people, study):
    roe, doe = people["roe"], people["doe"]
    begun = roe.get(path_of(study))
    etag = begun.headers["etag"]
    assert begun.json()["version"] == 0
    missing = put(roe, study, "", "x")
    assert missing.status_code == 428
    assert missing.headers["content-type"] == "application/problem+json"
    saved = put(roe, study, etag, "By Roe.")
    assert (saved.status_code, saved.json()["saved_by"]) == (200, "Roe (roe)")
    assert put(roe, study, etag, "By Roe.").json() == saved.json(), "the answer was lost"
    stale = put(doe, study, etag, "By Doe.")
    assert stale.status_code == 412
    assert stale.json()["current"] == saved.json()
    assert stale.headers["etag"] == saved.headers["etag"]
    other = put(doe, study, f'"{uuid.uuid4()}-1"', "of another draft")
    assert other.status_code == 412
    assert put(doe, study, saved.headers["etag"], "By Doe.").json()["version"] == 2
    assert roe.get(path_of(study)).json()["findings"] == "By Doe."


def test_characters_that_no_page_shows_are_not_kept(people, study):
    etag = people["roe"].get(path_of(study)).headers["etag"]
    saved = put(people["roe"], study, etag, "left\u202e\x0b lung\r\nclear\x00")
    assert saved.json()["findings"] == "left lung\nclear"


def test_a_trainee_writes_and_a_lead_signs_what_was_shown(people, study):
    kim, doe = people["kim"], people["doe"]
    etag = kim.get(path_of(study)).headers["etag"]
    written = put(kim, study, etag, "By the trainee.")
    assert sign(kim, study, written.json()).status_code == 403
    sent = kim.post(
        f"{path_of(study)}/send",
        json={"to": "SUBMITTED", "note": "the left base?"},
        headers={"if-match": written.headers["etag"]},
    )
    assert (sent.status_code, sent.json()["state"]) == (200, "SUBMITTED")
    assert put(kim, study, sent.headers["etag"], "thought again").status_code == 409
    page = doe.get(f"/studies/{study}").text
    assert "Kim (kim) submitted this text for signature" in page
    assert "the left base?" in page
    before = doe.get(path_of(study)).json()
    corrected = put(doe, study, sent.headers["etag"], "By the trainee, corrected.").json()
    refused = sign(doe, study, before)
    assert refused.status_code == 409
    assert refused.json()["current"]["findings"] == "By the trainee, corrected."
    signed = sign(doe, study, corrected)
    assert (signed.status_code, signed.json()["prepared_by"]) == (200, "Kim (kim)")
    assert sign(doe, study, corrected).json()["id"] == signed.json()["id"]
    assert sign(people["roe"], study, corrected).status_code == 409
    (listed,) = kim.get(f"/api/studies/{study}/reviews").json()["reviews"]
    assert listed == signed.json()
    assert listed["text_sha256"] == corrected["sha256"]


def test_everything_goes_by_plain_forms(people, study):
    roe = people["roe"]
    fields = editor_form(roe, study) | {"findings": "Typed\r\nby hand.", "then": "sign"}
    answer = roe.post(f"/studies/{study}/text", data=fields)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/studies/{study}/sign")
    page = roe.get(f"/studies/{study}/sign").text
    assert "Typed\nby hand." in page
    assert WARNING in page
    form = page_fields(page)
    changed = editor_form(people["doe"], study) | {"findings": "By Doe meanwhile."}
    assert people["doe"].post(f"/studies/{study}/text", data=changed).status_code == 303
    refused = roe.post(f"/studies/{study}/sign", data=form)
    assert refused.status_code == 409
    assert "By Doe meanwhile." in refused.text
    assert "Nothing of yours was signed" in refused.text
    form = page_fields(roe.get(f"/studies/{study}/sign").text)
    assert roe.post(f"/studies/{study}/sign", data=form).status_code == 303
    page = roe.get(f"/studies/{study}").text
    assert "Signed by Roe (roe)" in page
    assert "A model drafted it" in page
    assert "By Doe meanwhile." in page
    assert WARNING not in page
    assert 'id="text"' not in page
    assert roe.get(f"/studies/{study}/sign").status_code == 303
    assert roe.post(f"/studies/{study}/text", data=changed).status_code == 409


def test_a_form_of_an_older_version_shows_both_texts_and_loses_neither(people, study):
    stale = editor_form(people["roe"], study)
    mine = stale | {"findings": "Mine & typed."}
    theirs = editor_form(people["doe"], study) | {"findings": "Theirs."}
    assert people["doe"].post(f"/studies/{study}/text", data=theirs).status_code == 303
    page = people["roe"].post(f"/studies/{study}/text", data=mine)
    assert page.status_code == 409
    assert "Theirs." in page.text
    again = page_fields(page.text)
    assert again["findings"] == "Mine & typed."
    assert people["roe"].post(f"/studies/{study}/text", data=again).status_code == 303
    assert people["roe"].get(path_of(study)).json()["findings"] == "Mine & typed."


def test_a_text_is_given_up_and_sent_to_a_second_reader_by_forms(people, study):
    roe = people["roe"]
    draft = editor_form(roe, study)["findings"]
    roe.post(f"/studies/{study}/text", data=editor_form(roe, study) | {"findings": "wrong"})
    gone = editor_form(roe, study) | {"then": "discard"}
    assert roe.post(f"/studies/{study}/text", data=gone).status_code == 303
    assert roe.get(path_of(study)).json()["findings"] == draft
    sent = editor_form(roe, study) | {"then": "second", "note": "a nodule?"}
    assert roe.post(f"/studies/{study}/text", data=sent).status_code == 303
    page = people["doe"].get(f"/studies/{study}").text
    assert "Roe (roe) asks for a second reader" in page
    assert "a nodule?" in page


def test_a_rejection_has_a_reason_from_the_list(people, study):
    roe = people["roe"]
    draft = editor_form(roe, study)["draft"]
    address = f"/studies/{study}/reject"
    assert roe.post(address, data={"draft": draft, "reason": ""}).status_code == 422
    assert roe.post(address, data={"draft": draft, "reason": "OTHER"}).status_code == 409
    assert people["kim"].post(address, data={"draft": draft, "reason": "OTHER"}).status_code == 403
    assert roe.post(address, data={"draft": draft, "reason": "WRONG_SIDE"}).status_code == 303
    page = roe.get(f"/studies/{study}").text
    assert "Roe (roe) rejected this draft" in page
    assert "it names the wrong side" in page
    assert WARNING in page


def test_an_addendum_and_a_countersignature_follow_the_signature(people, study):
    roe, doe = people["roe"], people["doe"]
    review = sign(roe, study, roe.get(path_of(study)).json()).json()
    address = f"/api/studies/{study}/reviews/{review['id']}"
    assert roe.post(f"{address}/countersign", json={}).status_code == 409
    assert people["kim"].post(f"{address}/addendum", json={"text": "x"}).status_code == 403
    added = roe.post(f"{address}/addendum", json={"text": "A rib is broken."})
    assert added.json() == roe.post(f"{address}/addendum", json={"text": "A rib is broken."}).json()
    assert (
        doe.post(f"/studies/{study}/countersign", data={"report": review["id"]}).status_code == 303
    )
    again = doe.post(f"{address}/countersign", json={})
    assert again.json()["follows"] == review["id"]
    page = roe.get(f"/studies/{study}").text
    assert "A rib is broken." in page
    assert re.search(r"Countersigned by\s+<strong>Doe \(doe\)", page)
    assert len(roe.get(f"/api/studies/{study}/reviews").json()["reviews"]) == 3
    other = f"/api/studies/{study}/reviews/{uuid.uuid4()}/addendum"
    assert roe.post(other, json={"text": "x"}).status_code == 404


def test_a_signature_needs_a_fresh_login_where_the_site_says_so(people, study, setting):
    roe = people["roe"]
    shown = roe.get(path_of(study)).json()
    setting(sign_fresh_seconds=60)
    assert roe.get(f"/studies/{study}/sign").status_code == 200
    run_sql("UPDATE account_sessions SET proven_at = proven_at - interval '2 minutes'")
    answer = roe.get(f"/studies/{study}/sign")
    assert answer.headers["location"].startswith("/again?next=")
    form = {key: shown[key] for key in ("draft", "version", "sha256")}
    answer = roe.post(f"/studies/{study}/sign", data=form)
    assert answer.headers["location"].startswith("/again?next=")
    assert sign(roe, study, shown).status_code == 403
    assert roe.get(f"/api/studies/{study}/reviews").json()["reviews"] == []
    roe.post("/again", data={"password": PASSWORD, "next": f"/studies/{study}/sign"})
    page = roe.get("/account").text
    roe.headers["x-form-token"] = re.search(r'form-token" content="(\w+)"', page)[1]
    assert roe.post(f"/studies/{study}/sign", data=form).status_code == 303
    assert len(roe.get(f"/api/studies/{study}/reviews").json()["reviews"]) == 1


def test_a_held_study_is_not_signed(people, study):
    with unit_of_work() as session:
        holds.open_hold(session, study, HoldReason.FINALS_DIFFER, "two reports")
    roe = people["roe"]
    assert sign(roe, study, roe.get(path_of(study)).json()).status_code == 409
    assert "A person must decide about this study" in roe.get(f"/studies/{study}/sign").text


def test_before_the_first_account_a_name_is_typed(database, data_dir, client, seeder):
    study = seeder.draft_study(2)
    fields = editor_form(client, study)
    unnamed = client.post(f"/studies/{study}/text", data=fields | {"findings": "By somebody."})
    assert unnamed.status_code == 409
    named = fields | {"findings": "By Ada.", "by": "Ada"}
    assert client.post(f"/studies/{study}/text", data=named).status_code == 200
    form = page_fields(client.get(f"/studies/{study}/sign").text) | {"by": "Ada"}
    assert "Signed by Ada" in client.post(f"/studies/{study}/sign", data=form).text


def test_the_worklist_shows_a_report_as_a_report(people, study):
    roe = people["roe"]
    before = roe.get(f"/studies/{study}").text
    seen = re.search(r"changed\?seen=(\w+)", before)[1]
    row = roe.get("/api/studies").json()["studies"][0]
    assert (row["signed_by"], row["report"]) == ("", "")
    assert "AI draft, not reviewed" in roe.get("/").text
    etag = roe.get(path_of(study)).headers["etag"]
    put(roe, study, etag, "The lungs are clear.", "An impression of a reader.")
    form = page_fields(roe.get(f"/studies/{study}/sign").text)
    assert roe.post(f"/studies/{study}/sign", data=form).status_code == 303
    page = roe.get("/").text
    assert "Report, signed by Roe (roe)" in page
    assert "An impression of a reader." in page
    assert "AI draft, not reviewed" not in page
    row = roe.get("/api/studies").json()["studies"][0]
    assert (row["signed_by"], row["report"]) == ("Roe (roe)", "An impression of a reader.")
    assert roe.get(f"/studies/{study}/changed?seen={seen}").status_code == 200


# ---- Checks of the text ----


def test_a_text_is_checked_on_the_page_before_the_signature_and_by_rest(people, study):
    roe = people["roe"]
    etag = roe.get(path_of(study)).headers["etag"]
    denied, named = "No pneumothorax.", "Small left pneumothorax."
    put(roe, study, etag, f"The heart is normal. {denied}", named)
    given = roe.get(f"{path_of(study)}/checks").json()
    contradictions = [
        (check["section"], check["sentence"], check["start"], check["end"])
        for check in given["checks"]
        if check["kind"] == "CONTRADICTION"
    ]
    assert contradictions == [("findings", denied, 21, 37), ("impression", named, 0, 24)]
    assert given["version"] == 1
    for place in ("", "/checks", "/sign"):
        page = html.unescape(roe.get(f"/studies/{study}{place}").text)
        assert all(check["message"] in page for check in given["checks"])


def test_rest_asks_for_a_fresh_login_whatever_is_signed(people, study, setting):
    roe, doe = people["roe"], people["doe"]
    shown = roe.get(path_of(study)).json()
    signed = sign(roe, study, shown).json()
    setting(sign_fresh_seconds=60)
    run_sql("UPDATE account_sessions SET proven_at = proven_at - interval '61 seconds'")
    reviews = f"/api/studies/{study}/reviews"
    for refused in (
        doe.post(f"{reviews}/{signed['id']}/addendum", json={"text": "Looked at again."}),
        doe.post(f"{reviews}/{signed['id']}/countersign", json={}),
        sign(doe, study, shown),
    ):
        assert refused.status_code == 403
        assert refused.headers["content-type"] == "application/problem+json"
        assert "/again" in refused.json()["detail"]
    assert run_sql("SELECT count(*) FROM reviews") == [(1,)]
    listed = doe.get(f"/studies/{study}/sign")
    assert listed.status_code == 303, "a page leads there"


def test_differences_and_films_and_the_session_by_rest(people, study):
    roe = people["roe"]
    begun = roe.get(path_of(study))
    put(roe, study, begun.headers["etag"], "Something else entirely.")
    found = roe.get(f"{path_of(study)}/differences").json()
    assert {part["of"] for part in found["findings"]} >= {"draft", "text"}
    assert " ".join(p["words"] for p in found["findings"] if p["of"] != "draft") == (
        "Something else entirely."
    )
    assert roe.get(f"/api/studies/{study}/films").json() == {"image_display": "", "earlier": []}
    (film,) = roe.get(f"/api/studies/{study}").json()["instances"][:1]
    address = f"/api/studies/{uid_of(study)}/instances/{film['id']}"
    assert roe.get(f"{address}/picture").content == roe.get(film["image"]).content
    pixels = roe.get(f"{address}/pixels")
    assert pixels.headers["content-type"] == "application/vnd.nightdraft.film"
    assert pixels.content == roe.get(f"/studies/{study}/instances/{film['id']}/pixels").content
    own = roe.get("/api/session").json()
    assert (own["login"], own["role"]) == ("roe", "READER")
    assert own["form_token"] == roe.headers["x-form-token"]

"""Drafts that are hidden from a reader: films first, and reports that are written without one."""

import html

import pytest

from records.bundles import acceptance
from records.database.session import unit_of_work
from records.database.site_tables import DEFAULT_SITE_ID
from records.database.tables import Study
from records.reports import finals
from records.states import (
    DRAFT_USE_SENTENCES,
    OWN_TEXT_WARNING,
    WARNING,
    WITHOUT_DRAFT_SENTENCE,
    DraftUse,
)
from records.workflow.patients import Patient
from tests.support.accounts import run_sql
from tests.support.outside_reports import receive
from tests.support.report_readers import (
    editor_form,
    logged_in_people,
    page_fields,
    path_of,
    put,
    sign,
)
from tests.support.seeded_studies import StudySeeder

READ_FIRST = {"read_first": True}
WITHOUT = {"without_draft_share": 1.0}
MINE = "A nodule of 8 mm in the right upper lobe."
WRITTEN_WITHOUT = DRAFT_USE_SENTENCES[DraftUse.WITHOUT_DRAFT]
BEGUN_WITHOUT = DRAFT_USE_SENTENCES[DraftUse.DRAFT_SHOWN]


@pytest.fixture
def study(database, data_dir):
    return StudySeeder(data_dir).draft_study(1)


@pytest.fixture
def people(study):
    """Clients by login: a trainee, a reader and a lead, all of the site of the study."""
    with logged_in_people() as clients:
        yield clients


@pytest.fixture
def without(people, setting):
    """From now on everybody is drawn to read without a draft; the clients."""
    setting(**WITHOUT)
    return people


def places_of(study):
    """Whatever shows a draft, or a text that may be made of one."""
    rest = f"/api/studies/{study}"
    return (
        *("/", "/live", f"/studies/{study}", f"/studies/{study}/differences"),
        *(f"/studies/{study}/checks", f"/studies/{study}/house-wordings"),
        *(f"/studies/{study}/sign", "/api/studies", "/api/worklist", rest, f"{rest}/reviews"),
        *(path_of(study), f"{path_of(study)}/checks", f"{path_of(study)}/differences"),
    )


def shown(client, study):
    """The places that have words of the draft."""
    ((findings, impression),) = run_sql("SELECT findings, impression FROM drafts")
    texts = {
        place: html.unescape(client.get(place).text).replace("\\n", "\n")
        for place in places_of(study)
    }
    return {
        place
        for place, words in texts.items()
        if findings[:40] in words or impression[:40] in words
    }


def look_at_films(client, study):
    ((film,),) = run_sql("SELECT id FROM instances ORDER BY received_at LIMIT 1")
    assert client.get(f"/studies/{study}/views/{film}.jpg").status_code == 200


def ask_for_draft(client, study):
    look_at_films(client, study)
    assert client.post(f"/studies/{study}/show-draft").status_code == 303


def write(client, study, findings=MINE):
    """Save a text as the page does; the answer."""
    etag = client.get(path_of(study)).headers["etag"]
    saved = put(client, study, etag, findings)
    assert saved.status_code == 200
    return saved.json()


def review(study):
    return run_sql("SELECT draft_use, findings, distances FROM reviews WHERE decision = 'SIGNED'")


@pytest.mark.parametrize("how", [READ_FIRST, WITHOUT])
def test_nothing_of_a_draft_is_sent_before_it_is_asked_for(people, study, setting, how):
    setting(**how)
    roe = people["roe"]
    draft = str(run_sql("SELECT id FROM drafts")[0][0])
    body = {"draft": draft, "reason": "POOR_TEXT"}
    assert shown(roe, study) == set()
    assert "(hidden until you have read the films)" in roe.get("/").text
    for refused in (
        roe.post(f"/studies/{study}/show-draft"),
        roe.post(f"/api/studies/{study}/reviews/show-draft"),
        roe.post(f"/studies/{study}/reject", data=body),
        roe.post(f"/api/studies/{study}/reviews/reject", json=body),
        roe.get(f"/studies/{study}/differences"),
        roe.get(f"{path_of(study)}/differences"),
        roe.get(f"/studies/{study}/house-wordings"),
    ):
        assert refused.status_code == 409
    look_at_films(roe, study)
    assert shown(roe, study) == set()
    assert roe.post(f"/studies/{study}/show-draft").status_code == 303
    places = {"/", f"/studies/{study}", f"/api/studies/{study}", f"{path_of(study)}/differences"}
    assert places <= shown(roe, study)
    ((arm, in_order),) = run_sql(
        "SELECT arm, opened_at <= films_opened_at AND films_opened_at <= draft_shown_at"
        " FROM readings"
    )
    assert (arm, in_order) == ("READ_FIRST" if how is READ_FIRST else "WITHOUT_DRAFT", True)


@pytest.mark.parametrize("how", [READ_FIRST, WITHOUT])
def test_how_far_a_hidden_draft_is_from_a_report_is_not_told(people, study, setting, how):
    roe = people["roe"]
    setting(draft_reported_studies=True)
    with unit_of_work() as session:
        row = session.get_one(Study, study)
        whose = {"patient": Patient.of_study(row), "accession_numbers": (row.accession_number,)}
    receive(**whose)
    with unit_of_work() as session:
        comparison_id, _, _ = finals.claim_comparison(session)
        finals.keep_comparison(
            session, comparison_id, {"findings": [30, 120]}, {"Edema": ["absent", "present"]}
        )

    def told():
        page = roe.get(f"/studies/{study}").text
        (received,) = roe.get(f"/api/studies/{study}").json()["reports"]
        return "differ on: edema" in page, len(received["comparisons"])

    assert told() == (True, 1)
    run_sql("DELETE FROM readings")
    setting(**how)
    assert told() == (False, 0)


def test_who_reads_first_cannot_write_before_the_draft_is_shown(people, study, setting):
    setting(**READ_FIRST)
    roe = people["roe"]
    assert "Read the films first" in roe.get(f"/studies/{study}").text
    ((draft,),) = run_sql("SELECT id FROM drafts")
    assert put(roe, study, f'"{draft}-0"', "guessed").status_code == 409
    assert roe.get(path_of(study)).status_code == 409
    assert roe.get(f"/studies/{study}/sign").status_code == 409


def test_who_signs_a_hidden_draft_shows_it_to_all(people, study, setting):
    roe, doe = people["roe"], people["doe"]
    setting(read_first=False)
    begun = roe.get(path_of(study)).json()
    roe.get(f"/studies/{study}")
    setting(read_first=True)
    assert "Read the films first" in doe.get(f"/studies/{study}").text
    assert sign(roe, study, begun).status_code == 200
    assert "Signed by Roe (roe)" in doe.get(f"/studies/{study}").text
    assert run_sql('SELECT "end" FROM readings ORDER BY opened_at') == [("SIGNED",), (None,)]


# ---- Without a draft ----


def test_the_report_is_written_from_nothing_and_says_so(without, study):
    roe = without["roe"]
    page = roe.get(f"/studies/{study}").text
    assert WITHOUT_DRAFT_SENTENCE in page
    assert OWN_TEXT_WARNING in page
    assert WARNING not in page
    fields = editor_form(roe, study)
    assert (fields["findings"], fields["impression"]) == ("", "")
    assert roe.get(path_of(study)).json()["draft_use"] == "WITHOUT_DRAFT"
    answer = roe.post(f"/studies/{study}/text", data=fields | {"findings": MINE, "then": "sign"})
    assert answer.headers["location"] == f"/studies/{study}/sign"
    page = roe.get(f"/studies/{study}/sign").text
    assert MINE in page
    assert "You have written it without the draft" in page
    assert WARNING not in page
    assert shown(roe, study) == set()
    assert roe.post(f"/studies/{study}/sign", data=page_fields(page)).status_code == 303
    assert review(study) == [("WITHOUT_DRAFT", MINE, None)]
    page = roe.get(f"/studies/{study}").text
    assert WRITTEN_WITHOUT in page
    assert "A model drafted it" not in page
    assert "Signed" in page
    assert "by Roe (roe), written without the draft" in page
    assert f"/studies/{study}" in shown(roe, study), "the signed report stands beside the draft"
    (listed,) = roe.get(f"/api/studies/{study}/reviews").json()["reviews"]
    assert (listed["draft_use"], listed["distances"]) == ("WITHOUT_DRAFT", None)
    assert run_sql('SELECT arm, draft_shown_at, "end" FROM readings') == [
        ("WITHOUT_DRAFT", None, "SIGNED")
    ]


def test_a_recall_says_that_the_draft_is_in_no_report(without, study):
    roe, doe = without["roe"], without["doe"]
    sign(roe, study, write(roe, study))
    ((digest,),) = run_sql("SELECT bundle_digest FROM drafts")
    page = doe.get(f"/models/{digest}/drafts").text
    assert "Nowhere: the report was written without this draft." in page
    (listed,) = doe.get(f"/api/models/{digest}/drafts").json()["drafts"]
    assert (listed["signed_by"], listed["draft_use"]) == ("Roe (roe)", "WITHOUT_DRAFT")
    with unit_of_work() as session:
        found = acceptance.measure(session, DEFAULT_SITE_ID, digest)
    assert (found.signed, found.signed_here, found.unchanged) == (1, 0, 0)


def test_an_empty_page_cannot_be_signed(without, study):
    roe = without["roe"]
    assert sign(roe, study, roe.get(path_of(study)).json()).status_code == 409
    assert review(study) == []


def test_what_was_typed_stays_when_the_draft_is_shown(without, study):
    roe = without["roe"]
    fields = editor_form(roe, study) | {"findings": MINE, "then": "show"}
    look_at_films(roe, study)
    assert roe.post(f"/studies/{study}/text", data=fields).status_code == 303
    page = roe.get(f"/studies/{study}").text
    fields = editor_form(roe, study)
    assert (fields["findings"], fields["impression"]) == (MINE, "")
    ((findings,),) = run_sql("SELECT findings FROM drafts")
    assert findings[:40] in html.unescape(page), "the draft stands beside it"
    assert "This text was begun without the draft" in page
    # The report says what is so: the draft was seen before the signature.
    assert sign(roe, study, roe.get(path_of(study)).json()).status_code == 200
    assert review(study) == [("DRAFT_SHOWN", MINE, None)]
    page = roe.get(f"/studies/{study}").text
    assert BEGUN_WITHOUT in page
    assert WRITTEN_WITHOUT not in page
    assert run_sql("SELECT arm, draft_shown_at IS NOT NULL FROM readings") == [
        ("WITHOUT_DRAFT", True)
    ]


@pytest.mark.parametrize("written", [True, False])
def test_the_draft_comes_into_the_text_on_an_explicit_press_alone(without, study, written):
    roe = without["roe"]
    roe.get(f"/studies/{study}")
    if written:
        write(roe, study)
    ask_for_draft(roe, study)
    assert editor_form(roe, study)["findings"] == (MINE if written else "")
    begun = editor_form(roe, study) | {"then": "discard"}
    assert roe.post(f"/studies/{study}/text", data=begun).status_code == 303
    ((findings,),) = run_sql("SELECT findings FROM drafts")
    assert editor_form(roe, study)["findings"] == findings
    assert sign(roe, study, roe.get(path_of(study)).json()).status_code == 200
    ((use, _, distances),) = review(study)
    assert (use, distances["findings"][0]) == ("FROM_DRAFT", 0)
    assert "A model drafted it" in roe.get(f"/studies/{study}").text


def test_giving_up_a_hidden_text_begins_with_nothing(without, study):
    roe = without["roe"]
    write(roe, study)
    gone = editor_form(roe, study) | {"then": "discard"}
    assert roe.post(f"/studies/{study}/text", data=gone).status_code == 303
    assert editor_form(roe, study)["findings"] == ""
    assert shown(roe, study) == set()


def test_a_text_of_the_draft_is_hidden_too_and_nothing_typed_is_lost(people, study, setting):
    roe, doe = people["roe"], people["doe"]
    setting(**WITHOUT)
    mine = editor_form(roe, study) | {"findings": MINE}
    etag = roe.get(path_of(study)).headers["etag"]
    setting(without_draft_share=0.0)
    ((findings,),) = run_sql("SELECT findings FROM drafts")
    write(doe, study, f"{findings} As Doe corrected it.")
    assert shown(roe, study) == set(), "a text that was made of the draft has its words"
    for refused in (put(roe, study, etag, MINE), roe.get(f"/studies/{study}/sign")):
        assert refused.status_code == 409
        assert "As Doe corrected" not in refused.text
    # A form without a script keeps what was typed, before and after the films were looked at.
    for then in ("save", "show"):
        kept = roe.post(f"/studies/{study}/text", data=mine | {"then": then})
        assert kept.status_code == 409
        assert "As Doe corrected" not in kept.text
        assert page_fields(kept.text)["findings"] == MINE
    look_at_films(roe, study)
    both = roe.post(f"/studies/{study}/text", data=mine | {"then": "show"})
    assert "As Doe corrected it." in html.unescape(both.text)
    form = page_fields(both.text)
    assert form["findings"] == MINE
    assert roe.post(f"/studies/{study}/text", data=form).status_code == 303
    text = roe.get(path_of(study)).json()
    assert (text["findings"], text["draft_use"]) == (MINE, "DRAFT_SHOWN")


def test_who_has_seen_the_draft_makes_no_report_without_it(people, study, setting):
    roe, doe = people["roe"], people["doe"]
    doe.get(f"/studies/{study}")
    setting(**WITHOUT)
    write(roe, study)
    assert editor_form(doe, study)["findings"] == MINE, "a text that was begun goes on"
    assert sign(doe, study, doe.get(path_of(study)).json()).status_code == 200
    assert review(study) == [("DRAFT_SHOWN", MINE, None)]


def test_a_draft_that_was_seen_once_is_not_hidden_by_a_later_reading(people, study, setting):
    roe = people["roe"]
    roe.get(f"/studies/{study}")
    run_sql("UPDATE readings SET opened_at = opened_at - interval '13 hours'")
    setting(**WITHOUT)
    assert (
        WARNING in roe.get(f"/studies/{study}").text
        or "begun without" in roe.get(f"/studies/{study}").text
    )
    write(roe, study)
    assert sign(roe, study, roe.get(path_of(study)).json()).status_code == 200
    assert review(study) == [("DRAFT_SHOWN", MINE, None)]


def test_a_trainee_and_a_lead_who_are_both_drawn_write_without_the_draft(without, study):
    kim, doe = without["kim"], without["doe"]
    sent = editor_form(kim, study) | {"findings": MINE, "then": "submit"}
    assert kim.post(f"/studies/{study}/text", data=sent).status_code == 303
    assert editor_form(doe, study)["findings"] == MINE
    write(doe, study, f"{MINE} No effusion.")
    assert sign(doe, study, doe.get(path_of(study)).json()).status_code == 200
    ((use, findings, _),) = review(study)
    assert (use, findings) == ("WITHOUT_DRAFT", f"{MINE} No effusion.")


def test_an_etag_of_an_empty_text_saves_nothing_where_the_text_begins_with_the_draft(
    people, study, setting
):
    roe = people["roe"]
    setting(**WITHOUT)
    etag = roe.get(path_of(study)).headers["etag"]
    setting(without_draft_share=0.0)
    assert put(roe, study, etag, MINE).status_code == 412
    assert run_sql("SELECT count(*) FROM working_texts") == [(0,)]

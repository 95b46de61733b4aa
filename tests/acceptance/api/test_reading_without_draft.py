"""Who is drawn to write without the draft, in a browser: nothing leaks, nothing is lost."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from records.states import (
    DRAFT_USE_SENTENCES,
    OWN_TEXT_WARNING,
    WARNING,
    WITHOUT_DRAFT_SENTENCE,
    DraftUse,
    Role,
)
from tests.support.accounts import make_account, run_sql
from tests.support.browser_archives import sent_texts
from tests.support.seeded_studies import StudySeeder

WORDS = ("Quokkaform shadow", "Wallabyform opacity")
SAVED = re.compile(r"^Saved \d\d:\d\d:\d\d\.$")
MINE = "A nodule in the right upper lobe."


@pytest.fixture
def study(database, data_dir):
    seeder = StudySeeder(data_dir, 256)
    (made,) = seeder.complete(1, accession_number="WITHOUT")
    seeder.draft(made, 1, findings=f"{WORDS[0]} left.", impression=f"{WORDS[1]} right.")
    for login in ("roe", "doe"):
        make_account(login, Role.READER, sites=["default"], name=f"Dr. {login.title()}")
    return made


def open_study(page, url, study):
    page.goto(f"{url}/studies/{study}")
    page.locator("figure img").first.evaluate("image => image.decode()")


def test_a_report_is_written_from_nothing_and_says_so(serve, log_in, study, tmp_path):
    url = serve(without_draft_share=1).url
    archive = tmp_path / "before.zip"
    page = log_in(url, "roe", record_har_path=archive, record_har_content="attach")
    page.goto(f"{url}/?words=WITHOUT")
    expect(page.get_by_text("(hidden until you have read the films)")).to_be_visible()
    open_study(page, url, study)
    expect(page.get_by_text(WITHOUT_DRAFT_SENTENCE)).to_be_visible()
    expect(page.get_by_text(WARNING)).to_have_count(0)
    page.keyboard.press("e")
    expect(page.get_by_label("Findings")).to_be_focused()
    page.get_by_label("Findings").press_sequentially(MINE)
    expect(page.locator("#saved")).to_have_text(SAVED)
    page.get_by_role("button", name="Sign …").click()
    expect(page.locator("#shown-findings")).to_have_text(MINE)
    expect(page.get_by_text(OWN_TEXT_WARNING)).to_be_visible()
    page.context.close()
    answers = list(sent_texts(archive))
    assert any(MINE in text for _, text in answers), "it does not look into the answers"
    for address, text in answers:
        assert not any(word in text for word in WORDS), address

    page = log_in(url, "roe")
    page.goto(f"{url}/studies/{study}/sign")
    page.get_by_role("button", name="Sign the report").click()
    expect(page.get_by_text("Signed by Dr. Roe (roe)")).to_be_visible()
    expect(page.get_by_text(DRAFT_USE_SENTENCES[DraftUse.WITHOUT_DRAFT])).to_be_visible()
    expect(page.get_by_text("A model drafted it")).to_have_count(0)
    expect(page.locator("#differences del").first).to_be_visible()
    assert run_sql("SELECT draft_use, findings FROM reviews") == [("WITHOUT_DRAFT", MINE)]


@pytest.mark.parametrize("scripts", [True, False])
def test_what_was_typed_stays_when_the_draft_is_shown(serve, log_in, study, scripts):
    url = serve(without_draft_share=1).url
    page = log_in(url, "roe", java_script_enabled=scripts)
    open_study(page, url, study) if scripts else page.goto(f"{url}/studies/{study}")
    page.get_by_label("Findings").fill(MINE)
    page.get_by_role("button", name="Show the draft").click()
    expect(page.locator("#draft-text")).to_contain_text(WORDS[0])
    expect(page.get_by_label("Findings")).to_have_value(MINE)
    expect(page.get_by_label("Impression")).to_have_value("")
    page.get_by_label("Impression").fill("A nodule.")
    page.get_by_role("button", name="Sign …").click()
    page.get_by_role("button", name="Sign the report").click()
    expect(page.get_by_text(DRAFT_USE_SENTENCES[DraftUse.DRAFT_SHOWN])).to_be_visible()
    assert run_sql("SELECT draft_use, findings FROM reviews") == [("DRAFT_SHOWN", MINE)]


def test_a_text_of_the_draft_that_comes_meanwhile_takes_nothing_away(serve, log_in, study):
    url = serve(without_draft_share=1).url
    roe = log_in(url, "roe")
    open_study(roe, url, study)
    # Another server of the same database, where nobody is drawn.
    other = serve().url
    doe = log_in(other, "doe")
    doe.goto(f"{other}/studies/{study}")
    doe.get_by_label("Impression").fill("Corrected by Doe.")
    expect(doe.locator("#saved")).to_have_text(SAVED)
    roe.get_by_label("Findings").fill(MINE)
    expect(roe.locator("#saved")).to_contain_text("may have words of the draft")
    expect(roe.get_by_label("Findings")).to_have_value(MINE)
    assert WORDS[0] not in roe.content()
    roe.get_by_role("button", name="Show the draft").click()
    expect(roe.get_by_text("Corrected by Doe.")).to_be_visible()
    expect(roe.get_by_label("Findings")).to_have_value(MINE)
    roe.get_by_role("button", name="Save yours in its place").click()
    expect(roe.get_by_label("Findings")).to_have_value(MINE)
    assert run_sql("SELECT findings, draft_use FROM working_texts") == [(MINE, "DRAFT_SHOWN")]

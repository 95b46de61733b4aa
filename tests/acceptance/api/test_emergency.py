"""Opening a patient of another site in a browser, and what becomes of the page when it ends."""

import re

import pytest
from playwright.sync_api import expect

from records.database.session import unit_of_work
from records.workflow import sites
from tests.acceptance.api.conftest import enter_login
from tests.support.accounts import make_account, run_sql
from tests.support.seeded_studies import StudySeeder

REASON = "Trauma, and the earlier film is needed"


@pytest.fixture
def study(database, data_dir):
    """A drafted study of another site than Ada's."""
    with unit_of_work() as session:
        sites.create(session, "north")
        sites.set_callers(session, "north", ["NORTH_CR"])
    seeder = StudySeeder(data_dir)
    (study,) = seeder.complete(1, calling_ae="NORTH_CR")
    seeder.draft(study, 1)
    make_account()
    return study


def log_in(page):
    enter_login(page, "ada")
    page.wait_for_load_state("networkidle")


def open_patient(page):
    log_in(page)
    ((number,),) = run_sql("SELECT accession_number FROM studies")
    page.get_by_role("searchbox").fill(number)
    page.keyboard.press("Enter")
    page.get_by_text("No study matches").wait_for()
    page.wait_for_load_state("networkidle")
    page.get_by_role("link", name="Open in an emergency").click()
    page.get_by_label("Why you need").fill(REASON)
    expect(page.get_by_label("Whole patient ID")).to_have_value(number)
    page.get_by_role("button", name="Open the patient").click()
    page.wait_for_url("**/studies/*")
    page.wait_for_load_state("networkidle")


def test_a_patient_is_opened_by_a_search_and_ended_by_the_button(serve, open_page, study):
    page = open_page(serve().url)
    open_patient(page)
    expect(page).to_have_url(re.compile(f"/studies/{study}$"))
    expect(page.locator("#emergency")).to_contain_text(REASON)
    expect(page.locator(".emergency")).to_contain_text("is open in an emergency until")
    film = page.locator("figure img").first
    assert film.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    # On another page one finds the way back, and no name.
    page.goto(page.url.replace(f"studies/{study}", ""), wait_until="networkidle")
    assert "PHANTOM" not in page.content()
    page.get_by_role("link", name="Show the patient").click()
    page.wait_for_url(f"**/studies/{study}")
    page.wait_for_load_state("networkidle")
    page.get_by_role("button", name="End now").click()
    page.wait_for_url(lambda url: url.endswith("/"))
    page.wait_for_load_state("networkidle")
    expect(page.locator("h1")).to_be_visible()
    expect(page.locator(".emergency")).to_have_count(0)
    assert run_sql("SELECT ended_at IS NOT NULL FROM emergency_accesses") == [(True,)]


def test_a_page_that_is_left_open_shows_the_patient_no_longer_than_allowed(serve, open_page, study):
    server = serve(emergency_minutes=0.2)
    page = open_page(server.url)
    open_patient(page)
    assert page.url == f"{server.url}/studies/{study}"
    assert "PHANTOM" in page.content()
    page.wait_for_url(f"{server.url}/")
    page.wait_for_load_state("networkidle")
    assert "PHANTOM" not in page.content()
    assert "in an emergency until" not in page.content()

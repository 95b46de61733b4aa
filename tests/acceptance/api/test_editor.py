"""The editor in a browser: its checks. Whole ways through it are in test_journeys.py."""

import pytest
from playwright.sync_api import expect

from records.states import Role
from tests.support.accounts import PASSWORD, make_account
from tests.support.seeded_studies import StudySeeder


@pytest.fixture
def study(database, data_dir):
    study = StudySeeder(data_dir, 256).draft_study(1)
    for login, role in (("roe", Role.READER), ("doe", Role.LEAD), ("kim", Role.TRAINEE)):
        make_account(login, role, sites=["default"], name=f"Dr. {login.title()}")
    return study


@pytest.fixture
def log_in(browser):
    """`log_in(url, "roe")` is a page of somebody who is logged in, in a browser of its own."""
    contexts = []

    def open_it(url, login, **options):
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{url}/login")
        page.get_by_label("Login name").fill(login)
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("button", name="Log out")).to_be_visible()
        return page

    yield open_it
    for context in contexts:
        context.close()


def test_a_line_of_the_checks_comes_with_the_text_and_shows_its_sentence(serve, study, log_in):
    server = serve()
    page = log_in(server.url, "roe")
    page.goto(f"{server.url}/studies/{study}")
    page.get_by_label("Findings").fill("The heart is normal. No pneumothorax.")
    page.get_by_label("Impression").fill("Small left pneumothorax.")
    lines = page.locator("#checks li")
    denied = lines.filter(has_text="This is named in the impression: pneumothorax.")
    expect(denied).to_be_visible()
    denied.get_by_role("button").click()
    chosen = page.evaluate(
        "(field => field.value.slice(field.selectionStart, field.selectionEnd))"
        "(document.getElementById('findings'))"
    )
    assert chosen == "No pneumothorax."
    page.get_by_label("Impression").fill("No pneumothorax.")
    expect(denied).to_have_count(0)

"""The login in a browser: with its scripts, its content security policy, and its lock."""

import re

import pytest
from playwright.sync_api import expect

from tests.acceptance.api.conftest import enter_login
from tests.support.accounts import make_account, run_sql
from tests.support.seeded_studies import StudySeeder


def log_in(page):
    enter_login(page, "ada")
    page.wait_for_load_state("networkidle")


@pytest.fixture
def study(database, data_dir):
    study = StudySeeder(data_dir).draft_study(1)
    make_account()
    return study


def test_a_person_logs_in_works_and_logs_out(serve, open_page, study):
    server = serve()
    page = open_page(f"{server.url}/studies/{study}")
    assert page.url == f"{server.url}/login?next=%2Fstudies%2F{study}"
    log_in(page)
    assert page.url == f"{server.url}/studies/{study}"
    expect(page.locator("h1")).to_be_visible()
    # A form of a page carries the token of the session.
    page.goto(f"{server.url}/account", wait_until="networkidle")
    page.get_by_role("button", name="Set it up").click()
    picture = page.locator(".qr svg")
    expect(picture).to_be_visible()
    assert picture.bounding_box()["width"] > 100
    page.wait_for_load_state("networkidle")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_text("You are logged out.")).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert run_sql("SELECT count(*) FROM account_sessions") == [(0,)]
    page.goto(server.url, wait_until="networkidle")
    assert page.url == f"{server.url}/login"


def test_a_page_that_is_left_is_cleared_and_its_session_ends(serve, open_page, study):
    server = serve(screen_lock_minutes=0.1)
    page = open_page(server.url)
    log_in(page)
    expect(page.locator(f"#study-{study}")).to_be_visible()
    page.wait_for_url(re.compile("/login.*why=locked"))
    page.wait_for_load_state("networkidle")
    expect(page.locator("body")).to_contain_text("not used for a while")
    assert "PHANTOM" not in page.content()
    assert run_sql("SELECT count(*) FROM account_sessions") == [(0,)]
    log_in(page)  # leads back
    assert page.url == f"{server.url}/"


def test_a_page_that_is_used_is_not_locked(serve, open_page, study):
    server = serve(screen_lock_minutes=0.05)
    page = open_page(server.url)
    log_in(page)
    for step in range(12):
        page.mouse.move(100 + step, 100)
        page.wait_for_timeout(500)
    assert page.url == f"{server.url}/"
    assert run_sql("SELECT count(*) FROM account_sessions") == [(1,)]

"""Campaigns in a real browser: none, one, twenty and two thousand, light and dark, on a phone."""

import pytest
from playwright.sync_api import expect
from sqlalchemy import text

from records.campaigns import adding, campaigns
from records.campaigns.adding import NewStudy
from records.database.session import unit_of_work
from tests.support.campaigns import closed_now, create, get, of_uids, tend_all
from tests.support.page_looks import look

MANY = """
INSERT INTO campaigns (name, kind, source, skip_reported, time_zone, state, walk_state, created_by)
SELECT 'Archive of ' || n, 'LIST', '{}', true, 'Europe/Berlin',
    (ARRAY['RUNNING', 'PAUSED', 'CANCELLED', 'DONE'])[1 + n % 4], 'WALKED', 'Dr. Roe'
FROM generate_series(1, :number) AS n
"""


@pytest.fixture
def url(serve):
    return serve().url


def click(page, role, name):
    """Click once the page has loaded: Chromium complains of a load that it broke off itself."""
    page.wait_for_load_state("networkidle")
    page.get_by_role(role, name=name, exact=True).click()


def one_campaign():
    """One whose studies have come to many ends, and of which some wait."""
    long = "A" * 64
    named = [NewStudy("2.25." + "9" * 59, long), *(NewStudy("", f"A-{n}") for n in range(120))]
    campaign = create(name="Winter backlog of the north site", studies=named, pacs="archive")
    with unit_of_work() as session:
        session.execute(
            text(
                "UPDATE campaign_studies SET state = (ARRAY['DRAFTED', 'DRAFTED', 'MISSING', "
                "'FAILED', 'WAITING', 'HELD'])[1 + id % 6], reason = (ARRAY['', '', 'OFFLINE', "
                "'UNREADABLE', '', 'CHEST_UNKNOWN'])[1 + id % 6], missing = CASE id % 6 WHEN 2 "
                "THEN ARRAY['1.2.3.4.5', '1.2.3.4.6'] ELSE '{}' END, listed = 2"
            )
        )
    return campaign


def test_the_list_is_read_with_none_one_twenty_and_two_thousand(open_page, url):
    look(open_page, f"{url}/campaigns", "list-0")
    campaign = one_campaign()
    look(open_page, f"{url}/campaigns", "list-1")
    look(open_page, f"{url}/campaigns/{campaign}", "one")
    for number in (20, 2000):
        with unit_of_work() as session:
            session.execute(text("DELETE FROM campaigns WHERE name LIKE 'Archive of %'"))
            session.execute(text(MANY), {"number": number})
        look(open_page, f"{url}/campaigns", f"list-{number}")
    page = open_page(f"{url}/campaigns")
    expect(page.locator("tbody tr")).to_have_count(50)
    page.wait_for_load_state("networkidle")
    page.click("#older")
    expect(page.locator("tbody tr")).to_have_count(50)
    page.wait_for_load_state("networkidle")


def test_a_person_pauses_and_resumes_and_sees_what_waits(open_page, url):
    campaign = create(name="nights", studies=of_uids("1.1", "1.2"), window=closed_now())
    page = open_page(f"{url}/campaigns")
    click(page, "link", "nights")
    click(page, "link", "Pause")
    expect(page.locator("main")).to_contain_text("2 studies wait in it")
    click(page, "button", "Pause it")
    expect(page.get_by_role("status")).to_have_text("The campaign is paused.")
    assert get(campaign).state == "PAUSED"
    click(page, "link", "Resume")
    click(page, "button", "Resume it")
    expect(page.locator("#promise")).to_contain_text("It opens at")
    page.wait_for_load_state("networkidle")


def test_a_group_is_tried_again_and_the_page_follows_by_itself(open_page, url):
    campaign = create(name="late", studies=of_uids("1.1", "1.2"))
    tend_all()
    page = open_page(f"{url}/campaigns/{campaign}")
    expect(page.locator("#count-missing")).to_have_text("2")
    click(page, "link", "Try them again")
    click(page, "button", "Try 2 studies again")
    expect(page.locator("#count-waiting")).to_have_text("2")
    with unit_of_work() as session:
        campaigns.pause(session, campaign)
        adding.add_studies(session, campaign, of_uids("1.3"))
    expect(page.locator("#promise")).to_contain_text("It is paused", timeout=30_000)
    expect(page.locator("#count-waiting")).to_have_text("3")
    page.wait_for_load_state("networkidle")

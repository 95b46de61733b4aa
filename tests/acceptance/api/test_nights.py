"""Tonight and the nights before in a real browser, light and dark, on a desk and on a phone."""

import datetime as dt

import pytest
from playwright.sync_api import expect

from records.database.session import unit_of_work
from records.states import FailReason, WorkKind
from records.workflow import attempts
from tests.support.campaigns import create, of_uids
from tests.support.nights import add_nights, let_it_be_night
from tests.support.page_looks import is_wide, look
from tests.support.registered_studies import claim, complete, draft_all, new_instance
from tests.support.work_counts import add_work


@pytest.fixture
def url(serve, setting, data_dir):
    end = let_it_be_night(setting)
    for quarter in range(2):
        at = end - dt.timedelta(hours=4) + quarter * dt.timedelta(minutes=15)
        add_work(at, WorkKind.DRAFTED, 120)
        add_work(at, WorkKind.SKIPPED, 40, reason="not_chest")
    return serve().url


def fail(number):
    complete(*(new_instance(f"9.{n}") for n in range(number)))
    for lease in claim(limit=number):
        with unit_of_work() as session:
            attempts.fail(
                session, lease, FailReason.UNREADABLE, "-", max_attempts=1, retry_seconds=0
            )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_plots_are_drawn_in_the_colours_of_the_page(url, open_page, scheme):
    add_nights(20)
    page = open_page(f"{url}/tonight", scheme=scheme)
    expect(page.locator("#drafted")).to_have_text("240")
    bar = page.locator(".plot").first.locator("rect.drafted").first
    expect(bar).to_be_visible()
    box = bar.bounding_box()
    assert box["width"] > 5
    assert box["height"] > 20
    colours = page.evaluate(
        """() => ["rect.drafted", "rect.skipped"].map(
            (name) => getComputedStyle(document.querySelector(name)).fill)"""
    )
    mark = page.evaluate(
        "() => getComputedStyle(document.documentElement).getPropertyValue('--green-mark').trim()"
    )
    red, green, blue = (int(mark[n : n + 2], 16) for n in (1, 3, 5))
    assert colours[0] == f"rgb({red}, {green}, {blue})"
    assert colours[1] != colours[0]
    assert not is_wide(page)


def test_the_page_is_brought_up_to_date(url, open_page):
    page = open_page(f"{url}/tonight")
    expect(page.locator("#drafted")).to_have_text("240")
    complete(new_instance("1.1"))
    draft_all()
    expect(page.locator("#drafted")).to_have_text("241", timeout=30_000)


def test_a_group_is_drafted_again_after_a_question(url, open_page):
    fail(3)
    page = open_page(f"{url}/tonight")
    page.click("text=Draft them again")
    expect(page.locator("h1")).to_have_text("Draft 3 studies again?")
    page.click("text=No, go back")
    page.click("text=Draft them again")
    page.click("button")
    expect(page.locator("[role=status]").first).to_have_text("3 studies will be drafted again.")
    expect(page.locator("text=No study has failed.")).to_be_visible()


def test_a_bar_leads_to_its_night_by_pointer_and_by_keyboard(url, open_page):
    add_nights(3)
    page = open_page(f"{url}/nights")
    page.locator(".plot a").last.click()
    expect(page.locator("h1")).to_have_text("Night of 2026-11-24")
    page.go_back()
    page.locator(".plot a").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Night of 2026-11-22")


@pytest.mark.parametrize("count", [0, 1, 90])
@pytest.mark.parametrize("width", [390, 1440])
def test_few_and_many_nights_fit_on_the_page(url, open_page, count, width):
    add_nights(count)
    for address in ("/nights", "/tonight", *(["/nights/2026-11-24"] if count else [])):
        page = open_page(f"{url}{address}", width=width)
        expect(page.locator("h1")).to_be_visible()
        assert not is_wide(page), address


def test_each_page_of_nights_is_read_on_a_desk_and_on_a_phone(url, open_page):
    look(open_page, f"{url}/nights", "nights-none")
    add_nights(40)
    fail(3)
    create(name="Winter backlog of the north site", studies=of_uids("1.1", "1.2"))
    create(name="A" * 100)
    for address in ("tonight", "nights", "nights/2026-11-24"):
        look(open_page, f"{url}/{address}", address.replace("/", "-"))

"""The worklist in a real browser: by keyboard alone, rows that stay, views, changes of several."""

import pytest
from playwright.sync_api import expect

from records.database.session import unit_of_work
from records.states import HoldReason, Priority, Role, VisibleState
from records.workflow import holds, worklist_rows
from records.worklist import locks, views
from tests.acceptance.api.conftest import watched_page
from tests.support.accounts import PASSWORD, let_pass, make_account, run_sql
from tests.support.page_looks import AS_THE_COMPUTER
from tests.support.paths import ROOT

AXE = ROOT / "tests/data/axe-core/axe.min.js"


@pytest.fixture
def page(browser):
    with watched_page(browser, 1280, 800) as opened:
        yield opened


def log_in(page, server, login="ada", role=Role.READER):
    account = make_account(login, role, sites=("default",), name="Dr. Ada")
    page.goto(f"{server.url}/login")
    page.fill("[name=login]", login)
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_title("Worklist - Nightdraft")
    return account


def expect_study(page, study):
    """Wait until the page of a study is there, with its keys and its films."""
    page.wait_for_url(f"**/studies/{study}*")
    expect(page.locator("#show-keys")).to_be_visible()
    page.wait_for_load_state("networkidle")


def test_by_keyboard_alone_from_the_worklist_to_a_study_and_to_the_next(serve, seeder, page):
    ids = [str(seeder.draft_study(number)) for number in (1, 2, 3)][::-1]
    page.goto(f"{serve().url}/?state=DRAFTED")
    page.keyboard.press("j")
    expect(page.locator(f"#study-{ids[0]}")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("k")
    page.keyboard.press("j")
    expect(page.locator(f"#study-{ids[1]}")).to_be_focused()
    page.keyboard.press("Enter")
    expect_study(page, ids[1])
    page.keyboard.press("j")
    expect_study(page, ids[2])
    page.keyboard.press("k")
    expect_study(page, ids[1])
    page.keyboard.press("j")
    expect_study(page, ids[2])
    page.keyboard.press("j")  # the end of the list
    page.wait_for_url("**/?state=DRAFTED#study-*")
    expect(page.locator(f"#study-{ids[2]}")).to_be_focused()


def test_keys_do_nothing_where_somebody_writes_and_can_be_switched_off(serve, seeder, page):
    seeder.draft_study(1)
    page.goto(serve().url)
    page.keyboard.press("/")
    expect(page.locator("#words")).to_be_focused()
    page.keyboard.type("j?k")
    expect(page.locator("#words")).to_have_value("j?k")
    page.locator("h1").click()
    page.keyboard.press("?")
    key_map = page.locator("#keys")
    expect(key_map).to_be_visible()
    expect(key_map).to_contain_text("Next row")
    page.keyboard.press("j")
    expect(key_map.locator("input[type=checkbox]")).to_be_focused()
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    expect(key_map).to_have_count(0)
    page.keyboard.press("j")
    page.keyboard.press("/")
    expect(page.locator("#words")).not_to_be_focused()
    page.keyboard.press("?")
    expect(key_map).to_be_visible()


def test_the_row_under_the_pointer_stays_and_is_brought_up_to_date(serve, seeder, page):
    (waiting,) = seeder.complete(1)
    above = seeder.draft_study(2)
    page.goto(serve().url)
    row = page.locator(f"tr[data-study='{waiting}']")
    row.locator("a").hover()
    place = row.bounding_box()
    row.locator("input").evaluate("box => box.checked = true")
    # The row above gets higher, this one changes, and a STAT study comes.
    with unit_of_work() as session:
        for reason in (HoldReason.CHEST_UNKNOWN, HoldReason.VIEW_UNKNOWN, HoldReason.AGE_UNKNOWN):
            holds.open_hold(session, above, reason, "not said")
        holds.open_hold(session, waiting, HoldReason.CHEST_UNKNOWN, "not said")
    expect(row.locator(".badge")).to_have_text("Held", timeout=10000)
    # The page is too short to be moved, so the row above waits.
    expect(page.locator("#news")).to_contain_text("The list has changed")
    expect(page.locator(f"tr[data-study='{above}'] .badge")).to_have_text("Drafted")
    assert row.bounding_box()["y"] == pytest.approx(place["y"], abs=1)
    seeder.receive(3, Priority.STAT)
    expect(page.locator("#news")).to_contain_text("1 new study", timeout=10000)
    expect(page.locator("tbody tr")).to_have_count(2)
    assert row.bounding_box()["y"] == pytest.approx(place["y"], abs=1)
    expect(row.locator("input")).to_be_checked()
    page.click("#news button")
    expect(page.locator("tbody tr")).to_have_count(3)
    expect(page.locator(f"input[value='{waiting}']")).to_be_checked()


def test_the_focus_stays_in_a_row_that_changes(serve, seeder, page):
    (waiting,) = seeder.complete(1)
    page.goto(serve().url)
    page.keyboard.press("j")
    seeder.hold(waiting)
    expect(page.locator("#news")).to_be_empty()
    expect(page.locator(f"tr[data-study='{waiting}'] .badge")).to_have_text("Held", timeout=10000)
    expect(page.locator(f"#study-{waiting}")).to_be_focused()


def test_a_view_is_saved_and_opens_first(serve, seeder, page):
    seeder.draft_study(1)
    (waiting,) = seeder.complete(2)
    server = serve()
    log_in(page, server)
    page.click("#show-filters")
    page.select_option("select[name=order]", "OLDEST")
    page.click("form.filters >> text=Apply")
    page.click("#count-WAITING")
    assert "order=OLDEST" in page.url
    page.fill("form.keep [name=name]", "Still waiting")
    page.check("form.keep [name=is_default]")
    page.click("text=Save view")
    expect(page.locator(".views a[aria-current]")).to_contain_text("Still waiting")
    page.goto(server.url)
    page.wait_for_url("**/?state=WAITING&order=OLDEST")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator(f"#study-{waiting}")).to_be_visible()
    page.click("#count-all")
    page.goto(f"{server.url}/?all=1")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.click(".views a")
    page.click("text=Remove the view")
    expect(page.locator(".views")).to_have_count(0)


def faults_of(page):
    """What axe-core finds on a page as it is."""
    page.evaluate(AXE.read_text())
    return page.evaluate(
        """async () => (await axe.run({runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa",
            "wcag22a", "wcag22aa"]})).violations.map(({id, nodes}) => id + ": " + nodes[0].html)"""
    )


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_axe_finds_nothing_in_the_states_that_no_address_has(serve, seeder, page, scheme):
    page.add_init_script(AS_THE_COMPUTER)
    page.emulate_media(color_scheme=scheme)
    statement = {"verdict": "not supported", "observation": "Edema", "sentence": "Edema."}
    support = {"statements": [statement], "omissions": [], "studies": 9, "error_rate": 0.1}
    study, (waiting,) = seeder.draft_study(1, support=support, cut=True), seeder.complete(2)
    server = serve()
    log_in(page, server)
    ben = make_account("ben", sites=("default",))
    with unit_of_work() as session:
        locks.take(session, study, ben.id, "Dr. Ben")
        views.save(session, ben.id, "x", "state=HELD")
    page.goto(f"{server.url}/?sex=M")
    page.goto(f"{server.url}/?procedure=nothing")
    assert faults_of(page) == []
    page.goto(f"{server.url}/?all=1")
    page.check(f"input[value='{waiting}']")
    page.check(f"input[value='{study}']")
    assert faults_of(page) == []
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    assert faults_of(page) == []
    page.keyboard.press("Escape")
    page.select_option("select[name=change]", "CANCEL")
    page.click("text=Change the ticked studies")
    expect(page.locator("h1")).to_have_text("Make no draft: 1 study?")
    assert faults_of(page) == []
    page.click("button:has-text('Make no draft: 1')")
    expect(page.locator("h1")).to_have_text("Make no draft: 1 study changed")
    assert faults_of(page) == []
    page.goto(f"{server.url}/studies/{study}")
    expect_study(page, study)
    assert faults_of(page) == []


def test_ticked_studies_are_changed_after_a_question(serve, seeder, page):
    waiting, other = seeder.complete(1, 2)
    drafted = seeder.draft_study(3)
    server = serve()
    log_in(page, server)
    for study in (waiting, other, drafted):
        page.check(f"input[value='{study}']")
    expect(page.locator("#ticked")).to_have_text("3 ticked")
    page.select_option("select[name=change]", "CANCEL")
    page.click("text=Change the ticked studies")
    expect(page.locator("h1")).to_have_text("Make no draft: 2 studies?")
    expect(page.locator("table")).to_contain_text("It has a draft: its own page withdraws that.")
    assert run_sql("SELECT DISTINCT state FROM draft_requests WHERE state = 'CANCELLED'") == []
    page.click("button:has-text('Make no draft: 2')")
    expect(page.locator("h1")).to_have_text("Make no draft: 2 studies changed")
    with unit_of_work() as session:
        states = {
            id_: worklist_rows.read_row(session, id_).state for id_ in (waiting, other, drafted)
        }
    assert states == {
        waiting: VisibleState.CANCELLED,
        other: VisibleState.CANCELLED,
        drafted: VisibleState.DRAFTED,
    }
    assert run_sql("SELECT DISTINCT actor_name FROM events WHERE kind = 'CANCELLED'") == [("ada",)]


def test_who_reads_a_study_is_told_to_others(serve, seeder, page, browser):
    study = seeder.draft_study(1)
    server = serve()
    log_in(page, server)
    ben = make_account("ben", sites=("default",))
    with unit_of_work() as session:
        locks.take(session, study, ben.id, "Dr. Ben")
    page.goto(server.url)
    expect(page.locator(".reads")).to_contain_text("Dr. Ben reads it")
    page.click(f"#study-{study}")
    expect_study(page, study)
    expect(page.locator("#reader")).to_contain_text("Dr. Ben reads this study since")
    let_pass("study_locks", 121, "expires_at")
    page.reload()
    expect_study(page, study)
    expect(page.locator("#reader")).to_be_empty()
    page.goto(server.url)
    expect(page.locator(".reads")).to_have_count(0, timeout=10000)  # left: it ended at once

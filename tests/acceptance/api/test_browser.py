"""What a reader sees and does, in a real browser."""

import re
import signal

import pytest
from playwright.sync_api import expect
from sqlalchemy import text

from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.operations import alarms
from records.states import WARNING, Priority
from records.workflow.patients import Patient
from tests.acceptance.api.conftest import watched_page
from tests.support.seeded_studies import seed_heartbeats


@pytest.fixture
def page(browser):
    with watched_page(browser, 1440, 900) as opened:
        yield opened


def test_counts_are_live_and_filter(serve, seeder, page):
    seeder.draft_study(1)
    server = serve()
    page.goto(server.url)
    expect(page.locator("#count-all b")).to_have_text("1")
    (waiting,) = seeder.complete(2)
    expect(page.locator("#count-all b")).to_have_text("2", timeout=10000)
    expect(page.locator("tbody tr")).to_have_count(2)
    page.click("#count-WAITING")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator(f"#study-{waiting}")).to_be_visible()
    expect(page.locator("#count-WAITING")).to_have_attribute("aria-current", "true")


def test_focus_stays_when_the_worklist_changes(serve, seeder, page):
    seeder.draft_study(1)
    page.goto(serve().url)
    page.locator("#count-DRAFTED").focus()
    seeder.receive(2)
    expect(page.locator("tbody tr")).to_have_count(2, timeout=10000)
    expect(page.locator("#count-DRAFTED")).to_be_focused()


def test_rows_do_not_move_under_the_pointer(serve, seeder, page):
    study = seeder.draft_study(1)
    page.goto(serve().url)
    row, news = page.locator(f"#study-{study}"), page.locator("#news")
    row.hover()
    place = row.bounding_box()
    seeder.receive(2)
    seeder.receive(3, Priority.STAT)
    with unit_of_work() as session:
        alarms.raise_alarm(session, AlarmKind.DISK_FULL, "listener", "No room.")
    expect(news).to_contain_text("A new alarm. 2 new", timeout=10000)
    expect(page.locator("#count-all b")).to_have_text("3")  # numbers move nothing
    expect(page.locator("tbody tr")).to_have_count(1)
    assert row.bounding_box() == place
    expect(news).to_have_attribute("aria-live", "polite")
    page.click("text=Show")
    expect(page.locator("tbody tr")).to_have_count(3)
    expect(page.locator("p.alarm")).to_be_visible()
    expect(news).to_be_empty()


def test_what_was_held_back_comes_when_the_pointer_leaves(serve, seeder, page):
    study = seeder.draft_study(1)
    page.goto(serve().url)
    page.locator(f"#study-{study}").hover()
    seeder.receive(2)
    expect(page.locator("#news")).to_contain_text("1 new", timeout=10000)
    page.locator("h1").hover()
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("#news")).to_be_empty()


def test_rows_do_not_move_while_the_keyboard_is_in_the_table(serve, seeder, page):
    study = seeder.draft_study(1)
    page.goto(serve().url)
    page.locator(f"#study-{study}").focus()
    new = seeder.receive(2)
    expect(page.locator("#news")).to_contain_text("1 new", timeout=10000)
    expect(page.locator(f"#study-{study}")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#news button")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(f"#study-{new}")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_title("PHANTOM, 1000000002 - Nightdraft")


def test_a_study_shows_its_images_and_its_draft_under_the_warning(serve, seeder, page):
    study = seeder.draft_study(1)
    page.goto(serve().url)
    page.click(f"#study-{study}")
    images = page.locator("figure img")
    expect(images).to_have_count(2)
    warning = page.locator(".identity .warning")
    expect(warning).to_have_text(WARNING)
    page.set_viewport_size({"width": 1000, "height": 500})
    page.keyboard.press("End")
    expect(warning).to_be_in_viewport(ratio=1)
    expect(page.locator(".identity h1")).to_be_in_viewport(ratio=1)
    for image in images.all():
        image.scroll_into_view_if_needed()
        expect(image).to_have_js_property("naturalWidth", 256)


def test_a_person_proceeds_with_a_held_study(serve, seeder, page):
    (study,) = seeder.complete(1)
    seeder.hold(study)
    server = serve()
    page.goto(f"{server.url}/studies/{study}")
    page.click("text=Proceed with the draft")
    expect(page.locator(".hold")).to_be_visible()  # the browser asks for the name first
    page.fill("input[name=by]", "Dr. Roe")
    page.fill("input[name=note]", "It is a chest film.")
    page.click("text=Proceed with the draft")
    expect(page.locator(".hold")).to_have_count(0)
    expect(page.locator(".identity .badge")).to_have_text("Waiting")
    expect(page.locator("main")).to_contain_text("It is a chest film.")


def test_a_changed_study_says_so_and_keeps_the_typed_text(serve, seeder, page):
    (study,) = seeder.complete(1)
    seeder.hold(study)
    page.goto(f"{serve().url}/studies/{study}")
    page.fill("input[name=note]", "half a sen")
    seeder.receive(1, sop_instance_uid="2.25.1", sha256="0" * 64)
    expect(page.locator("#changed p")).to_be_visible(timeout=10000)
    expect(page.locator("input[name=note]")).to_have_value("half a sen")


def test_a_server_that_hangs_is_seen_and_its_return_too(serve, seeder, browser):
    seeder.draft_study(1)
    server = serve()
    page = browser.new_page()
    stale = page.locator("#stale")
    for path in ("/", f"/studies/{seeder.draft_study(2)}"):
        page.goto(server.url + path)
        page.evaluate("window.isSamePage = true")
        expect(stale).to_be_hidden()
        server.process.send_signal(signal.SIGSTOP)
        try:
            expect(stale).to_be_visible(timeout=15000)
            since = r"The server does not answer\. What is shown is of \d\d:\d\d:\d\d\."
            expect(page.locator("#stale [role=alert]")).to_have_text(re.compile(since))
            expect(page.locator("#stale .age")).to_have_text(re.compile(r"It is \d+ s old\."))
        finally:
            server.process.send_signal(signal.SIGCONT)
        expect(stale).to_be_hidden(timeout=15000)
        assert page.evaluate("window.isSamePage")
    seeder.receive(3)
    page.goto(server.url)
    server.process.kill()
    expect(stale).to_contain_text("The server does not answer.", timeout=15000)
    page.close()


def test_a_server_without_its_database_says_so_on_the_open_page(serve, seeder, browser):
    study = seeder.draft_study(1)
    server = serve()
    page = browser.new_page()
    page.goto(server.url)
    with unit_of_work() as session:
        session.execute(text("ALTER TABLE studies RENAME TO moved"))
    stale = page.locator("#stale")
    expect(stale).to_contain_text("The server answers with an error:", timeout=15000)
    expect(page.locator(f"#study-{study}")).to_be_visible()  # what was shown stays, marked as old
    with unit_of_work() as session:
        session.execute(text("ALTER TABLE moved RENAME TO studies"))
    expect(stale).to_be_hidden(timeout=15000)
    page.close()


def test_pages_are_dark_unless_this_browser_was_told_otherwise(serve, seeder, browser):
    study = seeder.draft_study(1)
    url = serve().url
    context = browser.new_context(color_scheme="light")
    page, other = context.new_page(), context.new_page()

    def lightness(one):
        ground = one.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        return sum(map(int, re.findall(r"\d+", ground)))

    def choose(words):
        page.keyboard.press("?")
        page.get_by_label(words).check()
        page.get_by_role("button", name="Close").click()

    page.goto(url)
    other.goto(f"{url}/studies/{study}")
    assert lightness(page) == lightness(other) < 150
    page.emulate_media(media="print")
    assert lightness(page) > 600
    page.emulate_media(media="screen")
    choose("Light")
    assert lightness(page) > 600
    other.wait_for_function("document.getElementById('dark-style').media === 'not all'")
    page.goto(f"{url}/models")
    assert lightness(page) == lightness(other) > 600
    choose("As this computer is set")
    page.goto(url)
    assert lightness(page) > 600
    page.emulate_media(color_scheme="dark")
    assert lightness(page) < 150
    page.keyboard.press("?")
    expect(page.get_by_label("As this computer is set")).to_be_checked()
    page.evaluate("localStorage.setItem('nightdraft-theme', '<nonsense>')")
    page.reload()
    assert lightness(page) < 150
    context.close()


def test_each_part_says_when_it_was_last_seen(serve, seeder, page):
    seed_heartbeats("listener")
    page.goto(serve().url)
    listener = page.locator("#parts li", has_text="listener")
    age = listener.locator("time")
    expect(age).to_have_text(re.compile(r"^\d+ s ago$"))
    expect(age).to_have_attribute("title", re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"))
    before = age.get_attribute("datetime")
    seed_heartbeats("listener")
    expect(age).not_to_have_attribute("datetime", before, timeout=10000)
    expect(page.locator("#parts li", has_text="redis")).to_be_visible()
    listener.locator("a").click()
    expect(page).to_have_url(re.compile("/runbook#listener$"))


def test_a_script_in_a_name_does_not_run(serve, seeder, page):
    script = "<img src=x onerror=document.title='run'><script>document.title='run'</script>"
    (study,) = seeder.complete(1, patient=Patient("X", "", script), study_description=script)
    seeder.draft(study, 1, indication=script, impression=script, findings=script)
    server = serve()
    page.goto(server.url)
    expect(page.locator(f"#study-{study}")).to_contain_text("<script>")
    page.click(f"#study-{study}")
    expect(page.locator(".report")).to_contain_text("<script>")
    assert "run" not in page.evaluate("document.title.slice(-3)")


def test_on_paper_every_page_begins_with_the_warning(serve, seeder, page):
    study = seeder.draft_study(1)
    page.goto(f"{serve().url}/studies/{study}")
    page.emulate_media(media="print")
    expect(page.locator(".identity .warning")).to_be_visible()
    # Chromium repeats a header group on each sheet, but only one that may not be broken.
    expect(page.locator(".identity")).to_have_css("display", "table-header-group")
    expect(page.locator(".identity")).to_have_css("break-inside", "avoid")

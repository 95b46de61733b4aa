"""The editor in a browser: nothing typed is lost, two readers, trainee and lead, reading first."""

import re
import socket

import pytest
from playwright.sync_api import expect

from records.states import WARNING, Role
from tests.support.accounts import PASSWORD, make_account, run_sql
from tests.support.seeded_studies import StudySeeder
from tests.support.waiting import eventually


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


def saved_text():
    rows = run_sql("SELECT findings, version FROM working_texts")
    return rows[0] if rows else ("", 0)


def test_nothing_typed_is_lost_where_the_server_is_killed(serve, study, log_in):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = serve(serve_port=port)
    page = log_in(server.url, "roe")
    page.goto(f"{server.url}/studies/{study}")
    findings = page.get_by_label("Findings")
    findings.fill("The heart is large.")
    expect(page.locator("#saved")).to_have_text(re.compile(r"^Saved \d\d:\d\d:\d\d\.$"))
    assert saved_text() == ("The heart is large.", 1)
    server.process.kill()
    server.process.wait()
    findings.press("End")
    findings.type(" Left effusion.")
    expect(page.locator("#saved")).to_have_text(
        "Not saved: the server does not answer. It is tried again."
    )
    asked = []
    page.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.evaluate("setTimeout(() => location.assign('/'))")
    eventually(lambda: page.wait_for_timeout(50) or asked == ["beforeunload"])
    expect(findings).to_have_value("The heart is large. Left effusion.")
    serve(serve_port=port)
    expect(page.locator("#saved")).to_have_text(re.compile(r"^Saved \d\d"))
    assert saved_text() == ("The heart is large. Left effusion.", 2)
    assert page.evaluate("localStorage.length + sessionStorage.length") <= 1, "no text is kept here"
    kept = page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")
    assert "effusion" not in kept


def test_of_two_readers_neither_overwrites_the_other(serve, study, log_in):
    url = serve().url
    roe, doe = log_in(url, "roe"), log_in(url, "doe")
    for page in (roe, doe):
        page.goto(f"{url}/studies/{study}")
    roe.get_by_label("Findings").fill("Written by Roe.")
    expect(roe.locator("#saved")).to_have_text(re.compile("^Saved "))
    doe.get_by_label("Findings").fill("Written by Doe.")
    expect(doe.locator("#conflict")).to_contain_text("Dr. Roe (roe) saved another text meanwhile")
    expect(doe.locator("#conflict")).to_contain_text("Written by Roe.")
    expect(doe.get_by_label("Findings")).to_have_value("Written by Doe.")
    assert saved_text() == ("Written by Roe.", 1)
    doe.get_by_role("button", name="Keep mine in its place").click()
    expect(doe.locator("#saved")).to_have_text(re.compile("^Saved "))
    assert saved_text() == ("Written by Doe.", 2)
    roe.get_by_label("Findings").fill("Written by Roe, more.")
    expect(roe.locator("#conflict")).to_contain_text("Written by Doe.")
    expect(roe.get_by_label("Findings")).to_be_focused()  # the next key must press no button
    roe.get_by_role("button", name="Take this text").click()
    expect(roe.get_by_label("Findings")).to_have_value("Written by Doe.")
    assert saved_text() == ("Written by Doe.", 2)
    roe.get_by_role("button", name="Bring back what I wrote").click()
    expect(roe.locator("#saved")).to_have_text(re.compile("^Saved "))
    assert saved_text() == ("Written by Roe, more.", 3)


@pytest.mark.parametrize("scripts", [True, False])
def test_a_trainee_submits_and_a_lead_signs(serve, study, log_in, scripts):
    url = serve().url
    kim = log_in(url, "kim", java_script_enabled=scripts)
    kim.goto(f"{url}/studies/{study}")
    kim.get_by_label("Findings").fill("By the trainee.\nIn two lines.")
    expect(kim.get_by_role("button", name="Sign …")).to_have_count(0)
    kim.get_by_role("button", name="Submit for signature").click()
    expect(kim.get_by_text("Dr. Kim (kim) submitted this text for signature")).to_be_visible()
    expect(kim.get_by_label("Findings")).not_to_be_editable()
    doe = log_in(url, "doe", java_script_enabled=scripts)
    doe.goto(f"{url}/studies/{study}")
    doe.get_by_label("Impression").fill("Corrected by the lead.")
    doe.get_by_role("button", name="Sign …").click()
    expect(doe.locator("#shown-findings")).to_have_text("By the trainee.\nIn two lines.")
    expect(doe.locator("#shown-impression")).to_have_text("Corrected by the lead.")
    expect(doe.get_by_text(WARNING).first).to_be_visible()
    if scripts:
        expect(doe.get_by_role("button", name="Sign the report")).to_be_focused()
        doe.keyboard.press("Enter")
    else:  # Chromium gives no focus by itself where scripts are off
        doe.get_by_role("button", name="Sign the report").click()
    expect(doe.get_by_text("Signed by Dr. Doe (doe)")).to_be_visible()
    expect(doe.get_by_text("Written by Dr. Kim (kim).")).to_be_visible()
    expect(doe.get_by_text("A model drafted it")).to_be_visible()
    expect(doe.get_by_text(WARNING)).to_have_count(0)
    ((findings, impression),) = run_sql(
        "SELECT findings, impression FROM reviews WHERE decision = 'SIGNED'"
    )
    assert (findings, impression) == ("By the trainee.\nIn two lines.", "Corrected by the lead.")


def test_who_reads_first_sees_the_draft_after_the_films(serve, study, log_in):
    url = serve(read_first="true").url
    page = log_in(url, "roe")
    page.goto(f"{url}/studies/{study}")
    expect(page.locator("#text")).to_have_count(0)
    film = page.locator("figure img").first
    assert film.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    page.get_by_role("button", name="Show the draft").click()
    ((findings,),) = run_sql("SELECT findings FROM drafts")
    expect(page.get_by_label("Findings")).to_have_value(findings)
    ((arm, shown),) = run_sql("SELECT arm, draft_shown_at >= films_opened_at FROM readings")
    assert (arm, shown) == ("READ_FIRST", True)


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

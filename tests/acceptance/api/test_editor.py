"""The editor in a browser: its checks, what it says aloud, names of any script.

Whole ways through it are in test_journeys.py.
"""

import re

import pytest
from playwright.sync_api import expect

from records.states import Role
from records.workflow.patients import Patient
from tests.support.accounts import make_account
from tests.support.seeded_studies import StudySeeder


@pytest.fixture
def study(database, data_dir):
    study = StudySeeder(data_dir, 256).draft_study(1)
    for login, role in (("roe", Role.READER), ("doe", Role.LEAD), ("kim", Role.TRAINEE)):
        make_account(login, role, sites=["default"], name=f"Dr. {login.title()}")
    return study


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


HEARD = """() => {
    window.heard = [];
    new MutationObserver((changes) => {
        for (const {target} of changes) {
            const element = target.nodeType === 1 ? target : target.parentElement;
            const region = element?.closest("[role=status], [role=alert], [aria-live]");
            if (region) heard.push(region.textContent.trim());
        }
    }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


def test_a_save_is_not_read_out_and_a_failure_is(serve, study, log_in):
    server = serve()
    page = log_in(server.url, "roe")
    page.goto(f"{server.url}/studies/{study}")
    page.evaluate(HEARD)
    findings = page.get_by_label("Findings")
    for text in ("One.", "One. Two."):
        findings.fill(text)
        expect(page.locator("#saved")).to_have_text("Not saved yet.")
        expect(page.locator("#saved")).to_have_text(re.compile("^Saved "))
    assert page.evaluate("heard") == []
    page.context.set_offline(True)
    findings.fill("One. Two. Three.")
    failed = "Not saved: the server does not answer. It is tried again."
    expect(page.locator("#saved-news")).to_have_text(failed)
    page.context.set_offline(False)
    expect(page.locator("#saved-news")).to_have_text(re.compile(r"^Saved again\. Saved \d\d"))
    again = page.evaluate("heard.filter((text) => text.startsWith('Saved again'))")
    assert len(again) == 1, again


ORDER = """element => [...element.querySelectorAll("*"), element]
    .flatMap(one => [...one.childNodes]).filter(node => node.nodeType === 3)
    .flatMap(node => [...node.textContent.matchAll(/P[0-9]+|\\p{L}+/gu)].map(found => {
        const range = document.createRange();
        range.setStart(node, found.index);
        range.setEnd(node, found.index + found[0].length);
        return [found[0], range.getBoundingClientRect().left];
    })).sort((a, b) => a[1] - b[1]).map(([word]) => word)"""


@pytest.mark.parametrize("name", ["\u062d\u0633\u0646", "\u05db\u05d4\u05df"])
def test_a_name_from_right_to_left_moves_no_number(serve, database, data_dir, log_in, name):
    seeder = StudySeeder(data_dir, 256)
    patient = Patient("P4711", "", name, "19600102", "F")
    (study,) = seeder.complete(1, patient=patient)
    seeder.draft(study, 1)
    make_account("roe", Role.READER, sites=["default"])
    page = log_in(serve().url, "roe")
    page.goto(f"{page.url.rstrip('/')}/studies/{study}")
    line = page.locator(".whose").first
    assert line.evaluate(ORDER)[:2] == [name, "P4711"]


CHOSEN = """selector => {
    const style = getComputedStyle(document.querySelector(selector));
    return `${style.backgroundColor} ${style.color}`;
}"""


def test_what_is_chosen_is_seen_in_the_colours_of_the_system(serve, study, log_in):
    url = serve().url
    page = log_in(url, "roe", forced_colors="active")
    page.goto(f"{url}/?state=DRAFTED")
    for chosen, other in (
        (".counts [aria-current]", ".counts a:not([aria-current])"),
        (".top nav [aria-current]", ".top nav a:not([aria-current])"),
    ):
        assert page.evaluate(CHOSEN, chosen) != page.evaluate(CHOSEN, other)
    page.goto(f"{url}/studies/{study}")
    expect(page.locator(".tools")).to_be_visible()
    pressed, other = ('.tools [aria-pressed="true"]', '.tools [aria-pressed="false"]')
    assert page.evaluate(CHOSEN, pressed) != page.evaluate(CHOSEN, other)

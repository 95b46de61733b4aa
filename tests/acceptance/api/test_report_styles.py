"""A report style in a browser: applied, shown, taken back; a phrase by keyboard; the form."""

import re

import pytest
from playwright.sync_api import expect

from records.states import Role, Stage
from tests.support.accounts import make_account, run_sql
from tests.support.registered_studies import claim, prepare, save
from tests.support.report_styles import make_site_style
from tests.support.seeded_studies import StudySeeder

DRAFTED = "The lungs are clear. The heart is large."


@pytest.fixture
def study(database, data_dir):
    (study,) = StudySeeder(data_dir, 256).complete(1)
    for lease in claim():
        prepare(lease)
    for lease in claim(Stage.DRAFT):
        save(lease, findings=DRAFTED, impression="The lungs are clear.")
    for login, role in (("roe", Role.READER), ("lea", Role.LEAD)):
        make_account(login, role, sites=["default"], name=f"Dr. {login.title()}")
    return study


def saved_findings():
    rows = run_sql("SELECT findings FROM working_texts")
    return rows[0][0] if rows else None


@pytest.mark.parametrize("scripts", [True, False])
def test_a_style_is_applied_shown_and_taken_back(serve, study, log_in, scripts):
    make_site_style()
    url = serve().url
    page = log_in(url, "roe", java_script_enabled=scripts)
    page.goto(f"{url}/studies/{study}")
    findings = page.get_by_label("Findings")
    expect(findings).to_have_value("Lungs clear. The heart is large.")
    expect(page.get_by_label("Impression")).to_have_value("Lungs clear.")
    house = page.locator("#house")
    expect(house.locator("li")).to_have_count(2)
    expect(house.locator("li").first).to_contain_text(
        "The style House of your site wrote this; the model wrote: The lungs are clear."
    )
    assert saved_findings() is None, "to look writes nothing"
    house.get_by_role("button", name="Take the model's sentence").first.click()
    expect(findings).to_have_value(DRAFTED)
    expect(page.locator("#saved")).to_have_text(re.compile("^Saved "))
    expect(house.locator("li")).to_have_count(1)
    assert saved_findings() == DRAFTED
    expect(page.get_by_label("Impression")).to_have_value("Lungs clear.")
    page.get_by_role("button", name="Sign …").click()
    expect(page.locator("article h3")).to_have_text(["Beurteilung", "Fragestellung", "النتائج"])
    expect(page.locator("#shown-findings")).to_have_text(DRAFTED)
    direction = "element => getComputedStyle(element).direction"
    if scripts:
        heading = page.get_by_role("heading", name="النتائج")
        assert heading.evaluate(direction) == "rtl"
        assert page.locator("#shown-findings").evaluate(direction) == "ltr"
    page.get_by_role("button", name="Sign the report").click()
    expect(page.get_by_text("Signed by Dr. Roe (roe)")).to_be_visible()
    expect(page.locator("article.signed h3")).to_have_text(
        ["Beurteilung", "Fragestellung", "النتائج"]
    )
    ((distances,),) = run_sql("SELECT distances FROM reviews")
    assert [changed for changed, _ in distances.values()] == [0, 0]


def test_a_sentence_of_the_style_can_be_found_and_its_replacement_undone(serve, study, log_in):
    make_site_style()
    url = serve().url
    page = log_in(url, "roe")
    page.goto(f"{url}/studies/{study}")
    findings = page.get_by_label("Findings")
    page.locator("#house li").first.get_by_role("button", name="Show in the findings").click()
    selected = "field => field.value.slice(field.selectionStart, field.selectionEnd)"
    assert findings.evaluate(selected) == "Lungs clear."
    page.get_by_role("button", name="Take the model's sentence").first.click()
    expect(findings).to_have_value(DRAFTED)
    page.keyboard.press("Control+z")
    expect(findings).to_have_value("Lungs clear. The heart is large.")
    expect(page.locator("#house li")).to_have_count(2)


def test_a_phrase_is_inserted_by_keyboard_at_the_cursor(serve, study, log_in):
    make_site_style()
    url = serve().url
    page = log_in(url, "roe")
    page.goto(f"{url}/studies/{study}")
    findings = page.get_by_label("Findings")
    findings.focus()
    page.keyboard.press("Control+Home")
    for _ in "Lungs clear.":
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Alt+p")
    expect(page.get_by_role("dialog", name="Insert a phrase")).to_be_visible()
    expect(page.get_by_role("listbox", name="Phrase")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#phrase-list .lines")).to_have_text(
        "The finding was reported by telephone."
    )
    page.keyboard.press("Enter")
    expect(findings).to_be_focused()
    expect(findings).to_have_value(
        "Lungs clear. The finding was reported by telephone. The heart is large."
    )
    page.keyboard.type(" At eight.")
    expect(findings).to_have_value(
        "Lungs clear. The finding was reported by telephone. At eight. The heart is large."
    )
    expect(page.locator("#saved")).to_have_text(re.compile("^Saved "))
    page.keyboard.press("Alt+p")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(findings).to_be_focused()
    page.keyboard.type("!")
    expect(findings).to_have_value(re.compile(r"At eight\.! The heart"))
    page.locator("h1").click()
    page.keyboard.press("p")
    expect(page.get_by_role("dialog", name="Insert a phrase")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(findings).to_be_focused()
    page.locator("h1").click()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_contain_text("Insert a phrase; in a text field Alt+P")


def test_a_lead_makes_a_style_and_a_refused_one_is_not_lost(serve, study, log_in):
    url = serve().url
    page = log_in(url, "lea")
    page.goto(f"{url}/report-styles")
    page.get_by_role("link", name=re.compile("Make the style")).click()
    page.get_by_label("Name of the style").fill("House")
    page.get_by_label("Impression: heading").fill("Beurteilung")
    page.get_by_label("The model writes (1)").fill("The heart is large.")
    page.get_by_label("The house writes (1)").fill("The heart is normal.")
    page.get_by_role("button", name="Save the style").click()
    expect(page.locator("#faults")).to_contain_text(
        "“The heart is normal.” means something else than “The heart is large.”"
    )
    expect(page.get_by_label("Name of the style")).to_have_value("House")
    page.get_by_label("The house writes (1)").fill("Large heart.")
    page.get_by_role("button", name="Save the style").click()
    expect(page.locator("#versions")).to_contain_text("1 (in force)")
    page.goto(f"{url}/studies/{study}")
    expect(page.get_by_label("Findings")).to_have_value("The lungs are clear. Large heart.")
    page.goto(f"{url}/report-styles/own")
    page.get_by_label("Name of the style").fill("Mine")
    page.get_by_label("The model writes (1)").fill("")
    page.get_by_label("The house writes (1)").fill("")
    page.get_by_role("button", name="Save the style").click()
    page.goto(f"{url}/studies/{study}")
    expect(page.get_by_label("Findings")).to_have_value(DRAFTED)

"""A reader looks at films a second time in a browser, and the list counts it."""

import pytest
from playwright.sync_api import expect

from records.database.session import unit_of_work
from records.database.tables import Study
from records.workflow.patients import Patient
from tests.support.discrepant_studies import CLEAR, NODULE, PNEUMOTHORAX, sentences, work
from tests.support.outside_reports import receive
from tests.support.seeded_studies import StudySeeder
from tools.pictures import VIEWPORT, open_page


@pytest.fixture
def page(browser):
    page = open_page(browser, VIEWPORT)
    yield page
    page.close()


def seed(seeder, number, drafted, reported):
    """A study with films whose draft and final report say these sentences."""
    study_id = seeder.draft_study(
        number,
        text=f"Findings: {drafted}",
        findings=drafted,
        impression="",
        sentences=sentences((drafted, 0.9)),
    )
    with unit_of_work() as session:
        study = session.get_one(Study, study_id)
        values = {
            "patient": Patient.of_study(study),
            "accession_numbers": (study.accession_number,),
        }
    receive(report_number=f"R{number}", findings=reported, impression="", text=reported, **values)


def test_a_finding_is_confirmed_without_knowing_who_says_it(serve, data_dir, setting, page):
    setting(draft_reported_studies=True, second_look_controls=0, second_look_reads=2)
    seeder = StudySeeder(data_dir, 256)
    seed(seeder, 1, PNEUMOTHORAX, CLEAR)
    seed(seeder, 2, NODULE, "The lungs are clear.")
    seed(seeder, 3, CLEAR, NODULE)
    work()
    url = serve().url
    page.goto(f"{url}/discrepancies")
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.get_by_text("clinical worth of this list is unproven")).to_be_visible()
    page.get_by_role("link", name="Look at films without knowing who says it").click()
    page.get_by_role("button", name="Ask the next question").click()
    expect(page.get_by_role("heading", name="Do the films show")).to_be_visible()
    film = page.locator("figure img").first
    expect(film).to_be_visible()
    assert film.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    page.get_by_role("button", name="Yes, it is there").click()
    expect(page.get_by_text("This week: 1 of 2 reads.")).to_be_visible()
    page.get_by_role("button", name="Ask the next question").click()
    page.get_by_role("button", name="No, it is not there").click()
    expect(page.get_by_text("The budget is used up")).to_be_visible()
    page.goto(f"{url}/discrepancies?state=CONFIRMED")
    expect(page.locator("tbody tr td a")).to_have_count(1)
    expect(page.get_by_text("one confirmed finding took 2.0 reads")).to_be_visible()
    page.locator("tbody tr td a").click()
    expect(page.get_by_role("heading", name="The draft", exact=True)).to_be_visible()
    page.goto(f"{url}/discrepancies?side=MISS_OF_MODEL")
    expect(page.locator("tbody tr td a")).to_have_text(["Lung Lesion"])

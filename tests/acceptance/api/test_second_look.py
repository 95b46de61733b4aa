"""A reader looks at films a second time in a browser, and the list counts it."""

import pytest
from playwright.sync_api import expect
from sqlalchemy import select

from records.database.session import unit_of_work
from records.database.tables import Study
from records.reports import second_looks
from records.workflow import draft_comparisons as comparisons
from records.workflow.patients import Patient
from tests.support.discrepant_studies import (
    CLEAR,
    NODULE,
    PNEUMOTHORAX,
    draft_again,
    sentences,
    work,
)
from tests.support.outside_reports import receive
from tests.support.page_looks import look
from tests.support.seeded_studies import StudySeeder
from tools.page_pictures import DESK
from tools.pictures import open_page as open_picture_page
from worker import draft_comparisons


@pytest.fixture
def page(browser):
    page = open_picture_page(browser, DESK)
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
    expect(page.locator("#errors tbody tr")).to_have_count(14)
    page.locator("#errors").get_by_role("link", name="Lung Lesion").click()
    expect(page.locator("#entries tbody tr td a")).to_have_text(["Lung Lesion"])


def test_each_page_is_read_on_a_desk_and_on_a_phone(serve, data_dir, setting, open_page):
    setting(draft_reported_studies=True, second_look_controls=0)
    seeder = StudySeeder(data_dir, 256)
    for number in range(1, 5):
        seed(seeder, number, PNEUMOTHORAX if number % 2 else NODULE, CLEAR)
    seed(seeder, 5, CLEAR, f"{NODULE} There is a large left pleural effusion.")
    work()
    with unit_of_work() as session:
        studies = session.scalars(select(Study.id)).all()
        entry = second_looks.read_page(session).entries[0].discrepancy.id
    for study in studies:
        draft_again(study, "There is a left basal consolidation.")
    draft_comparisons.compare_drafts()
    with unit_of_work() as session:
        ((first, second, _),) = comparisons.list_pairs(session)
        of = comparisons.ComparisonOf(first, second)
        compared = comparisons.read_page(session, of).entries[0].comparison.id
    url = serve().url
    for name, address in {
        "draft-only": "discrepancies",
        "errors": "discrepancies?side=MISS_OF_MODEL",
        "entry": f"discrepancies/{entry}",
        "second-look": "second-look",
        "question": f"second-look/{entry}",
        "comparisons": f"comparisons?first={first}&second={second}",
        "comparison": f"comparisons/{compared}",
    }.items():
        look(open_page, f"{url}/{address}", name)

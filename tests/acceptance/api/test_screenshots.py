"""What a reader sees on the pictures in docs/pictures: the warning, the states, the images."""

import re

import pytest
from PIL import Image, ImageStat
from playwright.sync_api import expect

from records.states import WARNING, VisibleState
from tests.support.seeded_studies import seed_every_state
from tools.page_pictures import SHOTS, Look, take_all
from tools.pictures import Site, go_to

VIEWPORT = (1440, 900)

# Whether nothing covers the middle of an element.
ON_TOP = """element => {
    const box = element.getBoundingClientRect();
    const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    return element === top || element.contains(top);
}"""


@pytest.fixture
def url(serve, data_dir):
    seed_every_state(data_dir, size=256)
    return serve().url


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": VIEWPORT[0], "height": VIEWPORT[1]})
    yield page
    page.close()


def go_to_drafted_study(page, url):
    go_to(page, f"{url}/studies/{Site(url).drafted_study()}")


def expect_in_sight(element, text):
    """The element has this text, lies inside the window, and nothing covers it."""
    expect(element).to_have_text(text)
    expect(element).to_be_visible()
    expect(element).to_be_in_viewport(ratio=1)
    assert element.evaluate(ON_TOP), f"something covers {text!r}"


def crop(picture, element):
    """The part of a picture where an element is, without its border."""
    box = element.bounding_box()
    left, top = round(box["x"]) + 2, round(box["y"]) + 2
    right, bottom = left + round(box["width"]) - 4, top + round(box["height"]) - 4
    assert right <= picture.width, "the element is not on the picture"
    assert bottom <= picture.height, "the element is not on the picture"
    return picture.crop((left, top, right, bottom))


def test_the_worklist_shows_every_state_and_marks_each_draft(url, page):
    go_to(page, url)
    counts = {"DRAFTED": 14, "CANCELLED": 0}
    expect_in_sight(page.locator("#count-all"), "22 All")
    for state in VisibleState:
        count = counts.get(state, 1)
        expect_in_sight(page.locator(f"#count-{state}"), f"{count} {state.capitalize()}")
    for part in ("listener", "sweep", "prepare", "draft"):
        light = page.locator(".parts li", has_text=f"{part} runs")
        expect_in_sight(light.locator("a"), f"● {part} runs")
        expect(light.locator("small")).to_have_text(re.compile(r"^seen \d+ s ago$"))
    drafted = page.locator("tbody tr", has=page.locator(".badge.drafted"))
    expect(drafted).to_have_count(14)
    expect_in_sight(drafted.first.locator(".badge"), "Drafted")
    expect_in_sight(drafted.first.locator(".mark"), "AI draft, not reviewed")
    for row in drafted.all():
        expect(row.locator(".mark")).to_have_text("AI draft, not reviewed")


def test_a_study_shows_the_warning_the_state_and_its_images(url, page):
    go_to_drafted_study(page, url)
    expect_in_sight(page.locator(".identity .warning"), WARNING)
    expect_in_sight(page.locator(".report .warning"), WARNING)
    expect_in_sight(page.locator(".identity .badge"), "Drafted")
    site = Site(url)
    shown = site.get(f"/api/studies/{site.drafted_study()}")["study"]
    name = shown["patient"]["name"].replace("^", ", ")
    assert (name.startswith("PHANTOM, "), shown["films"]) == (True, 2)
    expect_in_sight(page.locator(".identity h1"), name)
    images = page.locator("figure img")
    expect(images).to_have_count(2)
    for image in images.all():
        assert image.evaluate("element => [element.naturalWidth, element.naturalHeight]") == [
            256,
            256,
        ]
    film = page.locator(".stage")
    expect(film).to_have_attribute("data-state", "ready")
    expect(film).to_be_in_viewport(ratio=0.9)
    box = film.bounding_box()
    assert box["width"] > 400
    assert box["height"] > 400


def take(browser, name, address, folder):
    """The picture of a page at 1280 pixels, light."""
    (shot,) = (shot for shot in SHOTS if shot.name == name)
    take_all(browser, [Look(shot, address)], folder, go_to)
    taken = {file.name for file in folder.iterdir() if file.name.startswith(f"{name}-")}
    assert taken == {file for _, _, file in shot.files()}
    return folder / f"{name}-1280-light.png"


@pytest.mark.parametrize(("name", "mark"), [("worklist", ".mark"), ("study", ".identity .warning")])
def test_the_pictures_show_the_warning_and_the_films(url, browser, tmp_path, name, mark):
    study = Site(url).drafted_study()
    address = url if name == "worklist" else f"{url}/studies/{study}"
    file = take(browser, name, address, tmp_path)
    page = browser.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    go_to(page, address)
    with Image.open(file) as picture:
        assert picture.size == (1280, 800)
        amber = crop(picture.convert("RGB"), page.locator(mark).first)
        red, green, blue = ImageStat.Stat(amber).median
        assert red > blue + 30, "the mark of a draft is not amber"
        assert green > blue + 20, "the mark of a draft is not amber"
        if name == "study":
            box = page.locator(".stage").bounding_box()
            place = (box["x"], box["y"], box["x"] + box["width"], 790)
            drawn = ImageStat.Stat(picture.convert("L").crop(tuple(map(round, place))))
            assert drawn.stddev[0] > 20, "the film is not drawn"
    page.close()

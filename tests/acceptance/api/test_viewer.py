"""The viewer of films in a real browser: what it draws, and what a reader does with it."""

import io
import re
from base64 import b64decode
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.support.page_looks import PICTURES
from tests.support.paths import ROOT
from tests.support.viewer_films import EARLIER, noisy_chest, store_film

ROWS, COLUMNS = 300, 240
WINDOW = {"WindowCenter": [2000, 1200], "WindowWidth": [3000, 900]}
RENDERERS = ("webgl2", "2d")


def level(value, centre, width):
    """PS3.3 C.11.2.1.2.1, to 255."""
    share = np.clip((value - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
    return np.rint(255 * share).astype(int)


@pytest.fixture
def drawn():
    return noisy_chest(ROWS, COLUMNS)


@pytest.fixture
def study(database, data_dir, drawn):
    return store_film(
        data_dir, drawn, BitsStored=12, ImagerPixelSpacing=[0.2, 0.2], ViewPosition="PA", **WINDOW
    )[0]


@pytest.fixture
def show(serve, open_page):
    """Open a study by a renderer, with its first film drawn; None takes what the browser has."""
    server = None

    def show(study, renderer=None, width=1440):
        nonlocal server
        server = server or serve()
        query = f"?renderer={renderer}" if renderer else ""
        page = open_page(f"{server.url}/studies/{study}{query}", width)
        expect(page.locator(".stage")).to_have_attribute("data-state", "ready")
        if renderer:
            expect(page.locator(".stage")).to_have_attribute("data-renderer", renderer)
        return page

    return show


def settle(page):
    """Wait until what was changed is drawn."""
    page.evaluate(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def grey_of(png):
    """A picture that must be grey, as (height, width)."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def canvas_of(page, number=0):
    """What a canvas holds: (height, width)."""
    settle(page)
    canvas = page.locator("canvas").nth(number)
    return grey_of(b64decode(canvas.evaluate("one => one.toDataURL()").partition(",")[2]))


def place_of(shown, rows, columns):
    """Where a film of this size begins in the middle of a canvas."""
    return [
        int(side / 2 - film / 2 + 0.5)
        for side, film in zip(shown.shape, (rows, columns), strict=True)
    ]


def is_on_screen(page, expected):
    """Whether the screen shows these levels in the middle of the stage, each as one pixel.

    The picture of the screen may begin up to a pixel before the canvas.
    """
    settle(page)
    pixels = np.asarray(Image.open(io.BytesIO(page.locator(".stage").screenshot())).convert("RGB"))
    shown = pixels[..., 0].astype(int)
    top, left = place_of(shown, *expected.shape)
    return any(
        np.array_equal(shown[y : y + len(expected), x : x + expected.shape[1]], expected)
        for y in range(top - 1, top + 2)
        for x in range(left - 1, left + 2)
    )


def facts(page, number=0):
    settle(page)
    return page.locator(".facts").nth(number).inner_text()


def window(page):
    return tuple(float(x) for x in re.search(r"centre (\S+), width (\S+)", facts(page)).groups())


@pytest.mark.parametrize("renderer", RENDERERS)
def test_the_screen_shows_each_sample_as_its_window_says(show, study, drawn, renderer):
    page = show(study, renderer)
    stage = page.locator(".stage")
    stage.focus()
    page.keyboard.press("o")
    assert is_on_screen(page, level(drawn, 2000, 3000))
    page.keyboard.press("2")
    assert window(page) == (1200, 900)
    assert is_on_screen(page, level(drawn, 1200, 900))
    page.keyboard.press("i")
    assert is_on_screen(page, 255 - level(drawn, 1200, 900))
    page.keyboard.press("0")
    page.keyboard.press("o")
    page.keyboard.press("r")
    turned = np.rot90(level(drawn, 2000, 3000), -1)
    assert is_on_screen(page, turned)
    page.keyboard.press("R")
    page.keyboard.press("R")
    assert is_on_screen(page, np.rot90(level(drawn, 2000, 3000)))


@pytest.mark.parametrize("renderer", RENDERERS)
def test_the_whole_film_is_drawn_by_means_of_its_samples(show, data_dir, database, renderer):
    drawn = noisy_chest(1500, 1200)
    study, _ = store_film(data_dir, drawn, BitsStored=12, **WINDOW)
    page = show(study, renderer)
    shown = canvas_of(page)
    columns = np.flatnonzero(shown.any(axis=0))
    wide, high = columns[-1] - columns[0] + 1, shown.shape[0]
    assert wide / high == pytest.approx(1200 / 1500, abs=0.01)
    exact = Image.fromarray(level(drawn, 2000, 3000).astype(np.uint8)).resize(
        (wide, high), Image.Resampling.BOX
    )
    difference = np.abs(np.asarray(exact).astype(int) - shown[:, columns[0] : columns[-1] + 1])
    assert difference.mean() < 3


def test_a_plain_canvas_shows_what_a_graphics_card_would(show, data_dir, database):
    study, _ = store_film(
        data_dir, noisy_chest(900, 600), BitsStored=12, PixelSpacing=[0.3, 0.2], **WINDOW
    )
    cards, plain = (list_views(show(study, renderer)) for renderer in RENDERERS)
    assert len(cards) == len(plain) == 7
    for number, (one, other) in enumerate(zip(cards, plain, strict=True)):
        assert one.any(), number
        difference = np.abs(one - other)
        # The card counts with 24 bits, so a sample at the edge of a place may be its neighbour.
        assert np.mean(difference > 1) < 0.001, number
    assert all((one.shape != other.shape or (one != other).any()) for one, other in pairwise(plain))


def list_views(page):
    """The canvas: the whole film, inverted, larger, moved, turned, its middle and the magnifier."""
    page.locator(".stage").focus()
    views = [canvas_of(page)]
    for keys in ("i", "++++++", ["ArrowLeft", "ArrowDown"], "r", "o+", "m"):
        for key in keys:
            page.keyboard.press(key)
        views.append(canvas_of(page))
    return views


@pytest.mark.parametrize("renderer", RENDERERS)
def test_a_drag_a_key_and_a_button_change_the_window_alike(show, study, renderer):
    page = show(study, renderer)
    stage = page.locator(".stage")
    box = stage.bounding_box()
    middle = round(box["x"] + box["width"] / 2), round(box["y"] + box["height"] / 2)

    def drag(x, y, button):
        page.mouse.move(*middle)
        page.mouse.down(button=button)
        page.mouse.move(middle[0] + x, middle[1] + y, steps=4)
        page.mouse.up(button=button)

    def reset():
        stage.focus()
        page.keyboard.press("0")
        expect(page.locator(".facts")).to_contain_text("centre 2000, width 3000")

    results = []
    for change in (
        lambda: (drag(0, -16, "left"), drag(16, 0, "left")),
        lambda: drag(16, -16, "right"),
        lambda: (page.keyboard.press("b"), page.keyboard.press("C")),
        lambda: (
            page.get_by_role("button", name="Brighter").click(),
            page.get_by_role("button", name="Less contrast").click(),
        ),
    ):
        reset()
        change()
        expect(page.locator(".facts")).not_to_contain_text("centre 2000, width 3000")
        results.append(window(page))
    assert results == [results[0]] * 4
    step = 4095 / 512 * 16
    assert results[0] == pytest.approx((2000 - step, 3000 + step), abs=1)
    expect(page.locator("#preset")).to_contain_text("As set by hand")


def test_presets_are_chosen_from_a_list(show, study):
    page = show(study)
    page.get_by_label("Window preset").select_option("Range of this film")
    centre, width = window(page)
    assert centre == pytest.approx(2047, rel=0.05)
    assert width == pytest.approx(4095, rel=0.2)


def test_zoom_and_move_by_wheel_drag_keys_and_buttons(show, study, drawn):
    page = show(study)
    stage = page.locator(".stage")
    box = stage.bounding_box()
    middle = round(box["x"] + box["width"] / 2), round(box["y"] + box["height"] / 2)
    stage.focus()
    page.keyboard.press("o")
    expected = level(drawn, 2000, 3000)
    moved = []
    for move in (
        lambda: [page.keyboard.press("ArrowRight"), page.keyboard.press("ArrowDown")],
        lambda: [
            page.get_by_role("button", name="Move right").click(),
            page.get_by_role("button", name="Move down").click(),
        ],
        lambda: [
            page.get_by_role("button", name="Move by dragging").click(), page.mouse.move(*middle),
            page.mouse.down(), page.mouse.move(middle[0] + 48, middle[1] + 48), page.mouse.up(),
        ],
    ):  # fmt: skip
        move()
        shown = canvas_of(page)
        top, left = (place + 48 for place in place_of(shown, *drawn.shape))
        part = shown[top : top + 150, left : left + 100]
        assert np.array_equal(part, expected[:150, :100])
        moved.append(part)
        page.get_by_role("button", name="Whole film").click()
        page.get_by_role("button", name="Each pixel of the film").click()
    page.get_by_role("button", name="Whole film").click()
    whole = facts(page)
    page.mouse.move(*middle)
    page.mouse.wheel(0, -100)
    expect(page.locator(".facts")).not_to_have_text(whole)
    page.get_by_role("button", name="Smaller").click()
    expect(page.locator(".facts")).to_have_text(whole)


@pytest.mark.parametrize(("tags", "spacing", "says"), [
    ({"ImagerPixelSpacing": [0.2, 0.2]}, 0.2, "mm, at the detector"),
    ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.15, 0.15]}, 0.15, "mm, calibrated"),
    ({}, 1, "pixels"),
])  # fmt: skip
def test_the_ruler_measures_by_drag_clicks_and_keys(
    show, database, data_dir, drawn, tags, spacing, says
):
    study, _ = store_film(data_dir, drawn, BitsStored=12, **WINDOW, **tags)
    page = show(study)
    stage = page.locator(".stage")
    box = stage.bounding_box()
    middle = round(box["x"] + box["width"] / 2), round(box["y"] + box["height"] / 2)
    stage.focus()
    page.keyboard.press("o")
    page.keyboard.press("l")
    length = page.locator(".marks text")

    def by_drag():
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(middle[0] + 60, middle[1] + 80, steps=3)
        page.mouse.up()

    def by_clicks():
        page.mouse.click(*middle)
        page.mouse.move(middle[0] + 60, middle[1] + 80)
        page.mouse.click(middle[0] + 60, middle[1] + 80)

    def by_keys():
        page.mouse.move(*middle)
        page.keyboard.press("Enter")
        for key in ["ArrowRight"] * 6 + ["ArrowDown"] * 8:
            page.keyboard.press(key)
        page.keyboard.press("Enter")

    for measure in (by_drag, by_clicks, by_keys):
        measure()
        expect(length).to_have_text(f"{100 * spacing:.1f} {says}")
        page.keyboard.press("Escape")  # the tool is put away, and the measure stays
        expect(length).to_have_count(1)
        page.keyboard.press("0")
        expect(length).to_have_count(0)
        page.keyboard.press("o")
        page.keyboard.press("l")
    # Turned by a quarter, the same line is as long.
    by_drag()
    page.keyboard.press("r")
    expect(length).to_have_text(f"{100 * spacing:.1f} {says}")


def test_rows_and_columns_may_be_spaced_differently(show, database, data_dir, drawn):
    study, _ = store_film(data_dir, drawn, BitsStored=12, ImagerPixelSpacing=[0.4, 0.2], **WINDOW)
    page = show(study)
    shown = canvas_of(page)
    wide = np.ptp(np.flatnonzero(shown.any(axis=0))) + 1
    assert wide / shown.shape[0] == pytest.approx(240 / 600, abs=0.01)


@pytest.mark.parametrize("renderer", RENDERERS)
def test_the_magnifier_shows_more_of_what_is_under_it(show, study, renderer):
    page = show(study, renderer)
    page.locator(".stage").focus()
    page.keyboard.press("o")
    plain = canvas_of(page)
    page.keyboard.press("m")
    lens = canvas_of(page)
    changed = np.argwhere(plain != lens)
    height, width = changed.max(axis=0) - changed.min(axis=0)
    assert 195 <= height <= 206
    assert 195 <= width <= 206
    page.keyboard.press("ArrowLeft")
    assert (canvas_of(page) != lens).any()
    page.keyboard.press("Escape")
    assert np.array_equal(canvas_of(page), plain)


def test_an_earlier_study_is_shown_beside_it(show, study, database, data_dir, drawn):
    store_film(data_dir, 4095 - drawn, row=EARLIER, BitsStored=12, **WINDOW)
    page = show(study)
    page.locator(".stage").focus()
    page.keyboard.press("t")
    stages = page.locator(".stage")
    expect(stages).to_have_count(2)
    expect(stages.nth(1)).to_have_attribute("data-state", "ready")
    expect(page.locator(".pane-title").nth(1)).to_have_text(
        "Earlier study of 2025-03-01, film 1 of 1"
    )
    before = facts(page, 0)
    stages.nth(1).focus()
    page.keyboard.press("b")  # acts on the pane that has the focus
    expect(page.locator(".facts").nth(1)).not_to_contain_text("centre 2000")
    assert facts(page, 0) == before
    news = page.locator("#film-news")
    expect(news).to_contain_text("Earlier study. centre")
    page.keyboard.press("t")
    expect(stages).to_have_count(1)


def test_a_film_is_chosen_from_the_strip(show, study, database, data_dir, drawn):
    store_film(data_dir, drawn[:200], BitsStored=12)
    page = show(study)
    expect(page.locator(".strip a[aria-current]")).to_have_count(1)
    page.locator(".strip a").nth(1).click()
    expect(page.locator(".facts")).to_contain_text("240 x 200")
    expect(page.locator(".pane-title")).to_have_text("Film 2 of 2")
    expect(page.locator(".strip a").nth(1)).to_have_attribute("aria-current", "true")


def test_a_film_that_cannot_be_read_says_why(serve, browser, study, database, data_dir, drawn):
    bad, _ = store_film(
        data_dir, b"\xff\xd8\xff\xee" * 9, "1.2.840.10008.1.2.4.70", row={"study": "1.2.5"},
        Rows=10, Columns=10, BitsStored=12,
    )  # fmt: skip
    page = browser.new_page()
    try:
        page.goto(f"{serve().url}/studies/{bad}")
        stage = page.locator(".stage")
        expect(stage).to_have_attribute("data-state", "failed")
        expect(page.locator(".stage-message")).to_contain_text("JPEG")
        stage.focus()
        for key in ["f", "o", "i", "r", "b", "1", "l", "m", "0", "ArrowLeft", "Enter", "+"]:
            page.keyboard.press(key)
        expect(stage).to_have_attribute("data-state", "failed")
    finally:
        page.close()


def test_buttons_are_one_stop_of_the_tab_key_and_say_what_is_pressed(show, study):
    page = show(study)
    tools = page.get_by_role("toolbar", name="Film")
    tools.get_by_role("button").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    ruler = page.get_by_role("button", name="Ruler")
    expect(ruler).to_be_focused()
    page.keyboard.press("Enter")
    expect(ruler).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Tab")
    expect(page.locator("#preset")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(".stage")).to_be_focused()
    names = "[...document.querySelectorAll('.tools button')].map(b => b.ariaLabel || b.innerText)"
    assert all(page.evaluate(names))


def test_a_drag_is_said_once_when_it_ends(show, study):
    page = show(study)
    page.evaluate("""() => {
        window.said = [];
        const news = document.getElementById("film-news");
        const note = () => window.said.push(news.textContent);
        new MutationObserver(note).observe(news, {childList: true});
    }""")
    page.locator(".stage").focus()
    for _ in range(12):
        page.keyboard.press("b")
    expect(page.locator("#film-news")).to_contain_text("centre")
    assert len(page.evaluate("window.said")) == 1


def test_without_a_script_the_pictures_stay(serve, browser, study):
    context = browser.new_context(java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(f"{serve().url}/studies/{study}")
        expect(page.locator(".viewer")).to_be_hidden()
        expect(page.locator(".strip img")).to_be_visible()
    finally:
        context.close()


AXE = """async () => (await axe.run({
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"],
    rules: {"target-size": {enabled: true}},
    resultTypes: ["violations"],
})).violations.flatMap(({id, nodes}) => nodes.map(({html}) => `${id}: ${html.slice(0, 200)}`))"""


def test_axe_finds_nothing_in_any_state(show, study, database, data_dir, drawn):
    store_film(data_dir, drawn, row=EARLIER, BitsStored=12, **WINDOW)
    page = show(study)
    page.evaluate((ROOT / "tests/data/axe-core/axe.min.js").read_text())

    def check(state):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            settle(page)
            assert page.evaluate(AXE) == [], (state, scheme)

    page.locator("#earlier-films summary").click()
    check("the first film")
    page.locator(".stage").focus()
    for key in ("l", "Enter", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    check("a ruler")
    page.keyboard.press("t")
    expect(page.locator(".stage").nth(1)).to_have_attribute("data-state", "ready")
    check("two films")
    page.evaluate("document.querySelector('#preset').removeAttribute('id')")
    assert page.evaluate(AXE)  # it is there, and finds what is wrong


@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_it_fits_the_screen(show, study, database, data_dir, drawn, width):
    store_film(data_dir, drawn, row=EARLIER, BitsStored=12, **WINDOW)
    page = show(study, width=width)
    for key in ("", "t"):
        if key:
            page.locator(".stage").first.focus()
            page.keyboard.press(key)
            expect(page.locator(".stage").nth(1)).to_have_attribute("data-state", "ready")
        assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        boxes = [one.bounding_box() for one in page.locator(".tools button").all()]
        assert all(box["width"] >= 24 and box["height"] >= 24 for box in boxes)
        if PICTURES:
            page.screenshot(path=Path(PICTURES) / f"viewer-{key or 'one'}-{width}.png")
    stacked = [one.bounding_box()["x"] for one in page.locator(".stage").all()]
    assert (stacked[0] == stacked[1]) == (width == 390)


def test_keys_in_the_viewer_count_as_use_of_the_page(show, study):
    page = show(study)
    page.evaluate("""() => {
        window.used = 0;
        document.addEventListener("keydown", () => window.used++);
    }""")
    page.locator(".stage").focus()
    for key in ("b", "ArrowLeft", "i"):
        page.keyboard.press(key)
    page.locator(".tools button").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("window.used") == 4

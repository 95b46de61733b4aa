"""Bar charts: heights, lines, labels, and that nothing in them is markup of somebody else."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from api.plots import HEIGHT, WIDTH, Bar, draw_bars, draw_share

SVG = "{http://www.w3.org/2000/svg}"


def parse(svg: str) -> ET.Element:
    return ET.fromstring(str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def rects(svg: str, name: str) -> list[dict[str, float]]:
    return [
        {key: float(rect.attrib[key]) for key in ("x", "y", "width", "height")}
        for rect in parse(svg).iter(f"{SVG}rect")
        if rect.attrib["class"] == name
    ]


def test_a_bar_is_as_high_as_its_number_and_its_parts_stand_on_each_other() -> None:
    svg = draw_bars(
        [Bar([("drafted", 100), ("failed", 50)], "a"), Bar([("drafted", 50), ("failed", 0)], "b")],
        "two",
    )
    (first, second), (failed,) = rects(svg, "drafted"), rects(svg, "failed")
    assert first["height"] == pytest.approx(2 * second["height"], abs=0.2)
    assert failed["height"] == pytest.approx(second["height"], abs=0.2)
    assert failed["y"] + failed["height"] == pytest.approx(first["y"], abs=0.2)
    assert first["y"] + first["height"] == pytest.approx(second["y"] + second["height"])
    assert first["x"] + first["width"] <= second["x"]
    assert 0 < failed["y"] < first["y"] < HEIGHT
    assert second["x"] + second["width"] < WIDTH


def test_one_among_thousands_is_seen() -> None:
    (failed,) = rects(draw_bars([Bar([("drafted", 9000), ("failed", 1)], "a")], "one"), "failed")
    assert failed["height"] >= 1


@pytest.mark.parametrize(
    ("largest", "lines"),
    [
        (0, ["0", "1"]),
        (1, ["0", "1"]),
        (7, ["0", "2", "4", "6", "8"]),
        (450, ["0", "200", "400", "600"]),
        (9000, ["0", "5k", "10k"]),
        (40_000, ["0", "10k", "20k", "30k", "40k"]),
        (3_000_000, ["0", "1M", "2M", "3M"]),
    ],
)
def test_lines_are_round_numbers_and_the_highest_bar_is_below_the_last(
    largest: int, lines: list[str]
) -> None:
    root = parse(draw_bars([Bar([("drafted", largest)], "a")], "one"))
    assert [text.text for text in root.iter(f"{SVG}text")] == lines
    for bar in rects(draw_bars([Bar([("drafted", largest)], "a")], "one"), "drafted"):
        assert bar["y"] >= 0


def test_no_bars_are_a_chart_without_any() -> None:
    root = parse(draw_bars([], "none"))
    assert root.attrib["aria-label"] == "none"
    assert list(root.iter(f"{SVG}g")) == []


def test_words_are_escaped_and_a_bar_may_lead_somewhere() -> None:
    svg = draw_bars([Bar([("drafted", 1)], "<b>&", '"<i>', '/x"onclick=1')], "<script>")
    root = parse(svg)
    assert "<script>" not in svg
    assert root.attrib["aria-label"] == "<script>"
    (link,) = root.iter(f"{SVG}a")
    assert link.attrib == {"href": '/x"onclick=1'}
    (title,) = root.iter(f"{SVG}title")
    assert title.text == "<b>&"


def test_nothing_is_styled_within() -> None:
    svg = draw_bars([Bar([("drafted", 1)], "a")], "one", mark=0.5) + draw_share(0.3)
    assert not re.search(r"style|fill=|stroke=", svg)


@pytest.mark.parametrize(
    ("share", "percent"), [(0, "0"), (0.004, "0"), (0.935, "94"), (1, "100"), (7, "100"), (-1, "0")]
)
def test_a_share_is_drawn_and_written(share: float, percent: str) -> None:
    drawn = draw_share(share)
    assert f'width="{percent}" height="10"/></svg> {percent}%' in drawn

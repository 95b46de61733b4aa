"""Colours of text and of what must be told apart have the contrast of WCAG 2.1, level AA."""

import re

import pytest

from api.rendering import PACKAGE_DIR

STYLE = (PACKAGE_DIR / "static/nightdraft.css").read_text()
DARK = (PACKAGE_DIR / "static/dark.css").read_text()

TEXT_ON_GROUND = [  # 1.4.3: text of any size, 4.5 to 1
    *((text, ground) for text in ("ink", "quiet", "link", "red") for ground in ("ground", "paper")),
    ("faint", "ground"), ("faint", "paper"), ("quiet", "head"), ("ink", "over"), ("quiet", "over"),
    ("link", "over"), ("red", "over"), ("red", "red-soft"), ("on-red", "red-fill"),
    ("amber-ink", "amber"), ("amber-ink", "paper"), ("green", "green-soft"), ("link", "blue-soft"),
    ("ink", "blue-soft"), ("grey-ink", "grey-soft"), ("on-bar", "bar"), ("on-button", "button"),
    ("on-button", "button-over"), ("on-film", "film"), ("on-screen", "screen"),
    ("quiet-on-screen", "screen"), ("on-earlier", "earlier"), ("measure", "screen"),
]  # fmt: skip

SIGN_ON_GROUND = [  # 1.4.11: borders of fields, signs and the focus, 3 to 1
    ("edge", "paper"), ("edge", "ground"), ("focus", "paper"), ("focus", "ground"),
    ("green-mark", "ground"), ("green-mark", "paper"), ("red", "paper"),
    ("amber-line", "ground"), ("moon", "bar"),
]  # fmt: skip


def colours(block):
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6});", block))


def schemes():
    light, dark = (
        colours(re.search(r":root \{(.*?)\}", style, re.S)[1]) for style in (STYLE, DARK)
    )
    assert dark.keys() < light.keys()
    return {"light": light, "dark": light | dark}


def luminance(colour):
    """WCAG 2.1, relative luminance."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    levels = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in levels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_the_contrast_of_known_colours():
    assert contrast("#fff", "#000000") == pytest.approx(21)
    assert contrast("#777", "#fff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("pairs", "least"), [(TEXT_ON_GROUND, 4.5), (SIGN_ON_GROUND, 3.0)])
def test_colours_can_be_told_apart(scheme, pairs, least):
    named = schemes()[scheme]
    weak = {
        f"{text} on {ground}": round(contrast(named[text], named[ground]), 2)
        for text, ground in pairs
        if contrast(named[text], named[ground]) < least
    }
    assert weak == {}


def test_colours_are_named_in_one_place():
    rules = re.sub(r":root \{.*?\}", "", STYLE, flags=re.S)
    rules = rules.partition("/* On paper")[0]
    assert set(re.findall(r"#[0-9a-f]{3,6}\b", rules)) <= {"#fff"}  # links of the dark bar
    viewer = (PACKAGE_DIR / "static/viewer.css").read_text()
    assert re.findall(r"#[0-9a-f]{3,6}\b", viewer) == []

"""What a style may say, and how a report looks in it."""

import dataclasses

import pytest

from records.report_styles.content import (
    MOST_WORDINGS,
    PLAIN,
    Phrase,
    StyleContent,
    StyleSection,
    Wording,
    find_faults,
)
from records.report_styles.layout import lay_out, to_text

STYLE = StyleContent(
    "North",
    (
        StyleSection("impression", "Beurteilung"),
        StyleSection("indication", "Fragestellung"),
        StyleSection("findings", "النتائج"),
    ),
    (Wording("The lungs are clear.", "Lungs clear."),),
    (Phrase("Telephoned", "It was reported by telephone."),),
)


def changed(**values):
    return dataclasses.replace(STYLE, **values)


def test_a_style_is_the_same_after_the_table_kept_it():
    assert StyleContent.from_json(STYLE.name, STYLE.to_json()) == STYLE
    assert find_faults(STYLE) == []


@pytest.mark.parametrize(
    ("style", "fault"),
    [
        (changed(name=" "), "has a name"),
        (changed(sections=STYLE.sections[:2]), "The findings stand in each report once"),
        (changed(sections=(*STYLE.sections, STYLE.sections[2])), "findings stand"),
        (changed(sections=(*STYLE.sections, STYLE.sections[1])), "no section 'indication'"),
        (changed(sections=(*STYLE.sections, StyleSection("x", "X"))), "no section 'x'"),
        (changed(sections=(*STYLE.sections[:2], StyleSection("findings", ""))), "The heading"),
        (changed(wordings=STYLE.wordings * (MOST_WORDINGS + 1)), "wordings at most"),
        (
            changed(wordings=(*STYLE.wordings, Wording("the LUNGS are clear.", "x."))),
            "two wordings",
        ),
        (changed(wordings=(Wording("a.", " "),)), "one of the house"),
        (changed(wordings=(Wording("a\nb.", "c."),)), "one line"),
        (changed(wordings=(Wording("a.", "b"),)), "full stop"),
        (changed(phrases=(*STYLE.phrases, *STYLE.phrases)), "two phrases"),
        (changed(phrases=(Phrase("x", ""),)), "A phrase has"),
    ],
)
def test_what_is_wrong_is_named(style, fault):
    assert any(fault in each for each in find_faults(style)), find_faults(style)


def test_a_report_has_the_headings_and_the_order_of_its_style():
    texts = {
        "findings": "Lungs clear. ",
        "impression": "Normal.",
        "indication": "cough",
        "comparison": "2024-03-01",
    }
    shown = lay_out(STYLE, texts)
    assert [(each.section, each.heading) for each in shown] == [
        ("impression", "Beurteilung"),
        ("indication", "Fragestellung"),
        ("findings", "النتائج"),
    ]
    assert to_text(shown) == (
        "Beurteilung\nNormal.\n\nFragestellung\ncough\n\nالنتائج\nLungs clear."
    )
    assert to_text(lay_out(None, texts)) == "Findings\nLungs clear.\n\nImpression\nNormal."
    assert [each.section for each in lay_out(PLAIN, texts | {"impression": " "})] == ["findings"]

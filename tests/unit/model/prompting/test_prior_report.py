"""A prior report is shortened by section, impression first, and never within a sentence."""

import pytest

from model.prompting.prior_report import MAX_CHARACTERS, prior_report_text

FINDINGS = "The lungs are clear. The heart is normal."
IMPRESSION = "No disease."


@pytest.mark.parametrize(
    ("findings", "impression", "whole", "limit", "text"),
    [
        (FINDINGS, IMPRESSION, "", 99, f"{IMPRESSION} {FINDINGS}"),
        (FINDINGS, IMPRESSION, "", 32, f"{IMPRESSION} The lungs are clear."),
        (FINDINGS, IMPRESSION, "", 31, IMPRESSION),
        (FINDINGS, "", "", 99, FINDINGS),
        ("", "The left lower lobe is dense.", "", 12, "The left"),
        ("Dr. Who saw\n it. Clear.", "", "", 99, "Dr. Who saw it. Clear."),
        (
            "",
            "",
            f"FINDINGS: {FINDINGS}\n\nIMPRESSION: {IMPRESSION}",
            99,
            f"{IMPRESSION} {FINDINGS}",
        ),
        ("", "", "Clear lungs.", 99, "Clear lungs."),
        ("", "", "INDICATION: Cough.\n\nCOMPARISON: None.", 99, ""),
        (" ", "\n", "", 99, ""),
    ],
)
def test_shortening(findings, impression, whole, limit, text):
    assert prior_report_text(findings, impression, whole, limit) == text


def test_the_limit_is_that_of_the_template():
    sentences = "A small effusion is seen. " * 40
    text = prior_report_text(sentences, sentences)
    assert MAX_CHARACTERS - len(sentences[:26]) < len(text) <= MAX_CHARACTERS == 600
    assert text.endswith("is seen.")

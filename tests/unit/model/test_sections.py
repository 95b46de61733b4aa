"""A report into findings and impression."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.sections import Sections, split_sections


@pytest.mark.parametrize(
    ("text", "findings", "impression"),
    [
        ("Findings: Clear lungs. Impression: Normal.", "Clear lungs.", "Normal."),
        ("FINDINGS:\nClear.\n\nIMPRESSION:\n1. Normal.", "Clear.", "1. Normal."),
        ("Clear lungs.", "Clear lungs.", ""),
        ("Impression: Normal.", "", "Normal."),
        ("Clear. Conclusion: Normal.", "Clear.", "Normal."),
        ("Findings: A. Impression: B. Findings: C.", "A. C.", "B."),
        ("The impression of a rib is seen.", "The impression of a rib is seen.", ""),
        ("", "", ""),
    ],
)
def test_sections(text: str, findings: str, impression: str) -> None:
    assert split_sections(text) == Sections(findings, impression)


@given(st.text())
def test_no_word_is_lost(text: str) -> None:
    kept = split_sections("Findings: " + text + " Impression: fine")
    assert kept.impression.endswith("fine")
    for word in text.split():
        if ":" not in word:
            assert word in kept.findings + " " + kept.impression

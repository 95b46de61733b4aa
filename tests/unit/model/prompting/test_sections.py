"""A report into findings and impression."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.prompting.sections import Sections, sentence_spans, split_sections


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


@pytest.mark.slow
@given(st.text())
def test_no_word_is_lost(text: str) -> None:
    sections = split_sections("Findings: " + text + " Impression: fine")
    assert sections.impression.endswith("fine")
    for token in text.split():
        if ":" not in token:
            assert token in sections.findings + " " + sections.impression


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Findings: Clear. No nodule. Impression: Normal.", "Clear.|No nodule.|Normal."),
        ("A nodule of 3.5 cm. Seen by Dr. Roe vs. before? No.",
         "A nodule of 3.5 cm.|Seen by Dr. Roe vs. before?|No."),
        ("IMPRESSION:\n1. Normal.\n2. Scar (old.) ", "1. Normal.|2. Scar (old.)"),
        ("lungs are clear . no effusion .", "lungs are clear .|no effusion ."),
        ("The lungs are", "The lungs are"),
        ("Normal\nheart", "Normal|heart"),
        (" \n ", ""),
    ],
)  # fmt: skip
def test_sentences(text: str, sentences: str) -> None:
    assert "|".join(text[span.start : span.end] for span in sentence_spans(text)) == sentences


@given(st.lists(st.sampled_from(["Findings:", "Impression:", "a", ".", "1.", "\n", " ", "No."])))
def test_sentences_are_found_in_their_sections_and_are_all_of_them(parts: list[str]) -> None:
    text = "".join(parts)
    sections = split_sections(text)
    read = {"findings": 0, "impression": 0}
    for span in sentence_spans(text):
        sentence, section = text[span.start : span.end], getattr(sections, span.section)
        start = section.index(sentence, read[span.section])
        assert not section[read[span.section] : start].strip()
        read[span.section] = start + len(sentence)
    assert not sections.findings[read["findings"] :].strip()
    assert not sections.impression[read["impression"] :].strip()

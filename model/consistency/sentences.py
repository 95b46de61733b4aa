"""Divides a report's sections into sentences with their places."""

from __future__ import annotations

import textwrap

from model.consistency.flags import ReportFacts, Sentence
from model.prompting.sections import sentence_spans

LONGEST_SENTENCE = 500
"""Characters. The labeller's time grows with the square of a sentence; what is longer is divided,
and each piece keeps the place of the whole."""


def divide_sections(facts: ReportFacts) -> list[Sentence]:
    """Return the sentences of findings and impression, in order."""
    return [
        Sentence(name, span.start, span.end, words)
        for name, text in facts.sections.items()
        for span in sentence_spans(text)
        for words in textwrap.wrap(text[span.start : span.end].lower(), LONGEST_SENTENCE)
    ]

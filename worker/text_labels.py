"""What a text says of the 14 observations: one way for drafts, for reports and for sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from model.labels import OBSERVATIONS, Label, Labels, RuleLabeller
from model.prompting.report_sections import ReportSections, divide_report

LABELLER = RuleLabeller()


def draft_sections(findings: str, impression: str) -> ReportSections:
    """The sections of a draft, or of a report that was signed here."""
    return ReportSections("", findings, impression)


def report_sections(findings: str, impression: str, text: str) -> ReportSections:
    """The sections of a report from elsewhere, by its headings where it was sent in one piece."""
    return divide_report(findings, impression, text)


def label_sections(texts: Iterable[ReportSections]) -> list[Labels]:
    """The labels of texts, by what their findings and their impression say together."""
    return LABELLER.label([f"{text.findings} {text.impression}" for text in texts])


def pair_labels(first: Labels, second: Labels) -> dict[str, list[str]]:
    """{observation: [first, second]}, as tables keep what two texts say."""
    return {name: [labels[name].value for labels in (first, second)] for name in OBSERVATIONS}


def label_sentences(sentences: Sequence[str]) -> list[Labels]:
    """The labels of sentences, each by itself."""
    return LABELLER.label(sentences)


def names_it(label: str) -> bool:
    """Whether a text with this label of a finding has the finding in it, certain or not."""
    return label in (Label.PRESENT, Label.UNCERTAIN)

"""A prior report as the prompt gets it: shortened by section, at the ends of sentences."""

from __future__ import annotations

from model.prompting.prompt import get_template
from model.prompting.report_sections import has_headings, read_sections
from model.prompting.sections import sentence_spans

MAX_CHARACTERS = next(
    line.max_characters for line in get_template("context").lines if line.prior == "prior_report"
)


def prior_report_text(
    findings: str, impression: str, whole: str = "", limit: int = MAX_CHARACTERS
) -> str:
    """Return what of a report fits a prompt: its impression first, then its findings.

    Sentences are left out from the end, so that none is cut. Only a first sentence that is longer
    than the limit is cut, between words.

    Args:
        findings: Its findings.
        impression: Its impression.
        whole: The whole report; it is split by its headings where both sections are "".
        limit: Characters, at most.

    Returns:
        One line; "" where the report says nothing.
    """
    if not (findings.strip() or impression.strip()) and whole.strip():
        if has_headings(whole):
            sections = read_sections(whole)
            findings, impression = sections.findings, sections.impression
        else:
            findings = whole
    text = ""
    for section in (impression, findings):
        for span in sentence_spans(section):
            sentence = " ".join(section[span.start : span.end].split())
            if not text and len(sentence) > limit:
                return sentence[:limit].rsplit(" ", 1)[0]
            if len(text) + 1 + len(sentence) > limit:
                return text
            text = f"{text} {sentence}".strip()
    return text

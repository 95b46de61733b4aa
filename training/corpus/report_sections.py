"""A hospital's report, by its headings. Knows no data set and writes no report.

Reports of MIMIC-CXR are plain text: lines of 80 characters, a heading in capitals at the start of a
line, often a preliminary report ("WET READ") before the final one. `model.sections` is for drafts,
which have two headings at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from training.corpus.files import one_line

_HEADING = re.compile(
    r"^[ \t]*(?P<name>[A-Z][A-Z0-9 ,.&/()'-]{2,70}?|(?:Findings|Impression|Indication|History"
    r"|Comparison|Technique)(?: and Impression)?)[ \t]*:(?=\s|$)",
    re.MULTILINE,
)
_FINAL = re.compile(r"^[ \t]*FINAL REPORT[ \t]*$", re.MULTILINE)
_ADDENDUM = re.compile(r"^[ \t]*FINAL ADDENDUM[ \t]*$", re.MULTILINE)
_KINDS = (
    ("indication", re.compile(r"INDICATION|HISTORY|REASON FOR|CLINICAL (?:INFO|DATA|DETAIL)")),
    ("comparison", re.compile(r"COMPARISON|REFERENCE")),
    ("findings", re.compile(r"FINDINGS?\b")),
    ("impression", re.compile(r"(?:IMPRESSIONS?|CONCLUSIONS?)\b")),
    ("", re.compile(r"EXAM|TECHNIQUE|PROCEDURE|STUDY|WET READ|NOTIFICATION|RECOMMENDATION")),
    # "CHEST, PA AND LATERAL:" heads the findings of many a report without that heading.
    ("film", re.compile(r".*\b(?:CHEST|VIEWS?|RADIOGRAPHS?)\b")),
)
_BLANK = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True, slots=True)
class ReportSections:
    """The sections of a report that are used, each as one line; "" where it has none."""

    indication: str = ""
    findings: str = ""
    impression: str = ""


@dataclass(frozen=True, slots=True)
class _Section:
    kind: str
    text: str
    last: bool


def read_sections(text: str) -> ReportSections:
    """The sections of the final report; of a kind that comes twice, the later.

    The indication ends at the first blank line: in a report whose findings have no heading, what
    follows is the findings, and no prior may hold those.
    """
    final = _ADDENDUM.split(_FINAL.split(text)[-1])[0]
    sections = list(_sections(final))
    latest = {section.kind: section for section in sections if section.text.strip()}
    empty = _Section("", "", False)
    findings = latest.get("findings") or latest.get("film") or empty
    return ReportSections(
        indication=_first_paragraph(latest.get("indication") or empty),
        findings=one_line(findings.text),
        impression=one_line(latest.get("impression", empty).text),
    )


def target_text(target: str, findings: str, impression: str) -> str:
    """What is to be written, for a `Reading.target` of "findings" or "report"; "" if not there."""
    if target == "findings":
        return findings
    parts = (("Findings", findings), ("Impression", impression))
    return " ".join(f"{name}: {text}" for name, text in parts if text)


def _sections(text: str) -> Iterator[_Section]:
    headings = list(_HEADING.finditer(text))
    for heading, following in zip_longest(headings, headings[1:]):
        end = following.start() if following else len(text)
        yield _Section(_kind(heading["name"]), text[heading.end() : end], following is None)


def _kind(name: str) -> str:
    return next((kind for kind, words in _KINDS if words.match(name.upper())), "")


def _first_paragraph(section: _Section) -> str:
    paragraphs = _BLANK.split(section.text if section.last else section.text.lstrip())
    return one_line(paragraphs[0])

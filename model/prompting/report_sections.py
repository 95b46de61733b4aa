"""Splits a hospital's report into its sections, by their headings.

Reports of MIMIC-CXR are plain text: lines of 80 characters, a heading in capitals at the start of a
line, and often a preliminary report ("WET READ") before the final one. Drafts have two headings at
most; `model.prompting.sections` splits those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest

_HEADING = re.compile(
    r"(?:^[ \t]*(?P<line>[A-Z][A-Z0-9 ,.&/()'-]{2,70}?|(?:Findings|Impression|Indication|History"
    r"|Comparison|Technique)(?: and Impression)?)"
    # Within a line, only those that occur in no sentence.
    r"|(?<=\s)(?P<within>(?:INDICATION|COMPARISON|TECHNIQUE|FINDING|IMPRESSION|CONCLUSION)S?"
    r"(?: AND IMPRESSIONS?)?)"
    r"|(?<=[.;?!])[ \t]+(?P<titled>Comparison|Technique|Findings|Impression))"
    r"[ \t]*:(?=\s|$)",
    re.MULTILINE,
)
_FINAL = re.compile(r"^[ \t]*FINAL REPORT[ \t]*$", re.MULTILINE)
_ADDENDUM = re.compile(r"^[ \t]*FINAL ADDENDUM[ \t]*$", re.MULTILINE)
_KINDS = (
    ("indication", re.compile(r"INDICATION|HISTORY|REASON FOR|CLINICAL (?:INFO|DATA|DETAIL)")),
    ("comparison", re.compile(r"COMPARISON|REFERENCE")),
    ("findings", re.compile(r"FINDINGS?\b")),
    ("impression", re.compile(r"(?:IMPRESSIONS?|CONCLUSIONS?)\b")),
    (
        "other",
        re.compile(
            r"EXAM|TECHNIQUE|PROCEDURE|STUDY|WET READ|NOTIFICATION|RECOMMENDATION|ADDENDUM|CLINICAL"
            r"|SUMMARY|OPINION|DIAGNOS|COMMUNICATION|CRITICAL|DOSE|SIGNED|DICTATED|ATTENDING|CC\b"
        ),
    ),
    # "CHEST, PA AND LATERAL:" heads the findings of many reports that have no such heading.
    ("examination", re.compile(r".*\b(?:CHEST|VIEWS?|RADIOGRAPHS?)\b")),
)
"""Kinds of heading. Any other ("HEART", "LINES AND TUBES") is part of the findings it stands in."""
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_NOT_INDICATION = re.compile(
    r"\b(?:COMPARISONS?|TECHNIQUES?|FINDINGS?|IMPRESSIONS?|CONCLUSIONS?|REPORT|RESULTS?|CHEST"
    r"|VIEWS?|RADIOGRAPHS?|LUNGS?|HEART)\s*:",
    re.IGNORECASE,
)
"""Where an indication ends in any case, however it is written."""


@dataclass(frozen=True, slots=True)
class ReportSections:
    """The sections of a report that are used, each as one line; "" where the report has none."""

    indication: str = ""
    findings: str = ""
    impression: str = ""


@dataclass(frozen=True, slots=True)
class _Section:
    """A section; `number` is the number of its heading in the report."""

    kind: str
    text: str
    number: int


_EMPTY = _Section("", "", -1)


def read_sections(text: str) -> ReportSections:
    """Return the sections of the final report; where a kind occurs twice, the later one.

    Where findings with a heading follow, the indication ends at the first blank line. Where none
    follow, the findings may stand in the indication's own paragraph, and a prior must not hold
    them. The indication is then only what stands on the line of its heading.
    """
    final = _ADDENDUM.split(_FINAL.split(text)[-1])[0]
    latest = {section.kind: section for section in _split(final) if section.text.strip()}
    findings = latest.get("findings") or latest.get("examination") or _EMPTY
    indication = latest.get("indication", _EMPTY)
    return ReportSections(
        indication=_indication_text(indication.text, findings.number > indication.number),
        findings=_to_one_line(findings.text),
        impression=_to_one_line(latest.get("impression", _EMPTY).text),
    )


def has_headings(text: str) -> bool:
    """Return whether a report has any heading that `read_sections` knows."""
    return any(
        _kind(heading["line"] or heading["within"] or heading["titled"])
        for heading in _HEADING.finditer(text)
    )


def _split(text: str) -> Iterator[_Section]:
    """Yield the sections in order; an unknown heading within findings does not end them."""
    headings = list(_HEADING.finditer(text))
    section = _EMPTY
    for number, (heading, following) in enumerate(zip_longest(headings, headings[1:])):
        end = following.start() if following else len(text)
        name = heading["line"] or heading["within"] or heading["titled"]
        kind, body = _kind(name), text[heading.end() : end]
        continues = not kind and section.kind in ("findings", "examination")
        # Once findings have begun, "CHEST WALL" does not head another examination.
        if continues or (
            kind == "examination" and section.kind == "findings" and section.text.strip()
        ):
            section = replace(section, text=f"{section.text} {name}:{body}")
            continue
        yield section
        section = _Section(kind, body, number)
    yield section


def _kind(name: str) -> str:
    return next((kind for kind, pattern in _KINDS if pattern.match(name.upper())), "")


def _indication_text(text: str, findings_follow: bool) -> str:
    """Return the indication in the text below its heading."""
    first = _BLANK_LINE.split(text.lstrip())[0] if findings_follow else text.partition("\n")[0]
    return _to_one_line(_NOT_INDICATION.split(first)[0])


def _to_one_line(text: str) -> str:
    return " ".join(text.split())

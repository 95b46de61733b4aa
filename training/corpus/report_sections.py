"""A hospital's report, by its headings. Knows no data set and writes no report.

Reports of MIMIC-CXR are plain text: lines of 80 characters, a heading in capitals at the start of a
line, often a preliminary report ("WET READ") before the final one. `model.prompting.sections` is for drafts,
which have two headings at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest

from training.corpus.files import one_line

_HEADING = re.compile(
    r"(?:^[ \t]*(?P<line>[A-Z][A-Z0-9 ,.&/()'-]{2,70}?|(?:Findings|Impression|Indication|History"
    r"|Comparison|Technique)(?: and Impression)?)"
    # Within a line only those that no sentence has.
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
    # "CHEST, PA AND LATERAL:" heads the findings of many a report without that heading.
    ("film", re.compile(r".*\b(?:CHEST|VIEWS?|RADIOGRAPHS?)\b")),
)
"""Kinds of heading; any other ("HEART", "LINES AND TUBES") divides the findings it stands in."""
_BLANK = re.compile(r"\n[ \t]*\n")
_NO_INDICATION = re.compile(
    r"\b(?:COMPARISONS?|TECHNIQUES?|FINDINGS?|IMPRESSIONS?|CONCLUSIONS?|REPORT|RESULTS?|CHEST"
    r"|VIEWS?|RADIOGRAPHS?|LUNGS?|HEART)\s*:",
    re.IGNORECASE,
)
"""Where an indication ends in any case, however it is written."""


@dataclass(frozen=True, slots=True)
class ReportSections:
    """The sections of a report that are used, each as one line; "" where it has none."""

    indication: str = ""
    findings: str = ""
    impression: str = ""


@dataclass(frozen=True, slots=True)
class _Section:
    """A section. place: the number of its heading in the report."""

    kind: str
    text: str
    place: int


_EMPTY = _Section("", "", -1)


def read_sections(text: str) -> ReportSections:
    """The sections of the final report; of a kind that comes twice, the later.

    Where findings with a heading follow, the indication ends at the first blank line. Where none
    do, they may stand in its own paragraph, and no prior may hold those: then it is what stands on
    the line of its heading.
    """
    final = _ADDENDUM.split(_FINAL.split(text)[-1])[0]
    latest = {section.kind: section for section in _sections(final) if section.text.strip()}
    findings = latest.get("findings") or latest.get("film") or _EMPTY
    indication = latest.get("indication", _EMPTY)
    return ReportSections(
        indication=_asked(indication.text, findings.place > indication.place),
        findings=one_line(findings.text),
        impression=one_line(latest.get("impression", _EMPTY).text),
    )


def target_text(target: str, findings: str, impression: str) -> str:
    """What is to be written, for a `Reading.target` of "findings" or "report"; "" if not there."""
    if target == "findings":
        return findings
    parts = (("Findings", findings), ("Impression", impression))
    return " ".join(f"{name}: {text}" for name, text in parts if text)


def _sections(text: str) -> Iterator[_Section]:
    """The sections in order; what an unknown heading divides from the findings is joined again."""
    headings = list(_HEADING.finditer(text))
    before = _EMPTY
    for place, (heading, following) in enumerate(zip_longest(headings, headings[1:])):
        end = following.start() if following else len(text)
        name = heading["line"] or heading["within"] or heading["titled"]
        kind, words = _kind(name), text[heading.end() : end]
        divides = not kind and before.kind in ("findings", "film")
        # Behind findings that have begun, "CHEST WALL" is no second film.
        if divides or (kind == "film" and before.kind == "findings" and before.text.strip()):
            before = replace(before, text=f"{before.text} {name}:{words}")
            continue
        yield before
        before = _Section(kind, words, place)
    yield before


def _kind(name: str) -> str:
    return next((kind for kind, words in _KINDS if words.match(name.upper())), "")


def _asked(text: str, findings_follow: bool) -> str:
    """The indication in the text below its heading."""
    first = _BLANK.split(text.lstrip())[0] if findings_follow else text.partition("\n")[0]
    return one_line(_NO_INDICATION.split(first)[0])

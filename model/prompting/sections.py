"""Splits a report into findings and impression, and those into sentences.

Knows neither model nor layout of reports sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEADING = re.compile(
    r"(?:^|(?<=[\s.;:]))(?P<name>FINDINGS?|IMPRESSIONS?|CONCLUSIONS?)\s*:\s*", re.IGNORECASE
)
_STOP = re.compile(r"[.!?]+[\"')]*(?=\s|$)|\n")
_NO_STOP = re.compile(
    r"(?:^\s*\d+|\b(?:dr|mr|mrs|ms|vs|approx|ca|cf|resp|st|e\.g|i\.e))\.$", re.IGNORECASE
)
"""A full stop that ends no sentence: of "1." at its beginning, or of an abbreviation."""


@dataclass(frozen=True, slots=True)
class Sections:
    """The two sections that a draft can have; "" where it has none."""

    findings: str
    impression: str


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a report, text[start:end], and the section that it is in, by Sections' name."""

    section: str
    start: int
    end: int


def split_sections(text: str) -> Sections:
    """Findings and impression of a report, by their headings, wherever these stand.

    Text before the first heading belongs to the findings, so nothing is lost; sections of one
    kind that come twice are joined by a space.
    """
    parts: dict[str, list[str]] = {"findings": [], "impression": []}
    for span in _parts(text):
        if part := text[span.start : span.end].strip():
            parts[span.section].append(part)
    return Sections(**{section: " ".join(kept) for section, kept in parts.items()})


def sentence_spans(text: str) -> Iterator[Span]:
    """The sentences of a report in their order, without headings and the space around them."""
    for part in _parts(text):
        start = part.start
        for stop in _STOP.finditer(text, part.start, part.end):
            if not _NO_STOP.search(text[start : stop.end()]):
                yield from _trimmed(text, Span(part.section, start, stop.end()))
                start = stop.end()
        yield from _trimmed(text, Span(part.section, start, part.end))


def _parts(text: str) -> Iterator[Span]:
    """What stands between the headings, in order."""
    section, start = "findings", 0
    for heading in _HEADING.finditer(text):
        yield Span(section, start, heading.start())
        section = "findings" if heading["name"].lower().startswith("finding") else "impression"
        start = heading.end()
    yield Span(section, start, len(text))


def _trimmed(text: str, span: Span) -> Iterator[Span]:
    words = text[span.start : span.end]
    if words.strip():
        start = span.end - len(words.lstrip())
        yield Span(span.section, start, start + len(words.strip()))

"""Splits a report into findings and impression, and those into sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEADING = re.compile(
    r"(?:^|(?<=[\s.;:]))(?P<name>FINDINGS?|IMPRESSIONS?|CONCLUSIONS?)\s*:\s*", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?]+[\"')]*(?=\s|$)|\n")
_NO_SENTENCE_END = re.compile(
    r"(?:^\s*\d+|\b(?:dr|mr|mrs|ms|vs|approx|ca|cf|resp|st|e\.g|i\.e))\.$", re.IGNORECASE
)
"""A full stop that does not end a sentence: after a number at its start, or an abbreviation."""


@dataclass(frozen=True, slots=True)
class Sections:
    """The two sections of a draft; "" for one that it does not have."""

    findings: str
    impression: str


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a report, text[start:end], and the name of its section in Sections."""

    section: str
    start: int
    end: int


def split_sections(text: str) -> Sections:
    """Return findings and impression of a report, by their headings, wherever these are.

    Text before the first heading belongs to the findings, so nothing is lost. Sections of one kind
    that occur twice are joined by a space.
    """
    parts: dict[str, list[str]] = {"findings": [], "impression": []}
    for span in _section_spans(text):
        if part := text[span.start : span.end].strip():
            parts[span.section].append(part)
    return Sections(**{section: " ".join(texts) for section, texts in parts.items()})


def sentence_spans(text: str) -> Iterator[Span]:
    """Yield the sentences of a report in order, without headings and surrounding space."""
    for part in _section_spans(text):
        start = part.start
        for stop in _SENTENCE_END.finditer(text, part.start, part.end):
            if not _NO_SENTENCE_END.search(text[start : stop.end()]):
                yield from _strip(text, Span(part.section, start, stop.end()))
                start = stop.end()
        yield from _strip(text, Span(part.section, start, part.end))


def _section_spans(text: str) -> Iterator[Span]:
    """Yield the text between the headings, in order."""
    section, start = "findings", 0
    for heading in _HEADING.finditer(text):
        yield Span(section, start, heading.start())
        section = "findings" if heading["name"].lower().startswith("finding") else "impression"
        start = heading.end()
    yield Span(section, start, len(text))


def _strip(text: str, span: Span) -> Iterator[Span]:
    """Yield the span without surrounding space, or nothing if it is blank."""
    part = text[span.start : span.end]
    if part.strip():
        start = span.end - len(part.lstrip())
        yield Span(span.section, start, start + len(part.strip()))

"""Splits a report into findings and impression. Knows neither model nor layout of reports sent."""

from __future__ import annotations

import re
from dataclasses import dataclass

_HEADING = re.compile(
    r"(?:^|(?<=[\s.;:]))(?P<name>FINDINGS?|IMPRESSIONS?|CONCLUSIONS?)\s*:\s*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Sections:
    """The two sections that a draft can have; "" where it has none."""

    findings: str
    impression: str


def split_sections(text: str) -> Sections:
    """Findings and impression of a report, by their headings, wherever these stand.

    Text before the first heading belongs to the findings, so nothing is lost; sections of one
    kind that come twice are joined by a space.
    """
    parts: dict[str, list[str]] = {"findings": [], "impression": []}
    kind, start = "findings", 0
    for heading in _HEADING.finditer(text):
        parts[kind].append(text[start : heading.start()])
        kind = "findings" if heading["name"].lower().startswith("finding") else "impression"
        start = heading.end()
    parts[kind].append(text[start:])
    joined = {k: " ".join(s for s in map(str.strip, p) if s) for k, p in parts.items()}
    return Sections(**joined)

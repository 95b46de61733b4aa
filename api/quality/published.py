"""What publications report, for who compares it with the figures here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """What one publication reports of a figure.

    Attributes:
        drafts: the figure of drafts by a model, in words.
        radiologists: the figure of radiologists without one, in words; "" where none is given.
        source: where it is published, and how it was found.
    """

    drafts: str
    radiologists: str
    source: str


_PANEL = "Radiology 2025, doi 10.1148/radiol.250568: what a panel of readers found acceptable"

UNEDITED = Published("66.8 %", "75.7 %", _PANEL)
SMALL_OR_NONE = Published("88.4 %", "89.2 %", _PANEL)

TIMES = (
    Published(
        "15.5 % less time to document",
        "",
        "JAMA Network Open 2025, 23,960 radiographs, with no loss of quality",
    ),
    Published("19.8 s a film", "34.2 s a film", "Radiology 2025"),
    Published(
        "from 27 % less to 9 % more time, by reader",
        "",
        "A further study, in which 41 to 68 % of the suggestions were taken; others found no gain, "
        "and slower reading of short normal reports",
    ),
)

DISCREPANCIES = Published(
    "", "1.3 %", "Significant discrepancies of residents' preliminary reports"
)

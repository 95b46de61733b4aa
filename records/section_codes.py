"""Which section of a report a text is, by its code in HL7 (OBX-3) or SR (concept name)."""

from __future__ import annotations

import re
from collections.abc import Iterable

BODY, OTHER = "report", "other"
"""The whole report or a part that its own headings divide; and what is not for a draft."""

SECTION_CODES = {
    "59776-5": "findings",
    "18782-3": "findings",
    "121070": "findings",
    "121071": "findings",
    "19005-8": "impression",
    "121072": "impression",
    "121073": "impression",
    "121076": "impression",
    "121077": "impression",
    "18785-6": "indication",
    "55752-0": "indication",
    "11329-0": "indication",
    "29299-5": "indication",
    "121060": "indication",
    "121062": "indication",
    "121109": "indication",
    "18834-2": OTHER,  # previous findings: not of this study
    "55114-3": OTHER,
    "55115-0": OTHER,
    "55111-9": OTHER,
    "18783-1": OTHER,
    "11487-6": OTHER,
    "74466-4": OTHER,
    "121064": OTHER,
    "121065": OTHER,
    "121066": OTHER,
    "121068": OTHER,
    "121069": OTHER,
    "121074": OTHER,
    "121075": OTHER,
    "121078": OTHER,
    "121079": OTHER,
    "IMP": "impression",
    "GDT": BODY,
    "REC": OTHER,
    "ADT": OTHER,
    "ADN": OTHER,
}
"""Codes of LOINC and DICOM (PS3.16, CID 7001 and 7002), and the suffixes of OBX-3 -> section."""
_WORDS = (
    (
        re.compile(
            r"PREVIOUS|PRIOR|COMPARISON|RECOMMEND|ADDEND|TECHNIQUE|CONSULTATION"
            r"|PROCEDURE(?! FINDINGS)"
        ),
        OTHER,
    ),
    (re.compile(r"IMPRESSION|CONCLUSION|BEURTEILUNG|ZUSAMMENFASSUNG"), "impression"),
    (re.compile(r"FINDINGS?\b|BEFUND\b"), "findings"),
    (
        re.compile(r"INDICATION|REASON FOR|CLINICAL (?:INFO|HISTORY|DATA)|FRAGESTELLUNG"),
        "indication",
    ),
)


def section_of(codes: tuple[str, ...], meaning: str) -> str:
    """Return the section: findings, impression, indication, BODY or OTHER.

    Args:
        codes: The code, and the suffix of an HL7 identifier ("71020&IMP").
        meaning: The name of the code; it counts where the code is not known.
    """
    for code in codes:
        if section := SECTION_CODES.get(code.strip().upper()):
            return section
    name = meaning.upper()
    return next((section for pattern, section in _WORDS if pattern.search(name)), BODY)


def section_under(headings: Iterable[tuple[str, str]]) -> str:
    """Return the section of a text by the headings it stands under, the outermost first.

    A heading that is of no section leaves the one above it. What stands under previous findings is
    of another study, whatever it is.

    Args:
        headings: Code and meaning of each.
    """
    section = BODY
    for code, meaning in headings:
        own = section_of((code,), meaning)
        if section != OTHER and own != BODY:
            section = own
    return section


def add_text(texts: dict[str, str], section: str, text: str) -> None:
    """Add a text to its section, as lines; what is not for a draft is dropped."""
    if section != OTHER and text.strip():
        texts[section] = f"{texts[section]}\n{text}" if section in texts else text

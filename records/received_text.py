"""Text of other systems as rows may hold it.

It is untrusted. PostgreSQL takes no NUL, and what shows a text may obey a control character in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_LINE = 256
"""Characters of a number, a name or another value of one line: an index takes no long value."""

MAX_TEXT = 10_240
"""Characters of a text: the longest of an LT value (PS3.5 table 6.2-1)."""

# The same as in model.dicom.characters, which this floor may not import; a test compares the two.
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
_BREAKS = re.compile(r"[\t\n]+")


def clean_line(value: str) -> str:
    """A value of one line: without control characters and line breaks, `MAX_LINE` at most."""
    return CONTROLS.sub("", _BREAKS.sub(" ", value)).strip()[:MAX_LINE]


def clean_numbers(values: Sequence[str]) -> list[str]:
    """Values of one line, each once; blank ones are left out."""
    return list(dict.fromkeys(filter(None, map(clean_line, values))))


def join_numbers(values: Sequence[str]) -> str:
    """Several values as one, with a backslash between them; "" where all are blank."""
    return "\\".join(values) if clean_numbers(values) else ""


def clean_text(value: str, limit: int | None = MAX_TEXT) -> str:
    """A text of several lines: line ends are line feeds; no other controls.

    Args:
        value: the text as it was sent.
        limit: characters, at most; None for a report, which is kept whole.
    """
    lines = value.replace("\r\n", "\n").replace("\r", "\n")
    return CONTROLS.sub("", lines).strip()[:limit]

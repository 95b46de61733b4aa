"""Checks of a report's text against itself, its study and its order: where a reader should look.

A flag is a question to the reader, not a verdict; a text without a flag may be wrong. The checks
read words alone and look at no image.
"""

from model.consistency.checks import check_report
from model.consistency.flags import Flag, FlagKind, ReportFacts, Side
from model.consistency.rewording import find_differences

__all__ = [
    "Flag",
    "FlagKind",
    "ReportFacts",
    "Side",
    "check_report",
    "find_differences",
]

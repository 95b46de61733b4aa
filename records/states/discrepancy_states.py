"""What a draft and a final report do not share, and how two drafts agree."""

from __future__ import annotations

from enum import StrEnum


class DiscrepancySide(StrEnum):
    """Whose silence a discrepancy of draft and final report is."""

    MISS_OF_REPORT = "MISS_OF_REPORT"  # the draft says it, the report and later ones do not
    MISS_OF_MODEL = "MISS_OF_MODEL"  # the report says it, and the draft does not


class DiscrepancyState(StrEnum):
    """How far a discrepancy of draft and final report is."""

    UNCHECKED = "UNCHECKED"  # a worker is to look at the patient's other reports
    OPEN = "OPEN"  # it can be read
    MENTIONED = "MENTIONED"  # a report of the patient mentions it after all
    WITHDRAWN = "WITHDRAWN"  # no final report stands that it could be held against
    CONFIRMED = "CONFIRMED"  # who looked at the films says that the finding is there
    DENIED = "DENIED"  # ... that it is not there
    UNCLEAR = "UNCLEAR"  # ... that the films do not tell


VERDICTS = (DiscrepancyState.CONFIRMED, DiscrepancyState.DENIED, DiscrepancyState.UNCLEAR)
"""What a second look at the films can end with."""

SECOND_LOOK_FINDINGS = ("Pneumothorax", "Lung Lesion", "Consolidation")
"""Observations that a reader is asked about, and that a draft alone may say. What a report alone
says is listed for all 14."""


class ErrorCount(StrEnum):
    """What is counted of an observation in the comparisons of drafts with final reports."""

    COMPARED = "COMPARED"  # drafts; of no observation
    SAID = "SAID"  # the report says that it is present
    MISSED = "MISSED"  # and the draft does not name it


class Agreement(StrEnum):
    """Which of two drafts says that an observation is present."""

    BOTH = "BOTH"
    FIRST = "FIRST"
    SECOND = "SECOND"
    NEITHER = "NEITHER"

"""Which report of a patient is the prior report of a later study: one rule for all corpora."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from training.corpus.example import SPLITS

_SPLIT_ORDER = ("", *SPLITS)
"""A report of one of these may be the prior report of studies in the same and in later ones."""


class DatedReport(Protocol):
    """A study of a patient, as far as it matters here."""

    @property
    def taken(self) -> str:
        """Date, and time if it is known, as one text that sorts; "" where no date is known."""

    @property
    def split(self) -> str:
        """One of SPLITS; "" where the study is in none."""

    @property
    def is_certain(self) -> bool:
        """Whether the study is surely of this patient and in one split."""

    @property
    def prior_text(self) -> str:
        """What of its report a later study is given; "" where it has no report."""


ReportT = TypeVar("ReportT", bound=DatedReport)


def find_prior(study: DatedReport, others: Sequence[ReportT]) -> ReportT | None:
    """Return the patient's last study with a report before this one.

    Args:
        study: The study.
        others: Other studies of the patient, in order of time.
    """
    return next((other for other in reversed(others) if _may_be_prior(other, study)), None)


def _may_be_prior(other: DatedReport, study: DatedReport) -> bool:
    """Return whether the other study's report can be this one's prior report.

    It must be earlier (of two studies of one moment nobody knows which was first) and surely of
    this patient. No text of the validation or test split may be a prior in training.
    """
    return (
        _is_earlier(other.taken, study.taken)
        and other.is_certain
        and _SPLIT_ORDER.index(other.split) <= _SPLIT_ORDER.index(study.split)
        and bool(other.prior_text)
    )


def _is_earlier(one: str, other: str) -> bool:
    """Return whether a moment is before another; of two on one day, one without a time is not."""
    shared = min(len(one), len(other))
    return bool(shared) and one[:shared] < other[:shared]

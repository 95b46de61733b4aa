"""Which report of a patient is the prior report of a later study: one rule for all corpora.

It is the rule by which drafts get theirs (`records.reports.prior_rule`), with what corpora ask for
on top: splits, and that the table is sure of the study.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from records.reports.prior_rule import EarlierReport, Examination, why_not_prior
from records.workflow.patients import Patient
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

    It must surely be of this patient. No text of the validation or test split may be a prior in
    training.
    """
    return (
        other.is_certain
        and _SPLIT_ORDER.index(other.split) <= _SPLIT_ORDER.index(study.split)
        # A corpus holds final reports alone, and the caller gives other studies of the patient. So
        # that a text is read only where it can be taken, it is asked for last.
        and why_not_prior(_examination(study, "this"), EarlierReport(_examination(other, "other")))
        is None
        and bool(other.prior_text)
    )


def _examination(study: DatedReport, name: str) -> Examination:
    return Examination(
        Patient("the corpus's patient"), accession_numbers=(name,), performed_on=study.taken
    )

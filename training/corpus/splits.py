"""Assigns patients to the training, validation and test split.

A random assignment follows from SHA-256 of the seed and the patient. So it is the same on every
machine and in every version of Python, and does not depend on which other patients there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256

from records.errors import CorpusError
from training.corpus.example import TEST, TRAIN, VALIDATE, CorpusOptions

DEFAULT_OPTIONS = CorpusOptions()
"""Every choice left to the corpus."""
TEST_SHARE = 0.2
"""Of the split "patients": four to one."""


def uniform_draw(seed: int, purpose: str, patient: str) -> float:
    """Return a patient's random number for one purpose, uniform in [0, 1)."""
    digest = sha256(f"{purpose}:{seed}:{patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def sample_patients(
    report_counts: Mapping[str, int], target_count: int, seed: int, purpose: str
) -> set[str]:
    """Draw patients at random who together have `target_count` reports.

    A patient whose reports would exceed the target is passed over. So the sum is exactly
    `target_count` where enough patients have one report, and it is never more.

    Args:
        report_counts: Patient -> number of reports.
        target_count: The number of reports to reach.
        seed: Of the draw.
        purpose: Names the draw, so that draws of one seed are independent.
    """
    sample, count = set(), 0
    for patient in sorted(report_counts, key=lambda p: (uniform_draw(seed, purpose, p), p)):
        if count + report_counts[patient] <= target_count:
            sample.add(patient)
            count += report_counts[patient]
    return sample


def split_by_patient(options: CorpusOptions, patient: str) -> str:
    """Return the patient's side of the split "patients": train or test, four to one."""
    return TEST if uniform_draw(options.seed, "patients", patient) < TEST_SHARE else TRAIN


def assign_validation(options: CorpusOptions, patient: str, split: str) -> str:
    """Return `split`, or "validate" for the share of the training patients that is set apart."""
    if split == TRAIN and uniform_draw(options.seed, "validate", patient) < options.validate:
        return VALIDATE
    return split


def resolve_split(corpus: str, options: CorpusOptions, offered: Iterable[str]) -> str:
    """Return the split to read by: the one that the options name, else the first one offered.

    Raises:
        CorpusError: the corpus has no such split, or the validation share is out of range.
    """
    available = tuple(offered)
    if options.split and options.split not in available:
        raise CorpusError(
            f"{corpus} has no split {options.split!r}; "
            + (f"there are {', '.join(available)}" if available else "leave it out")
        )
    if not 0 <= options.validate < 1:
        raise CorpusError(
            f"{options.validate} of the training patients cannot be set apart; give a share from "
            "0 to below 1"
        )
    return options.split or next(iter(available), "")

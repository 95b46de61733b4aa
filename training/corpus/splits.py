"""Who is to learn from and who to be scored on. Knows patients' ids and no reports.

What is drawn is drawn by SHA-256 of the seed and the patient: the same on every machine and in
every version of Python, and for one patient whoever else is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256

from records.errors import CorpusError
from training.corpus.example import TEST, TRAIN, VALIDATE, CorpusOptions

DEFAULT = CorpusOptions()
"""A corpus read as it comes."""
TEST_SHARE = 0.2
"""Of the split "patients": four to one."""


def place(seed: int, draw: str, patient: str) -> float:
    """Where a patient stands in a draw, 0 to 1, each place as likely."""
    digest = sha256(f"{draw}:{seed}:{patient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def sample_patients(reports: Mapping[str, int], want: int, seed: int, draw: str) -> set[str]:
    """Patients at random who together have `want` reports; reports: how many each has.

    A patient who would make it too many is passed over, so it is exactly `want` wherever enough
    patients have one report, and never more.
    """
    taken, count = set(), 0
    for patient in sorted(reports, key=lambda who: (place(seed, draw, who), who)):
        if count + reports[patient] <= want:
            taken.add(patient)
            count += reports[patient]
    return taken


def split_by_patient(reading: CorpusOptions, patient: str) -> str:
    """The split "patients": train or test, four to one."""
    return TEST if place(reading.seed, "patients", patient) < TEST_SHARE else TRAIN


def assign_validation(reading: CorpusOptions, patient: str, split: str) -> str:
    """The split, or validate for the share of the training patients that is set apart."""
    if split == TRAIN and place(reading.seed, "validate", patient) < reading.validate:
        return VALIDATE
    return split


def resolve_split(corpus: str, reading: CorpusOptions, offered: Iterable[str]) -> str:
    """The split to read by; the first of those offered where the reading names none.

    Raises:
        CorpusError: this corpus has no such split, or the share set apart is none.
    """
    there = tuple(offered)
    if reading.split and reading.split not in there:
        raise CorpusError(
            f"{corpus} has no split {reading.split!r}; "
            + (f"there are {', '.join(there)}" if there else "leave it out")
        )
    if not 0 <= reading.validate < 1:
        raise CorpusError(
            f"{reading.validate} of the training patients cannot be set apart; give a share from "
            "0 to below 1"
        )
    return reading.split or next(iter(there), "")

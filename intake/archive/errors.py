"""What may go wrong with a PACS; no sentence names a patient."""

from __future__ import annotations

from collections.abc import Sequence

from intake.turns import SystemAway
from records.errors import NightdraftError


class PacsAway(SystemAway):
    """A PACS does not answer, or lets nobody ask. Start it, or correct NIGHTDRAFT_PACS_FILE."""


class _NotFetched(NightdraftError):
    """Images of one study did not come.

    Attributes:
        missing: SOP Instance UIDs of those that the PACS lists and that are not here, where known.
    """

    def __init__(self, sentence: str, missing: Sequence[str] = ()) -> None:
        super().__init__(sentence)
        self.missing = missing


class PullFailed(_NotFetched):
    """One study was asked for, and the answer cannot be used."""


class TooSlow(PullFailed):
    """A study took longer than `intake.archive.budget.STUDY_SECONDS`."""


class StudyOffline(_NotFetched):
    """The PACS has the study on media that it cannot reach now."""


class SetUpWrong(PacsAway):
    """A PACS answers, and lets nobody fetch as its table in NIGHTDRAFT_PACS_FILE says."""

"""What may go wrong with a PACS; no sentence names a patient."""

from __future__ import annotations

from records.errors import NightdraftError, PartError


class PacsAway(PartError):
    """A PACS does not answer, or lets nobody ask. Start it, or correct NIGHTDRAFT_PACS_FILE.

    Attributes:
        retry_seconds: how long it asks to be left alone; None where it says nothing.
    """

    def __init__(self, sentence: str, retry_seconds: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_seconds = retry_seconds


class PullFailed(NightdraftError):
    """One study was asked for, and the answer cannot be used."""


class StudyOffline(NightdraftError):
    """The PACS has the study on media that it cannot reach now."""


class SetUpWrong(PacsAway):
    """A PACS answers, and lets nobody fetch as its table in NIGHTDRAFT_PACS_FILE says."""

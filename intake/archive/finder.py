"""How a PACS is asked what it has, by its settings, and how much of its time questions take."""

from __future__ import annotations

import time
from typing import Protocol

from intake.archive.budget import Places
from intake.archive.dicomweb import WebFinder
from intake.archive.errors import PacsAway, PullFailed
from intake.archive.find import DimseFinder
from intake.archive.listed import ListedStudy, StudyListing
from intake.archive.spans import Answer, Span
from records.pacs import Pacs
from records.settings import Settings

LONGEST_REST_SECONDS = 5.0
"""A PACS is left alone for as long as its answer took, and not for longer than this."""


class WalkQuestions(Protocol):
    """Asks a PACS for the studies of dates, over one association where it has such."""

    def find_studies(self, span: Span) -> Answer:
        """The studies of some dates."""

    def close(self) -> None:
        """End the association; the next question makes another."""


class Finder(Protocol):
    """Asks a PACS what it has."""

    def check(self) -> None:
        """Find out whether it answers."""

    def walk(self) -> WalkQuestions:
        """Questions for the studies of dates, one after the other."""

    def find_by_accession_number(self, accession_number: str) -> list[ListedStudy]:
        """The studies of an accession number."""

    def list_study(self, study_instance_uid: str) -> StudyListing | None:
        """The objects of a study; None where the PACS does not know it."""


def make_finder(pacs: Pacs, config: Settings) -> Finder:
    """What asks a PACS, by QIDO-RS or by C-FIND as its settings say.

    Raises:
        SettingsError: a file or a title cannot be used.
    """
    return WebFinder(pacs) if pacs.retrieve == "wado-rs" else DimseFinder(pacs, config)


class SharedWalk:
    """The questions of a walk, which has half of the PACS's time at most.

    The association, and its place, are kept between two questions while nobody waits for a place.

    Args:
        questions: what asks.
        places: of the PACS, shared with those who fetch; None is that nobody does.
    """

    def __init__(self, questions: WalkQuestions, places: Places | None = None) -> None:
        self._questions = questions
        self._places = places or Places(1)
        self._has_place = False

    def ask(self, span: Span) -> Answer:
        """Ask for the studies of some dates.

        Raises:
            PacsAway: the PACS does not answer, or not in a way that can be read.
        """
        if not self._has_place:
            self._places.take()
            self._has_place = True
        begun = time.monotonic()
        try:
            answer = self._questions.find_studies(span)
        except PullFailed as error:
            raise PacsAway(str(error)) from None
        now = time.monotonic()
        until = now + min(now - begun, LONGEST_REST_SECONDS)
        if self._places.is_wanted(until - now):
            self.close()
            time.sleep(max(0.0, until - time.monotonic()))
        return answer

    def close(self) -> None:
        """End the association, and give its place back."""
        self._questions.close()
        if self._has_place:
            self._has_place = False
            self._places.give_back()

"""How a PACS is asked what it has, by its settings, and how much of its time questions take."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from intake.archive.dicomweb import WebFinder
from intake.archive.errors import PacsAway, PullFailed
from intake.archive.find import DimseFinder
from intake.archive.listed import ListedStudy, StudyListing
from intake.archive.spans import Answer, Span
from records.pacs import Pacs
from records.settings import Settings

LONGEST_REST_SECONDS = 5.0
"""A PACS is left alone for as long as its answer took, and not for longer than this."""


class Finder(Protocol):
    """Asks a PACS what it has."""

    def check(self) -> None:
        """Find out whether it answers."""

    def find_studies(self, span: Span) -> Answer:
        """The studies of some dates."""

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


def ask_span(
    finder: Finder, span: Span, place: AbstractContextManager[Any] | None = None
) -> Answer:
    """Ask one question of many, which together have half of the PACS's time at most.

    Args:
        finder: asks the PACS.
        span: what is asked.
        place: is held while the question is open; None is nothing.

    Raises:
        PacsAway: the PACS does not answer, or not so that it could be read.
    """
    with place or nullcontext():
        begun = time.monotonic()
        try:
            answer = finder.find_studies(span)
        except PullFailed as error:
            raise PacsAway(str(error)) from None
        seconds = time.monotonic() - begun
    time.sleep(min(seconds, LONGEST_REST_SECONDS))
    return answer

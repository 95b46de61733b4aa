"""A PACS as a source of campaigns: walked by dates, listed, fetched, and held against the list.

A study is complete when every wanted object that the PACS lists is here; no count of the PACS is
believed. What did not come is asked for again at once, later again, and in the end named.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Protocol

from intake.archive.budget import Budget, Places
from intake.archive.dicomweb import WebRetriever
from intake.archive.errors import PacsAway, PullFailed, SetUpWrong, StudyOffline
from intake.archive.finder import Finder, SharedWalk, make_finder
from intake.archive.listed import SLOW, Availability, ListedInstance, StudyListing
from intake.archive.retrieve import DimseRetriever
from intake.archive.source import Progress, Pulled, WalkBatch
from intake.archive.spans import SpanWalk, walk_spans
from intake.dicom.store_handler import StoreHandler
from records.campaigns import pulling
from records.campaigns.adding import NewStudy
from records.campaigns.pacs_query import PacsQuery
from records.campaigns.pulling import ClaimedPull
from records.campaigns.walking import ClaimedWalk
from records.database.session import database_time, unit_of_work
from records.errors import DiskFull, NotAllowed, PartError
from records.operations.heartbeats import BEAT_SECONDS, has_beaten_since
from records.pacs import Pacs
from records.settings import Settings
from records.states import CampaignKind

FAILURES_IN_A_ROW = 3
"""So many different studies that fail in a row are the PACS's fault."""

LISTENER_SECONDS = BEAT_SECONDS + 2
"""A listener that runs writes a heartbeat within this time."""

_LOOK_SECONDS = 0.5

_NOT_ASKED = (Availability.OFFLINE, Availability.UNAVAILABLE)


class Retriever(Protocol):
    """Fetches images."""

    def retrieve(
        self,
        study_instance_uid: str,
        wanted: Sequence[ListedInstance],
        progress: Progress,
        *,
        whole_series: bool,
    ) -> None:
        """Ask for images; when this returns, the PACS has said that it is done."""


class PacsSource:
    """One PACS, as `intake.archive.source.Source`.

    Args:
        pacs: which, and how it is asked.
        config: our own AE title.
        handler: keeps what comes over our own associations.

    Raises:
        SettingsError: a file or a title cannot be used.
    """

    kinds: Sequence[CampaignKind] = (CampaignKind.LIST, CampaignKind.QUERY, CampaignKind.AGAIN)
    walked: Sequence[CampaignKind] = (CampaignKind.QUERY,)

    def __init__(self, pacs: Pacs, config: Settings, handler: StoreHandler) -> None:
        self.name = f"PACS {pacs.name}"
        self.pacs = pacs.name
        self.attempts = pacs.attempts
        self.retry_seconds = pacs.retry_seconds
        self.offline_seconds = 3600 * pacs.nearline_hours
        self.budget = Budget(pacs.studies_per_minute)
        self._cut_at = pacs.answers_cut_at
        self._handler = handler
        self._finder, self._retriever = make_clients(pacs, config, handler)
        self._lock = threading.Lock()
        # Walks and fetches together have no more associations than the PACS allows.
        self._places = Places(pacs.associations)
        self._failures: list[str] = []
        self._sends_to_listener = pacs.retrieve == "c-move"

    # ---- intake.archive.source.Source ----

    def walk(self, walk: ClaimedWalk) -> Generator[WalkBatch]:
        """Ask for the studies of the campaign's dates, from its position on.

        Raises:
            PacsAway: the PACS does not answer.
            PartError: the campaign names no dates.
        """
        try:
            query = PacsQuery.from_source(walk.source)
        except NotAllowed as error:
            raise PartError(str(error)) from None
        spans = SpanWalk(query, self._cut_at, walk.position)
        with closing(SharedWalk(self._finder.walk(), self._places)) as questions:
            for found in walk_spans(spans, questions.ask):
                studies = [
                    NewStudy(
                        study.study_instance_uid,
                        study.accession_number,
                        listed=study.instances,
                    )
                    for study in found
                ]
                yield WalkBatch(studies, spans.to_position(), note=spans.note())

    def find(self, accession_number: str) -> Sequence[str]:
        """The UIDs of the studies that an accession number means.

        Raises:
            PacsAway, PullFailed: it cannot be asked.
        """
        with self._places:
            found = self._finder.find_by_accession_number(accession_number)
        return list(dict.fromkeys(study.study_instance_uid for study in found))

    def pull(self, pull: ClaimedPull, progress: Progress) -> Pulled | None:
        """Fetch what is not here of a study; None where the PACS does not know it.

        Raises:
            PacsAway: the PACS does not answer.
            PullFailed: images did not come, and are to be asked for again later.
            StudyOffline: images did not come, and the PACS has them on slow media.
            DiskFull: there is no room for images.
            DatabaseDown: PostgreSQL does not answer.
            LostLease: `progress` raised it.
        """
        self._check_room()
        with self._places:
            progress()  # the place may have been waited for
            try:
                listing = self._list(pull.study_instance_uid)
                if listing is None or not listing.wanted:
                    return None if listing is None else Pulled(0, ())
                missing, failure = self._fetch(pull.study_instance_uid, listing.wanted, progress)
            except PullFailed as error:
                self._note_failure(pull.study_instance_uid, error)
                raise
        self._check_room()
        if not missing:
            self._failures.clear()
            return Pulled(len(listing.wanted), ())
        return self._judge(pull, listing, missing, failure)

    def check(self) -> None:
        """Find out whether the PACS answers.

        Raises:
            PacsAway: it does not.
        """
        with self._places:
            self._finder.check()

    def wait_seconds(self, now: float) -> float:
        """How long to wait before the next study is fetched, by the monotonic clock."""
        with self._lock:
            return self.budget.seconds_left(now)

    # ---- One study ----

    def _check_room(self) -> None:
        if not self._handler.has_room():
            raise DiskFull("there is less room on the disk than NIGHTDRAFT_DISK_STOP_MB")

    def _list(self, study_instance_uid: str) -> StudyListing | None:
        begun = time.monotonic()
        listing = self._finder.list_study(study_instance_uid)
        with self._lock:
            self.budget.note_answer(time.monotonic() - begun)
        return listing

    def _fetch(
        self, study_instance_uid: str, wanted: Sequence[ListedInstance], progress: Progress
    ) -> tuple[list[ListedInstance], str]:
        """Fetch what is not here, twice where need be.

        Returns:
            What is not here then, and what the PACS said of it.
        """
        missing = _missing(study_instance_uid, wanted)
        if not missing:
            return missing, ""
        with self._lock:
            self.budget.take(time.monotonic())
        failure = ""
        # Where all of it is missing, every PACS knows how to send a series. Then each by its name.
        for whole_series in (len(missing) == len(wanted), False):
            asked = [one for one in missing if one.availability not in _NOT_ASKED]
            if not asked:
                break
            try:
                self._retriever.retrieve(
                    study_instance_uid, asked, progress, whole_series=whole_series
                )
            except PullFailed as error:
                failure = f"{error}"
            except StudyOffline as error:
                missing = _missing(study_instance_uid, missing)
                uids = [one.sop_instance_uid for one in missing]
                raise StudyOffline(f"{error}", uids) from None
            except SetUpWrong:
                raise
            except PacsAway as error:
                # If it answers otherwise, it was this study that it ended the association for.
                self._finder.check()
                failure = f"{error}"
            progress()
            missing = _missing(study_instance_uid, missing)
            self._check_room()
            if not missing:
                break
        return missing, failure

    def _judge(
        self,
        pull: ClaimedPull,
        listing: StudyListing,
        missing: Sequence[ListedInstance],
        failure: str,
    ) -> Pulled:
        """Decide on a study of which something is missing."""
        listed = len(listing.wanted)
        uids = [one.sop_instance_uid for one in missing]
        is_last = pull.attempt >= self.attempts
        has_some = len(missing) < listed
        slow = [one.availability for one in missing if one.availability in SLOW]
        if slow and not (is_last and has_some):
            raise StudyOffline(
                f"the PACS has {len(slow)} of the study's {listed} images on media that it cannot "
                f"reach at once ({', '.join(sorted(set(slow)))})",
                uids,
            )
        error = PullFailed(failure or f"{len(missing)} of {listed} images did not come", uids)
        if not has_some:
            self._note_failure(pull.study_instance_uid, error)
        if not is_last or (failure and not has_some):
            raise error
        return Pulled(listed, uids)

    def _note_failure(self, study_instance_uid: str, error: PullFailed) -> None:
        """Count a study of which nothing could be had.

        Raises:
            PacsAway: it was one of several in a row, or our own listener takes nothing.
        """
        if self._sends_to_listener and not _does_listener_run():
            raise PacsAway(
                f"{self.name} sends images to our listener (C-MOVE), which does not run: start "
                "`nightdraft listen`"
            )
        with self._lock:
            if study_instance_uid not in self._failures:
                self._failures.append(study_instance_uid)
            if len(self._failures) < FAILURES_IN_A_ROW:
                return
            self._failures.clear()
        raise PacsAway(
            f"{FAILURES_IN_A_ROW} studies of {self.name} failed one after the other; the last "
            f"error: {error}"
        )


def make_clients(pacs: Pacs, config: Settings, handler: StoreHandler) -> tuple[Finder, Retriever]:
    """How a PACS is asked and how its images come, by its settings.

    Raises:
        SettingsError: a file or a title cannot be used.
    """
    finder = make_finder(pacs, config)
    if pacs.retrieve == "wado-rs":
        return finder, WebRetriever(pacs, handler)
    return finder, DimseRetriever(pacs, config, handler)


def _missing(study_instance_uid: str, wanted: Sequence[ListedInstance]) -> list[ListedInstance]:
    with unit_of_work() as session:
        present = pulling.list_present(session, study_instance_uid)
    return [one for one in wanted if one.sop_instance_uid not in present]


def _does_listener_run() -> bool:
    """Whether a listener, on whichever machine, writes a heartbeat from now on."""
    deadline = time.monotonic() + LISTENER_SECONDS
    with unit_of_work() as session:
        begun = database_time(session)
    while True:
        with unit_of_work() as session:
            if has_beaten_since(session, "listener", begun):
                return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_SECONDS)

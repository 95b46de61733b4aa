"""Takes turns for the campaigns of one source: walks it, fetches one study after the other.

A fault of the source is one fault: there is one alarm, its campaigns say why they wait, and a study
is tried from time to time until the source answers. No study pays for it with an attempt.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from intake.archive.errors import PacsAway, PullFailed, StudyOffline
from records.alarm_kinds import AlarmKind
from records.campaigns import adding, campaigns, pulling
from records.campaigns.adding import NewStudy
from records.campaigns.pulling import ClaimedPull, ClaimedWalk
from records.database.session import unit_of_work
from records.errors import DatabaseDown, DiskFull, LostLease, PartError, safe_text
from records.failpoints import failpoint
from records.operations import alarms, lights
from records.operations.lights import Seen
from records.states import CampaignKind, CampaignReason, CampaignStudyState, WalkState
from records.telemetry import logger

IDLE_SECONDS = 1.0
"""Time between two looks for work while there is none."""

WALK_SECONDS = 900.0
"""A walk that was claimed and not gone on with, for its process died, is claimed again then."""

FIRST_PAUSE_SECONDS = 5.0
LAST_PAUSE_SECONDS = 300.0
"""The pause after a source did not answer, at first and at most; it doubles."""

LIGHT_SECONDS = 10.0
"""Time between two records of whether the source answers."""


@dataclass(frozen=True, slots=True)
class WalkBatch:
    """Studies that a walk found, and where it goes on after them.

    Attributes:
        studies: of one batch.
        files: of a folder, by study UID: the size of each file by its path.
        position: where the walk goes on.
        note: what a person should know of the walk up to here; None is nothing new.
    """

    studies: Sequence[NewStudy]
    position: Mapping[str, Any] | None
    files: Mapping[str, Mapping[str, int]] | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Pulled:
    """What of a study is here now.

    Attributes:
        listed: how many wanted images the source lists.
        missing: SOP Instance UIDs of those that are not here.
        size: bytes, where known.
    """

    listed: int
    missing: Sequence[str]
    size: int | None = None


class Source(Protocol):
    """Where studies are fetched from: a PACS, or folders."""

    name: str
    """Whose alarm and light it is."""
    pacs: str
    """The name by which campaigns know it; "" for folders."""
    kinds: Sequence[CampaignKind]
    walked: Sequence[CampaignKind]
    """The kinds that it walks."""
    attempts: int
    retry_seconds: float
    offline_seconds: float

    def walk(self, walk: ClaimedWalk) -> Iterator[WalkBatch]:
        """Walk a campaign's source from its position on."""

    def find(self, accession_number: str) -> Sequence[str]:
        """The UIDs of the studies that an accession number means."""

    def pull(self, pull: ClaimedPull) -> Pulled | None:
        """Fetch what is not here of a study; None where the source does not know the study."""

    def check(self) -> None:
        """Find out whether the source answers."""

    def wait_seconds(self, now: float) -> float:
        """How long to wait before the next study is fetched, by the monotonic clock."""


class SourceState:
    """Whether a source answers, shared by all who take turns for it."""

    def __init__(self, source: Source, alarm_seconds: float) -> None:
        self._source = source
        self._alarm_seconds = alarm_seconds
        self._lock = threading.Lock()
        self._pause = 0.0
        self._away_since: float | None = None
        self._is_known = False
        self._sentence = ""
        self._until = 0.0
        self._seen_at = 0.0
        self._due: dict[uuid.UUID, float] = {}  # by campaign with a rate of its own

    @property
    def is_known_well(self) -> bool:
        """Whether it answered when it was last asked."""
        return self._is_known and self._away_since is None

    def rest_seconds(self) -> float:
        """How long it is left alone from now on."""
        return max(0.0, self._until - time.monotonic())

    def note_away(self, error: PartError) -> None:
        """Note that it does not answer; open its alarm when that has lasted."""
        now = time.monotonic()
        with self._lock:
            if self._away_since is None:
                self._away_since = now
                logger().warning(
                    "a source of campaigns does not answer",
                    owner=self._source.name,
                    error=safe_text(error),
                )
            self._is_known = True
            self._pause = min(max(FIRST_PAUSE_SECONDS, 2 * self._pause), LAST_PAUSE_SECONDS)
            retry = getattr(error, "retry_seconds", None)
            if retry is not None:
                self._pause = min(max(self._pause, retry), LAST_PAUSE_SECONDS)
            self._sentence = f"{error}."
            lasted = now - self._away_since
            pause = self._pause
            if lasted < self._alarm_seconds:
                # The alarm is not to wait for the end of a long pause.
                pause = min(pause, max(self._alarm_seconds - lasted, FIRST_PAUSE_SECONDS))
            self._until = now + pause
        with unit_of_work() as session:
            campaigns.stall(session, self._source.pacs, self._sentence)
            if lasted >= self._alarm_seconds:
                alarms.raise_alarm(session, AlarmKind.PACS_AWAY, self._source.name, self._sentence)
        self.record()

    def note_answer(self) -> None:
        """Note that it answered: its alarm is over, and its campaigns go on."""
        with self._lock:
            was_well = self.is_known_well
            if self._away_since is not None:
                logger().info("a source of campaigns answers again", owner=self._source.name)
            self._pause, self._away_since, self._is_known, self._until = 0.0, None, True, 0.0
        if not was_well:
            with unit_of_work() as session:
                campaigns.stall(session, self._source.pacs, "")
                alarms.close_alarms(session, self._source.name)
            self.record()

    def note_full(self, error: DiskFull) -> None:
        """Note that there is no room for images here; the disk has an alarm of its own."""
        with self._lock:
            # The next answer takes the note off the campaigns.
            self._is_known = False
            self._until = time.monotonic() + FIRST_PAUSE_SECONDS
        with unit_of_work() as session:
            campaigns.stall(session, self._source.pacs, f"{error}.")

    def resting(self, now: float) -> dict[uuid.UUID, float]:
        """Campaigns whose own rate lets nothing be fetched yet, with the seconds that are left."""
        with self._lock:
            return {key: due - now for key, due in self._due.items() if due > now}

    def note_started(self, pull: ClaimedPull, now: float) -> None:
        """Count a study against its campaign's own rate, where it has one."""
        if pull.studies_per_minute is None:
            return
        with self._lock:
            due = max(self._due.get(pull.campaign_id, now), now)
            self._due[pull.campaign_id] = due + 60.0 / pull.studies_per_minute

    def record(self) -> None:
        """Record the light of the source."""
        self._seen_at = time.monotonic()
        sentence = (
            self._sentence
            if self._away_since is not None
            else ("It answered when it was last asked.")
        )
        seen = Seen(self._source.name, is_well=self._away_since is None, sentence=sentence)
        with unit_of_work() as session:
            lights.record_observations(session, [seen])
            if self._away_since is not None:
                # A campaign that was created meanwhile waits, too.
                campaigns.stall(session, self._source.pacs, self._sentence)

    def record_if_due(self) -> None:
        """Record the light again where the last record is old."""
        if self._is_known and time.monotonic() - self._seen_at >= LIGHT_SECONDS:
            self.record()


class Puller(threading.Thread):
    """Takes turns until it is stopped.

    Args:
        source: where studies are fetched from.
        state: of the source, shared.
        ahead: NIGHTDRAFT_CAMPAIGN_AHEAD.
        walks: whether it walks the source, too; one of all does.
        number: of several.
    """

    def __init__(
        self, source: Source, state: SourceState, ahead: int, *, walks: bool, number: int = 0
    ) -> None:
        super().__init__(name=f"{source.name}-{number}", daemon=True)
        self.pulled = 0
        self._source = source
        self._state = state
        self._ahead = ahead
        self._walks = walks
        self._stopped = threading.Event()
        self._log_error = ""

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopped.set()

    def run(self) -> None:
        """Take turns; whatever happens is logged once, and tried again."""
        while not self._stopped.is_set():
            try:
                wait = self.take_turn()
                self._log_error = ""
            except Exception as error:
                # PostgreSQL is away, or a fault of ours: the claim runs out.
                text = safe_text(error)
                if text != self._log_error:
                    logger().warning("a campaign waits", owner=self._source.name, error=text)
                self._log_error = text
                wait = FIRST_PAUSE_SECONDS
            self._rest(wait)

    def _rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._stopped.wait(min(left, LIGHT_SECONDS)):
                return
            try:
                self._state.record_if_due()
            except DatabaseDown:  # the next turn logs it
                return

    def take_turn(self) -> float:
        """Fetch one study, or walk, if there is something to do.

        Returns:
            Seconds until the next turn.

        Raises:
            DatabaseDown: PostgreSQL does not answer.
        """
        rest = self._state.rest_seconds()
        if rest:
            return rest
        try:
            if self._walks and self._walk():
                return 0.0
            wait = self._source.wait_seconds(time.monotonic())
            if wait > 0:
                return min(wait, IDLE_SECONDS)
            now = time.monotonic()
            resting = self._state.resting(now)
            with unit_of_work() as session:
                pull = pulling.claim(
                    session, self._source.pacs, self._ahead, self._source.kinds, resting
                )
            if pull is not None:
                self._state.note_started(pull, now)
                self._pull(pull)
                return 0.0
            if not self._state.is_known_well:
                self._source.check()
                self._state.note_answer()
            self._state.record_if_due()
        except PacsAway as error:
            self._state.note_away(error)
            return self._state.rest_seconds()
        except DiskFull as error:
            self._state.note_full(error)
            return self._state.rest_seconds()
        return min([IDLE_SECONDS, *resting.values()])

    def _walk(self) -> bool:
        """Walk a source that waits for it; returns whether there was one."""
        with unit_of_work() as session:
            walk = pulling.claim_walk(session, self._source.walked, self._source.pacs, WALK_SECONDS)
        if walk is None:
            return False
        try:
            for batch in self._source.walk(walk):
                walk = self._save(walk, batch, WalkState.WALKING)
                failpoint("walk-batch")
                if self._stopped.is_set():
                    self._release(walk)
                    return True
            self._save(walk, WalkBatch((), None), WalkState.WALKED)
            self._state.note_answer()
        except LostLease:
            logger().info("a campaign was paused or ended while its source was walked")
        except PacsAway:
            self._release(walk)
            raise
        except PartError as error:
            with unit_of_work() as session:
                pulling.save_walk(session, walk, walk.position, WalkState.FAILED, f"{error}.")
        return True

    def _save(self, walk: ClaimedWalk, batch: WalkBatch, state: WalkState) -> ClaimedWalk:
        with unit_of_work() as session:
            if batch.files:
                adding.add_files(session, walk.campaign_id, batch.files)
            if batch.studies:
                adding.add_studies(session, walk.campaign_id, batch.studies)
            return pulling.save_walk(session, walk, batch.position, state, batch.note)

    def _release(self, walk: ClaimedWalk) -> None:
        try:
            with unit_of_work() as session:
                pulling.release_walk(session, walk)
        except LostLease:
            return

    def _pull(self, pull: ClaimedPull) -> None:
        failpoint("pull-claimed")
        try:
            self._pull_claimed(pull)
            self._state.note_answer()
            self.pulled += 1
        except LostLease:
            logger().info("a study is fetched by somebody else, or its campaign ended")
        except PartError:
            try:
                with unit_of_work() as session:
                    pulling.put_back(session, pull)
            except LostLease:
                pass
            raise

    def _pull_claimed(self, pull: ClaimedPull) -> None:
        source = self._source
        try:
            resolved = self._resolve(pull)
            if resolved is None:
                return
            pull = resolved
            pulled = source.pull(pull)
        except StudyOffline as error:
            self._try_again(
                pull, source.offline_seconds, CampaignReason.OFFLINE, CampaignStudyState.MISSING,
                f"{error}.",
            )  # fmt: skip
            return
        except PullFailed as error:
            wait = source.retry_seconds * 2 ** (pull.attempt - 1)
            self._try_again(
                pull, wait, CampaignReason.PULL_FAILED, CampaignStudyState.FAILED, f"{error}."
            )
            return
        failpoint("pull-fetched")
        if pulled is None:
            self._end(pull, CampaignStudyState.MISSING, CampaignReason.NOT_AT_PACS)
        elif not pulled.listed:
            self._end(pull, CampaignStudyState.SKIPPED, CampaignReason.NO_IMAGES)
        elif len(pulled.missing) >= pulled.listed and pull.attempt < source.attempts:
            with unit_of_work() as session:
                wait = source.retry_seconds * 2 ** (pull.attempt - 1)
                pulling.try_again(session, pull, wait, "No image came; they are asked for again.")
        else:
            with unit_of_work() as session:
                pulling.finish(
                    session,
                    pull,
                    listed=pulled.listed,
                    missing=pulled.missing,
                    size=pulled.size,
                )
        logger().info(
            "a study was fetched",
            owner=source.name,
            count=pulled.listed if pulled else 0,
            reason=f"{len(pulled.missing)} missing" if pulled else "unknown there",
        )

    def _resolve(self, pull: ClaimedPull) -> ClaimedPull | None:
        """The claim with a study UID; None where there is nothing to fetch for this row."""
        if pull.study_instance_uid:
            return pull
        uids = self._source.find(pull.accession_number)
        if not uids:
            self._end(pull, CampaignStudyState.MISSING, CampaignReason.NOT_AT_PACS)
            return None
        with unit_of_work() as session:
            if not pulling.resolve(session, pull, uids):
                return None
            return pulling.renew(session, pull)

    def _try_again(
        self,
        pull: ClaimedPull,
        seconds: float,
        reason: CampaignReason,
        state: CampaignStudyState,
        detail: str,
    ) -> None:
        if pull.attempt >= self._source.attempts:
            self._end(pull, state, reason, detail)
            return
        with unit_of_work() as session:
            pulling.try_again(session, pull, seconds, detail)

    def _end(
        self,
        pull: ClaimedPull,
        state: CampaignStudyState,
        reason: CampaignReason,
        detail: str = "",
    ) -> None:
        with unit_of_work() as session:
            pulling.fail(session, pull, state, reason, detail=detail)

"""Takes turns for the campaigns of one source: walks it, fetches one study after the other.

While a source is away its campaigns say why they wait, and a study is tried from time to time until
it answers. No study pays for it with an attempt.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing

from sqlalchemy.orm import Session

from intake.archive.budget import CampaignRates
from intake.archive.errors import PacsAway, PullFailed, StudyOffline
from intake.archive.source import Source, WalkBatch
from intake.turns import FIRST_PAUSE_SECONDS, IDLE_SECONDS, Reachability, TurnThread
from records.alarm_kinds import AlarmKind
from records.campaigns import adding, campaigns, pulling, walking
from records.campaigns.pulling import ClaimedPull
from records.campaigns.walking import ClaimedWalk
from records.database.session import unit_of_work
from records.errors import DiskFull, LostLease, PartError, SettingsError, safe_text
from records.failpoints import failpoint
from records.states import CampaignReason, CampaignStudyState, WalkState
from records.telemetry import logger

RIGHTS_SECONDS = 10.0
"""Time between two looks at which sites the settings let fetch from a PACS."""

WALK_SECONDS = 900.0
"""A walk that was claimed and not gone on with, for its process died, is claimed again then."""


class SourceState(Reachability):
    """Whether a source answers, and what its campaigns' own rates let be fetched.

    Args:
        source: which.
        alarm_seconds: its alarm opens after it has been away for so long.
        clock: seconds on a clock that only goes forward.
    """

    def __init__(
        self,
        source: Source,
        alarm_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(source.name, AlarmKind.PACS_AWAY, alarm_seconds, clock)
        self.rates = CampaignRates()
        self._pacs = source.pacs
        self._rights_lock = threading.Lock()
        self._rights_settled_at: float | None = None
        self._rights_error = ""

    def settle_rights(self) -> None:
        """Let campaigns wait whose site may not fetch from the source any more, and others go on.

        While the file of the PACSs is wrong the rights stay as they were.

        Raises:
            DatabaseDown: PostgreSQL does not answer.
        """
        with self._rights_lock:  # no thread claims before the first look has ended
            now = time.monotonic()
            settled_at = self._rights_settled_at
            if not self._pacs or (settled_at is not None and now - settled_at < RIGHTS_SECONDS):
                return
            try:
                with unit_of_work() as session:
                    campaigns.settle_rights(session, self._pacs)
                self._rights_error = ""
            except SettingsError as error:
                if str(error) != self._rights_error:
                    self._rights_error = str(error)
                    logger().warning(
                        "who may fetch from a PACS cannot be read anew",
                        owner=self.name,
                        error=safe_text(error),
                    )
            self._rights_settled_at = now

    def note_waiting(self, session: Session, sentence: str) -> None:
        """Say on the source's campaigns why they wait, on those that are new meanwhile, too."""
        campaigns.stall(session, self._pacs, sentence)

    def is_needed(self, session: Session, *, now: bool) -> bool:
        """Whether a running campaign needs the source; `now`: its window is open."""
        return campaigns.need_source(session, self._pacs, now=now)

    def note_full(self, error: DiskFull) -> None:
        """Note that there is no room for images here; the disk has an alarm of its own."""
        self.pause(FIRST_PAUSE_SECONDS)  # the next answer takes the note off the campaigns
        with unit_of_work() as session:
            campaigns.stall(session, self._pacs, f"{error}.")


class KeptClaim:
    """The claim of a study that is being fetched, renewed while its images come.

    Attributes:
        pull: the claim as it was last renewed.
    """

    def __init__(self, pull: ClaimedPull) -> None:
        self.pull = pull
        self._renewed_at = time.monotonic()

    def renew_if_due(self) -> None:
        """Renew the claim where that was not done lately.

        Raises:
            LostLease: somebody else has the study now, or its campaign ended.
            DatabaseDown: PostgreSQL does not answer.
        """
        now = time.monotonic()
        if now - self._renewed_at < pulling.RENEW_SECONDS:
            return
        with unit_of_work() as session:
            self.pull = pulling.renew(session, self.pull)
        self._renewed_at = now


class Puller(TurnThread):
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
        super().__init__(f"{source.name}-{number}", state)
        self.pulled = 0
        self._source = source
        self._state = state
        self._ahead = ahead
        self._walks = walks

    def take_turn(self) -> float:
        """Fetch one study, or walk, if there is something to do; see `TurnThread.take_turn`."""
        rest = self._state.rest_seconds()
        if rest:
            return rest
        try:
            self._state.settle_rights()
            if self._walks and self._walk():
                return 0.0
            wait = self._source.wait_seconds(time.monotonic())
            if wait > 0:
                return min(wait, IDLE_SECONDS)
            now = time.monotonic()
            resting = self._state.rates.resting(now)
            with unit_of_work() as session:
                pull = pulling.claim(
                    session, self._source.pacs, self._ahead, self._source.kinds, resting
                )
            if pull is not None:
                self._state.rates.take(pull.campaign_id, pull.studies_per_minute, now)
                self._pull(KeptClaim(pull))
                return 0.0
            if not self._state.is_known_well:
                self._source.check()
                self._state.note_answer()
            self._state.record_if_due()
        except PacsAway as error:
            return self._state.note_away(error)
        except DiskFull as error:
            self._state.note_full(error)
            return self._state.rest_seconds()
        return min([IDLE_SECONDS, *resting.values()])

    def _walk(self) -> bool:
        """Walk a source that waits for it; returns whether there was one."""
        with unit_of_work() as session:
            walk = walking.claim_walk(session, self._source.walked, self._source.pacs, WALK_SECONDS)
        if walk is None:
            return False
        try:
            with closing(self._source.walk(walk)) as batches:
                for batch in batches:
                    walk = self._save(walk, batch, WalkState.WALKING)
                    failpoint("walk-batch")
                    if self.is_stopped:
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
                walking.save_walk(session, walk, walk.position, WalkState.FAILED, f"{error}.")
        return True

    def _save(self, walk: ClaimedWalk, batch: WalkBatch, state: WalkState) -> ClaimedWalk:
        with unit_of_work() as session:
            if batch.files:
                adding.add_files(session, walk.campaign_id, batch.files)
            if batch.studies:
                adding.add_studies(session, walk.campaign_id, batch.studies)
            return walking.save_walk(session, walk, batch.position, state, batch.note)

    def _release(self, walk: ClaimedWalk) -> None:
        try:
            with unit_of_work() as session:
                walking.release_walk(session, walk)
        except LostLease:
            return

    def _pull(self, claim: KeptClaim) -> None:
        failpoint("pull-claimed")
        try:
            self._pull_claimed(claim)
            self._state.note_answer()
            self.pulled += 1
        except LostLease:
            logger().info("a study is fetched by somebody else, or its campaign ended")
        except PartError:
            try:
                with unit_of_work() as session:
                    pulling.put_back(session, claim.pull)
            except LostLease:
                pass
            raise

    def _pull_claimed(self, claim: KeptClaim) -> None:
        source = self._source
        if claim.pull.attempt > source.attempts:
            # Each of them was counted, and none came to an end: the fetch ends the process.
            self._end(
                claim.pull, CampaignStudyState.FAILED, CampaignReason.PULL_FAILED,
                f"The part that fetches ended {source.attempts} times while it fetched this study.",
            )  # fmt: skip
            return
        try:
            if not self._resolve(claim):
                return
            pulled = source.pull(claim.pull, claim.renew_if_due)
        except StudyOffline as error:
            self._try_again(
                claim.pull,
                source.offline_seconds,
                CampaignReason.OFFLINE,
                CampaignStudyState.MISSING,
                f"{error}.",
                error.missing,
            )
            return
        except PullFailed as error:
            wait = source.retry_seconds * 2 ** (claim.pull.attempt - 1)
            self._try_again(
                claim.pull,
                wait,
                CampaignReason.PULL_FAILED,
                CampaignStudyState.FAILED,
                f"{error}.",
                error.missing,
            )
            return
        failpoint("pull-fetched")
        pull = claim.pull
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

    def _resolve(self, claim: KeptClaim) -> bool:
        """Name the study where only its accession number is known; whether it is to be fetched."""
        pull = claim.pull
        if pull.study_instance_uid:
            return True
        uids = self._source.find(pull.accession_number)
        if not uids:
            self._end(pull, CampaignStudyState.MISSING, CampaignReason.NOT_AT_PACS)
            return False
        with unit_of_work() as session:
            if not pulling.resolve(session, pull, uids):
                return False
            claim.pull = pulling.renew(session, pull)
        return True

    def _try_again(
        self,
        pull: ClaimedPull,
        seconds: float,
        reason: CampaignReason,
        state: CampaignStudyState,
        detail: str,
        missing: Sequence[str],
    ) -> None:
        if pull.attempt >= self._source.attempts:
            self._end(pull, state, reason, detail, missing)
            return
        with unit_of_work() as session:
            pulling.try_again(session, pull, seconds, detail)

    def _end(
        self,
        pull: ClaimedPull,
        state: CampaignStudyState,
        reason: CampaignReason,
        detail: str = "",
        missing: Sequence[str] = (),
    ) -> None:
        with unit_of_work() as session:
            pulling.fail(session, pull, state, reason, missing, detail)

"""Prepared inputs -> drafts, many in the model at once. Knows no network and no films.

The model pulls: when it has room it asks for another case, and what fits is claimed then, so a
study that came by STAT takes the next free place. A thread reads prepared inputs while the model
works. What is written is saved in groups, one transaction each, and waits a second at most.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace

from model.case import Case, DraftText, FailedCase, unpack
from model.errors import BundleError, CaseError, DeviceError
from model.prompting.confidence import sentence_confidences
from model.reporter import Drafting
from records.blobs import Blobs
from records.errors import (
    DatabaseDown,
    NightdraftError,
    NotFound,
    PartError,
    WorkerSick,
    safe_text,
)
from records.failpoints import failpoint
from records.settings import settings
from records.states import FailReason, Stage
from records.telemetry import logger
from records.workflow import drafts, leases, requests
from records.workflow.drafts import NewDraft
from records.workflow.leases import Lease
from worker.circuit_breaker import CircuitBreaker, is_stopped
from worker.lease_renewer import LeaseRenewer

SAVE_TRIES = 3
"""A group of drafts is worth seconds of a GPU: a broken transaction is tried again before that."""

SAVE_COUNT, SAVE_SECONDS = 16, 1.0
"""Drafts that make a group, and how long the first of them waits for others."""

CLAIM_SECONDS = 0.5
"""Between two looks for more to claim, while the model works and there was nothing."""

AHEAD = 8
"""Beside the free slots, an eighth of all slots is claimed and read ahead: little enough that a
study that came by STAT waits for none of them."""

_REMEMBERED = 256
_sent_back: deque[object] = deque(maxlen=_REMEMBERED)
"""Requests that this process sent back because their preprocessing was another bundle's."""


class DeviceFailed(PartError):
    """The model's device failed. The worker ends, so that it starts anew with a fresh device."""


def draft_ready(
    reporter: Drafting,
    owner: str,
    seconds: float,
    streak: CircuitBreaker,
    stopping: Callable[[], bool] = lambda: False,
) -> int:
    """Draft what is prepared, by priority, until nothing is or `seconds` are over; how many.

    Raises:
        DeviceFailed: the device failed; everything in hand was given back uncounted.
        BundleUnusable: the bundle turned out damaged, or is not the one studies are prepared for.
        PartError: disk or database failed; everything in hand was given back uncounted.
        WorkerSick: too many different studies failed in a row.
    """
    with ThreadPoolExecutor(1, "read-ahead") as reading, LeaseRenewer() as keeper:
        return _Round(reporter, owner, seconds, streak, stopping, keeper, reading).run()


@dataclass
class _Claimed:
    """A study that is claimed, and its prepared input as the reading thread brings it."""

    lease: Lease
    content: Future[bytes]


class _Round:
    """One task's work: what is claimed, what the model reads, what it wrote."""

    def __init__(
        self,
        reporter: Drafting,
        owner: str,
        seconds: float,
        streak: CircuitBreaker,
        stopping: Callable[[], bool],
        keeper: LeaseRenewer,
        reading: ThreadPoolExecutor,
    ) -> None:
        self._reporter = reporter
        self._owner = owner
        self._until = time.monotonic() + seconds
        self._streak = streak
        self._stopping = stopping
        self._keeper = keeper
        self._thread = reading
        self._blobs = Blobs(settings().data_dir)
        self._claimed: deque[_Claimed] = deque()  # not yet given to the model
        self._reading: dict[str, Lease] = {}  # in the model, by the case's key
        self._written: list[tuple[Lease, DraftText]] = []  # not yet saved
        self._save_by = 0.0  # when the first of them has waited long enough
        self._look_again = 0.0  # for more to claim
        self._saved = 0

    def run(self) -> int:
        """Stream after stream, until nothing is ready or time is up; how many were saved."""
        while not self._stopping() and (self._claimed or self._claim()):
            try:
                self._stream()
            except (NightdraftError, BundleError):
                raise
            except Exception as error:
                self._save()
                self._broke(error)
            self._save()
        return self._saved

    def _stream(self) -> None:
        for result in self._reporter.draft(self._cases()):
            if isinstance(result, FailedCase) and isinstance(result.error, DeviceError):
                raise result.error
            lease = self._reading.pop(result.key)
            if isinstance(result, DraftText):
                self._streak.succeeded()
                if not self._written:
                    self._save_by = time.monotonic() + SAVE_SECONDS
                self._written.append((lease, result))
                self._save_if_due()
            else:
                self._failed(lease, result.error)

    def _cases(self) -> Iterator[Case | None]:
        """One stream of cases, as the model asks for them; None where there is none just now.

        A suspect is in the model alone.
        """
        alone = False
        while not self._stopping():
            self._save_if_due()
            if not self._claimed and not self._claim():
                if not self._reading:
                    return
                yield None
                continue
            if self._reading and (alone or self._claimed[0].lease.alone):
                yield None
                continue
            claimed = self._claimed.popleft()
            case = self._case_of(claimed)
            if case is None:
                continue
            alone = claimed.lease.alone
            self._reading[case.key] = claimed.lease
            failpoint("while-drafting")
            yield case

    def _claim(self) -> bool:
        """Claim what the model has room for, and a little ahead; False where none is to be had."""
        now = time.monotonic()
        if now > self._until or (self._reading and now < self._look_again):
            return False
        slots = self._reporter.slots
        room = max(1, slots // AHEAD, slots - len(self._reading))
        with self._keeper.transaction() as session:
            if is_stopped(session, Stage.DRAFT):
                return False
            claimed = leases.claim(
                session,
                Stage.DRAFT,
                self._owner,
                room,
                settings().lease_seconds,
                self._reporter.manifest.digest,
            )
        self._keeper.take(claimed)
        self._claimed.extend(
            _Claimed(one, self._thread.submit(self._blobs.read, one.prepared_blob or ""))
            for one in claimed
        )
        if not claimed:
            self._look_again = now + CLAIM_SECONDS
        return bool(claimed)

    def _case_of(self, claimed: _Claimed) -> Case | None:
        """What the model reads; None where the study must be prepared again, or is not ours now."""
        lease = claimed.lease
        if self._keeper.lost(lease):
            self._keeper.done(lease)
            return None
        if lease.preprocessing_digest != self._reporter.manifest.preprocessing_digest:
            self._other_bundle(lease)
            return None
        try:
            case = unpack(claimed.content.result())
        except NotFound:
            self._prepare_again(lease, "its prepared input is gone")
            return None
        except CaseError:
            self._prepare_again(lease, "its prepared input is damaged")
            return None
        except OSError as error:
            raise PartError(f"the data folder cannot be read ({error.strerror})") from None
        if case.key != lease.inputs_digest:
            # Never draft for one study from what was prepared for another.
            self._prepare_again(lease, "its prepared input is of other films")
            return None
        return replace(case, key=str(lease.request_id))

    def _other_bundle(self, lease: Lease) -> None:
        if lease.request_id in _sent_back:
            # Prepared again, and again for another bundle: this would go on for ever.
            raise WorkerSick(
                "Studies are prepared for another bundle than this worker drafts with: "
                "give all workers the same NIGHTDRAFT_BUNDLE and restart them"
            )
        self._prepare_again(lease, "it was prepared for another bundle")
        _sent_back.append(lease.request_id)

    def _prepare_again(self, lease: Lease, why: str) -> None:
        with self._keeper.transaction() as session:
            requests.prepare_again(session, lease, why)
        self._keeper.done(lease)
        logger().warning("a study is prepared again", request=str(lease.request_id), reason=why)

    def _broke(self, error: Exception) -> None:
        """The model's stream broke: with one case in it that one is to blame, else nobody yet."""
        reading = list(self._reading.values())
        self._reading.clear()
        if len(reading) == 1:
            self._failed(reading[0], error)
        elif reading:
            why = f"the model failed on one of {len(reading)}: {safe_text(error)}"
            self._keeper.give_back(reading, why, suspect=True)
            logger().error("a batch broke", count=len(reading), error=safe_text(error))
        if isinstance(error, DeviceError) and len(reading) != 1:
            raise DeviceFailed(f"the model's device failed: {safe_text(error)}") from None
        if not reading:
            raise WorkerSick(f"the model failed without a study: {safe_text(error)}") from None

    def _failed(self, lease: Lease, error: Exception) -> None:
        """The case's own error: an attempt, and perhaps a sick worker."""
        knobs = settings()
        how = safe_text(error)
        logger().error("a study failed", stage="draft", request=str(lease.request_id), error=how)
        with self._keeper.transaction() as session:
            stands = requests.fail(
                session,
                lease,
                FailReason.MODEL_ERROR,
                how,
                max_attempts=knobs.max_attempts,
                retry_seconds=knobs.retry_seconds,
            )
        self._keeper.done(lease)
        if stands:
            try:
                self._streak.failed(lease.request_id, how)
            except WorkerSick:
                self._save()
                raise

    def _save_if_due(self) -> None:
        """Save once there is a group of drafts, or the first has waited long enough."""
        full = len(self._written) >= SAVE_COUNT
        if full or (self._written and time.monotonic() >= self._save_by):
            self._save()

    def _save(self) -> None:
        """Save what was written, in one transaction; one that cannot be kept is alone in that."""
        group, self._written = self._written, []
        if not group:
            return
        failpoint("before-draft-commit")
        try:
            self._save_group(group)
        except PartError:
            raise
        except (NightdraftError, ValueError) as error:
            if len(group) == 1:
                self._failed(group[0][0], error)
                return
            for one in group:
                self._written = [one]
                self._save()
            return
        failpoint("after-draft-commit")

    def _save_group(self, group: list[tuple[Lease, DraftText]]) -> None:
        for tries_left in reversed(range(SAVE_TRIES)):
            try:
                with self._keeper.transaction() as session:
                    saved = [
                        drafts.save(session, lease, self._new(lease, text)) for lease, text in group
                    ]
                break
            except DatabaseDown:
                if not tries_left:
                    raise
                time.sleep(1.0)
        self._keeper.done(*(lease for lease, _ in group))
        for (lease, _), draft_id in zip(group, saved, strict=True):
            if draft_id is None:
                logger().warning("a lease was lost: draft dropped", request=str(lease.request_id))
        self._saved += sum(draft_id is not None for draft_id in saved)
        logger().info("drafts were saved", stage="draft", count=len(saved) - saved.count(None))

    def _new(self, lease: Lease, wrote: DraftText) -> NewDraft:
        manifest, story = self._reporter.manifest, lease.provenance
        notes = list(story.get("notes", []))
        if wrote.cut:
            notes.append("The text reached the limit of its length and ends unfinished.")
        if wrote.rerun:
            notes.append(
                "Half precision gave values that are no numbers; "
                f"this study was run again in {wrote.rerun}."
            )
        sure = sentence_confidences(wrote.text, wrote.tokens, wrote.logprobs)
        return NewDraft(
            text=wrote.text,
            findings=wrote.findings,
            impression=wrote.impression,
            model_name=manifest.name,
            model_version=manifest.version,
            bundle_digest=manifest.digest,
            settings_digest=self._reporter.settings_digest,
            inputs_digest=lease.inputs_digest or "",
            notice=manifest.notice,
            prompt=wrote.prompt,
            indication=story.get("indication", ""),
            indication_source=story.get("indication_source", ""),
            views=list(story.get("views", [])),
            left_out=list(story.get("left_out", [])),
            notes=notes,
            timings=dict(wrote.seconds),
            tokens=list(wrote.tokens),
            token_logprobs=list(wrote.logprobs),
            cut=wrote.cut,
            device=wrote.device,
            dtype=wrote.dtype,
            sentences=[asdict(sentence) for sentence in sure] or None,
        )

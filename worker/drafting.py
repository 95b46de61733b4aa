"""Drafts prepared studies, many in the model at once.

The model pulls: when it has room it takes another case, and requests are claimed only then, so a
STAT study takes the next free slot. A thread reads prepared inputs while the model works. Drafts
are saved in groups, one transaction each, and wait a second at most.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace

from model.case import Case, DraftText, FailedCase, unpack
from model.errors import BundleError, CaseError, DeviceError
from model.prompting.confidence import sentence_confidences
from model.prompting.prompt import read_prior
from model.reporter import Drafter
from records.blobs import Blobs
from records.bundles import stops
from records.errors import (
    DatabaseDown,
    NightdraftError,
    NotFound,
    PartError,
    WorkerSick,
    safe_text,
)
from records.failpoints import failpoint
from records.reports import finals
from records.settings import settings
from records.states import FailReason
from records.telemetry import logger
from records.tracing import NO_SPAN, Span, begin
from records.workflow import attempts, draft_comparisons, drafts, leases, requests
from records.workflow.drafts import NewDraft
from records.workflow.leases import Lease
from worker.circuit_breaker import CircuitBreaker
from worker.image_support import SupportAssessor
from worker.lease_renewer import LeaseRenewer

SAVE_TRIES = 3
"""Attempts to save a group of drafts, which have cost seconds of a GPU."""

SAVE_COUNT, SAVE_SECONDS = 16, 1.0
"""The number of drafts in a group, and how long the first of them waits for others."""

CLAIM_SECONDS = 0.5
"""Time between two claims while the model works and the last claim got nothing."""

AHEAD = 8
"""Beside the free slots, an eighth of all slots is claimed and read ahead. That is so little that a
STAT study hardly waits for them."""

_sent_back: deque[uuid.UUID] = deque(maxlen=256)
"""Requests that this process sent back because they were prepared for another bundle."""


class DeviceFailed(PartError):
    """The model's device failed. The worker ends, so that it starts anew with a fresh device."""


def draft_ready(
    reporter: Drafter,
    owner: str,
    seconds: float,
    breaker: CircuitBreaker,
    is_stopping: Callable[[], bool] = lambda: False,
) -> int:
    """Draft prepared studies by priority, until none is left or `seconds` are over.

    Args:
        reporter: the loaded model.
        owner: this process, as its leases name it.
        seconds: after so long no further request is claimed; what the model has is finished.
        breaker: counts failures over several calls.
        is_stopping: called before each case; once it is true the model gets no further one.

    Returns:
        How many drafts were saved.

    Raises:
        DeviceFailed: the device failed; all leases were released uncounted.
        BundleUnusable: the bundle turned out damaged, or is not the one studies are prepared for.
        PartError: disk or database failed; all leases were released uncounted.
        WorkerSick: too many different studies failed in a row.
    """
    with ThreadPoolExecutor(1, "read-ahead") as executor, LeaseRenewer() as renewer:
        return _Round(reporter, owner, seconds, breaker, is_stopping, renewer, executor).run()


@dataclass
class _Claimed:
    """A claimed request, and its prepared input as the read-ahead thread brings it."""

    lease: Lease
    content: Future[bytes]


class _Round:
    """One task's work: what is claimed, what is in the model, what is to be saved."""

    def __init__(
        self,
        reporter: Drafter,
        owner: str,
        seconds: float,
        breaker: CircuitBreaker,
        is_stopping: Callable[[], bool],
        renewer: LeaseRenewer,
        executor: ThreadPoolExecutor,
    ) -> None:
        self._assessor = SupportAssessor(reporter.manifest)
        if self._assessor.calibration is not None:
            # `nightdraft calibrate` may have made a new one since this process's last round.
            reporter.use_calibration(self._assessor.calibration)
        self._reporter = reporter
        self._owner = owner
        self._deadline = time.monotonic() + seconds
        self._breaker = breaker
        self._is_stopping = is_stopping
        self._renewer = renewer
        self._executor = executor
        self._blobs = Blobs(settings().data_dir)
        self._claimed: deque[_Claimed] = deque()  # not yet given to the model
        self._in_model: dict[str, Lease] = {}  # by the case's key
        self._generating: dict[str, Span] = {}  # likewise
        self._unsaved: list[tuple[Lease, DraftText]] = []
        self._save_at = 0.0  # when the first of the unsaved has waited long enough
        self._claim_at = 0.0  # no claim before this time
        self._saved = 0

    def run(self) -> int:
        """Run stream after stream, until nothing is ready or time is up; returns drafts saved."""
        while not self._is_stopping() and (self._claimed or self._claim()):
            try:
                self._stream()
            except (NightdraftError, BundleError):
                raise
            except Exception as error:
                self._save()
                self._handle_broken_stream(error)
            self._save()
        self._assessor.check_drift()
        return self._saved

    def _stream(self) -> None:
        for result in self._reporter.draft(self._cases()):
            if isinstance(result, FailedCase) and isinstance(result.error, DeviceError):
                raise result.error
            lease = self._in_model.pop(result.key)
            self._generating.pop(result.key, NO_SPAN).end()
            if isinstance(result, DraftText):
                self._breaker.record_success()
                if not self._unsaved:
                    self._save_at = time.monotonic() + SAVE_SECONDS
                self._unsaved.append((lease, result))
                self._save_if_due()
            else:
                self._record_failure(lease, result.error)

    def _cases(self) -> Iterator[Case | None]:
        """Yield one stream of cases as the model pulls them; None where none is ready just now.

        A suspect is in the model alone.
        """
        alone = False
        while not self._is_stopping():
            self._save_if_due()
            if not self._claimed and not self._claim():
                if not self._in_model:
                    return
                yield None
                continue
            if self._in_model and (alone or self._claimed[0].lease.alone):
                yield None
                continue
            claimed = self._claimed.popleft()
            case = self._case_of(claimed)
            if case is None:
                continue
            alone = claimed.lease.alone
            self._in_model[case.key] = claimed.lease
            self._generating[case.key] = begin(
                "generate", claimed.lease.study_id, parent=self._renewer.span(claimed.lease)
            )
            failpoint("while-drafting")
            yield case

    def _claim(self) -> bool:
        """Claim what the model has room for, and a little ahead; False where nothing is claimed."""
        now = time.monotonic()
        if now > self._deadline or (self._in_model and now < self._claim_at):
            return False
        slots = self._reporter.slots
        room = max(1, slots // AHEAD, slots - len(self._in_model))
        digest = self._reporter.manifest.digest
        with self._renewer.transaction() as session:
            # What waits for this bundle is drafted once the stop is lifted, or with another one.
            is_stopped = stops.is_stopped(session, digest)
            claimed = [] if is_stopped else self._breaker.claim(session, self._owner, room, digest)
        self._renewer.add(claimed)
        self._claimed.extend(
            _Claimed(lease, self._executor.submit(self._blobs.read, lease.prepared_blob or ""))
            for lease in claimed
        )
        if not claimed:
            self._claim_at = now + CLAIM_SECONDS
        return bool(claimed)

    def _case_of(self, claimed: _Claimed) -> Case | None:
        """The model's case; None where the input must be made again, or the lease is lost."""
        lease = claimed.lease
        if self._renewer.is_lost(lease):
            self._renewer.remove(lease)
            return None
        if lease.preprocessing_digest != self._reporter.manifest.preparation_digest:
            self._send_back(lease)
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

    def _send_back(self, lease: Lease) -> None:
        """Send a study that was prepared for another bundle back to be prepared again, once."""
        if lease.request_id in _sent_back:
            # It was prepared again, but for another bundle as before: this would go on for ever.
            raise WorkerSick(
                "Studies are prepared for another bundle than this worker drafts with: "
                "give all workers the same NIGHTDRAFT_BUNDLE and restart them"
            )
        self._prepare_again(lease, "it was prepared for another bundle")
        _sent_back.append(lease.request_id)

    def _prepare_again(self, lease: Lease, reason: str) -> None:
        with self._renewer.transaction() as session:
            requests.prepare_again(session, lease, reason)
        self._renewer.remove(lease)
        logger().warning("a study is prepared again", **lease.log_fields, reason=reason)

    def _handle_broken_stream(self, error: Exception) -> None:
        """Handle a broken stream: a single case in it is at fault, of several none is yet."""
        in_model = list(self._in_model.values())
        self._in_model.clear()
        for span in self._generating.values():
            span.note(problem=safe_text(error))
            span.end()
        self._generating.clear()
        if len(in_model) == 1:
            self._record_failure(in_model[0], error)
        elif in_model:
            reason = f"the model failed on one of {len(in_model)}: {safe_text(error)}"
            self._renewer.release(in_model, reason, suspect=True)
            logger().error("a batch broke", count=len(in_model), error=safe_text(error))
        if isinstance(error, DeviceError) and len(in_model) != 1:
            raise DeviceFailed(f"the model's device failed: {safe_text(error)}") from None
        if not in_model:
            raise WorkerSick(f"the model failed without a study: {safe_text(error)}") from None

    def _record_failure(self, lease: Lease, error: Exception) -> None:
        """Count an attempt for a failed case; raise WorkerSick where too many failed in a row."""
        config = settings()
        detail = safe_text(error)
        self._renewer.span(lease).note(problem=detail)
        logger().error("a study failed", stage="draft", **lease.log_fields, error=detail)
        with self._renewer.transaction() as session:
            stored = attempts.fail(
                session,
                lease,
                FailReason.MODEL_ERROR,
                detail,
                max_attempts=config.max_attempts,
                retry_seconds=config.retry_seconds,
            )
        self._renewer.remove(lease)
        if stored:
            try:
                self._breaker.record_failure(lease.request_id, detail)
            except WorkerSick:
                self._save()
                raise

    def _save_if_due(self) -> None:
        """Save once there is a group of drafts, or the first has waited long enough."""
        full = len(self._unsaved) >= SAVE_COUNT
        if full or (self._unsaved and time.monotonic() >= self._save_at):
            self._save()

    def _save(self) -> None:
        """Save the unsaved drafts in one transaction.

        Where the database refuses the group, each draft is saved by itself, so that only the one
        that cannot be kept fails.
        """
        group, self._unsaved = self._unsaved, []
        if not group:
            return
        failpoint("before-draft-commit")
        try:
            self._save_group(group)
        except PartError:
            raise
        except (NightdraftError, ValueError) as error:
            if len(group) == 1:
                self._record_failure(group[0][0], error)
                return
            for entry in group:
                self._unsaved = [entry]
                self._save()
            return
        failpoint("after-draft-commit")

    def _save_group(self, group: list[tuple[Lease, DraftText]]) -> None:
        begun = time.monotonic()
        for tries_left in reversed(range(SAVE_TRIES)):
            try:
                with self._renewer.transaction() as session:
                    # All at once: locked one after another, they could be in another order than
                    # those of a sweep that supersedes some of them.
                    leases.lock_held(session, [lease for lease, _ in group])
                    saved = [
                        drafts.save(session, lease, self._new_draft(lease, text))
                        for lease, text in group
                    ]
                    for (lease, _), draft_id in zip(group, saved, strict=True):
                        finals.note_comparisons_of_draft(session, lease.study_id)
                        if draft_id is not None:
                            draft_comparisons.note(session, draft_id)
                break
            except DatabaseDown:
                if not tries_left:
                    raise
                time.sleep(1.0)
        seconds = time.monotonic() - begun
        for lease, _ in group:
            parent = self._renewer.span(lease)
            begin("store draft", lease.study_id, parent=parent, seconds_ago=seconds).end()
        self._renewer.remove(*(lease for lease, _ in group))
        for (lease, _), draft_id in zip(group, saved, strict=True):
            if draft_id is None:
                logger().warning("a lease was lost: draft dropped", **lease.log_fields)
            else:
                logger().info(
                    "a draft was saved", stage="draft", draft=str(draft_id), **lease.log_fields
                )
        self._saved += sum(draft_id is not None for draft_id in saved)
        logger().debug("drafts were saved", stage="draft", count=len(saved) - saved.count(None))

    def _new_draft(self, lease: Lease, draft: DraftText) -> NewDraft:
        manifest, provenance = self._reporter.manifest, lease.provenance
        notes = list(provenance.get("notes", []))
        if draft.cut:
            notes.append("The text reached the limit of its length and ends unfinished.")
        if draft.rerun:
            notes.append(
                "Half precision gave values that are no numbers; "
                f"this study was run again in {draft.rerun}."
            )
        prior_report = read_prior(draft.prompt, "prior_report")
        prior_source = provenance.get("prior_report_source")
        sentences = sentence_confidences(draft.text, draft.tokens, draft.logprobs)
        return NewDraft(
            text=draft.text,
            findings=draft.findings,
            impression=draft.impression,
            model_name=manifest.name,
            model_version=manifest.version,
            bundle_digest=manifest.digest,
            settings_digest=self._reporter.settings_digest,
            inputs_digest=lease.inputs_digest or "",
            notice=manifest.notice,
            prompt=draft.prompt,
            indication=provenance.get("indication", ""),
            indication_source=provenance.get("indication_source", ""),
            indications=provenance.get("indications"),
            views=list(provenance.get("views", [])),
            left_out=list(provenance.get("left_out", [])),
            notes=notes,
            timings=dict(draft.seconds),
            tokens=list(draft.tokens),
            token_logprobs=list(draft.logprobs),
            cut=draft.cut,
            device=draft.device,
            dtype=draft.dtype,
            prior_report=(
                {**prior_source, "text": prior_report} if prior_source and prior_report else None
            ),
            sentences=[asdict(sentence) for sentence in sentences] or None,
            finding_scores=draft.finding_scores or None,
            support=self._assessor.assess(draft),
        )

"""Studies that wait -> prepared inputs on disk, one at a time by priority. Knows no torch.

What is in the films is `worker.case_builder`' word; here are claims, leases and what a failure costs.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable

from model.case import pack
from model.errors import BundleError
from model.manifest import Manifest, read_manifest
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.errors import BrokerDown, BundleUnusable, PartError, safe_text
from records.failpoints import failpoint
from records.settings import settings
from records.states import FailReason, HoldReason, InstanceState, Stage
from records.telemetry import logger
from records.workflow import holds, leases, requests, studies
from records.workflow.leases import Lease
from records.workflow.requests import PreparedInput
from worker import bells
from worker.case_builder import Asking, FileGone, Kept, NotFor, Ready, Unreadable, make_ready
from worker.circuit_breaker import CircuitBreaker, is_stopped
from worker.lease_renewer import LeaseRenewer

ASIDE = {
    InstanceState.SKIPPED: ("other_object", "It is no film that is drafted from."),
    InstanceState.CONFLICT: ("conflict", "Other bytes came under its UID; it is kept aside."),
    InstanceState.MISMATCH: ("mismatch", "It came under another patient; it is kept aside."),
}
"""Objects of a study that never reach the choice of views: reason and sentence."""


def served_manifest() -> Manifest:
    """The manifest of the bundle that the settings name.

    Raises:
        BundleUnusable: there is none, or it cannot be read.
    """
    named = settings().bundle
    if not named:
        raise BundleUnusable("NIGHTDRAFT_BUNDLE is not set: name a bundle's folder, or `demo`")
    try:
        return read_manifest(named)
    except BundleError as error:
        raise BundleUnusable(str(error)) from None


def prepare_ready(
    owner: str, seconds: float, streak: CircuitBreaker, stopping: Callable[[], bool] = lambda: False
) -> int:
    """Prepare what is ready, by priority, until nothing is or `seconds` are over; how many.

    Counts are of requests that became PREPARED; skipped, held and failed ones are rows.

    Raises:
        BundleUnusable: nothing was claimed.
        PartError: disk or database failed; the lease was given back uncounted.
        WorkerSick: too many different studies failed in a row in an unforeseen way.
    """
    manifest = served_manifest()
    until = time.monotonic() + seconds
    count = 0
    with LeaseRenewer() as keeper:
        while time.monotonic() < until and not stopping():
            lease = _claim_one(owner, manifest)
            if lease is None:
                break
            keeper.take([lease])
            started = time.monotonic()
            try:
                became = _prepare(lease, manifest, keeper)
            except PartError:
                raise
            except Exception as error:
                if isinstance(error, OSError) and error.errno:
                    name = errno.errorcode.get(error.errno, "")
                    raise PartError(f"the data folder cannot be used ({name})") from None
                _failed(lease, error, keeper, streak)
                continue
            keeper.done(lease)
            streak.succeeded()
            logger().info(
                "a study was looked at",
                stage="prepare",
                request=str(lease.request_id),
                outcome=became,
                seconds=round(time.monotonic() - started, 3),
            )
            if became == "prepared":
                count += 1
                _ring_for(lease)
    return count


def _claim_one(owner: str, manifest: Manifest) -> Lease | None:
    with unit_of_work() as session:
        if is_stopped(session, Stage.PREPARE):
            return None
        claimed = leases.claim(
            session, Stage.PREPARE, owner, 1, settings().lease_seconds, manifest.digest
        )
    return claimed[0] if claimed else None


def _prepare(lease: Lease, manifest: Manifest, keeper: LeaseRenewer) -> str:
    """One study to its next state; the word for the log."""
    knobs = settings()
    blobs = Blobs(knobs.data_dir)
    kept, others, answered = _what_arrived(lease, blobs)
    if kept and not (blobs.root / "instances").is_dir():
        raise PartError(f"the data folder {blobs.root} holds no instances: is its disk mounted?")
    failpoint("while-preparing")
    found = make_ready(kept, others, manifest, answered, knobs)
    key = blobs.write_prepared(found.digest, pack(found.case)) if isinstance(found, Ready) else ""
    with keeper.transaction() as session:
        match found:
            case Ready():
                what = PreparedInput(
                    key, found.digest, manifest.preprocessing_digest, found.provenance
                )
                return "prepared" if requests.mark_prepared(session, lease, what) else "lost"
            case NotFor():
                stands = requests.skip(session, lease, found.reason, found.sentence)
                return "skipped" if stands else "lost"
            case Asking():
                if not leases.lock_if_held(session, lease):
                    return "lost"
                holds.open_hold(session, lease.study_id, found.question, found.sentence)
                leases.release(session, [lease], f"a person must decide: {found.question}")
                return "held"
            case Unreadable():
                stands = requests.fail(
                    session,
                    lease,
                    FailReason.UNREADABLE,
                    found.sentence,
                    max_attempts=knobs.max_attempts,
                    retry_seconds=knobs.retry_seconds,
                    for_good=True,
                )
                return "failed" if stands else "lost"


def _what_arrived(
    lease: Lease, blobs: Blobs
) -> tuple[list[Kept], list[dict[str, str]], set[HoldReason]]:
    """The study's films up to the request's revision, its other objects, and answered holds."""
    with unit_of_work() as session:
        rows = [
            row
            for row in studies.list_instances(session, lease.study_id)
            if row.revision <= lease.revision
        ]
        answered = holds.approved_reasons(session, lease.study_id)
    kept = [
        Kept(row.sop_instance_uid, row.sop_class_uid, blobs.path(row.blob), row.sha256)
        for row in rows
        if row.state == InstanceState.KEPT
    ]
    others = []
    for row in rows:
        if row.state != InstanceState.KEPT:
            reason, sentence = ASIDE[InstanceState(row.state)]
            others.append(
                {
                    "sop_instance_uid": row.sop_instance_uid,
                    "reason": reason,
                    "sentence": row.reason or sentence,
                }
            )
    return kept, others, answered


def _failed(lease: Lease, error: Exception, keeper: LeaseRenewer, streak: CircuitBreaker) -> None:
    """An error that nobody foresaw: an attempt, and perhaps a sick worker."""
    knobs = settings()
    if isinstance(error, FileGone):
        reason, how = FailReason.UNREADABLE, "A film's file is gone from the data folder."
    else:
        reason, how = FailReason.UNEXPECTED, safe_text(error)
    logger().error("a study failed", stage="prepare", request=str(lease.request_id), error=how)
    with keeper.transaction() as session:
        stands = requests.fail(
            session,
            lease,
            reason,
            how,
            max_attempts=knobs.max_attempts,
            retry_seconds=knobs.retry_seconds,
        )
    keeper.done(lease)
    if stands:
        streak.failed(lease.request_id, how)


def _ring_for(lease: Lease) -> None:
    try:
        bells.ring(Stage.DRAFT, [lease.request_id])
    except BrokerDown as error:
        # Prepared it stays; the sweep rings when Redis is back.
        logger().warning("the next stage was not rung", error=safe_text(error))

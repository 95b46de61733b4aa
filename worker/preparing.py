"""Prepares studies, one at a time by priority: from received files to a model input on disk.

`worker.case_builder` says what becomes of the images. This module claims requests, renews leases
and decides what a failure costs.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.case import pack
from model.errors import BundleError
from model.manifest import Manifest, read_manifest
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.database.tables import Instance
from records.errors import BrokerDown, BundleUnusable, PartError, safe_text
from records.failpoints import failpoint
from records.operations import scrub
from records.orders import effects, matching
from records.orders.indications import Candidate, order_candidates
from records.reports import finals
from records.reports.prior_reports import PatientReports, read_patient_reports
from records.settings import settings
from records.states import (
    DAMAGE_SENTENCES,
    Damage,
    FailReason,
    HoldReason,
    InstanceState,
    Purpose,
    Stage,
)
from records.telemetry import log_context, logger
from records.workflow import attempts, damage, holds, leases, requests, stored_bytes, studies
from records.workflow.leases import Lease
from records.workflow.requests import PreparedInput
from records.workflow.withdrawals import lock_study
from worker import bells
from worker.case_builder import (
    BuiltCase,
    MissingFile,
    NeedsDecision,
    StoredImage,
    Unreadable,
    Unsuitable,
    build_case,
)
from worker.circuit_breaker import CircuitBreaker
from worker.lease_renewer import LeaseRenewer

KEPT_ASIDE = {
    InstanceState.SKIPPED: ("other_object", "It is no film that is drafted from."),
    InstanceState.CONFLICT: ("conflict", "Other bytes came under its UID; it is kept aside."),
    InstanceState.MISMATCH: ("mismatch", "It came under another patient; it is kept aside."),
    InstanceState.MOVED: ("moved", "A person gave it to another study."),
    InstanceState.REJECTED: ("rejected", "It was rejected by a rejection note."),
}
"""Objects of a study that never reach the choice of views: reason and sentence. What a newer object
replaced, and what is still compared with the one that counts, is left out without a word: the
object that counts under the same UID is named."""


class DamagedFilms(Exception):
    """Files of a study are not what was received: nothing is drafted from them."""

    def __init__(self, films: Sequence[tuple[Instance, Damage]]) -> None:
        super().__init__("damaged films")
        self.films = films


def served_manifest() -> Manifest:
    """The manifest of the bundle that NIGHTDRAFT_BUNDLE names.

    Raises:
        BundleUnusable: there is none, or it cannot be read.
    """
    bundle = settings().bundle
    if not bundle:
        raise BundleUnusable("NIGHTDRAFT_BUNDLE is not set: name a bundle's folder, or `demo`")
    try:
        return read_manifest(bundle)
    except BundleError as error:
        raise BundleUnusable(str(error)) from None


def prepare_ready(
    owner: str,
    seconds: float,
    breaker: CircuitBreaker,
    is_stopping: Callable[[], bool] = lambda: False,
) -> int:
    """Prepare ready requests by priority, until none is left or `seconds` are over.

    Args:
        owner: this process, as its leases name it.
        seconds: after so long no further request is claimed.
        breaker: counts failures over several calls.
        is_stopping: called before each claim; once it is true no further request is claimed.

    Returns:
        How many requests became PREPARED. What was skipped, held or failed is in the rows.

    Raises:
        BundleUnusable: nothing was claimed.
        PartError: disk or database failed; the lease was released uncounted.
        WorkerSick: too many different studies failed in a row in an unforeseen way.
    """
    manifest = served_manifest()
    deadline = time.monotonic() + seconds
    count = 0
    with LeaseRenewer() as renewer:
        while time.monotonic() < deadline and not is_stopping():
            lease = _claim_next(owner, manifest, breaker)
            if lease is None:
                break
            renewer.add([lease])
            with log_context(**lease.log_fields):
                if _prepare_or_fail(lease, manifest, renewer, breaker) == "prepared":
                    count += 1
                    _ring_for(lease)
    return count


def _prepare_or_fail(
    lease: Lease, manifest: Manifest, renewer: LeaseRenewer, breaker: CircuitBreaker
) -> str:
    """Prepare one study; its own failure costs it an attempt. Returns the outcome for the log."""
    started = time.monotonic()
    try:
        outcome = _prepare(lease, manifest, renewer)
    except PartError:
        raise
    except DamagedFilms as error:
        _give_up_damaged(lease, error.films, renewer, breaker)
        return "damaged"
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            name = errno.errorcode.get(error.errno, "")
            raise PartError(f"the data folder cannot be used ({name})") from None
        _record_failure(lease, error, renewer, breaker)
        return "failed"
    renewer.span(lease).note(outcome=outcome)
    renewer.remove(lease)
    breaker.record_success()
    logger().info(
        "a study was looked at",
        stage="prepare",
        outcome=outcome,
        seconds=round(time.monotonic() - started, 3),
    )
    return outcome


def _claim_next(owner: str, manifest: Manifest, breaker: CircuitBreaker) -> Lease | None:
    with unit_of_work() as session:
        claimed = breaker.claim(session, owner, 1, manifest.digest)
    return claimed[0] if claimed else None


def _prepare(lease: Lease, manifest: Manifest, renewer: LeaseRenewer) -> str:
    """Bring one study to its next state; returns the outcome for the log."""
    config = settings()
    blobs = Blobs(config.data_dir)
    study = _read_study(lease)
    if isinstance(study, str):
        return study
    instances = study.instances
    images = _stored_images(instances, blobs)
    if images and not (blobs.root / "instances").is_dir():
        raise PartError(f"the data folder {blobs.root} holds no instances: is its disk mounted?")
    failpoint("while-preparing")
    if removed := stored_bytes.describe_removed(_kept(instances)):
        return _give_up_removed(lease, removed, renewer)
    if damaged := _find_damaged(instances, blobs):
        raise DamagedFilms(damaged)

    def keep_picture(image: StoredImage, jpeg: bytes) -> None:
        blobs.write_picture(str(image.path.relative_to(blobs.root)), jpeg)

    result = build_case(
        images,
        _other_objects(instances),
        manifest,
        study.approved,
        config,
        keep_picture,
        study.order_texts,
        study.reports,
    )
    if isinstance(result, BuiltCase) and study.waited_in_vain:
        result.provenance["notes"].append(study.waited_in_vain)
    key = ""
    if isinstance(result, BuiltCase):
        key = blobs.write_prepared(result.digest, pack(result.case))
    with renewer.transaction() as session:
        match result:
            case BuiltCase():
                row = lock_study(session, lease.study_id)
                orders = matching.matched_orders(session, row.id)
                used = result.provenance["indications"]
                if effects.is_outdated(effects.counting(orders), used):
                    leases.release(session, [lease], "an order came while it was prepared")
                    return "released"
                if not leases.lock_if_held(session, lease):
                    return "lost"
                reports = read_patient_reports(session, row, orders)
                if reports.versions != study.reports.versions:
                    # A report that comes from now on finds the request PREPARED.
                    leases.release(session, [lease], "a report of the patient came meanwhile")
                    return "released"
                prepared = PreparedInput(
                    key, result.digest, manifest.preparation_digest, result.provenance
                )
                stored = requests.mark_prepared(session, lease, prepared)
                return "prepared" if stored else "lost"
            case Unsuitable():
                stored = requests.skip(session, lease, result.reason, result.sentence)
                return "skipped" if stored else "lost"
            case NeedsDecision():
                if not leases.lock_if_held(session, lease):
                    return "lost"
                holds.open_hold(session, lease.study_id, result.reason, result.sentence)
                leases.release(session, [lease], f"a person must decide: {result.reason}")
                return "held"
            case Unreadable():
                stored = attempts.fail(
                    session,
                    lease,
                    FailReason.UNREADABLE,
                    result.sentence,
                    max_attempts=config.max_attempts,
                    retry_seconds=config.retry_seconds,
                    for_good=True,
                )
                return "failed" if stored else "lost"


@dataclass(frozen=True, slots=True)
class _StudyRead:
    """What a study is prepared from.

    Attributes:
        instances: its objects up to the request's revision.
        approved: the holds about its films that a person decided with PROCEED.
        order_texts: the texts of its orders, newest order first.
        reports: the reports of its patient, one of which may be the prior report.
        waited_in_vain: the note for the draft where it waited for an order that did not come, or
            "".
    """

    instances: list[Instance]
    approved: set[HoldReason]
    order_texts: list[Candidate]
    reports: PatientReports
    waited_in_vain: str


def _read_study(lease: Lease) -> _StudyRead | str:
    """Read the study in one transaction, with every order and report that there is.

    Returns:
        The outcome for the log where nothing is prepared: a final report was here before, and the
        request is ended; or an order or finals opened a hold, the lease is released, and a person
        decides.
    """
    with unit_of_work() as session:
        study, orders = effects.take_up_for_preparing(session, lease.study_id)
        if (
            lease.purpose is Purpose.PRIMARY
            and leases.lock_if_held(session, lease)
            and finals.end_if_reported(session, study)
        ):
            return "reported elsewhere"
        study_holds = holds.list_by_study(session, study.id)
        if any(hold.decision is None for hold in study_holds):
            leases.release(session, [lease], "a person must decide")
            return "held"
        counting = effects.counting(orders)
        minutes = effects.wait_minutes(study)
        return _StudyRead(
            [
                instance
                for instance in studies.list_instances(session, study.id)
                if instance.revision <= lease.revision
            ],
            holds.approved_reasons(study_holds) - {HoldReason.ORDER_MISMATCH},
            order_candidates(counting),
            read_patient_reports(session, study, orders),
            f"No order came within {minutes:g} min: it is drafted without one."
            if minutes and not counting
            else "",
        )


def _kept(instances: Sequence[Instance]) -> list[Instance]:
    return [instance for instance in instances if instance.state == InstanceState.KEPT]


def _give_up_removed(lease: Lease, sentence: str, renewer: LeaseRenewer) -> str:
    """End the request, which is tried again when its films are here again; returns the outcome."""
    config = settings()
    with renewer.transaction() as session:
        # Who files the film that comes again locks the study, too: one of the two is the last.
        lock_study(session, lease.study_id)
        if not stored_bytes.lacks_bytes(session, lease.study_id):
            leases.release(session, [lease], "a film whose file had been removed was sent again")
            return "released"
        stored = attempts.fail(
            session,
            lease,
            FailReason.REMOVED,
            sentence,
            max_attempts=config.max_attempts,
            retry_seconds=config.retry_seconds,
            for_good=True,
        )
    return "failed" if stored else "lost"


def _stored_images(instances: Sequence[Instance], blobs: Blobs) -> list[StoredImage]:
    return [
        StoredImage(
            instance.sop_instance_uid,
            instance.sop_class_uid,
            blobs.path(instance.blob),
            instance.sha256,
            instance.received_at.isoformat(),
        )
        for instance in instances
        if instance.state == InstanceState.KEPT
    ]


def _other_objects(instances: Sequence[Instance]) -> list[dict[str, str]]:
    """The objects that are not drafted from, as a draft's `left_out` lists them."""
    other_objects = []
    for instance in instances:
        if instance.state in KEPT_ASIDE:
            reason, sentence = KEPT_ASIDE[InstanceState(instance.state)]
            other_objects.append(
                {
                    "sop_instance_uid": instance.sop_instance_uid,
                    "reason": reason,
                    "sentence": instance.reason or sentence,
                }
            )
    return other_objects


def _find_damaged(instances: Sequence[Instance], blobs: Blobs) -> list[tuple[Instance, Damage]]:
    """The images whose file is not what was received, each with what is wrong.

    Raises:
        PartError: the disk cannot be read.
    """
    damaged = []
    for instance in instances:
        if instance.state == InstanceState.KEPT:
            try:
                harm = blobs.find_damage(instance.blob, instance.size, instance.sha256)
            except OSError as error:
                raise PartError(f"the data folder cannot be read ({error.strerror})") from None
            if harm is not None:
                damaged.append((instance, harm))
    return damaged


def _give_up_damaged(
    lease: Lease,
    films: Sequence[tuple[Instance, Damage]],
    renewer: LeaseRenewer,
    breaker: CircuitBreaker,
) -> None:
    """End the request, which is tried again when its films are healed.

    Raises:
        WorkerSick: it is one of many in a row, so the disk is at fault.
    """
    config = settings()
    sentence = " ".join(dict.fromkeys(DAMAGE_SENTENCES[harm] for _, harm in films))
    stored = False
    renewer.span(lease).note(problem=sentence)
    with renewer.transaction() as session:
        marked = [damage.mark_damaged(session, film, harm) for film, harm in films]
        if not any(marked):
            leases.release(session, [lease], "a damaged film was sent again meanwhile")
        else:
            stored = attempts.fail(
                session,
                lease,
                FailReason.DAMAGED,
                sentence,
                max_attempts=config.max_attempts,
                retry_seconds=config.retry_seconds,
                for_good=True,
            )
            scrub.settle_alarm(session)
    renewer.remove(lease)
    if stored:
        logger().error("a stored film is damaged", stage="prepare")
        # Damage that was known before says nothing of the disk as it is now.
        if any(film.damage is None for film, _ in films):
            breaker.record_failure(lease.request_id, sentence)


def _record_failure(
    lease: Lease, error: Exception, renewer: LeaseRenewer, breaker: CircuitBreaker
) -> None:
    """Count an attempt for an unforeseen error; raise WorkerSick where too many failed in a row."""
    config = settings()
    if isinstance(error, MissingFile):
        reason, detail = FailReason.UNREADABLE, "A film's file is gone from the data folder."
    else:
        reason, detail = FailReason.UNEXPECTED, safe_text(error)
    logger().error("a study failed", stage="prepare", error=detail)
    renewer.span(lease).note(problem=detail)
    with renewer.transaction() as session:
        stored = attempts.fail(
            session,
            lease,
            reason,
            detail,
            max_attempts=config.max_attempts,
            retry_seconds=config.retry_seconds,
        )
    renewer.remove(lease)
    if stored:
        breaker.record_failure(lease.request_id, detail)


def _ring_for(lease: Lease) -> None:
    try:
        bells.ring(Stage.DRAFT, [lease.request_id])
    except BrokerDown as error:
        # The request stays PREPARED; the sweep rings when Redis is back.
        logger().warning("the next stage was not rung", error=safe_text(error))

"""Acknowledges a C-STORE: `StoreHandler.handle_store` is the one place that answers it.

It answers 0x0000 only after `filing.file_instance` has returned, that is, after the object's bytes
are synced and its row is committed. Every failure becomes a status, a log line and a refusal row.
No error leaves this module: pynetdicom would answer 0xC211, which tells the sender nothing, and
nobody would see that something was refused.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from pydicom import Dataset

from intake.dicom.caller_proof import CallerProof
from intake.dicom.filing import ObjectRefused, ReceivedFile, clean_text, file_instance
from intake.dicom.incoming_file import IncomingFile
from intake.dicom.limits import (
    C_STORE_REQUEST,
    OUT_OF_RESOURCES,
    STORAGE_CLASSES,
    STORE_STATUSES,
    RefusalReason,
)
from intake.dicom.refusal_log import RefusalLog
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.errors import DatabaseDown, DiskFull, NightdraftError, PartError, safe_text
from records.failpoints import failpoint
from records.operations import refusals
from records.operations.callers import MAX_CALLERS
from records.settings import Settings
from records.telemetry import log_context, logger
from records.tracing import begin

SUCCESS = 0x0000

_MAX_COMMENT_CHARACTERS = 64  # (0000,0902) is LO

_MAX_DELAY_SECONDS = 30.0
"""Seconds that an answer is held back at most; senders give up after a minute or so."""


class RateLimiter:
    """Slows a calling AE down once it has sent its objects for a minute; refuses nothing.

    It counts the objects of its own listener process only.
    """

    def __init__(self, per_minute: int, ended: threading.Event) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._ended = ended
        self._lock = threading.Lock()
        self._due: dict[str, float] = {}

    def wait(self, calling_ae: str) -> float:
        """Hold the caller back as long as needed, and return the seconds."""
        seconds = min(self.delay_seconds(calling_ae, time.monotonic()), _MAX_DELAY_SECONDS)
        if seconds > 0:
            self._ended.wait(seconds)
        return seconds

    def delay_seconds(self, calling_ae: str, now: float) -> float:
        """Count one object, and return how long its sender must wait: 0 within its minute."""
        if not self._gap:
            return 0.0
        with self._lock:
            due = max(self._due.get(calling_ae, now), now) + self._gap
            self._due[calling_ae] = due
        # Clock differences have rounding errors: a wait of less than a millisecond is none.
        return max(0.0, round(due - now - 60.0, 3))


class StoreHandler:
    """Answers the listener's C-STORE requests, and counts and reports what was refused.

    Args:
        settings: the listener's settings.
        blobs: where objects are stored.
        refusal_log: counts refused associations and classes.
        ended: set when the listener ends; nobody is held back from then on.

    Raises:
        SettingsError: as `CallerProof`.
    """

    def __init__(
        self,
        settings: Settings,
        blobs: Blobs,
        refusal_log: RefusalLog,
        ended: threading.Event,
    ) -> None:
        self.caller_proof = CallerProof(settings)
        self._settings = settings
        self._blobs = blobs
        self._refusal_log = refusal_log
        self._rate_limiter = RateLimiter(settings.max_instances_per_minute, ended)
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self._last_films: dict[str, float] = {}

    def has_room(self) -> bool:
        """Whether the disk has room for another object; checked before the object is written."""
        try:
            return self._blobs.free_mb() >= self._settings.disk_stop_mb
        except OSError:
            return False

    def handle_store(self, event: Any) -> Dataset:
        """Answer one C-STORE (PS3.4 annex B): 0x0000 only after fsync and commit. Never raises.

        Args:
            event: pynetdicom's EVT_C_STORE.

        Returns:
            The status and, for a refusal, a comment (0000,0902); pynetdicom sends them.
        """
        with log_context(request_id=association_id(event.assoc)):
            return self._handle_store(event)

    def _handle_store(self, event: Any) -> Dataset:
        start = time.monotonic()
        request = event.request
        calling_ae, address = _calling_ae(event.assoc), _address(event.assoc)
        sop_class = clean_text(str(request.AffectedSOPClassUID))
        sop_instance = clean_text(str(request.AffectedSOPInstanceUID))
        try:
            file = request._dataset_file
            if not isinstance(file, IncomingFile):
                raise ObjectRefused(RefusalReason.NO_DATA_SET)
            digest = file.finish()
            if file.refusal_reason:
                raise ObjectRefused(file.refusal_reason)
            if event.context.abstract_syntax != request.AffectedSOPClassUID:
                raise ObjectRefused(RefusalReason.DISAGREES)
            received = ReceivedFile(
                path=Path(file.name),
                sop_class_uid=sop_class,
                sop_instance_uid=str(request.AffectedSOPInstanceUID),
                transfer_syntax_uid=str(event.context.transfer_syntax),
                calling_ae=calling_ae,
                size=file.size,
                sha256=digest,
                is_believed=self._is_believed(event.assoc),
            )
            filing = time.monotonic()
            registration = file_instance(received, self._blobs, self._settings)
            filed = time.monotonic()
        except Exception as error:
            reason = self._record_failure(error, address, calling_ae, sop_class, sop_instance)
            status = STORE_STATUSES[reason]
            return _response(status.code, status.sentence)
        received_span = begin(
            "receive object",
            registration.study_id,
            seconds_ago=time.monotonic() - start,
            study=str(registration.study_id),
            bytes=received.size,
            outcome=registration.outcome.value,
        )
        received_span.link(UUID(association_id(event.assoc)))
        begin(
            "register object",
            registration.study_id,
            parent=received_span,
            seconds_ago=time.monotonic() - filing,
        ).end(time.monotonic() - filed)
        received_span.end()
        self._count(registration.outcome.value.lower())
        self._note_film(calling_ae)
        logger().info(
            "an object was kept" if registration.outcome.keeps_blob
            else "an object came again",
            study=str(registration.study_id),
            outcome=registration.outcome.value,
            calling_ae=calling_ae,
            bytes=received.size,
            seconds=round(time.monotonic() - start, 3),
        )  # fmt: skip
        self._hold_back(calling_ae)
        failpoint("before-answer")
        return _response(SUCCESS, "")

    def _is_believed(self, association: Any) -> bool:
        """Whether the sender is who its AE title says; whom we called ourselves is."""
        return association.is_requestor or self.caller_proof.believes(
            _calling_ae(association),
            _address(association),
            getattr(association, "nightdraft_certificate", None),
        )

    def take(
        self, received: ReceivedFile, address: str, refusal_reason: RefusalReason | None = None
    ) -> RefusalReason | None:
        """File an object that came another way than by C-STORE; never raises.

        Args:
            received: the object; its file is removed.
            address: where it came from.
            refusal_reason: why it was refused already while it came in.

        Returns:
            None where it is kept; else why not. What would be refused again is on the page of
            refusals, as what a sender sent.
        """
        try:
            if refusal_reason is not None:
                raise ObjectRefused(refusal_reason)
            registration = file_instance(received, self._blobs, self._settings)
        except Exception as error:
            return self._record_failure(
                error,
                address,
                received.calling_ae,
                clean_text(received.sop_class_uid),
                clean_text(received.sop_instance_uid),
            )
        finally:
            received.path.unlink(missing_ok=True)
        self._count(registration.outcome.value.lower())
        return None

    def handle_message(self, event: Any) -> None:
        """Report a C-STORE of a class that is no storage class: it never gets to `handle_store`.

        Args:
            event: pynetdicom's EVT_DIMSE_RECV: a whole message came.
        """
        message = event.message
        command = message.command_set
        if (
            command.CommandField == C_STORE_REQUEST
            and command.AffectedSOPClassUID not in STORAGE_CLASSES
        ):
            file = message._data_set_file
            if isinstance(file, IncomingFile):
                file.discard()
            self.report_refusal(
                event.assoc, RefusalReason.CLASS_NOT_TAKEN, str(command.AffectedSOPClassUID)
            )

    def handle_accepted(self, event: Any) -> None:
        """Log that an association began, and report each class that it cannot send.

        Args:
            event: pynetdicom's EVT_ACCEPTED.
        """
        association = event.assoc
        association.nightdraft_id = str(uuid4())
        association.nightdraft_span = begin(
            "association", UUID(association_id(association)), is_first=True
        )
        logger().info(
            "an association began",
            calling_ae=_calling_ae(association),
            host=_address(association),
            request_id=association_id(association),
        )
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
        # Many senders offer a class once for each transfer syntax; one that is taken is enough.
        for sop_class in {
            context.abstract_syntax for context in association.rejected_contexts
        } - accepted:
            reason = (
                RefusalReason.SYNTAX_NOT_TAKEN
                if sop_class in STORAGE_CLASSES
                else RefusalReason.CLASS_NOT_TAKEN
            )
            self.report_refusal(association, reason, str(sop_class))

    def handle_rejected(self, event: Any) -> None:
        """Find out why an association was rejected, and report it.

        Args:
            event: pynetdicom's EVT_REJECTED.
        """
        association = event.assoc
        request = association.requestor.primitive
        if self._settings.allowed_callers and (
            _calling_ae(association) not in self._settings.allowed_callers
        ):
            self.report_refusal(association, RefusalReason.CALLER_NOT_ALLOWED)
        elif self._settings.require_called_ae and (
            request.called_ae_title.strip() != self._settings.ae_title.strip()
        ):
            self.report_refusal(association, RefusalReason.CALLED_ANOTHER)

    def report_refusal(self, association: Any, reason: RefusalReason, sop_class: str = "") -> None:
        """Count and log a refused association or class. Never raises, and waits for nothing."""
        with log_context(request_id=association_id(association)):
            self._refusal_log.add(
                reason, _address(association), _calling_ae(association), clean_text(sop_class)
            )

    def _record_failure(
        self,
        error: Exception,
        address: str,
        calling_ae: str,
        sop_class: str,
        sop_instance: str,
    ) -> RefusalReason:
        """Log and count a failure, and write a row where sending again would not help.

        Returns:
            The reason to answer with. Where the row cannot be written it is one of our own
            failures: an object that is refused for good and shown nowhere would be lost, so the
            status makes the sender send it again.
        """
        reason, error_text = _reason_of(error)
        if STORE_STATUSES[reason].code != OUT_OF_RESOURCES:
            try:
                sentence = STORE_STATUSES[reason].sentence
                self._write_row(reason, address, calling_ae, sop_class, sop_instance, sentence)
            except Exception as write_error:
                reason, error_text = _reason_of(write_error)
                if reason is RefusalReason.NOT_FILED:
                    reason = RefusalReason.UNEXPECTED
        status = STORE_STATUSES[reason]
        self._count("refused" if status.code != OUT_OF_RESOURCES else "put_off")
        is_our_fault = reason in (RefusalReason.UNEXPECTED, RefusalReason.NOT_FILED)
        log = logger().error if is_our_fault else logger().warning
        log(
            status.sentence,
            reason=reason.value,
            calling_ae=calling_ae,
            sop_class=sop_class,
            status=f"0x{status.code:04X}",
            **({"error": error_text} if error_text else {}),
        )
        return reason

    def _write_row(
        self,
        reason: RefusalReason,
        address: str,
        calling_ae: str,
        sop_class: str,
        sop_instance: str,
        sentence: str,
    ) -> None:
        with unit_of_work() as session:
            refusals.record_refusal(
                session,
                calling_ae=calling_ae,
                sop_class_uid=sop_class,
                sop_instance_uid=sop_instance,
                reason=reason.value,
                sentence=sentence,
                address=address,
            )

    def _hold_back(self, calling_ae: str) -> None:
        """Hold the answer back where the caller sends faster than it may."""
        seconds = self._rate_limiter.wait(calling_ae)
        if seconds > 0:
            self._count("slowed_down")
            logger().debug(
                "a sender is slowed down",
                calling_ae=calling_ae,
                per_minute=self._settings.max_instances_per_minute,
                seconds=round(seconds, 1),
            )

    def last_films(self) -> dict[str, float]:
        """By calling AE title, when its last object was kept, on the monotonic clock."""
        with self._lock:
            return dict(self._last_films)

    def _note_film(self, calling_ae: str) -> None:
        with self._lock:
            # The latest stand last, and the oldest go where somebody makes titles up.
            self._last_films.pop(calling_ae, None)
            self._last_films[calling_ae] = time.monotonic()
            if len(self._last_films) > MAX_CALLERS:
                self._last_films.pop(next(iter(self._last_films)))

    def _count(self, key: str) -> None:
        with self._lock:
            self.counts[key] += 1


def _reason_of(error: Exception) -> tuple[RefusalReason, str]:
    """The reason of a failure, and a text for the log where the reason's sentence is too little."""
    if isinstance(error, ObjectRefused):
        return error.reason, ""
    if isinstance(error, DiskFull):
        return RefusalReason.DISK_FULL, ""
    if isinstance(error, DatabaseDown):
        return RefusalReason.DATABASE_DOWN, safe_text(error)
    if isinstance(error, NightdraftError) and not isinstance(error, PartError):
        return RefusalReason.NOT_FILED, safe_text(error)
    return RefusalReason.UNEXPECTED, safe_text(error)


def _response(status: int, comment: str) -> Dataset:
    response = Dataset()
    response.Status = status
    if comment:
        response.ErrorComment = comment[:_MAX_COMMENT_CHARACTERS]
    return response


def association_id(association: Any) -> str:
    """Our id of an association, which its log lines carry; one not yet accepted has a new one."""
    return getattr(association, "nightdraft_id", "") or str(uuid4())


def _sender(association: Any) -> Any:
    """The side that sends us objects: who called us, or whom we called for a C-GET."""
    return association.acceptor if association.is_requestor else association.requestor


def _calling_ae(association: Any) -> str:
    """The AE title of the sender."""
    return clean_text(str(_sender(association).ae_title or ""))


def _address(association: Any) -> str:
    """The sender's network address."""
    return str(_sender(association).address or "")

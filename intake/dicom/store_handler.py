"""Answers a C-STORE: files what came, and turns each failure into a status, a line and a row.

Knows pynetdicom's events and nothing of sockets. No error leaves here: pynetdicom would answer
0xC211, which tells the sender nothing, and nobody would see that something was refused.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from pydicom import Dataset

from intake.dicom.filing import Received, Refused, clean, file_object
from intake.dicom.incoming_file import Incoming
from intake.dicom.limits import ANSWERS, SENTENCES, STORAGE_CLASSES, Why
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.errors import DatabaseDown, DiskFull, NightdraftError, PartError, safe_text
from records.failpoints import failpoint
from records.operations import refusals
from records.settings import Settings
from records.telemetry import logger
from records.workflow.studies import Outcome

SUCCESS = 0x0000

_TOLD_AGAIN = 3600.0
"""Seconds before the same refusal of an association is told again: a device that offers a class
that is not taken does so on each association, all night."""

_LONGEST_BRAKE = 30.0
"""Seconds that an answer is held back at most; senders give up after a minute or so."""


class Brake:
    """Slows a calling AE down once it has sent its minute's worth; refuses nothing.

    It knows the objects of one listener process only.
    """

    def __init__(self, per_minute: int, ended: threading.Event) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._ended = ended
        self._lock = threading.Lock()
        self._due: dict[str, float] = {}

    def wait(self, calling_ae: str) -> float:
        """Hold the caller back as long as it must be, and return the seconds."""
        seconds = min(self.seconds(calling_ae, time.monotonic()), _LONGEST_BRAKE)
        if seconds > 0:
            self._ended.wait(seconds)
        return seconds

    def seconds(self, calling_ae: str, now: float) -> float:
        """Count one object, and say how long its sender must wait: 0 within a minute's worth."""
        if not self._gap:
            return 0.0
        with self._lock:
            due = max(self._due.get(calling_ae, now), now) + self._gap
            self._due[calling_ae] = due
        # Clocks are binary fractions: a wait of less than a millisecond is none.
        return max(0.0, round(due - now - 60.0, 3))


class Answering:
    """What the listener answers, and what it has counted."""

    def __init__(self, settings: Settings, blobs: Blobs, ended: threading.Event) -> None:
        self._settings = settings
        self._blobs = blobs
        self._brake = Brake(settings.max_instances_per_minute, ended)
        self._lock = threading.Lock()
        self._told: dict[tuple[Why, str, str], float] = {}
        self.counts: Counter[str] = Counter()

    def has_room(self) -> bool:
        """Whether an object may be begun: checked before it is written, not when the disk fails."""
        try:
            return self._blobs.free_mb() >= self._settings.disk_stop_mb
        except OSError:
            return False

    def store(self, event: Any) -> Dataset:
        """Answer one C-STORE (PS3.4 annex B): 0x0000 only after fsync and commit. Never raises."""
        began = time.monotonic()
        request = event.request
        calling_ae = _calling_ae(event.assoc)
        sop_class = clean(str(request.AffectedSOPClassUID))
        sop_instance = clean(str(request.AffectedSOPInstanceUID))
        try:
            file = request._dataset_file
            if not isinstance(file, Incoming):
                raise Refused(Why.NO_DATA_SET)
            digest = file.finish()
            if file.spoiled:
                raise Refused(file.spoiled)
            if event.context.abstract_syntax != request.AffectedSOPClassUID:
                raise Refused(Why.DISAGREES)
            received = Received(
                path=Path(file.name),
                sop_class_uid=sop_class,
                sop_instance_uid=str(request.AffectedSOPInstanceUID),
                transfer_syntax_uid=str(event.context.transfer_syntax),
                calling_ae=calling_ae,
                size=file.size,
                sha256=digest,
            )
            registered = file_object(received, self._blobs, self._settings)
        except Exception as error:
            why = self._fail(error, calling_ae, sop_class, sop_instance)
            return _response(ANSWERS[why].status, ANSWERS[why].sentence)
        self._count(registered.outcome.value.lower())
        logger().info(
            "an object was kept" if registered.outcome is not Outcome.REPEATED
            else "an object came again",
            study=str(registered.study_id),
            outcome=registered.outcome.value,
            calling_ae=calling_ae,
            bytes=received.size,
            seconds=round(time.monotonic() - began, 3),
        )  # fmt: skip
        self._slow_down(calling_ae)
        failpoint("before-answer")
        return _response(SUCCESS, "")

    def message(self, event: Any) -> None:
        """A whole message came. A C-STORE of no storage class never reaches `store`: tell it."""
        message = event.message
        command = message.command_set
        if command.CommandField == 0x0001 and command.AffectedSOPClassUID not in STORAGE_CLASSES:
            file = message._data_set_file
            if isinstance(file, Incoming):
                file.discard()
            self.refuse(event.assoc, Why.CLASS_NOT_TAKEN, str(command.AffectedSOPClassUID))

    def accepted(self, event: Any) -> None:
        """An association began: say so, and tell of each class of which nothing can come."""
        association = event.assoc
        logger().info("an association began", calling_ae=_calling_ae(association))
        taken = {context.abstract_syntax for context in association.accepted_contexts}
        # Many senders offer a class once for each transfer syntax; one that is taken is enough.
        for sop_class in {
            context.abstract_syntax for context in association.rejected_contexts
        } - taken:
            known = sop_class in STORAGE_CLASSES
            self.refuse(
                association, Why.SYNTAX_NOT_TAKEN if known else Why.CLASS_NOT_TAKEN, str(sop_class)
            )

    def rejected(self, event: Any) -> None:
        """An association was rejected: find out why, and tell."""
        association = event.assoc
        asked = association.requestor.primitive
        if self._settings.allowed_callers and (
            _calling_ae(association) not in self._settings.allowed_callers
        ):
            self.refuse(association, Why.CALLER_NOT_ALLOWED)
        elif self._settings.require_called_ae and (
            asked.called_ae_title.strip() != self._settings.ae_title.strip()
        ):
            self.refuse(association, Why.CALLED_ANOTHER)
        else:
            self.refuse(association, Why.TOO_MANY)

    def refuse(self, association: Any, why: Why, sop_class: str = "") -> None:
        """Tell of a refused association or class, once an hour each. Never raises."""
        calling_ae, sop_class = _calling_ae(association), clean(sop_class)
        now = time.monotonic()
        with self._lock:
            if len(self._told) > 10_000:  # somebody makes names up
                self._told.clear()
            key = (why, calling_ae, sop_class)
            if now < self._told.get(key, -_TOLD_AGAIN) + _TOLD_AGAIN:
                return
            self._told[key] = now
        logger().warning(
            SENTENCES[why], reason=why.value, calling_ae=calling_ae, sop_class=sop_class
        )
        try:
            self._write_row(why, calling_ae, sop_class, "", SENTENCES[why])
        except Exception as error:
            logger().error("a refusal could not be written down", error=safe_text(error))
            with self._lock:
                self._told.pop(key, None)  # told again at the next occasion

    def _fail(self, error: Exception, calling_ae: str, sop_class: str, sop_instance: str) -> Why:
        """Log and count a failure, write a row for what the sender cannot mend by trying again."""
        why, words = _why(error)
        if ANSWERS[why].status != ANSWERS[Why.DISK_FULL].status:
            try:
                self._write_row(why, calling_ae, sop_class, sop_instance, ANSWERS[why].sentence)
            except Exception as unwritten:
                # Refused for good and shown nowhere would be lost: let it come again.
                why, words = _why(unwritten)
                why = Why.UNEXPECTED if why is Why.NOT_FILED else why
        self._count("refused" if ANSWERS[why].status != 0xA700 else "put_off")
        log = logger().error if why in (Why.UNEXPECTED, Why.NOT_FILED) else logger().warning
        log(
            ANSWERS[why].sentence,
            reason=why.value,
            calling_ae=calling_ae,
            sop_class=sop_class,
            status=f"0x{ANSWERS[why].status:04X}",
            **({"error": words} if words else {}),
        )
        return why

    def _write_row(
        self, why: Why, calling_ae: str, sop_class: str, sop_instance: str, sentence: str
    ) -> None:
        with unit_of_work() as session:
            refusals.record_refusal(
                session,
                calling_ae=calling_ae,
                sop_class_uid=sop_class,
                sop_instance_uid=sop_instance,
                reason=why.value,
                sentence=sentence,
            )

    def _slow_down(self, calling_ae: str) -> None:
        seconds = self._brake.wait(calling_ae)
        if seconds > 0:
            self._count("slowed_down")
            logger().debug(
                "a sender is slowed down",
                calling_ae=calling_ae,
                per_minute=self._settings.max_instances_per_minute,
                seconds=round(seconds, 1),
            )

    def _count(self, word: str) -> None:
        with self._lock:
            self.counts[word] += 1


def _why(error: Exception) -> tuple[Why, str]:
    """The reason of a failure, and words for the log where the reason's sentence is too little."""
    if isinstance(error, Refused):
        return error.why, ""
    if isinstance(error, DiskFull):
        return Why.DISK_FULL, ""
    if isinstance(error, DatabaseDown):
        return Why.DATABASE_DOWN, safe_text(error)
    if isinstance(error, NightdraftError) and not isinstance(error, PartError):
        return Why.NOT_FILED, safe_text(error)
    return Why.UNEXPECTED, safe_text(error)


def _response(status: int, comment: str) -> Dataset:
    answer = Dataset()
    answer.Status = status
    if comment:
        answer.ErrorComment = comment[:64]
    return answer


def _calling_ae(association: Any) -> str:
    return clean(str(association.requestor.ae_title or ""))

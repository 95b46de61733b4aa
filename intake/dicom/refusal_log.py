"""Refused connections, associations and classes: logged once an hour each, counted in rows.

The threads that read the network do not wait for the database. They count here, and a thread of
this module writes. A refused *object* is not counted here: its row is written before the answer.
"""

from __future__ import annotations

import threading
import time
from collections import Counter

from intake.dicom.limits import ASSOCIATION_SENTENCES, RefusalReason
from records.database.session import unit_of_work
from records.errors import safe_text
from records.operations import refusals
from records.telemetry import logger

_LOG_AGAIN_SECONDS = 3600.0
"""Seconds before the same refusal is logged again: a device that offers a class that is not taken
does so on each association, all night."""

_MAX_REMEMBERED = 1000
"""Different refusals that are remembered; a sender that makes names up must not fill the memory."""

_Key = tuple[RefusalReason, str, str, str]  # reason, address, calling AE, SOP class


class RefusalLog:
    """Counts refusals, and writes them once a second.

    Args:
        write_seconds: the time between two writes.
    """

    def __init__(self, write_seconds: float = 1.0) -> None:
        self._write_seconds = write_seconds
        self._lock = threading.Lock()
        self._logged_at: dict[_Key, float] = {}
        self._unwritten: Counter[_Key] = Counter()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="refusals", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write the rest, and end."""
        self._ended.set()
        self._thread.join(10)

    def add(
        self, reason: RefusalReason, address: str, calling_ae: str, sop_class: str = ""
    ) -> None:
        """Count a refusal, and log it unless an equal one was logged within the hour."""
        now = time.monotonic()
        key = (reason, address, calling_ae, sop_class)
        with self._lock:
            if key not in self._unwritten and len(self._unwritten) >= _MAX_REMEMBERED:
                self._unwritten[reason, address, "", ""] += 1
                return
            self._unwritten[key] += 1
            if now < self._logged_at.get(key, -_LOG_AGAIN_SECONDS) + _LOG_AGAIN_SECONDS:
                return
            if len(self._logged_at) >= _MAX_REMEMBERED:
                self._logged_at.clear()
            self._logged_at[key] = now
        logger().warning(
            ASSOCIATION_SENTENCES[reason],
            reason=reason.value,
            calling_ae=calling_ae,
            sop_class=sop_class,
            host=address,
        )

    def _run(self) -> None:
        while not self._ended.wait(self._write_seconds):
            self._write()
        self._write()

    def _write(self) -> None:
        """Write what was counted; what cannot be written is counted on."""
        with self._lock:
            counted, self._unwritten = self._unwritten, Counter()
        if not counted:
            return
        try:
            with unit_of_work() as session:
                # In one order, so that two listeners never wait for each other.
                for (reason, address, calling_ae, sop_class), count in sorted(counted.items()):
                    refusals.record_refusal(
                        session,
                        calling_ae=calling_ae,
                        sop_class_uid=sop_class,
                        sop_instance_uid="",
                        reason=reason.value,
                        sentence=ASSOCIATION_SENTENCES[reason],
                        address=address,
                        count=count,
                    )
        except Exception as error:
            logger().error("refusals could not be written down", error=safe_text(error))
            with self._lock:
                self._unwritten.update(counted)

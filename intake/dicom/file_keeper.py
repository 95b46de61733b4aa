"""Keeps the stored files of the listener in order: sweeps orphan files, and scrubs at night."""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from contextlib import suppress

from intake.dicom.orphans import sweep_orphans
from records.blobs import Blobs
from records.errors import safe_text
from records.operations import scrub
from records.operations.nights import date_of_night, zone_of
from records.settings import Settings
from records.telemetry import logger

SWEEP_SECONDS = 3600.0
SCRUB_POLL_SECONDS = 60.0
"""Time between two looks at whether it is night and the night's share is read."""
_MAX_PAUSE_SECONDS = 5.0


class FileKeeper:
    """Sweeps and scrubs in a thread of its own, until the listener ends."""

    def __init__(self, blobs: Blobs, settings: Settings, ended: threading.Event) -> None:
        self._blobs = blobs
        self._settings = settings
        self._ended = ended
        self._night: dt.date | None = None

    def run(self) -> None:
        """Sweep at the start and then each hour, scrub at night; what fails is tried again."""
        _lower_priority()
        swept_at = -SWEEP_SECONDS
        while True:
            try:
                if time.monotonic() - swept_at >= SWEEP_SECONDS:
                    swept_at = time.monotonic()
                    self._sweep_orphans()
                    scrub.recheck_damaged(self._blobs)
                self._scrub()
            except Exception as error:
                logger().warning(
                    "the sweep of orphan files or the scrub failed", error=safe_text(error)
                )
            if self._ended.wait(SCRUB_POLL_SECONDS):
                return

    def _sweep_orphans(self, *, all_days: bool = False) -> None:
        result = sweep_orphans(self._blobs, self._settings, all_days=all_days)
        if result.incoming:
            logger().info("half received files were removed", count=result.incoming)
        if result.registered:
            logger().warning("files without a row were registered", count=result.registered)
        if result.left:
            logger().error("too many image files have no row, and all were left", count=result.left)

    def _scrub(self) -> None:
        settings = self._settings
        hours, zone = settings.scrub_hours, zone_of(settings)
        night = date_of_night(dt.datetime.now(dt.UTC), hours, zone)
        if not settings.scrub_days or night is None:
            return
        if night != self._night:
            # Once a night: a database from a backup may have lost the rows of any day.
            self._sweep_orphans(all_days=True)
            self._night = night

        def pause(seconds: float) -> bool:
            now = dt.datetime.now(dt.UTC)
            ended = self._ended.wait(min(seconds, _MAX_PAUSE_SECONDS))
            return ended or date_of_night(now, hours, zone) != night

        count = scrub.scrub_night(self._blobs, night, settings.scrub_days, pause)
        if count:
            logger().info("stored files were read and compared", count=count)


def _lower_priority() -> None:
    """Let this thread have the processor only where nobody else wants it (Linux; else nothing)."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)

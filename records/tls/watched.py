"""Contexts whose files are read again when they change."""

from __future__ import annotations

import datetime as dt
import ssl
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from records.errors import SettingsError
from records.telemetry import logger
from records.tls.certificates import SOON_DAYS, CertificateFile
from records.tls.contexts import ClientFiles, ServerFiles

LOOK_SECONDS = 1.0
"""Files of certificates are looked at again no sooner than so long after the last look."""

RENEWAL_SECONDS = 10.0
"""A certificate and its key are two files. For so long after the last change of either, files that
do not belong together are taken for a renewal that is going on, and nothing is logged."""


@dataclass(frozen=True, slots=True)
class ShownCertificate:
    """A certificate of ours that this process shows to others.

    Attributes:
        purpose: whose TLS it is, as `WatchedContext` has it.
        ends: when it ends.
        problem: why new files could not be used, where those before stay; "" otherwise.
    """

    purpose: str
    ends: dt.datetime
    problem: str


_watched: weakref.WeakSet[WatchedContext] = weakref.WeakSet()
_watched_lock = threading.Lock()


def shown_certificates() -> list[ShownCertificate]:
    """The certificates of ours that this process shows to others; changed files are read first."""
    with _watched_lock:
        watched = list(_watched)
    for context in watched:
        context.current()
    return [shown for context in watched if (shown := context.shown) is not None]


class WatchedContext:
    """A TLS context that is read again when one of its files changes.

    A change is seen at the next connection, and at the next call of `current`. Files that cannot be
    used change nothing: the context before them stays, and one line is logged.

    Args:
        files: what is read.
        purpose: whose TLS it is, as a log line and an alarm name it.
    """

    def __init__(self, files: ServerFiles | ClientFiles, purpose: str) -> None:
        """Read the files.

        Raises:
            SettingsError: one of them cannot be used.
        """
        self.files = files
        self.problem = ""
        self.purpose = purpose
        self._ends: dt.datetime | None = None
        self._lock = threading.Lock()
        self._stamps = self._look()
        self._context = files.make_context()
        self._looked_at = time.monotonic()
        self._tell_of_end()
        with _watched_lock:
            _watched.add(self)

    @property
    def shown(self) -> ShownCertificate | None:
        """The certificate of ours that is shown now; None where there is none."""
        if self._ends is None:
            return None
        return ShownCertificate(self.purpose, self._ends, self.problem)

    def current(self) -> ssl.SSLContext:
        """The context for the next connection."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked_at >= LOOK_SECONDS:
                self._looked_at = now
                stamps = self._look()
                if stamps != self._stamps:
                    self._read(stamps, is_patient=True)
            return self._context

    def reload(self) -> None:
        """Read the files now, whether they have changed or not."""
        with self._lock:
            self._read(self._look(), is_patient=False)

    def _read(self, stamps: tuple[tuple[int, ...], ...], *, is_patient: bool) -> None:
        try:
            self._context = self.files.make_context()
        except SettingsError as error:
            age = time.time() - max((stamp[0] / 1e9 for stamp in stamps if stamp), default=0.0)
            if is_patient and 0 <= age < RENEWAL_SECONDS:
                return  # looked at again in a moment
            if str(error) != self.problem or not is_patient:
                logger().error(
                    f"new certificates of {self.purpose} cannot be used, and those before stay",
                    error=str(error),
                )
            self.problem = str(error)
        else:
            self.problem = ""
            logger().info(f"the certificates of {self.purpose} were read again")
            self._tell_of_end()
        self._stamps = stamps

    def _tell_of_end(self) -> None:
        with suppress(SettingsError):
            if self.files.certificate:
                certificate = CertificateFile.read(self.files.certificate)
                self._ends = certificate.ends
                days = certificate.days_left()
                if days < SOON_DAYS:
                    words = "has ended" if days < 0 else f"ends in {days:.0f} days"
                    logger().warning(f"the certificate of {self.purpose} {words}: renew it")

    def _look(self) -> tuple[tuple[int, ...], ...]:
        """What tells a changed file: times and inode of each, empty where there is none."""
        stamps: list[tuple[int, ...]] = []
        for path in self.files.paths():
            try:
                found = Path(path).stat()
                stamps.append((found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size))
            except OSError:
                stamps.append(())
        return tuple(stamps)


class ReloadedContext(ssl.SSLContext):
    """A context for servers that take one at their start: each connection gets the current one.

    Args:
        watched: the context behind it.
    """

    watched: WatchedContext

    def __new__(cls, watched: WatchedContext) -> ReloadedContext:
        """Make it; what is set on it itself has no effect on any connection."""
        context = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        context.watched = watched
        return context

    def __init__(self, watched: WatchedContext) -> None:
        pass

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """As `ssl.SSLContext.wrap_bio`, of the current context; asyncio calls it."""
        return self.watched.current().wrap_bio(*args, **options)

"""Renews leases while their work goes on, and releases the remaining ones at the end.

    with LeaseRenewer() as renewer:
        renewer.add(leases)
        ...
        with renewer.transaction() as session:
            requests.mark_prepared(session, lease, ...)
        renewer.remove(lease)

The leases that are left when the block ends, for whatever reason, are released uncounted.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from sqlalchemy.orm import Session

from records.database.session import unit_of_work
from records.errors import DatabaseDown, NightdraftError, safe_text
from records.settings import settings
from records.telemetry import logger
from records.tracing import NO_SPAN, Span, begin
from records.workflow import leases
from records.workflow.leases import Lease
from worker.watchdog import Watchdog

_JOIN_SECONDS = 5.0
"""How long the end waits for a renewal that is under way."""


class LeaseRenewer:
    """Renews leases from a thread of its own, whenever a third of their time has passed."""

    def __init__(self) -> None:
        self._lease_seconds = settings().lease_seconds
        self._held: dict[uuid.UUID, Lease] = {}
        self._lost: set[uuid.UUID] = set()
        self._spans: dict[uuid.UUID, Span] = {}
        # Held over every transaction: a renewal and a group's save would lock the same rows in
        # another order, and wait for each other.
        self._writing = threading.RLock()
        self._stopped = threading.Event()
        self._progress_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="lease renewer", daemon=True)
        self._watchdog = Watchdog("claimed studies", settings().stuck_seconds, self._idle_seconds)

    def __enter__(self) -> LeaseRenewer:
        self._thread.start()
        self._watchdog.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join(_JOIN_SECONDS)
        reason = f"the worker ended: {safe_text(error)}" if error else "the worker was stopped"
        try:
            if self._thread.is_alive():
                raise DatabaseDown("the last renewal still waits for PostgreSQL")
            self.release(list(self._held.values()), reason)
        except NightdraftError as failure:
            # The leases run out by themselves. The error that ended the block is the one to raise.
            logger().warning("leases could not be given back", error=safe_text(failure))
        finally:
            self._watchdog.stop()
            for span in self._spans.values():
                span.end()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A unit of work during which no lease is renewed."""
        with self._writing, unit_of_work() as session:
            yield session

    def add(self, claimed: Iterable[Lease]) -> None:
        """Renew these leases from now on."""
        with self._writing:
            if not self._held:
                self._progress_at = time.monotonic()
            for lease in claimed:
                self._held[lease.request_id] = lease
                self._spans[lease.request_id] = _begin_spans(lease)

    def remove(self, *ended: Lease) -> None:
        """Stop renewing these leases; their outcome is stored."""
        with self._writing:
            self._progress_at = time.monotonic()
            for lease in ended:
                self._held.pop(lease.request_id, None)
                self._lost.discard(lease.request_id)
                self._spans.pop(lease.request_id, NO_SPAN).end()

    def span(self, lease: Lease) -> Span:
        """The span of the work on a lease, from its claim to its end."""
        return self._spans.get(lease.request_id, NO_SPAN)

    def is_lost(self, lease: Lease) -> bool:
        """Whether another worker has the request now; work for it would be thrown away."""
        return lease.request_id in self._lost

    def release(self, held: Sequence[Lease], reason: str, *, suspect: bool = False) -> None:
        """Release leases uncounted; as `records.workflow.leases.release`."""
        if held:
            with self.transaction() as session:
                leases.release(session, held, reason, suspect=suspect)
            self.remove(*held)

    def _idle_seconds(self) -> float | None:
        """How long nothing was claimed or finished while leases are held. Takes no lock."""
        return time.monotonic() - self._progress_at if self._held else None

    def _run(self) -> None:
        while not self._stopped.wait(self._lease_seconds / 3):
            with self._writing:
                held = list(self._held.values())
                try:
                    with unit_of_work() as session:
                        renewed = leases.renew(session, held, self._lease_seconds)
                except NightdraftError as error:
                    logger().warning("leases could not be renewed", error=safe_text(error))
                    continue
                self._lost = set(self._held) - renewed


def _begin_spans(lease: Lease) -> Span:
    """Write down how long the request waited, and begin the span of the work on it."""
    name, study, request = lease.stage.value, str(lease.study_id), str(lease.request_id)
    begin(
        f"wait for {name}",
        lease.study_id,
        seconds_ago=lease.waited_seconds,
        study=study,
        draft_request=request,
    ).end()
    return begin(name, lease.study_id, study=study, draft_request=request, revision=lease.revision)

"""Heartbeats: which parts of Nightdraft run, as each process writes it into the database."""

from __future__ import annotations

import datetime as dt
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from sqlalchemy import ColumnElement, case, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from records.audit.setting_changes import note_settings
from records.database.operation_tables import Heartbeat
from records.database.session import interval, unit_of_work
from records.errors import safe_text
from records.settings import settings
from records.states import TallyKind
from records.telemetry import logger
from records.tls.watched import shown_certificates
from records.workflow import tallies

SILENT_SECONDS = 60.0
"""A part without a heartbeat for so long counts as not running."""

DEAD_SECONDS = 120.0
"""A process without a heartbeat for so long has ended without a word, or hangs."""

BEAT_SECONDS = 10.0
"""Time between two heartbeats of a process."""

CERTIFICATES = "certificates"
"""The fact with the certificates that a process shows (`records.operations.certificates`)."""

_STOP_SECONDS = 10.0
"""How long the end waits for a heartbeat that is being written."""

# No fork while a heartbeat is being written: the child would inherit half a conversation with
# PostgreSQL, and locks that nobody opens.
_no_fork = threading.Lock()
os.register_at_fork(
    before=_no_fork.acquire, after_in_parent=_no_fork.release, after_in_child=_no_fork.release
)


def this_process() -> str:
    """This process as leases and heartbeats name it: `host:pid`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def record_heartbeat(session: Session, part: str, facts: Mapping[str, Any] | None = None) -> None:
    """Record that this process runs as `part`.

    Args:
        session: the caller's transaction.
        part: "listener", "hl7", "sweep", "prepare", "draft", "query", "retrieve" or "api".
        facts: what the part reports about itself, as JSON has it.
    """
    values: dict[str, Any] = {"facts": dict(facts or {}), "seen_at": func.clock_timestamp()}
    # A process that was taken for dead lives again, and a container's next process has the same id.
    again = {
        "started_at": case(
            (Heartbeat.ended_at.is_(None), Heartbeat.started_at), else_=func.clock_timestamp()
        ),
        "ended_at": None,
        "died": False,
    }
    session.execute(
        insert(Heartbeat)
        .values(part=part, owner=this_process(), **values)
        .on_conflict_do_update(index_elements=["part", "owner"], set_=values | again)
    )


def end_heartbeat(session: Session, part: str) -> None:
    """Record that this process no longer runs as `part`."""
    session.execute(
        update(Heartbeat)
        .where(Heartbeat.part == part, Heartbeat.owner == this_process())
        .values(ended_at=func.clock_timestamp(), seen_at=func.clock_timestamp())
    )


def running_parts(session: Session, silent_seconds: float = SILENT_SECONDS) -> Sequence[Heartbeat]:
    """The heartbeats that are younger than `silent_seconds`, by part and process."""
    return session.scalars(
        select(Heartbeat)
        .where(
            Heartbeat.ended_at.is_(None),
            Heartbeat.seen_at > func.clock_timestamp() - interval(silent_seconds),
        )
        .order_by(Heartbeat.part, Heartbeat.owner)
    ).all()


def has_beaten_since(session: Session, part: str, since: dt.datetime) -> bool:
    """Whether a process of `part` has written a heartbeat since a time of the database's clock."""
    return bool(
        session.scalar(
            select(
                exists().where(
                    Heartbeat.part == part,
                    Heartbeat.ended_at.is_(None),
                    Heartbeat.seen_at >= since,
                )
            )
        )
    )


def count_deaths(session: Session, silent_seconds: float = DEAD_SECONDS) -> int:
    """Take processes that have been silent for dead, and count these deaths.

    A process that ends in order says so itself. Each death is counted once, whoever calls this.

    Returns:
        How many there were.
    """
    dead = session.scalars(
        update(Heartbeat)
        .where(
            Heartbeat.ended_at.is_(None),
            Heartbeat.seen_at < func.clock_timestamp() - interval(silent_seconds),
        )
        .values(ended_at=func.clock_timestamp(), died=True)
        .returning(Heartbeat.part)
    ).all()
    for part, number in Counter(dead).items():
        tallies.add(session, TallyKind.DEATHS, part, number)
    return len(dead)


def forget_ended(session: Session, hours: float) -> None:
    """Delete the heartbeats of processes that ended long ago.

    Of those that ended since, only the last one of each part and host is kept: a process that dies
    again and again fills no table.
    """
    later = aliased(Heartbeat)
    session.execute(
        delete(Heartbeat).where(
            Heartbeat.ended_at.is_not(None),
            or_(
                Heartbeat.seen_at < func.clock_timestamp() - interval(3600 * hours),
                exists().where(
                    later.part == Heartbeat.part,
                    _host_of(later.owner) == _host_of(Heartbeat.owner),
                    later.seen_at > Heartbeat.seen_at,
                ),
            ),
        )
    )


def _host_of(owner: Any) -> ColumnElement[str]:
    return func.regexp_replace(owner, ":[^:]*$", "")


def newest_ages(session: Session) -> dict[str, float]:
    """Seconds since the newest heartbeat of each part that has not ended."""
    age = func.extract("epoch", func.clock_timestamp() - func.max(Heartbeat.seen_at))
    rows = session.execute(
        select(Heartbeat.part, age).where(Heartbeat.ended_at.is_(None)).group_by(Heartbeat.part)
    )
    return {part: max(0.0, float(seconds)) for part, seconds in rows}


class HeartbeatThread:
    """Writes this process's heartbeat from a thread of its own, whatever its work is doing.

        with HeartbeatThread("api", lambda: {"port": port}):
            ...

    A database that is away is logged once and tried again at the next beat. When the block ends, so
    does the heartbeat.
    """

    def __init__(
        self,
        part: str,
        facts: Callable[[], Mapping[str, Any]],
        *,
        seconds: float = BEAT_SECONDS,
        after_beat: Callable[[], None] | None = None,
    ) -> None:
        """Prepare the thread; `start` or a `with` block starts it.

        Args:
            part: the part as which this process runs.
            facts: called before each beat; what the part reports about itself.
            seconds: time between two beats.
            after_beat: called after each beat, also after one that could not be written. Its errors
                are logged as those of a beat are.
        """
        self._part = part
        self._facts = facts
        self._seconds = seconds
        self._after_beat = after_beat
        self._stopped = threading.Event()
        self._settings_are_noted = False
        self._errors: dict[Callable[[], None], str] = {}  # the last one, by what was attempted
        self._thread = threading.Thread(target=self._run, name=f"{part} heartbeat", daemon=True)

    def __enter__(self) -> HeartbeatThread:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Write the first heartbeat, in the thread, and go on until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and the heartbeat; nothing happens where it never started."""
        if self._stopped.is_set() or not self._thread.ident:
            return
        self._stopped.set()
        self._thread.join(_STOP_SECONDS)
        if self._thread.is_alive():
            logger().warning(
                "the end of the heartbeat was not recorded: the last one is still being written"
            )
            return
        try:
            with unit_of_work() as session:
                end_heartbeat(session, self._part)
        except Exception as error:
            logger().warning(
                "the end of the heartbeat could not be recorded", error=safe_text(error)
            )

    def _run(self) -> None:
        while True:
            self._attempt(self._write)
            if not self._settings_are_noted and not self._errors[self._write]:
                self._attempt(self._note_settings)
            if self._after_beat is not None:
                self._attempt(self._after_beat)
            if self._stopped.wait(self._seconds):
                return

    def _write(self) -> None:
        facts = dict(self._facts())
        if shown := shown_certificates():
            facts[CERTIFICATES] = [
                {"purpose": one.purpose, "ends": one.ends.isoformat(), "problem": one.problem}
                for one in shown
            ]
        with _no_fork, unit_of_work() as session:
            record_heartbeat(session, self._part, facts)

    def _note_settings(self) -> None:
        """Once: let the trail say with which other settings than before this part started."""
        with _no_fork, unit_of_work() as session:
            note_settings(session, self._part, settings())
        self._settings_are_noted = True

    def _attempt(self, action: Callable[[], None]) -> None:
        """Call `action`; an error is logged unless it is the one of the beat before."""
        try:
            action()
            error_text = ""
        except Exception as error:
            error_text = safe_text(error)
            if error_text != self._errors.get(action):
                logger().warning("a heartbeat failed", part=self._part, error=error_text)
        self._errors[action] = error_text

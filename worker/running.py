"""Runs one part of the worker in this process until it is asked to stop. Knows no studies.

prepare is a pool of forked processes, one a core: decoding is work for processors, and a film that
kills its process takes no other along. draft and sweep are one process each (Celery's solo pool):
the model is loaded before the first bell, a bad bundle is one line at the start, the GPU is never
forked, and no orphan keeps its memory. A process that dies is started again by whoever supervises
it (`nightdraft station`, the compose file); what it had in hand comes back when its lease runs out.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
import time
import warnings
from typing import Any, Literal

import redis
from celery import signals
from celery.beat import EmbeddedService, Scheduler

from model.dicom.indication import find_indication
from records.database.session import database_time, unit_of_work
from records.errors import BrokerDown, NightdraftError, SettingsError, safe_text
from records.operations import heartbeats
from records.settings import settings
from records.telemetry import logger
from worker import stopping, tasks
from worker.app import app
from worker.preparing import served_manifest

Part = Literal["prepare", "draft", "sweep"]

BEAT_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1

# No fork while a heartbeat is being written: the child would inherit half a conversation with
# PostgreSQL, and locks that nobody opens.
_no_fork = threading.Lock()
os.register_at_fork(
    before=_no_fork.acquire, after_in_parent=_no_fork.release, after_in_child=_no_fork.release
)


def run_worker(part: Part) -> int:
    """Run a part until SIGTERM or Ctrl-C; the exit status: 1 where it stopped itself.

    On a signal what is in hand is finished or given back, and nothing more is begun.

    Raises:
        PartError, SettingsError: what is missing at the start, in one line.
    """
    check_parts(part)
    stopping.begin()
    processes = settings().prepare_processes or os.cpu_count() or 1
    with warnings.catch_warnings():
        # Celery warns root of pickled messages; here none is accepted.
        warnings.filterwarnings("ignore", message=r"(?s).*superuser privileges")
        worker = app.Worker(
            hostname=f"{part}@{socket.gethostname()}.{os.getpid()}",
            pool="prefork" if part == "prepare" else "solo",
            concurrency=processes if part == "prepare" else 1,
            queues=[part],
            # Talk among workers, of which there is nothing to say (see worker.app).
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
    heart = _Heart(part, _facts(part, processes))
    beat = EmbeddedService(app, thread=True, scheduler_cls=Scheduler) if part == "sweep" else None
    heart.start()
    if beat is not None:
        beat.start()
    try:
        worker.start()
    finally:
        if beat is not None:
            beat.stop()
        heart.stop()
    return 1 if stopping.failed() else int(worker.exitcode or 0)


def check_parts(part: Part) -> None:
    """Whether all that the part needs is there; loads the model of a draft worker.

    Raises:
        PartError, SettingsError: what is missing, in one line.
    """
    with unit_of_work() as session:
        database_time(session)
    try:
        with redis.Redis.from_url(
            settings().address("redis_url"), socket_connect_timeout=5, socket_timeout=5
        ) as connection:
            connection.ping()
    except (redis.RedisError, OSError):
        raise BrokerDown(
            "Redis does not answer: start it, or correct NIGHTDRAFT_REDIS_URL"
        ) from None
    if part == "prepare":
        served_manifest()
        try:
            find_indication([], settings().indication_sources or None)
        except ValueError as error:
            raise SettingsError(f"NIGHTDRAFT_INDICATION_SOURCES: {error}") from None
    if part == "draft":
        tasks.reporter()


def _facts(part: Part, processes: int) -> dict[str, Any]:
    if part == "sweep":
        return {}
    manifest = served_manifest()
    facts: dict[str, Any] = {"model": manifest.name, "bundle": manifest.digest}
    return facts | ({"processes": processes} if part == "prepare" else {})


class _Heart(threading.Thread):
    """Says every few seconds that the part runs, whatever its work is doing."""

    def __init__(self, part: Part, facts: dict[str, Any]) -> None:
        super().__init__(name="heart", daemon=True)
        self._part = part
        self._facts = facts
        self._over = threading.Event()

    def run(self) -> None:
        down = False
        while True:
            try:
                facts = self._facts | tasks.facts()
                with _no_fork, unit_of_work() as session:
                    heartbeats.record_heartbeat(session, self._part, facts)
                down = False
            except NightdraftError as error:
                if not down:
                    logger().warning("no heartbeat could be written", error=safe_text(error))
                down = True
            if self._part == "sweep":
                _watch_clock()
            if self._over.wait(BEAT_SECONDS):
                return

    def stop(self) -> None:
        """The part ends."""
        self._over.set()
        self.join()
        try:
            with unit_of_work() as session:
                heartbeats.remove_heartbeat(session, self._part)
        except NightdraftError as error:
            logger().warning("leaving could not be written", error=safe_text(error))


def _watch_clock() -> None:
    """A sweep worker that sweeps no more is worth nothing: end it, to be started anew."""
    silent = time.monotonic() - tasks.last_sweep
    if silent > max(60.0, 20 * settings().sweep_seconds) and not stopping.stopping():
        logger().error("no sweep was rung; the worker ends, to start anew", seconds=round(silent))
        stopping.end_worker()


def _die_with_parent(**_: Any) -> None:
    """A child of a killed parent would wait for bells that never come."""
    if sys.platform == "linux" and os.getpid() != stopping.main_pid():
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != stopping.main_pid():  # it was killed before we asked
            os._exit(1)


signals.worker_process_init.connect(_die_with_parent, weak=False)

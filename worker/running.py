"""Runs one part of the worker in this process until it is stopped.

prepare is a pool of forked processes, one a core: decoding is work for processors, and an image
that kills its process takes no other along. draft and sweep are one process each (Celery's solo
pool): the model is loaded before the first bell, a bad bundle is one line at the start, the GPU is
never forked, and no orphan keeps its memory. A process that dies is started again by whoever
supervises it (`nightdraft station`, the compose file); its leases run out, and what it worked on is
claimed again.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from celery import signals
from celery.beat import EmbeddedService, Scheduler

from model.manifest import SHIPPED
from records.broker import broker_client
from records.bundles import known
from records.database.session import database_time, unit_of_work
from records.errors import BundleUnusable
from records.garbage_collection import freeze_startup_objects
from records.operations.heartbeats import HeartbeatThread
from records.settings import settings
from worker import stopping, tasks
from worker.alarm_sender import alarm_sender
from worker.app import app
from worker.indications import check_sources
from worker.night_alarm import NightAlarm
from worker.part_alarms import PartAlarms
from worker.preparing import served_manifest
from worker.trail_keeper import trail_keeper
from worker.watchdog import Watchdog

Part = Literal["prepare", "draft", "sweep"]

BEAT_SECONDS = 5.0
"""Time between heartbeats, and the time over which a draft worker's pace is taken."""

_CARD_CHARACTERS = 50_000

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def run_worker(part: Part) -> int:
    """Run a part until SIGTERM or Ctrl-C.

    After a signal the work in hand is finished or given back, and nothing more is begun.

    Returns:
        The exit status: 1 where the worker stopped itself.

    Raises:
        PartError, SettingsError: what is missing at the start, in one line.
    """
    try:
        check_requirements(part)
    except BundleUnusable as error:
        tasks.raise_bundle_alarm(part, error)
        raise
    tasks.close_bundle_alarm(part)
    stopping.reset()
    processes = settings().prepare_processes or os.cpu_count() or 1
    with warnings.catch_warnings():
        # Celery warns root of pickled messages; here none is accepted.
        warnings.filterwarnings("ignore", message=r"(?s).*superuser privileges")
        worker = app.Worker(
            hostname=f"{part}@{socket.gethostname()}.{os.getpid()}",
            pool="prefork" if part == "prepare" else "solo",
            concurrency=processes if part == "prepare" else 1,
            queues=[part],
            # Workers exchange no messages with each other (see worker.app).
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
    facts = _static_facts(part, processes)
    heartbeat = HeartbeatThread(
        part,
        lambda: facts | tasks.heartbeat_facts(),
        seconds=BEAT_SECONDS,
        after_beat=_settle_alarms(PartAlarms(), NightAlarm()) if part == "sweep" else None,
    )
    watchdog = Watchdog(
        "sweeps",
        max(60.0, 20 * settings().sweep_seconds),
        _seconds_since_sweep,
        stopping.stop_worker,
    )
    beat = EmbeddedService(app, thread=True, scheduler_cls=Scheduler) if part == "sweep" else None
    sender = alarm_sender() if part == "sweep" else nullcontext()
    keeper = trail_keeper() if part == "sweep" else nullcontext()
    freeze_startup_objects()
    with heartbeat, sender, keeper:
        if beat is not None:
            beat.start()
            watchdog.start()
        try:
            worker.start()
        finally:
            if beat is not None:
                beat.stop()
            watchdog.stop()
    return 1 if stopping.has_failed() else int(worker.exitcode or 0)


def _settle_alarms(part_alarms: PartAlarms, night_alarm: NightAlarm) -> Callable[[], None]:
    """What looks at all alarms that the sweep's process keeps; an error of one hides no other."""

    def settle() -> None:
        try:
            part_alarms.settle()
        finally:
            night_alarm.settle()

    return settle


def check_requirements(part: Part) -> None:
    """Check that all that the part needs is there; loads the model of a draft worker.

    Raises:
        PartError, SettingsError: what is missing, in one line.
    """
    with unit_of_work() as session:
        database_time(session)
    with broker_client(settings().address("redis_url")) as client:
        client.ping()
    if part != "sweep":
        _note_bundle()
    if part == "prepare":
        check_sources(settings())
    if part == "draft":
        tasks.reporter()


def _note_bundle() -> None:
    """Keep which bundle is here, with what it declares and its card, for the page Models."""
    manifest = served_manifest()
    declared = asdict(manifest)
    del declared["files"]
    folder = SHIPPED.get(settings().bundle, Path(settings().bundle))
    try:
        card = (folder / "card.md").read_text(encoding="utf-8")[:_CARD_CHARACTERS]
    except (OSError, ValueError):
        card = ""  # a bundle needs no card
    with unit_of_work() as session:
        known.note(
            session,
            manifest.digest,
            manifest.name,
            manifest.version,
            declared,
            card.replace("\x00", ""),
        )


def _static_facts(part: Part, processes: int) -> dict[str, Any]:
    """What the heartbeat reports about the part and does not change while it runs."""
    if part == "sweep":
        return {}
    manifest = served_manifest()
    facts: dict[str, Any] = {"model": manifest.name, "bundle": manifest.digest}
    return facts | ({"processes": processes} if part == "prepare" else {})


def _seconds_since_sweep() -> float | None:
    """How long no sweep has begun; a sweep worker that no longer sweeps is started anew."""
    return None if stopping.is_stopping() else time.monotonic() - tasks.last_sweep


def _die_with_parent(**_: Any) -> None:
    """Kill this child when its parent dies: it would wait for bells that never come."""
    if sys.platform == "linux" and os.getpid() != stopping.main_pid():
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != stopping.main_pid():  # the parent was killed before the call above
            os._exit(1)


signals.worker_process_init.connect(_die_with_parent, weak=False)

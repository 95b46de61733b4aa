"""The Celery tasks: each takes a bell and makes one call.

A message holds the id of a request and nothing else of a study. An error ends here in one line, for
Celery would print it with its values.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from uuid import uuid4

from model.decoding import Serving
from model.errors import BundleError, DeviceError
from model.reporter import Drafter, load_reporter
from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.errors import BundleUnusable, NightdraftError, WorkerSick, safe_text
from records.operations import alarms, heartbeats
from records.settings import settings
from records.states import Stage
from records.telemetry import log_context, logger
from records.workflow import leases
from worker import (
    comparing,
    discrepancies,
    draft_comparisons,
    final_comparisons,
    outcomes,
    preparing,
)
from worker import sweep as sweeping
from worker.app import app
from worker.circuit_breaker import CircuitBreaker
from worker.drafting import DeviceFailed, draft_ready
from worker.pace import Pace
from worker.stopping import is_stopping, stop_worker

PREPARE_SECONDS = 60.0
"""Time a prepare task works before its process looks for another bell."""

last_sweep = time.monotonic()
"""When the last sweep began, on this process's monotonic clock."""

paused_until: dict[str, float] = {}
"""By part, the monotonic time before which its bells do nothing."""

_circuit_breakers = {stage: CircuitBreaker(stage) for stage in Stage}
_last_sweep_facts: dict[str, int] = {}
_bundle_failed: set[str] = set()
"""The parts of this process whose bundle could not be used when they last tried."""
_pace = Pace()


def heartbeat_facts() -> dict[str, float | str]:
    """What this process has done lately, for its heartbeat."""
    return _last_sweep_facts | _pace.facts()


@app.task(name="sweep")  # type: ignore[untyped-decorator]  # Celery ships no types
def sweep() -> None:
    """Close quiet studies, take expired leases back, ring for what is ready."""
    global last_sweep
    last_sweep = time.monotonic()
    _run("sweep", lambda: _last_sweep_facts.update(asdict(sweeping.sweep())))


@app.task(name="prepare")  # type: ignore[untyped-decorator]  # Celery ships no types
def prepare(request_id: str) -> None:
    """Compare films and texts, then prepare what is ready; `request_id` says which one rang."""

    def work() -> None:
        comparing.compare_waiting(is_stopping)
        final_comparisons.compare_finals(is_stopping)
        discrepancies.check_waiting(is_stopping)
        draft_comparisons.compare_drafts(is_stopping)
        outcomes.complete_outcomes(is_stopping)
        preparing.prepare_ready(
            heartbeats.this_process(),
            PREPARE_SECONDS,
            _circuit_breakers[Stage.PREPARE],
            is_stopping,
        )

    _run("prepare", work, request_id)


@app.task(name="draft")  # type: ignore[untyped-decorator]  # Celery ships no types
def draft(request_id: str) -> None:
    """Draft what is prepared; `request_id` says which request rang, not which one is taken."""
    _run(
        "draft",
        lambda: draft_ready(
            reporter(),
            heartbeats.this_process(),
            settings().draft_seconds,
            _circuit_breakers[Stage.DRAFT],
            is_stopping,
        ),
        request_id,
    )


@lru_cache(maxsize=1)
def reporter() -> Drafter:
    """This process's loaded bundle.

    Raises:
        BundleUnusable: the bundle is missing or damaged.
        DeviceFailed: there is no such device, or it has no room.
    """
    preparing.served_manifest()
    config = settings()
    try:
        loaded = load_reporter(
            config.bundle,
            None if config.device == "auto" else config.device,
            Serving(
                slots=config.draft_slots,
                dtype=config.draft_dtype,
                int8=config.draft_int8,
                beams=config.draft_beams,
                compiled=config.draft_compile,
            ),
            _LoggedProgress(),
        )
    except BundleError as error:
        raise BundleUnusable(str(error)) from None
    except DeviceError as error:
        raise DeviceFailed(str(error)) from None
    _pace.follow(loaded)
    logger().info("the model is loaded", model=loaded.manifest.name, batch=loaded.slots)
    return loaded


def raise_bundle_alarm(part: str, error: BundleUnusable) -> None:
    """Open the alarm of a part on this host whose bundle is missing or damaged.

    Raises:
        DatabaseDown: PostgreSQL does not answer.
    """
    _bundle_failed.add(part)
    with unit_of_work() as session:
        alarms.raise_alarm(
            session, AlarmKind.BUNDLE_UNUSABLE, _bundle_alarm_part(part), f"{error}."
        )


def close_bundle_alarm(part: str) -> None:
    """Close that alarm: the bundle can be used.

    Raises:
        DatabaseDown: PostgreSQL does not answer.
    """
    with unit_of_work() as session:
        alarms.close_alarms(session, _bundle_alarm_part(part))
    _bundle_failed.discard(part)


def _bundle_alarm_part(part: str) -> str:
    # Not the worker's own name: an alarm under that one means that the worker stopped itself.
    return f"bundle of {leases.worker_name(part, heartbeats.this_process())}"


class _LoggedProgress:
    """A ProgressCallback that logs each step when it begins, then every few seconds."""

    SECONDS = 5.0

    def __init__(self) -> None:
        self._step = ""
        self._logged_at = 0.0

    def __call__(self, step: str, done: float, total: float | None) -> None:
        now = time.monotonic()
        if step != self._step or now > self._logged_at + self.SECONDS:
            self._step, self._logged_at = step, now
            share = f", {done / total:.0%}" if total else ""
            logger().info(f"the model: {step}{share}")


def _run(part: str, work: Callable[[], object], request_id: str = "") -> None:
    """Do the work of one bell. A part that is down is one log line, and a pause before more."""
    if is_stopping() or time.monotonic() < paused_until.get(part, 0.0):
        return
    with log_context(request_id=_task_id()):
        _run_logged(part, work, request_id)


def _task_id() -> str:
    """The id of the Celery task that runs, which its lines carry; a new one outside of a task."""
    task = app.current_worker_task
    return str(task.request.id or uuid4()) if task is not None else str(uuid4())


def _run_logged(part: str, work: Callable[[], object], request_id: str) -> None:
    try:
        work()
        if part in _bundle_failed:
            close_bundle_alarm(part)
    except WorkerSick as error:
        with unit_of_work() as session:
            worker = leases.worker_name(part, heartbeats.this_process())
            alarms.raise_alarm(session, AlarmKind.WORKER_STOPPED, worker, str(error))
        logger().error("the worker stops itself", stage=part, error=safe_text(error))
        stop_worker()
    except DeviceFailed as error:
        logger().error("the worker ends, to start anew", stage=part, error=safe_text(error))
        stop_worker()
    except NightdraftError as error:
        if isinstance(error, BundleUnusable):
            raise_bundle_alarm(part, error)
        # Disk, database, Redis or bundle: without a pause each bell would try and fail again.
        paused_until[part] = time.monotonic() + settings().sweep_seconds
        logger().error(
            "a part is down", stage=part, draft_request=request_id, error=safe_text(error)
        )
    except Exception as error:
        paused_until[part] = time.monotonic() + settings().sweep_seconds
        logger().error("unforeseen", stage=part, draft_request=request_id, error=safe_text(error))

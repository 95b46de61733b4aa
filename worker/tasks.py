"""The Celery tasks: a bell in, one call. Nothing of a study is in a message but its request's id.

An error ends here in one line: Celery would print it with its values.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache

from model.decoding import Serving
from model.errors import BundleError, DeviceError
from model.reporter import Drafting, load_reporter
from records.database.session import unit_of_work
from records.errors import BundleUnusable, NightdraftError, WorkerSick, safe_text
from records.operations import alarms, heartbeats
from records.settings import settings
from records.states import Stage
from records.telemetry import logger
from worker import preparing
from worker import sweep as sweeping
from worker.app import app
from worker.circuit_breaker import CircuitBreaker
from worker.drafting import DeviceFailed, draft_ready
from worker.pace import Pace
from worker.stopping import end_worker, stopping

PREPARE_SECONDS = 60.0
"""Time a prepare task works before its process looks for another bell."""

_streaks = {stage: CircuitBreaker(stage) for stage in Stage}
_resting: dict[str, float] = {}  # part -> monotonic time before which bells do nothing
last_sweep = time.monotonic()
last_sweep_facts: dict[str, int] = {}
"""What the last sweep did, for the heartbeat."""
_pace = Pace()


def facts() -> dict[str, float]:
    """What this process has done lately, for its heartbeat."""
    return last_sweep_facts | _pace.facts()


@app.task(name="sweep")  # type: ignore[untyped-decorator]  # Celery ships no types
def sweep() -> None:
    """Close, take back, ring."""
    global last_sweep
    last_sweep = time.monotonic()
    _answer("sweep", lambda: last_sweep_facts.update(asdict(sweeping.sweep())))


@app.task(name="prepare")  # type: ignore[untyped-decorator]  # Celery ships no types
def prepare(request_id: str) -> None:
    """Prepare what is ready; `request_id` is who rang, not what is taken."""
    _answer(
        "prepare",
        lambda: preparing.prepare_ready(
            heartbeats.this_process(), PREPARE_SECONDS, _streaks[Stage.PREPARE], stopping
        ),
        request_id,
    )


@app.task(name="draft")  # type: ignore[untyped-decorator]  # Celery ships no types
def draft(request_id: str) -> None:
    """Draft what is prepared; `request_id` is who rang, not what is taken."""
    _answer(
        "draft",
        lambda: draft_ready(
            reporter(),
            heartbeats.this_process(),
            settings().draft_seconds,
            _streaks[Stage.DRAFT],
            stopping,
        ),
        request_id,
    )


@lru_cache(maxsize=1)
def reporter() -> Drafting:
    """This process's loaded bundle.

    Raises:
        BundleUnusable: the bundle is missing or damaged.
        DeviceFailed: there is no such device, or it has no room.
    """
    preparing.served_manifest()
    knobs = settings()
    device = None if knobs.device == "auto" else knobs.device
    try:
        loaded = load_reporter(
            knobs.bundle,
            device,
            Serving(
                slots=knobs.draft_slots,
                dtype=knobs.draft_dtype,
                int8=knobs.draft_int8,
                beams=knobs.draft_beams,
                compiled=knobs.draft_compile,
            ),
            _Progress(),
        )
    except BundleError as error:
        raise BundleUnusable(str(error)) from None
    except DeviceError as error:
        raise DeviceFailed(str(error)) from None
    _pace.follow(loaded)
    logger().info("the model is loaded", model=loaded.manifest.name, batch=loaded.slots)
    return loaded


class _Progress:
    """Says in the log what loading does: each thing when it begins, then every few seconds."""

    SECONDS = 5.0

    def __init__(self) -> None:
        self._doing = ""
        self._said = 0.0

    def __call__(self, what: str, done: float, total: float | None) -> None:
        now = time.monotonic()
        if what != self._doing or now > self._said + self.SECONDS:
            self._doing, self._said = what, now
            share = f", {done / total:.0%}" if total else ""
            logger().info(f"the model: {what}{share}")


def _answer(part: str, work: Callable[[], object], request_id: str = "") -> None:
    """Do the work; whatever goes wrong with a part is one line, and a pause before more of it."""
    if stopping() or time.monotonic() < _resting.get(part, 0.0):
        return
    try:
        work()
    except WorkerSick as error:
        with unit_of_work() as session:
            alarms.raise_alarm(session, part, str(error))
        logger().error("the worker stops itself", stage=part, error=safe_text(error))
        end_worker()
    except DeviceFailed as error:
        logger().error("the worker ends, to start anew", stage=part, error=safe_text(error))
        end_worker()
    except NightdraftError as error:
        # Disk, database, Redis or bundle: without a pause each bell would ask and fail anew.
        _resting[part] = time.monotonic() + settings().sweep_seconds
        logger().error("a part is down", stage=part, request=request_id, error=safe_text(error))
    except Exception as error:
        _resting[part] = time.monotonic() + settings().sweep_seconds
        logger().error("unforeseen", stage=part, request=request_id, error=safe_text(error))

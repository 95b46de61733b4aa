"""The circuit breaker: distinguishes a sick worker from bad studies, and stops the sick worker.

When different studies fail one after another and none succeeds between them, the worker is sick: a
stage on one host. The studies get their attempts back, an alarm is raised, and the worker stops.
While its alarm is open the worker claims nothing, so one that is restarted does no harm. After
NIGHTDRAFT_TRIAL_SECONDS it tries one study. If that succeeds the alarm is closed; if it fails, the
study has its attempt back and waits, and the next trial takes another one.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Sequence

from sqlalchemy import func
from sqlalchemy.orm import Session

from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.errors import WorkerSick
from records.operations import alarms, heartbeats
from records.settings import settings
from records.states import Stage
from records.telemetry import logger
from records.workflow import attempts, leases
from records.workflow.leases import Lease


class CircuitBreaker:
    """Counts the different requests that failed in this process since one succeeded.

    A request that failed while others beside it succeeded is at fault itself. When it is tried
    again, its failure is no evidence against the worker, so a few bad studies that are left over at
    the end of a night raise no alarm.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._worker = leases.worker_name(stage, heartbeats.this_process())
        self._in_trial = False
        self._failed: dict[uuid.UUID, None] = {}
        self._own_fault: deque[uuid.UUID] = deque(maxlen=1000)

    def claim(
        self, session: Session, owner: str, limit: int, bundle: str | None = None
    ) -> list[Lease]:
        """Claim for the stage: nothing while the worker's alarm is open, or one study as a trial.

        Args and returns: as `records.workflow.leases.claim`.
        """
        config = settings()
        self._worker = leases.worker_name(self._stage, owner)
        alarm = None
        if alarms.open_alarms(session, self._worker):
            alarm = alarms.lock_due_trial(session, self._worker, config.trial_seconds)
            if alarm is None:
                return []
            limit = 1
        claimed = leases.claim(session, self._stage, owner, limit, config.lease_seconds, bundle)
        if alarm is not None and claimed:
            alarm.tried_at = func.clock_timestamp()
            self._in_trial = True
        return claimed

    def record_success(self) -> None:
        """Record that a request succeeded: the worker is not sick, and its alarm is closed."""
        self._own_fault.extend(self._failed)
        self._failed.clear()
        if self._in_trial:
            self._in_trial = False
            with unit_of_work() as session:
                alarms.close_alarms(session, self._worker)
            logger().info("the worker is well again: a trial succeeded", stage=self._stage.value)

    def record_failure(self, request_id: uuid.UUID, error_text: str) -> None:
        """Record that a request failed, apparently by its own fault.

        Raises:
            WorkerSick: NIGHTDRAFT_SICK_AFTER requests have failed in a row. The alarm is raised,
                and all of them have their attempt back.
        """
        if self._in_trial:
            self._in_trial = False
            with unit_of_work() as session:
                forgive_trial(session, self._worker, [request_id])
            return
        if request_id not in self._own_fault:
            self._failed[request_id] = None
        if len(self._failed) >= settings().sick_after:
            failed = list(self._failed)
            self._failed.clear()
            cause = (
                f"The {self._stage} worker failed on {len(failed)} different studies in a row "
                f"and stopped itself. The last error: {error_text}. {what_follows()}"
            )
            with unit_of_work() as session:
                trip(session, self._worker, failed, cause)
            raise WorkerSick(cause)


def trip(session: Session, worker: str, failed: Sequence[uuid.UUID], cause: str) -> None:
    """Open the worker's alarm, and give the failed requests their attempt back."""
    attempts.restore_attempts(session, failed, worker)
    alarms.raise_alarm(session, AlarmKind.WORKER_STOPPED, worker, cause)
    logger().error("alarm: the worker is sick", worker=worker, count=len(failed))


def forgive_trial(session: Session, worker: str, failed: Sequence[uuid.UUID]) -> None:
    """Give the study of a trial that failed its attempt back; the next trial takes another one."""
    attempts.restore_attempts(session, failed, worker, wait_seconds=2 * settings().trial_seconds)
    logger().warning("the worker is still sick: a trial failed", worker=worker)


def what_follows() -> str:
    """What happens after a worker stopped itself, as sentences of its alarm."""
    seconds = settings().trial_seconds
    trial = f"Every {seconds:.0f} s it tries one study. " if seconds else ""
    return (
        f"{trial}Until a study succeeds there, this machine claims no others; other machines go on."
    )

"""The circuit breaker: distinguishes a sick worker from bad studies, and stops the sick worker.

When different studies fail one after another and none succeeds between them, the worker is sick.
The studies get their attempts back, an alarm is raised, and the worker stops. While an alarm of its
stage is open a worker claims nothing, so one that is restarted does no harm.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Sequence

from sqlalchemy.orm import Session

from records.database.session import unit_of_work
from records.errors import WorkerSick
from records.operations import alarms
from records.settings import settings
from records.states import Stage
from records.telemetry import logger
from records.workflow import requests


class CircuitBreaker:
    """Counts the different requests that failed in this process since one succeeded.

    A request that failed while others beside it succeeded is at fault itself. When it is tried
    again, its failure is no evidence against the worker, so a few bad studies that are left over at
    the end of a night raise no alarm.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._failed: dict[uuid.UUID, None] = {}
        self._own_fault: deque[uuid.UUID] = deque(maxlen=1000)

    def record_success(self) -> None:
        """Record that a request succeeded: the worker is not sick."""
        self._own_fault.extend(self._failed)
        self._failed.clear()

    def record_failure(self, request_id: uuid.UUID, error_text: str) -> None:
        """Record that a request failed, apparently by its own fault.

        Raises:
            WorkerSick: NIGHTDRAFT_SICK_AFTER requests have failed in a row. The alarm is raised,
                and all of them have their attempt back.
        """
        if request_id not in self._own_fault:
            self._failed[request_id] = None
        if len(self._failed) >= settings().sick_after:
            failed = list(self._failed)
            self._failed.clear()
            sentence = (
                f"The {self._stage} worker failed on {len(failed)} different studies in a row "
                f"and stopped itself. The last error: {error_text}"
            )
            with unit_of_work() as session:
                trip(session, self._stage, failed, sentence)
            raise WorkerSick(sentence)


def trip(session: Session, stage: Stage, failed: Sequence[uuid.UUID], sentence: str) -> None:
    """Open the stage's alarm, and give the failed requests their attempt back."""
    requests.restore_attempts(session, failed)
    alarms.raise_alarm(session, stage, sentence)
    logger().error("alarm: the worker is sick", stage=stage.value, count=len(failed))


def is_stopped(session: Session, stage: Stage) -> bool:
    """Whether an alarm of the stage is open: nothing is claimed until a person closes it."""
    return bool(alarms.open_alarms(session, stage))

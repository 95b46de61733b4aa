"""Tells a sick worker from sick studies. Knows no pixels, no model and no Celery.

Different studies failing one after another, with none that succeeds between, say that the worker
is sick: their attempts are forgiven, an alarm is raised, and the worker stops. While an alarm of
its stage is open a worker claims nothing, so one that is restarted does no harm.
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
    """The different requests that failed in this process since one succeeded.

    One that failed before, beside others that went well, has itself to blame: when it is tried
    again its failing says nothing of the worker, and so a few bad studies, left over at the end
    of a night, raise no alarm.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._failed: dict[uuid.UUID, None] = {}
        self._own_fault: deque[uuid.UUID] = deque(maxlen=1000)

    def succeeded(self) -> None:
        """One went well: the worker is not sick."""
        self._own_fault.extend(self._failed)
        self._failed.clear()

    def failed(self, request_id: uuid.UUID, how: str) -> None:
        """One failed by its own fault, as it seems.

        Raises:
            WorkerSick: it was one too many; all of the streak are forgiven.
        """
        if request_id not in self._own_fault:
            self._failed[request_id] = None
        if len(self._failed) >= settings().sick_after:
            blamed = list(self._failed)
            self._failed.clear()
            sentence = (
                f"The {self._stage} worker failed on {len(blamed)} different studies in a row "
                f"and stopped itself. The last error: {how}"
            )
            with unit_of_work() as session:
                raise_alarm(session, self._stage, blamed, sentence)
            raise WorkerSick(sentence)


def raise_alarm(session: Session, stage: Stage, blamed: Sequence[uuid.UUID], sentence: str) -> None:
    """Open the stage's alarm, and give those who were blamed their attempt back."""
    requests.restore_attempts(session, blamed)
    alarms.raise_alarm(session, stage, sentence)
    logger().error("alarm: the worker is sick", stage=stage.value, count=len(blamed))


def is_stopped(session: Session, stage: Stage) -> bool:
    """Whether an alarm of the stage is open: nothing is claimed until a person closes it."""
    return bool(alarms.open_alarms(session, stage))

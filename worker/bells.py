"""Rings bells: Celery messages that name a request and nothing else.

A bell says that there is something to do. What a worker then takes is decided in PostgreSQL.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from kombu.exceptions import OperationalError

from records import broker
from records.errors import BrokerDown
from records.settings import settings
from records.states import Stage
from worker.app import app


def count_waiting(stage: Stage) -> int:
    """How many bells of the stage wait in Redis.

    Raises:
        BrokerDown: Redis does not answer.
    """
    return broker.queue_length(stage.value)


def ring(stage: Stage, request_ids: Sequence[uuid.UUID]) -> int:
    """Ring for requests, as long as fewer bells wait than NIGHTDRAFT_BELLS_AHEAD.

    Returns:
        How many bells were rung.

    Raises:
        BrokerDown: Redis does not answer. Nothing is lost: the sweep rings again.
    """
    room = settings().bells_ahead - count_waiting(stage) if request_ids else 0
    rung = request_ids[: max(0, room)]
    if not rung:
        return 0
    try:
        with broker.broker_errors(), app.producer_or_acquire() as producer:
            for request_id in rung:
                app.send_task(
                    stage.value, args=[str(request_id)], queue=stage.value, producer=producer
                )
    except OperationalError:  # kombu's
        raise BrokerDown(broker.DOWN) from None
    return len(rung)

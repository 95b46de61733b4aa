"""Rings bells: messages that name a request and nothing else. Knows no rows.

A bell says "there is something to do"; what a worker then takes is decided in Postgres.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import lru_cache

import redis
from kombu.exceptions import OperationalError

from records.errors import BrokerDown
from records.settings import settings
from records.states import Stage
from worker.app import app

_DOWN = "Redis does not answer; the next sweep rings again"


@lru_cache(maxsize=1)
def _redis(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)


def waiting(stage: Stage) -> int:
    """How many bells of the stage wait in Redis.

    Raises:
        BrokerDown: Redis does not answer.
    """
    try:
        return int(_redis(settings().address("redis_url")).llen(stage.value))
    except redis.RedisError:
        raise BrokerDown(_DOWN) from None


def ring(stage: Stage, request_ids: Sequence[uuid.UUID]) -> int:
    """Ring for requests, as long as fewer bells wait than the stage may have; how many rang.

    Raises:
        BrokerDown: Redis does not answer. Nothing is lost: the sweep rings again.
    """
    room = settings().bells_ahead - waiting(stage) if request_ids else 0
    rung = request_ids[: max(0, room)]
    if not rung:
        return 0
    try:
        with app.producer_or_acquire() as producer:
            for request_id in rung:
                app.send_task(
                    stage.value, args=[str(request_id)], queue=stage.value, producer=producer
                )
    except (OperationalError, redis.RedisError, OSError):
        raise BrokerDown(_DOWN) from None
    return len(rung)

"""Redis: the one place that makes clients. A lost message costs nothing, for the sweep rings again.

Celery keeps connections of its own; `transport_options` gives it the same limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import redis

from records.errors import BrokerDown
from records.settings import place_of, settings

CONNECT_SECONDS = 5.0
"""A Redis that does not take a connection within this time counts as down."""

ANSWER_SECONDS = 5.0
"""A Redis that does not answer a command within this time counts as down."""

DOWN = "Redis does not answer; the next sweep rings again"
"""The message where a bell could not be rung."""


def make_client(url: str, timeout_seconds: float = ANSWER_SECONDS) -> redis.Redis:
    """A client of the Redis at `url`; it connects at its first command."""
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=min(timeout_seconds, CONNECT_SECONDS),
    )


@contextmanager
def broker_client(url: str, timeout_seconds: float = ANSWER_SECONDS) -> Iterator[redis.Redis]:
    """A client for one block, closed at its end.

    Raises:
        BrokerDown: Redis does not answer, or `url` is no address of a Redis. The message gives the
            place without the password.
    """
    try:
        with make_client(url, timeout_seconds) as client:
            yield client
    except (redis.RedisError, OSError, ValueError) as error:
        raise BrokerDown(
            f"Redis does not answer at {place_of(url)} ({type(error).__name__}): start it, or "
            "correct NIGHTDRAFT_REDIS_URL"
        ) from None


@contextmanager
def broker_errors() -> Iterator[None]:
    """Translate errors of a connection to Redis within one block.

    Raises:
        BrokerDown: Redis does not answer.
    """
    try:
        yield
    except (redis.RedisError, OSError):
        raise BrokerDown(DOWN) from None


def queue_length(queue: str) -> int:
    """How many messages wait in a queue, over a client that this process keeps.

    A Celery queue is a Redis list of the queue's name.

    Raises:
        BrokerDown: Redis does not answer.
    """
    with broker_errors():
        return int(_kept_client(settings().address("redis_url")).llen(queue))


def transport_options() -> dict[str, Any]:
    """The limits of Celery's own connections, which also wait for messages and so need longer."""
    return {
        "socket_timeout": 30,
        "socket_connect_timeout": int(CONNECT_SECONDS),
        "socket_keepalive": True,
    }


@lru_cache(maxsize=1)
def _kept_client(url: str) -> redis.Redis:
    return make_client(url)

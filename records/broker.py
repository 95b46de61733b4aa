"""Redis: the one place that makes clients. A lost message costs nothing, for the sweep rings again.

Celery keeps connections of its own; `transport_options` gives it the same limits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from records.errors import BrokerDown, SettingsError
from records.settings import place_of, settings

CONNECT_SECONDS = 5.0
"""A Redis that does not take a connection within this time counts as down."""

ANSWER_SECONDS = 5.0
"""A Redis that does not answer a command within this time counts as down."""

SENTINEL_PORT = 26379
"""The port of a Sentinel whose address names none."""

DOWN = "Redis does not answer; the next sweep rings again"
"""The message where a bell could not be rung."""


@dataclass(frozen=True)
class SentinelAddress:
    """A Redis behind Sentinels: where they are, and how to log in to the Redis that they name."""

    sentinels: tuple[tuple[str, int], ...]
    username: str
    password: str
    db: int

    def kombu_url(self) -> str:
        """The address as kombu writes it: a URL for each Sentinel, the first with all the rest."""
        login = ""
        if self.username or self.password:
            login = f"{quote(self.username, safe='')}:{quote(self.password, safe='')}@"
        urls = [f"sentinel://{_bracketed(host)}:{port}/{self.db}" for host, port in self.sentinels]
        urls[0] = urls[0].replace("://", f"://{login}", 1)
        return ";".join(urls)


def read_sentinel_address(url: str) -> SentinelAddress | None:
    """The address in `sentinel://user:password@host1:26379,host2:26379/0`.

    Celery's form with `;` between whole URLs is read, too. A port that is left out is 26379.

    Returns:
        None where the URL is of a Redis itself.

    Raises:
        BrokerDown: it is no address.
    """
    if not url.startswith("sentinel://"):
        return None
    parts = [urlsplit(part if "://" in part else f"sentinel://{part}") for part in url.split(";")]
    try:
        sentinels = [
            (host.hostname or "", host.port or SENTINEL_PORT)
            for part in parts
            for host in (
                urlsplit(f"sentinel://{entry}")
                for entry in part.netloc.rpartition("@")[2].split(",")
            )
        ]
        if not all(host for host, _ in sentinels):
            raise ValueError(url)
        login = parts[0].netloc.rpartition("@")[0]
        username, _, password = login.partition(":")
        db = int(parts[0].path.strip("/") or 0)
    except ValueError:
        raise BrokerDown(
            "NIGHTDRAFT_REDIS_URL must be sentinel://:password@host1:26379,host2:26379/0"
        ) from None
    return SentinelAddress(tuple(sentinels), unquote(username), unquote(password), db)


def make_client(url: str, timeout_seconds: float = ANSWER_SECONDS) -> redis.Redis:
    """A client of the Redis at `url`; it connects at its first command.

    Behind Sentinels it follows the Redis that they name as the master.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": min(timeout_seconds, CONNECT_SECONDS),
        # A connection that was idle for so long is tried before it is used again.
        "health_check_interval": 10,
        # Once more, for a connection that broke while it was idle; the default tries for long.
        "retry": Retry(NoBackoff(), 1),
    }
    address = read_sentinel_address(url)
    if address is None:
        if url.startswith("rediss://"):
            check_tls(url)
        return redis.Redis.from_url(url, **options)
    watched = Sentinel(  # type: ignore[no-untyped-call]  # redis types only parts of itself
        list(address.sentinels), sentinel_kwargs=_sentinel_options(options)
    )
    client: redis.Redis = watched.master_for(  # type: ignore[no-untyped-call]
        settings().redis_master,
        db=address.db,
        username=address.username or None,
        password=address.password or None,
        **options,
    )
    return client


def _sentinel_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of connections to the Sentinels themselves."""
    password = settings().redis_sentinel_password.get_secret_value()
    return {**options, **({"password": password} if password else {})}


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


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
        raise BrokerDown(_sentence_of(error, url)) from None


def _sentence_of(error: Exception, url: str) -> str:
    """What an error of a client means, with the place and without the password."""
    place = place_of(url)
    if isinstance(error, redis.AuthenticationError):
        return f"Redis at {place} refuses the user or the password: correct NIGHTDRAFT_REDIS_URL"
    if isinstance(error, redis.exceptions.NoPermissionError):
        return (
            f"Redis at {place} does not let its user do this: give the user of "
            "NIGHTDRAFT_REDIS_URL the rights of docs/operate/secrets.md"
        )
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return (
            f"the certificate of Redis at {place} is not one of the authority that ssl_ca_certs "
            "in NIGHTDRAFT_REDIS_URL names, is of another host, or is out of date"
        )
    return (
        f"Redis does not answer at {place} ({type(error).__name__}): start it, or correct "
        "NIGHTDRAFT_REDIS_URL"
    )


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
    """The limits of Celery's own connections, and what it must know to find a Redis by Sentinels.

    A message is waited for one second at a time, so a Redis that is silent for longer hangs.
    """
    sockets: dict[str, Any] = {
        "socket_timeout": 2 * ANSWER_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_keepalive": True,
    }
    return {
        **sockets,
        "health_check_interval": int(ANSWER_SECONDS),
        "master_name": settings().redis_master,
        "sentinel_kwargs": _sentinel_options(sockets),
    }


def celery_url(address: str) -> str:
    """The address of Redis as kombu writes it.

    A Unix socket is redis+socket:///path, not unix:///path, and its database `virtual_host`, not
    `db`. Sentinels are a URL each. Over TLS
    kombu checks no certificate unless the address says so.

    Raises:
        SettingsError: the address says that no certificate is checked.
    """
    if address.startswith("rediss://"):
        check_tls(address)
        said = "ssl_cert_reqs=" in address
        mark = "&" if "?" in address else "?"
        return address if said else f"{address}{mark}ssl_cert_reqs=required"
    if address.startswith("unix://"):
        place, mark, query = address.removeprefix("unix://").partition("?")
        # Left as `db`, the number would be overwritten by 0.
        query = "&".join(
            f"virtual_host={pair[3:]}" if pair.startswith("db=") else pair
            for pair in query.split("&")
        )
        return f"redis+socket://{place}{mark}{query}"
    sentinel = read_sentinel_address(address)
    return sentinel.kombu_url() if sentinel else address


def check_tls(address: str) -> None:
    """Check that an address over TLS does not leave the check of the certificate out.

    Raises:
        SettingsError: it does.
    """
    query = dict(parse_qsl(urlsplit(address).query))
    if (
        query.get("ssl_cert_reqs", "required").lower() not in ("required", "cert_required")
        or query.get("ssl_check_hostname", "true").lower() != "true"
    ):
        raise SettingsError(
            "NIGHTDRAFT_REDIS_URL: ssl_cert_reqs and ssl_check_hostname must not be switched off, "
            "or anybody between here and Redis could read along: name the authority by ssl_ca_certs"
        )


@lru_cache(maxsize=1)
def _kept_client(url: str) -> redis.Redis:
    return make_client(url)

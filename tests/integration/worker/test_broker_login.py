"""Redis by TLS, a password and the rights of the parts: what works, and what refusals say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from celery import Celery

from api.metrics import queue_lengths
from nightdraft.station.checks import check_broker
from nightdraft.station.embedded import EmbeddedServers
from nightdraft.station.wheels import free_port
from records.broker import celery_url, queue_length
from records.broker_rights import COMMANDS, acl_rules
from records.errors import BrokerDown, SettingsError
from records.settings import read_settings, settings
from tests.support.certificates import Authority
from tests.support.paths import ROOT
from tests.support.waiting import eventually
from worker.app import configuration

PASSWORD = "Qvistplanted"


RING = """
import threading
from celery import Celery
from worker.app import configuration

app = Celery("test", set_as_current=False)
app.add_defaults(configuration)
heard = threading.Event()
app.task(name="sweep")(heard.set)
worker = app.WorkController(
    pool="solo", queues=["sweep"], without_mingle=True, without_gossip=True,
    without_heartbeat=True, loglevel="CRITICAL",
)
threading.Thread(target=worker.start, daemon=True).start()
app.send_task("sweep", queue="sweep")
assert heard.wait(60)
worker.stop()
print("heard")
"""
"""A worker and a sender with the settings of ours; Celery's worker runs once in a process."""


def ring() -> None:
    """Send a bell through Redis, and wait until a worker has heard it."""
    done = subprocess.run(
        [sys.executable, "-c", RING],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout == "heard\n", done.stderr


@pytest.fixture
def parts_broker(
    broker: str, servers: EmbeddedServers, setting: Callable[..., None]
) -> Iterator[redis.Redis]:
    """NIGHTDRAFT_REDIS_URL names the parts' user; a client of the user who may do everything."""
    setting(redis_url=servers.redis_url)
    with redis.Redis.from_url(broker) as owner:
        owner.acl_log_reset()
        owner.config_resetstat()
        yield owner


def test_the_rights_are_those_that_are_used(parts_broker: redis.Redis) -> None:
    ring()
    assert queue_length("draft") == 0
    assert set(queue_lengths(settings())) == {"prepare", "draft"}
    assert check_broker(settings())
    assert parts_broker.acl_log() == []  # nothing was refused
    sent = {
        name.removeprefix("cmdstat_")
        for name, stat in parts_broker.info("commandstats").items()
        if stat["calls"]
    }
    of_the_owner = {"acl|log", "config|resetstat"}
    # Those of a login, of another database and of a client's name depend on server and address.
    assert set(COMMANDS) - sent <= {"auth", "select", "client|setname"}
    assert sent - of_the_owner <= set(COMMANDS)


@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "GET", "*"), ("ACL", "LIST"), ("MONITOR",),
        ("SHUTDOWN",), ("EVAL", "return 1", "0"), ("DEL", "draft"), ("GET", "draft"),
        ("LPUSH", "another", "1"), ("LLEN", "another"), ("SUBSCRIBE", "x"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_is_not_used_is_refused(
    command: tuple[str, ...], parts_broker: redis.Redis, servers: EmbeddedServers
) -> None:
    with (
        redis.Redis.from_url(servers.redis_url) as client,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        client.execute_command(*command)


@pytest.fixture
def authority(short_folder: Callable[[], Path]) -> Authority:
    return Authority(short_folder())


@contextmanager
def redis_server(authority: Authority, names: tuple[str, ...], rights: str) -> Iterator[int]:
    """A Redis that speaks TLS alone; yields its port on loopback."""
    port, folder = free_port(), authority.folder
    issued = authority.issue("redis", names=names)
    (folder / "users.acl").write_text(
        f"user default off\nuser nightdraft on >{PASSWORD} {rights}\n"
    )
    (folder / "redis.conf").write_text(
        f"port 0\ntls-port {port}\nbind 127.0.0.1\ntls-auth-clients no\nsave ''\n"
        f"tls-cert-file {issued.certificate}\ntls-key-file {issued.key}\n"
        f"tls-ca-cert-file {authority.file}\naclfile {folder}/users.acl\ndir {folder}\n"
        "maxmemory-policy noeviction\nappendonly yes\n"
    )
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(
            ["/usr/bin/redis-server", str(folder / "redis.conf")], stdout=log, stderr=log
        )
    try:
        eventually(lambda: b"Ready to accept" in (folder / "redis.log").read_bytes())
        yield port
    finally:
        process.terminate()
        process.wait(20)


def test_bells_ring_over_tls_with_a_password(
    authority: Authority, setting: Callable[..., None], database: str
) -> None:
    with redis_server(authority, ("localhost",), acl_rules(oldest=True)) as port:
        place = f"localhost:{port}/0?ssl_ca_certs={authority.file}"
        setting(redis_url=f"rediss://nightdraft:{PASSWORD}@{place}")
        ring()
        assert queue_length("draft") == 0
        assert "noeviction" in check_broker(settings())

        other = Authority(authority.folder, "another")
        for url, sentence in (
            (f"rediss://nightdraft:wrong@{place}", "refuses the user or the password"),
            (f"rediss://nobody:{PASSWORD}@{place}", "refuses the user or the password"),
            (
                f"rediss://nightdraft:{PASSWORD}@localhost:{port}/0?ssl_ca_certs={other.file}",
                "is not one of the authority",
            ),
            (f"rediss://nightdraft:{PASSWORD}@localhost:{port}/0", "is not one of the authority"),
            (
                f"rediss://nightdraft:{PASSWORD}@127.0.0.1:{port}/0?ssl_ca_certs={authority.file}",
                "is of another host",
            ),
            (f"redis://nightdraft:{PASSWORD}@localhost:{port}/0", "does not answer"),
        ):
            with pytest.raises(BrokerDown, match=sentence) as refused:
                check_broker(read_settings(redis_url=url))
            assert f":{port}" in str(refused.value)
            assert PASSWORD not in str(refused.value)


def test_celery_checks_the_certificate_too(
    authority: Authority, setting: Callable[..., None]
) -> None:
    with redis_server(authority, ("localhost",), acl_rules(oldest=True)) as port:
        other = Authority(authority.folder, "another")
        for place in (
            f"localhost:{port}/0?ssl_ca_certs={other.file}",
            f"localhost:{port}/0",
            f"127.0.0.1:{port}/0?ssl_ca_certs={authority.file}",
        ):
            setting(redis_url=f"rediss://nightdraft:{PASSWORD}@{place}")
            app = Celery("test", set_as_current=False)
            app.add_defaults(configuration)
            with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
                app.send_task("sweep", queue="sweep")
            app.close()


def test_a_user_without_the_rights_is_told(
    authority: Authority, setting: Callable[..., None]
) -> None:
    with redis_server(authority, ("localhost",), "~* -@all +ping +hello +auth") as port:
        url = f"rediss://nightdraft:{PASSWORD}@localhost:{port}/0?ssl_ca_certs={authority.file}"
        with pytest.raises(BrokerDown, match=r"does not let its user do this: .*secrets\.md"):
            check_broker(read_settings(redis_url=url))


@pytest.mark.parametrize(
    "query", ["ssl_cert_reqs=none", "ssl_cert_reqs=CERT_OPTIONAL", "ssl_check_hostname=false"]
)
def test_an_address_cannot_switch_the_check_off(query: str) -> None:
    url = f"rediss://nightdraft:{PASSWORD}@localhost/0?{query}"
    with pytest.raises(SettingsError, match="must not be switched off") as refused:
        celery_url(url)
    assert PASSWORD not in str(refused.value)
    with pytest.raises(SettingsError, match="must not be switched off"):
        check_broker(read_settings(redis_url=url))

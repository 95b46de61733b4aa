"""Redis clients: closed after use, down when it does not answer, and made in one place only."""

from __future__ import annotations

import ast
from urllib.parse import unquote

import pytest

from records.broker import broker_client, broker_errors, celery_url, queue_length
from records.errors import BrokerDown
from tests.support.byte_proxy import ByteProxy
from tests.support.paths import ROOT

PACKAGES = ("api", "intake", "model", "nightdraft", "records", "training", "worker")


def test_a_client_for_one_block(broker):
    with broker_client(broker) as client:
        client.rpush("prepare", "a", "b")
    assert queue_length("prepare") == 2
    assert queue_length("draft") == 0


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://user:secret@127.0.0.1:1/0", "127.0.0.1:1"),
        ("unix:///run/no-valkey.sock", "/run/no-valkey.sock"),
        ("user:secret@nonsense", "its address"),
        ("redis://h:port/0", "its address"),
    ],
)
def test_one_that_does_not_answer_is_named_without_its_password(url, place):
    with (
        pytest.raises(BrokerDown, match="Redis does not answer at") as caught,
        broker_client(url, 0.5) as client,
    ):
        client.ping()
    assert place in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_bell_that_cannot_be_counted_is_left_to_the_sweep(setting):
    setting(redis_url="redis://127.0.0.1:1/0")
    with pytest.raises(BrokerDown, match="the next sweep rings again"):
        queue_length("prepare")


def test_one_that_hangs_is_down(broker, short_folder):
    path = unquote(broker.rpartition("@")[2])
    with ByteProxy(path, f"{short_folder()}/proxy.sock") as proxy:
        url = broker.replace(path, proxy.address)
        with broker_client(url, 0.2) as client:
            assert client.ping()
            proxy.swallow()
            with pytest.raises(BrokerDown, match="does not answer"), broker_errors():
                client.ping()
        proxy.forward()
        with broker_client(url) as client:
            assert client.ping()


@pytest.mark.parametrize(
    ("url", "kombu_url"),
    [
        ("sentinel://s1", "sentinel://s1:26379/0"),
        ("sentinel://:p%2Fw@s1:1,s2:2/3", "sentinel://:p%2Fw@s1:1/3;sentinel://s2:2/3"),
        ("sentinel://u:p@s1:1/3;sentinel://s2:2", "sentinel://u:p@s1:1/3;sentinel://s2:2/3"),
        ("sentinel://[::1]:1,s2", "sentinel://[::1]:1/0;sentinel://s2:26379/0"),
    ],
)
def test_addresses_of_sentinels(url, kombu_url, setting):
    setting()
    assert celery_url(url) == kombu_url


@pytest.mark.parametrize("url", ["sentinel://", "sentinel://s1:port", "sentinel://:secret@s1/x"])
def test_a_wrong_address_of_sentinels(url, setting):
    setting()
    with (
        pytest.raises(BrokerDown, match="must be sentinel://") as caught,
        broker_client(url) as client,
    ):
        client.ping()
    assert "secret" not in str(caught.value)


def test_no_other_module_makes_clients():
    importers = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Import) and any(name.name == "redis" for name in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "redis")
    }
    assert importers == {"records/broker.py"}

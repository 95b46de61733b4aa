"""Who called, behind proxies: only those that the setting names are believed."""

from __future__ import annotations

import json

import pytest
from starlette.testclient import TestClient

from api.app import make_app
from records.errors import SettingsError
from records.settings import read_settings, settings
from records.telemetry import set_up_logs


@pytest.fixture
def call(database, data_dir, setting, capsys):
    """`call(peer, headers, proxies)`: the logged address, and whether it came by HTTPS."""

    def do(peer, headers, proxies="10.1.0.1, 10.2.0.0/16"):
        setting(trusted_proxies=proxies)
        set_up_logs("json", "info", "api")
        capsys.readouterr()
        app = make_app(settings())
        with TestClient(app, base_url="http://localhost", client=(peer, 4711)) as client:
            answer = client.get("/api/studies", headers=headers)
        assert answer.status_code == 200
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        (host,) = [line["host"] for line in lines if line.get("route") == "/api/studies"]
        return host, "strict-transport-security" in answer.headers

    return do


FORWARDED = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        ("10.1.0.1", FORWARDED, ("192.0.2.7", True)),
        ("10.2.3.4", FORWARDED, ("192.0.2.7", True)),
        ("10.9.9.9", FORWARDED, ("10.9.9.9", False)),
        ("::ffff:10.1.0.1", FORWARDED, ("192.0.2.7", True)),
        ("::ffff:10.9.9.9", FORWARDED, ("10.9.9.9", False)),
        ("10.1.0.1", {}, ("10.1.0.1", False)),
        # What the browser wrote itself stands on the left.
        ("10.1.0.1", {"X-Forwarded-For": "127.0.0.1, 192.0.2.7"}, ("192.0.2.7", False)),
        ("10.1.0.1", {"X-Forwarded-For": "6.6.6.6, 192.0.2.7, 10.2.0.9"}, ("192.0.2.7", False)),
        ("10.1.0.1", {"X-Forwarded-For": "192.0.2.7:5123"}, ("192.0.2.7", False)),
        ("10.1.0.1", {"X-Forwarded-For": "[2001:db8::7]:5123"}, ("2001:db8::7", False)),
        ("10.1.0.1", {"X-Forwarded-For": "PLANTED"}, ("10.1.0.1", False)),
        ("10.1.0.1", {"X-Forwarded-For": ""}, ("10.1.0.1", False)),
        ("10.1.0.1", {"X-Forwarded-Proto": "javascript"}, ("10.1.0.1", False)),
        ("10.1.0.1", {"Forwarded": "for=6.6.6.6;proto=https"}, ("10.1.0.1", False)),
        ("10.1.0.1", {"X-Real-IP": "6.6.6.6"}, ("10.1.0.1", False)),
    ],
)
def test_the_address_and_the_scheme(call, peer, headers, expected):
    assert call(peer, headers) == expected


def test_nobody_is_believed_where_nobody_is_named(call):
    assert call("127.0.0.1", FORWARDED, "") == ("127.0.0.1", False)


@pytest.mark.parametrize("written", ["*", "proxy.example", "10.1.2.3/8"])
def test_what_is_no_address_is_refused(written):
    with pytest.raises(SettingsError, match="NIGHTDRAFT_TRUSTED_PROXIES"):
        read_settings(trusted_proxies=written)

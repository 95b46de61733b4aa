"""TLS of mail, webhook and audit server: what is accepted, what is refused, and what is said."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest

from records.alarm_kinds import Channel
from records.errors import PartError, SettingsError
from records.settings import settings
from tests.support.certificates import Authority
from tests.support.smtp_receiver import PASSWORD, USER, SmtpReceiver
from tests.support.tls_servers import BAD_SERVERS, fixed_server, server_context, two_authorities
from worker import alarm_channels, audit_server
from worker.alarm_messages import describe_test

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    return two_authorities(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def use(
    setting: Callable[..., None], authorities: tuple[Authority, Authority]
) -> Callable[..., None]:
    def use(**values: object) -> None:
        setting(alarm_ca_file=authorities[0].file, **values)

    return use


def send(channel: Channel) -> str:
    config = settings()
    return alarm_channels.send(channel, describe_test(dt.datetime.now(dt.UTC)), config)


def use_webhook(use: Callable[..., None], port: int) -> None:
    use(
        alarm_webhook_url=f"https://127.0.0.1:{port}/hook",
        alarm_webhook_secret="a-secret-to-sign-with",
    )


def use_mail(use: Callable[..., None], port: int, security: str) -> None:
    use(
        smtp_host="127.0.0.1",
        smtp_port=port,
        smtp_security=security,
        smtp_user=USER,
        smtp_password=PASSWORD,
        alarm_mail_to="oncall@hospital.example",
    )


def test_a_webhook_over_tls_takes_the_message(
    use: Callable[..., None], authorities: tuple[Authority, Authority]
) -> None:
    with fixed_server(OK, server_context("good", *authorities)) as server:
        use_webhook(use, server.port)
        assert send(Channel.WEBHOOK) == "127.0.0.1 answered 200"
        assert server.requests[0].startswith(b"POST /hook ")


@pytest.mark.parametrize("kind", BAD_SERVERS)
def test_a_webhook_that_is_not_who_it_should_be_gets_nothing(
    kind: str, use: Callable[..., None], authorities: tuple[Authority, Authority]
) -> None:
    with fixed_server(OK, server_context(kind, *authorities)) as server:
        use_webhook(use, server.port)
        with pytest.raises(alarm_channels.NotSent, match=BAD_SERVERS[kind]):
            send(Channel.WEBHOOK)
        assert server.requests == []


@pytest.mark.parametrize("security", ["tls", "starttls"])
@pytest.mark.parametrize("kind", ["good", *sorted(BAD_SERVERS.keys() - {"no TLS"})])
def test_mail_and_login_go_to_a_server_that_is_who_it_should_be(
    kind: str,
    security: str,
    use: Callable[..., None],
    authorities: tuple[Authority, Authority],
) -> None:
    with SmtpReceiver(None, security) as receiver:
        receiver.context = server_context(kind, *authorities)
        use_mail(use, receiver.port, security)
        if kind == "good":
            assert "took the mail" in send(Channel.EMAIL)
            assert receiver.logins == [(USER, True)]
            return
        with pytest.raises(alarm_channels.NotSent, match=BAD_SERVERS[kind]) as refused:
            send(Channel.EMAIL)
        assert PASSWORD not in str(refused.value)
        assert receiver.logins == []
        assert receiver.mails == []


@pytest.mark.parametrize("kind", BAD_SERVERS)
def test_an_audit_server_that_is_not_who_it_should_be_gets_nothing(
    kind: str, setting: Callable[..., None], authorities: tuple[Authority, Authority]
) -> None:
    with fixed_server(b"no TLS", server_context(kind, *authorities)) as server:
        setting(trail_server=f"127.0.0.1:{server.port}", trail_server_ca_file=authorities[0].file)
        with pytest.raises(PartError, match=BAD_SERVERS[kind]):
            audit_server.send([b"a message"], settings())
        assert server.requests == []


def test_a_server_that_never_ends_its_handshake_is_given_up(
    use: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.setattr(alarm_channels, "SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_webhook(use, silent.getsockname()[1])
        with pytest.raises(alarm_channels.NotSent, match="no answer in time"):
            send(Channel.WEBHOOK)
        use_mail(use, silent.getsockname()[1], "tls")
        with pytest.raises(alarm_channels.NotSent, match="no answer in time"):
            send(Channel.EMAIL)


def test_a_file_that_holds_no_authority_is_named(
    setting: Callable[..., None], tmp_path: Path
) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("no certificate")
    setting(
        alarm_ca_file=wrong,
        alarm_webhook_url="https://127.0.0.1:1/hook",
        alarm_webhook_secret="a-secret-to-sign-with",
        trail_server="127.0.0.1:1",
        trail_server_ca_file=wrong,
    )
    with pytest.raises(alarm_channels.NotSent, match="NIGHTDRAFT_ALARM_CA_FILE"):
        send(Channel.WEBHOOK)
    with pytest.raises(SettingsError, match="NIGHTDRAFT_TRAIL_SERVER_CA_FILE"):
        audit_server.send([b"a message"], settings())

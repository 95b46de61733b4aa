"""TLS: what the settings may say, what a certificate and an error are called, and renewals."""

from __future__ import annotations

import os
import ssl

import pytest

from records.errors import SettingsError
from records.settings import read_settings
from records.tls.certificates import CertificateFile, pin_of
from records.tls.contexts import CIPHERS, ClientFiles
from records.tls.faults import describe_error
from records.tls.servers import listener_files, pages_files
from records.tls.watched import ReloadedContext, WatchedContext
from tests.support.certificates import Authority
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def own(authority):
    return authority.issue("own")


def files(own, **changed):
    named = {
        "listen_tls_port": 2762,
        "listen_certificate": str(own.certificate),
        "listen_certificate_key": str(own.key),
    }
    return listener_files(read_settings(**(named | changed)))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"listen_certificate": ""}, "LISTEN_TLS_PORT needs NIGHTDRAFT_LISTEN_CERTIFICATE"),
        ({"listen_tls_port": 0}, "LISTEN_CERTIFICATE needs NIGHTDRAFT_LISTEN_TLS_PORT"),
        (
            {"listen_tls_port": 0, "listen_certificate": "", "listen_plain": False},
            "LISTEN_PLAIN=false needs NIGHTDRAFT_LISTEN_TLS_PORT",
        ),
        ({"listen_certificate_key": "/none"}, "CERTIFICATE_KEY cannot be used"),
        ({"listen_certificate_key": "/etc/hostname"}, "that belong together"),
        ({"listen_client_certificates": "required"}, "belong together"),
        ({"listen_client_ca": "/ca.pem"}, "belong together"),
        (
            {"listen_client_certificates": "required", "listen_client_ca": "/etc/hostname"},
            "NIGHTDRAFT_LISTEN_CLIENT_CA: /etc/hostname cannot be used",
        ),
    ],
)
def test_settings_that_cannot_be_used_are_named(own, changed, words):
    with pytest.raises(SettingsError, match=words):
        files(own, **changed).make_context()


def test_without_a_port_or_a_certificate_there_is_no_tls():
    assert listener_files(read_settings()) is None
    assert pages_files(read_settings()) is None
    with pytest.raises(SettingsError, match="NIGHTDRAFT_SERVE_CERTIFICATE"):
        pages_files(read_settings(serve_certificate_key="/key.pem"))


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(own):
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(own.key.read_bytes(), None)
    own.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(SettingsError, match="CERTIFICATE_KEY cannot be used"):
        files(own).make_context()


def test_the_rules_are_those_of_bcp_195(own):
    for context in (
        files(own).make_context(),
        ClientFiles("", "", "", ("", "", "")).make_context(),
    ):
        old = {one["name"] for one in context.get_ciphers() if one["protocol"] == "TLSv1.2"}
        assert old == set(CIPHERS)
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_COMPRESSION
        assert context.options & ssl.OP_NO_RENEGOTIATION


def test_files_that_are_half_renewed_are_waited_for_and_bad_ones_are_told_of(
    own, authority, caplog, monkeypatch
):
    monkeypatch.setattr("records.tls.watched.LOOK_SECONDS", 0)
    watched = WatchedContext(files(own), "the test")
    first = watched.current()
    assert watched.current() is first
    other = authority.issue("other")
    own.certificate.write_bytes(other.certificate.read_bytes())
    assert watched.current() is first  # the key comes in a moment
    assert not watched.problem
    own.key.write_bytes(other.key.read_bytes())
    second = eventually(watched.current)
    assert second is not first
    own.key.unlink()
    os.utime(own.certificate, (1, 1))
    assert watched.current() is second
    assert "CERTIFICATE_KEY cannot be used" in watched.problem
    own.key.write_bytes(other.key.read_bytes())
    assert watched.current() is not second
    assert not watched.problem


def test_a_server_that_took_a_context_gets_the_new_ones(own, authority, monkeypatch):
    monkeypatch.setattr("records.tls.watched.LOOK_SECONDS", 0)
    watched = WatchedContext(files(own), "the test")
    context = ReloadedContext(watched)

    def wrapped():
        return context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True).context

    first = wrapped()
    assert first is watched.current()
    watched.reload()
    assert wrapped() is watched.current()
    assert wrapped() is not first


@pytest.mark.parametrize(
    "written",
    ["sha256 Fingerprint={}", "SHA256:{}", "{}", "sha256:{}"],
)
def test_a_pin_is_read_as_openssl_prints_it(own, written):
    digits = own.pin.upper()
    colons = ":".join(digits[n : n + 2] for n in range(0, 64, 2))
    assert pin_of(written.format(colons)) == own.pin
    assert CertificateFile.read(str(own.certificate)).pin == own.pin


@pytest.mark.parametrize("written", ["", "12:34", "x" * 64, "0" * 40])
def test_what_is_no_pin_is_refused(written):
    with pytest.raises(ValueError, match="fingerprint"):
        pin_of(written)


def test_the_days_of_a_certificate(authority):
    soon = CertificateFile.read(str(authority.issue("soon", days=(-1, 5)).certificate))
    assert 4.9 < soon.days_left() < 5
    assert (
        CertificateFile.read(str(authority.issue("old", days=(-9, -2)).certificate)).days_left() < 0
    )
    with pytest.raises(SettingsError, match="/etc/hostname"):
        CertificateFile.read("/etc/hostname")


def test_an_error_is_said_without_what_the_other_side_sent():
    assert describe_error(ConnectionResetError()).startswith("it hung up")
    assert describe_error(TimeoutError()) == "it does not answer in time"
    assert describe_error(ConnectionRefusedError(111, "Connection refused")) == "connection refused"

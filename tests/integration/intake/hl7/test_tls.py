"""HL7 over TLS: who shows no certificate, where one is asked for, gets no answer."""

import shutil
import socket
import ssl
import subprocess
from contextlib import ExitStack, suppress

import pytest

from intake.hl7.mllp import FrameReader, make_frame
from records.errors import SettingsError
from records.handshakes import MAX_WAITING, HandshakeOutcome, outcomes
from records.settings import settings
from records.tls.servers import hl7_files
from records.tls.watched import WatchedContext
from tests.support.mllp import field, make_order, running_listener
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """ca.pem, and NAME.pem and NAME.key of server, client and stranger (of another authority)."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    def make(name, authority):
        openssl(
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            f"/CN={name}",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-addext",
            "subjectAltName=DNS:localhost",
        )
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey",
                f"{authority}.key", "-CAcreateserial", "-days", "2", "-copy_extensions", "copy",
                "-out", f"{name}.pem")  # fmt: skip

    for authority in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                f"/CN={authority}", "-keyout", f"{authority}.key", "-out",
                f"{authority}.pem")  # fmt: skip
    make("server", "ca")
    make("client", "ca")
    make("stranger", "other")
    return folder


def ask(port, certificates, name="", version=None):
    """The answer to an order over TLS; "" where there is none."""
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    if name:
        context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    if version:
        context.minimum_version = context.maximum_version = version
    reader = FrameReader(1 << 20)
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 30) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            connection.sendall(make_frame(make_order()))
            while data := connection.recv(65_536):
                for frame in reader.feed(data):
                    return field(frame.content.decode(), "MSA", 1)
    except (ssl.SSLError, ConnectionError):
        pass
    return ""


def test_tls_and_certificates_of_clients(database, data_dir, certificates, setting):
    setting(
        hl7_certificate=certificates / "server.pem",
        hl7_certificate_key=certificates / "server.key",
    )
    with running_listener() as listener:
        assert ask(listener.port, certificates) == "AA"
        assert ask(listener.port, certificates, version=ssl.TLSVersion.TLSv1_2) == "AA"
        with socket.create_connection(("127.0.0.1", listener.port), 30) as plain:
            plain.sendall(make_frame(make_order()))
            assert b"MSA" not in plain.recv(65_536)
    setting(hl7_client_ca=certificates / "ca.pem")
    with running_listener() as listener:
        assert ask(listener.port, certificates) == ""
        assert ask(listener.port, certificates, "stranger") == ""
        assert ask(listener.port, certificates, "client") == "AA"


def test_many_silent_handshakes_are_ended_and_keep_nobody_out(
    database, data_dir, certificates, setting
):
    setting(
        hl7_certificate=certificates / "server.pem",
        hl7_certificate_key=certificates / "server.key",
    )
    before = outcomes.copy()
    with running_listener() as listener, ExitStack() as stack:
        silent = []
        for number in range(2 * MAX_WAITING):
            connection = socket.create_connection(("127.0.0.1", listener.port), 60)
            silent.append(stack.enter_context(connection))
            if number % 3 == 1:  # the first bytes of a ClientHello, and then nothing
                connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        assert ask(listener.port, certificates) == "AA"
        eventually(
            lambda: (outcomes - before)[HandshakeOutcome.TOO_MANY] >= MAX_WAITING,
        )
        for connection in silent[:MAX_WAITING]:
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""  # ended by the listener


def test_an_address_that_may_not_send_begins_no_handshake(
    database, data_dir, certificates, setting
):
    setting(
        hl7_certificate=certificates / "server.pem",
        hl7_certificate_key=certificates / "server.key",
        hl7_allowed_peers="10.0.0.1",
    )
    before = outcomes.copy()
    with (
        running_listener() as listener,
        socket.create_connection(("127.0.0.1", listener.port), 60) as connection,
    ):
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
        assert ask(listener.port, certificates) == ""
    assert outcomes == before


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"hl7_certificate": "none.pem"}, "NIGHTDRAFT_HL7_CERTIFICATE"),
        ({"hl7_certificate": "server.pem"}, "NIGHTDRAFT_HL7_CERTIFICATE_KEY"),
        ({"hl7_client_ca": "ca.pem"}, "needs NIGHTDRAFT_HL7_CERTIFICATE"),
        (
            {
                "hl7_certificate": "server.pem",
                "hl7_certificate_key": "server.key",
                "hl7_client_ca": "server.key",
            },
            "NIGHTDRAFT_HL7_CLIENT_CA",
        ),
    ],
)
def test_a_certificate_that_cannot_be_used_is_named(certificates, setting, names, words):
    setting(**{name: certificates / file for name, file in names.items()})
    with pytest.raises(SettingsError, match=words):
        WatchedContext(hl7_files(settings()), "the HL7 listener")

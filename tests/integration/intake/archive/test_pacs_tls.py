"""A PACS over TLS: every reason for which there is no association is said in words."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import select

from intake.archive.dimse import DimseClient
from intake.archive.errors import PacsAway
from intake.archive.puller import Puller, SourceState
from records.database.campaign_tables import CampaignStudy
from records.database.session import unit_of_work
from records.database.tables import Instance
from records.errors import SettingsError
from records.pacs import Pacs, read_pacs_file
from records.settings import settings
from tests.support import campaigns
from tests.support.campaigns import of_uids
from tests.support.certificates import Authority
from tests.support.pacs import ORTHANC, OddPacs, describe, film_uids, make_study, running_orthanc


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


def server_context(own, clients=None, version=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    if clients:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    if version:
        context.minimum_version = context.maximum_version = version
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


def check(port, authority, **changed):
    """C-ECHO over TLS."""
    values = {"host": "localhost", "tls": True, "ca_file": str(authority.file), "seconds": 5}
    DimseClient(describe(port, **(values | changed)), settings()).check()


def test_a_pacs_is_asked_by_its_name_its_other_name_or_its_certificate(authority):
    own = authority.issue("pacs", names=("localhost",))
    renamed = authority.issue("pacs", names=("pacs.example",))
    expired = authority.issue("pacs", days=(-9, -1))
    with OddPacs(tls=server_context(own)) as pacs:
        check(pacs.port, authority)
        check(pacs.port, authority, pin=own.pin, ca_file="")
    with OddPacs(tls=server_context(renamed)) as pacs:
        check(pacs.port, authority, server_name="pacs.example")
    with OddPacs(tls=server_context(expired)) as pacs:
        check(pacs.port, authority, pin=expired.pin)


@pytest.mark.parametrize(
    ("issued", "changed", "words"),
    [
        ({"days": (-20, -1)}, {}, "its certificate has expired"),
        ({"days": (1, 20)}, {}, "its certificate is not valid yet"),
        ({"names": ("pacs.example",)}, {}, "its certificate is for another name"),
        ({"names": ("localhost",)}, {"host": "127.0.0.1"}, "its certificate is for another name"),
        ({}, {"ca_file": ""}, "of an authority that is not trusted"),
        ({}, {"pin": "0" * 64}, "its certificate is not the pinned one"),
    ],
)
def test_a_certificate_that_does_not_count_is_told_why(authority, issued, changed, words):
    with (
        OddPacs(tls=server_context(authority.issue("pacs", **issued))) as pacs,
        pytest.raises(PacsAway, match=f"^the PACS archive .* over TLS: .*{words}"),
    ):
        check(pacs.port, authority, **changed)


def test_a_certificate_of_ours_that_is_missing_or_refused_is_said(authority, tmp_path):
    own, good = authority.issue("pacs"), authority.issue("us")
    stranger = Authority(tmp_path, "elsewhere").issue("us")

    def shown(issued):
        return {"certificate_file": str(issued.certificate), "key_file": str(issued.key)}

    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with OddPacs(tls=server_context(own, authority.file, version)) as pacs:
            check(pacs.port, authority, **shown(good))
            with pytest.raises(PacsAway, match="certificate"):
                check(pacs.port, authority)
            with pytest.raises(PacsAway, match="does not trust our certificate"):
                check(pacs.port, authority, **shown(stranger))


def test_an_old_version_and_a_port_without_tls_are_said(authority):
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old = server_context(authority.issue("pacs"), version=ssl.TLSVersion.TLSv1_1)
    with OddPacs(tls=old) as pacs, pytest.raises(PacsAway, match=r"no TLS 1\.2 or 1\.3"):
        check(pacs.port, authority)
    with (
        OddPacs() as pacs,
        pytest.raises(PacsAway, match=r"does not speak TLS|speaks no TLS there"),
    ):
        check(pacs.port, authority)


@contextmanager
def answering(content: bytes | None) -> Iterator[int]:
    """The port of somebody who takes one connection, says this and hangs up; None is silence."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ended = threading.Event()

        def serve():
            connection, _ = listening.accept()
            with connection:
                if content is None:
                    ended.wait(60)
                else:
                    connection.recv(65536)
                    connection.sendall(content)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        ended.set()
        thread.join(60)


@pytest.mark.parametrize("content", [b"", b"\x16\x03\x03\x00\x40\x02", b"HTTP/1.0 400\r\n\r\n"])
def test_a_handshake_that_breaks_off_is_said(authority, content):
    with answering(content) as port, pytest.raises(PacsAway, match="over TLS: it "):
        check(port, authority)


def test_a_silent_handshake_ends_in_time(authority):
    with answering(None) as port, pytest.raises(PacsAway, match="does not answer in time"):
        check(port, authority, seconds=1)


def test_nobody_there_is_said(authority, free_port):
    with pytest.raises(PacsAway, match="connection refused"):
        check(free_port, authority)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('tls = true\npin = "12"', "fingerprint -sha256"),
        (f'pin = "{"0" * 64}"', "need tls = true"),
        ('server_name = "pacs.example"', "need tls = true"),
    ],
)
def test_a_wrong_pin_is_named(tmp_path, lines, words):
    file = tmp_path / "pacs.toml"
    file.write_text(f'[archive]\nhost = "x"\nae_title = "A"\n{lines}\n')
    with pytest.raises(SettingsError, match=words):
        read_pacs_file(str(file))


@pytest.mark.slow
@pytest.mark.skipif(not ORTHANC, reason="Orthanc is needed (apt install orthanc)")
@pytest.mark.parametrize("retrieve", ["c-get", "c-move"])
def test_a_campaign_fetches_from_an_orthanc_that_speaks_tls_alone(
    authority, tmp_path, make_source, listen, retrieve
):
    archive, ours = authority.issue("orthanc"), authority.issue("nightdraft")
    context = ssl.create_default_context(cafile=str(authority.file))
    context.load_cert_chain(ours.certificate, ours.key)
    with running_orthanc(
        tmp_path / "pacs",
        tls=context,
        DicomTlsEnabled=True,
        DicomTlsCertificate=str(archive.certificate),
        DicomTlsPrivateKey=str(archive.key),
        DicomTlsTrustedCertificates=str(authority.file),
    ) as pacs:
        images = make_study(1)
        pacs.store(images)
        if retrieve == "c-move":
            listen(
                listen_plain="false",
                listen_tls_port=pacs.listener_port,
                listen_certificate=ours.certificate,
                listen_certificate_key=ours.key,
                listen_client_certificates="required",
                listen_client_ca=authority.file,
            )
        named: dict[str, object] = {
            "host": "localhost", "tls": True, "ca_file": str(authority.file),
            "certificate_file": str(ours.certificate), "key_file": str(ours.key),
        }  # fmt: skip
        described: Pacs = describe(pacs.port, retrieve=retrieve, **named)
        campaigns.create(studies=of_uids("1.2.826.77.1"), pacs="archive")
        campaigns.tend()
        source = make_source(described)
        puller = Puller(source, SourceState(source, 0.0), 100, walks=False)
        for _ in range(5):
            puller.take_turn()
        with unit_of_work() as session:
            here = set(session.scalars(select(Instance.sop_instance_uid)).all())
            row = session.scalars(select(CampaignStudy)).one()
        assert here >= film_uids(images)
        assert (row.state, row.listed) == ("IN_WORK", 2)

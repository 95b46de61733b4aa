"""The listener over TLS: who gets in, what is said of others, and certificates that change."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
from contextlib import suppress

import psutil
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pynetdicom.sop_class import Verification
from sqlalchemy import func, update

from nightdraft.station.wheels import free_port
from records.database.operation_tables import Refusal
from records.database.session import interval, unit_of_work
from records.database.tables import Study
from records.states import EventKind, Priority
from records.workflow import doubted_priorities, events
from records.workflow.doubted_priorities import DoubtedStudies
from tests.support.certificates import Authority
from tests.support.dicom_senders import (
    associate_request,
    dcmtk_program,
    make_image,
    open_association,
    open_connection,
    send_images,
    wait_until_closed,
    write_part10,
)
from tests.support.listener_state import read_rows, read_study
from tests.support.tls_scan import expected_scan, scan
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A certificate of an authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("elsewhere"), "elsewhere").issue("stranger")


@pytest.fixture
def listen_tls(listen, authority):
    """`listen_tls(...)` starts a listener that has a port for TLS, too: process and that port."""

    def start(**settings):
        own = authority.issue("listener")
        port = free_port()
        named = {
            "listen_tls_port": port,
            "listen_certificate": own.certificate,
            "listen_certificate_key": own.key,
        }
        return listen(**(named | settings)), port

    return start


def client_context(authority, own=None, version=None, ciphers=""):
    context = ssl.create_default_context(cafile=str(authority.file))
    if own:
        context.load_cert_chain(own.certificate, own.key)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    return context


def tls_args(authority, own=None, **options):
    return {"tls_args": (client_context(authority, own, **options), "localhost")}


def is_taken(port, authority, own=None, **options):
    """Whether somebody with this certificate gets an association."""
    with open_association(port, Verification, **tls_args(authority, own, **options)) as association:
        return association.is_established and association.send_c_echo().Status == 0


def eventually_refused(reason, count=1):
    """Wait until the page of refusals has the reason."""
    return eventually(
        lambda: [row for row in read_rows(Refusal) if row.reason == reason and row.count >= count]
    )


# ---- Who gets in ----


def test_a_film_comes_by_tls_as_it_comes_without(listen_tls, authority):
    listener, port = listen_tls()
    large = make_image(study="1.2.9", pixels=b"\1\2" * 2_000_000)
    assert send_images(port, make_image(), large, **tls_args(authority)) == [0, 0]
    for number, version in enumerate((ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)):
        image = make_image(study=f"1.2.8.{number}")
        assert send_images(port, image, **tls_args(authority, version=version)) == [0]
    assert send_images(listener.port, make_image(study="1.2.4")) == [0]
    sizes = {row.study_id: row.size for row in read_rows()}
    assert len(sizes) == 5
    assert max(sizes.values()) > 4_000_000
    assert not read_rows(Refusal)


def test_without_a_plain_port_there_is_only_tls(listen_tls, authority):
    listener, port = listen_tls(listen_plain="false")
    assert listener.port == port
    assert send_images(port, make_image(), **tls_args(authority)) == [0]
    with open_association(port) as association:
        assert not association.is_established
    eventually_refused("plain_on_tls_port")


@pytest.mark.parametrize("bits", [0, 3072])
def test_dcmtk_sends_in_each_of_its_profiles(listen_tls, authority, tmp_path, bits):
    own = authority.issue("listener", bits=bits)
    client = authority.issue("modality", bits=bits)
    listener, port = listen_tls(
        listen_certificate=own.certificate,
        listen_certificate_key=own.key,
        listen_client_certificates="required",
        listen_client_ca=authority.file,
    )
    for number, profile in enumerate(("+py", "+px", "+pz")):
        film = write_part10(make_image(study=f"1.2.{number}"), tmp_path / "film.dcm")
        done = subprocess.run(
            [
                dcmtk_program("storescu"), "+tls", client.key, client.certificate,
                "+cf", authority.file, profile, "-aec", "NIGHTDRAFT", "localhost", str(port), film,
            ],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{listener.log.read_text()}"
        assert len(read_rows()) == number + 1


def test_sslscan_finds_nothing_but_what_the_profile_names(listen_tls, authority, tmp_path):
    own = authority.issue("listener", bits=2048)
    _, port = listen_tls(listen_certificate=own.certificate, listen_certificate_key=own.key)
    assert scan(port, tmp_path) == expected_scan("RSA")


# ---- Who does not ----


def test_old_versions_and_weak_ciphers_are_refused(listen_tls, authority):
    _, port = listen_tls()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        assert not is_taken(
            port, authority, version=ssl.TLSVersion.TLSv1_1, ciphers="ALL:@SECLEVEL=0"
        )
    assert not is_taken(
        port, authority, version=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE-ECDSA-AES128-SHA256"
    )
    (row,) = eventually_refused("tls_too_old", 2)
    assert "BCP 195" in row.sentence


def test_a_certificate_of_the_sender_is_required_where_the_setting_says_so(
    listen_tls, authority, stranger
):
    _, port = listen_tls(listen_client_certificates="required", listen_client_ca=authority.file)
    assert is_taken(port, authority, authority.issue("modality"))
    assert not is_taken(port, authority)
    eventually_refused("tls_no_certificate")
    assert not is_taken(port, authority, stranger)
    eventually_refused("tls_certificate_untrusted")
    assert not is_taken(port, authority, authority.issue("old", days=(-20, -1)))
    eventually_refused("tls_certificate_expired")
    assert not is_taken(port, authority, authority.issue("early", days=(1, 20)))
    eventually_refused("tls_certificate_expired", 2)


def test_a_certificate_that_is_only_asked_for_may_be_missing_but_not_bad(
    listen_tls, authority, stranger
):
    _, port = listen_tls(listen_client_certificates="asked", listen_client_ca=authority.file)
    assert is_taken(port, authority)
    assert is_taken(port, authority, authority.issue("modality"))
    assert not is_taken(port, authority, stranger)


def test_a_sender_that_does_not_trust_us_is_seen(listen_tls, tmp_path):
    _, port = listen_tls()
    assert not is_taken(port, Authority(tmp_path, "another"))
    eventually_refused("tls_ours_untrusted")


def test_plain_and_tls_on_each_others_ports_are_named(listen_tls, authority):
    listener, port = listen_tls()
    with open_association(port) as association:
        assert association.is_aborted
    assert not is_taken(listener.port, authority)
    eventually_refused("plain_on_tls_port")
    eventually_refused("tls_on_plain_port")
    reasons = {line.get("reason") for line in listener.log_lines()}
    assert reasons >= {"plain_on_tls_port", "tls_on_plain_port"}


def test_handshakes_that_are_damaged_or_break_off_break_nothing(listen_tls, authority):
    _, port = listen_tls()
    for content in (
        b"\x16",
        b"\x16\x03\x01\x02\x00\x01",
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\xff\xff" + b"\0" * 4000,
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\0",
    ):
        with open_connection(port) as connection:
            connection.sendall(content)
            with suppress(OSError):  # the listener may have closed it already
                connection.shutdown(socket.SHUT_WR)
            wait_until_closed(connection)
    assert is_taken(port, authority)
    assert eventually_refused("tls_failed")


def test_silent_handshakes_cost_no_thread_and_keep_nobody_out(listen_tls, authority):
    listener, port = listen_tls(request_seconds=120)
    process = psutil.Process(listener.process.pid)
    # Threads that write films are made at need, and stay.
    images = [make_image(study=f"1.2.{number}") for number in range(20)]
    assert set(send_images(port, *images, **tls_args(authority))) == {0}
    threads = process.num_threads()
    silent = [socket.create_connection(("127.0.0.1", port), 30) for _ in range(50)]
    try:
        for connection in silent[::2]:
            connection.sendall(b"\x16\x03\x01\x02")  # half of them begin a handshake
        eventually(lambda: len(process.net_connections()) >= 52)
        assert send_images(port, make_image(), **tls_args(authority)) == [0]
        eventually(lambda: process.num_threads() <= threads)
    finally:
        for connection in silent:
            connection.close()


def test_a_handshake_has_the_time_of_a_request_and_no_more(listen_tls, authority):
    _, port = listen_tls(request_seconds=1)
    with open_connection(port) as silent, open_connection(port) as slow:
        slow.sendall(b"\x16\x03\x01\x02")
        wait_until_closed(silent)
        wait_until_closed(slow)
    eventually_refused("request_too_slow")
    context = client_context(authority)
    with (
        open_connection(port) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as shaken,
    ):
        shaken.sendall(associate_request()[:20])
        with suppress(ssl.SSLError):
            wait_until_closed(shaken)
    eventually_refused("request_too_slow", 2)


# ---- Certificates that change ----


def served(port, authority):
    """The certificate that is shown, in DER."""
    context = client_context(authority)
    with (
        open_connection(port) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        return connection.getpeercert(binary_form=True)


def replace(issued, other):
    """Put another certificate and key in the place of one's files, as a renewal does."""
    for old, new in ((issued.certificate, other.certificate), (issued.key, other.key)):
        renewed = old.with_suffix(".renewed")
        shutil.copyfile(new, renewed)
        renewed.replace(old)


def test_a_new_certificate_is_taken_and_who_is_connected_stays(listen_tls, authority):
    own = authority.issue("listener")
    _, port = listen_tls(listen_certificate=own.certificate, listen_certificate_key=own.key)
    before = served(port, authority)
    with open_association(port, **tls_args(authority)) as association:
        replace(own, authority.issue("renewed"))
        eventually(lambda: served(port, authority) != before)
        assert association.send_c_store(make_image()).Status == 0


def test_a_bad_new_certificate_changes_nothing_and_is_said_once(listen_tls, authority):
    own = authority.issue("listener")
    listener, port = listen_tls(listen_certificate=own.certificate, listen_certificate_key=own.key)
    before = served(port, authority)
    own.certificate.write_text("no certificate")
    os.utime(own.certificate, (1, 1))  # not a renewal that is going on

    def complaints():
        return [line for line in listener.log_lines() if "cannot be used" in line["message"]]

    eventually(lambda: served(port, authority) and complaints())
    for _ in range(3):
        assert served(port, authority) == before
    assert len(complaints()) == 1
    assert "NIGHTDRAFT_LISTEN_CERTIFICATE" in complaints()[0]["error"]
    replace(own, authority.issue("renewed"))
    eventually(lambda: served(port, authority) != before)


def test_sighup_reads_the_certificates_again(listen_tls, authority):
    own = authority.issue("listener")
    listener, port = listen_tls(listen_certificate=own.certificate, listen_certificate_key=own.key)
    with open_association(port, **tls_args(authority)) as association:
        listener.process.send_signal(signal.SIGHUP)
        eventually(
            lambda: any("were read again" in line["message"] for line in listener.log_lines())
        )
        assert association.send_c_store(make_image()).Status == 0
    assert listener.process.poll() is None


def test_a_device_that_is_taken_out_of_the_file_is_refused(listen_tls, authority, tmp_path):
    kept, removed = authority.issue("kept"), authority.issue("removed")
    trusted = tmp_path / "devices.pem"
    trusted.write_bytes(kept.certificate.read_bytes() + removed.certificate.read_bytes())
    _, port = listen_tls(listen_client_certificates="required", listen_client_ca=trusted)
    assert is_taken(port, authority, removed)
    trusted.write_bytes(kept.certificate.read_bytes())
    eventually(lambda: not is_taken(port, authority, removed))
    eventually_refused("tls_certificate_untrusted")
    assert is_taken(port, authority, kept)


# ---- Who says who it is ----

URGENT = {"caller_priorities": "ED_CR=STAT, BATCH=BACKLOG"}


def priority_of(port, study, caller="ED_CR", **options):
    assert send_images(port, make_image(study=study), caller=caller, **options) == [0]
    return read_study(study).priority


def test_a_title_is_believed_where_its_certificate_says_so(listen_tls, authority):
    _, port = listen_tls(
        **URGENT,
        listen_client_certificates="asked",
        listen_client_ca=authority.file,
        caller_certificates="ED_CR=ed-cr.hospital.example",
    )
    own = authority.issue("ed", names=("ED-CR.hospital.example",))
    other = authority.issue("icu", names=("icu.hospital.example",))
    assert priority_of(port, "1.2.1", **tls_args(authority, own)) == Priority.STAT
    assert priority_of(port, "1.2.2", **tls_args(authority, other)) == Priority.ROUTINE
    assert priority_of(port, "1.2.3", **tls_args(authority)) == Priority.ROUTINE


def test_a_title_is_believed_by_the_digest_of_its_certificate(listen_tls, authority):
    own, other = authority.issue("ed"), authority.issue("ed")
    _, port = listen_tls(
        **URGENT,
        listen_client_certificates="asked",
        listen_client_ca=authority.file,
        caller_certificates=f"ED_CR=sha256:{own.pin.upper()}",
    )
    assert priority_of(port, "1.2.1", **tls_args(authority, own)) == Priority.STAT
    assert priority_of(port, "1.2.2", **tls_args(authority, other)) == Priority.ROUTINE


def test_a_title_is_believed_where_its_address_says_so(listen):
    port = listen(**URGENT, caller_addresses="ED_CR=10.0.0.1 127.0.0.0/8").port
    assert priority_of(port, "1.2.1") == Priority.STAT


def test_a_title_from_elsewhere_has_no_urgent_priority_and_that_is_logged(listen):
    listener = listen(**URGENT, caller_addresses="ED_CR=10.0.0.1", unproven_callers="doubt")
    assert priority_of(listener.port, "1.2.1") == Priority.ROUTINE
    assert priority_of(listener.port, "1.2.2") == Priority.ROUTINE
    assert priority_of(listener.port, "1.2.3", caller="BATCH") == Priority.BACKLOG
    said = [line for line in listener.log_lines() if "does not count" in line["message"]]
    assert [line["calling_ae"] for line in said] == ["ED_CR"]


def priority_of_stat_film(port, study, caller, **options):
    """The priority of a study whose film says STAT in its header (0040,1003)."""
    image = make_image(study=study)
    request = Dataset()
    request.RequestedProcedurePriority = "STAT"
    image.RequestAttributesSequence = Sequence([request])
    assert send_images(port, image, caller=caller, **options) == [0]
    return read_study(study).priority


def test_the_header_of_a_film_makes_it_stat_only_where_its_sender_is_believed(
    listen_tls, authority
):
    own = authority.issue("ed", names=("ed-cr.hospital.example",))
    listener, port = listen_tls(
        listen_client_certificates="asked",
        listen_client_ca=authority.file,
        caller_certificates="ED_CR=ed-cr.hospital.example",
        caller_addresses="ICU=10.0.0.1",
        unproven_callers="doubt",
    )
    assert (
        priority_of_stat_film(port, "1.2.1", "ED_CR", **tls_args(authority, own)) == Priority.STAT
    )
    assert priority_of_stat_film(port, "1.2.2", "ED_CR", **tls_args(authority)) == Priority.ROUTINE
    assert priority_of_stat_film(listener.port, "1.2.3", "ED_CR") == Priority.ROUTINE
    assert priority_of_stat_film(listener.port, "1.2.4", "ICU") == Priority.ROUTINE
    assert priority_of_stat_film(listener.port, "1.2.5", "ANYBODY") == Priority.ROUTINE


@pytest.mark.parametrize("unproven_callers", ["local", "believe"])
def test_a_header_is_believed_of_titles_that_are_not_listed(listen, unproven_callers):
    listener = listen(caller_addresses="ED_CR=10.0.0.1", unproven_callers=unproven_callers)
    assert priority_of_stat_film(listener.port, "1.2.1", "CR1") == Priority.STAT
    assert priority_of_stat_film(listener.port, "1.2.2", "ED_CR") == Priority.ROUTINE


def test_a_title_that_nothing_ties_to_a_device_is_believed_from_this_machine(listen):
    listener = listen(**URGENT)
    assert priority_of(listener.port, "1.2.1") == Priority.STAT
    assert not [line for line in listener.log_lines() if "priority of these" in line["message"]]


def test_a_title_that_anybody_may_claim_is_in_the_log(listen):
    listener = listen(**URGENT, unproven_callers="believe")
    assert priority_of(listener.port, "1.2.1") == Priority.STAT
    (said,) = [line for line in listener.log_lines() if "may claim" in line["message"]]
    assert said["calling_ae"] == "ED_CR"


def test_a_title_that_nothing_ties_to_a_device_is_doubted_where_the_site_wants_that(listen):
    listener = listen(**URGENT, unproven_callers="doubt")
    assert priority_of(listener.port, "1.2.1") == Priority.ROUTINE
    (said,) = [line for line in listener.log_lines() if "does NOT count" in line["message"]]
    assert said["calling_ae"] == "ED_CR"


def lines_of_priority(study):
    with unit_of_work() as session:
        return [
            line.detail
            for line in events.timeline(session, read_study(study).id)
            if line.kind == EventKind.PRIORITY
        ]


def test_the_timeline_says_once_that_a_priority_does_not_count_and_what_to_do(listen):
    listener = listen(**URGENT, unproven_callers="doubt")
    for _ in range(2):
        priority_of(listener.port, "1.2.1")
        priority_of_stat_film(listener.port, "1.2.2", "ICU")
        priority_of(listener.port, "1.2.3", caller="BATCH")
    (by_title,) = lines_of_priority("1.2.1")
    assert by_title.startswith("STAT, wanted by ED_CR, does not count")
    assert "NIGHTDRAFT_CALLER_ADDRESSES" in by_title
    (by_header,) = lines_of_priority("1.2.2")
    assert by_header.startswith("STAT, wanted by ICU, does not count")
    assert lines_of_priority("1.2.3") == []
    with unit_of_work() as session:
        assert doubted_priorities.recent(session) == DoubtedStudies(2, ("ED_CR", "ICU"))
        session.execute(update(Study).values(first_received_at=func.now() - interval(86_401)))
        assert doubted_priorities.recent(session) == DoubtedStudies(0, ())


def test_a_doubted_priority_counts_when_the_film_comes_again_from_a_sender_that_is_known(listen):
    image = make_image("1.2.1")
    doubting = listen(**URGENT, unproven_callers="doubt")
    assert send_images(doubting.port, image, caller="ED_CR") == [0]
    believing = listen(
        **URGENT, unproven_callers="doubt", caller_addresses="ED_CR=127.0.0.1,BATCH=127.0.0.1"
    )
    for caller in ("BATCH", "ED_CR", "ED_CR", "BATCH"):
        assert send_images(believing.port, image, caller=caller) == [0]
    assert read_study("1.2.1").priority == Priority.STAT
    doubted, counts = lines_of_priority("1.2.1")
    assert doubted.startswith("STAT, wanted by ED_CR, does not count")
    assert counts == "STAT, wanted by ED_CR, counts now: it is known who the sender is."
    with unit_of_work() as session:
        assert doubted_priorities.recent(session) == DoubtedStudies(0, ())


def test_nothing_is_said_where_the_study_is_as_urgent_by_something_else(listen):
    listener = listen(**URGENT, unproven_callers="doubt")
    priority_of(listener.port, "1.2.1", caller="BATCH")
    with unit_of_work() as session:
        session.execute(update(Study).values(priority=Priority.STAT))
    assert priority_of(listener.port, "1.2.1") == Priority.STAT
    assert lines_of_priority("1.2.1") == []

"""Who is believed, by address and by certificate."""

from __future__ import annotations

import pytest

from intake.dicom.caller_proof import CallerProof
from records.errors import SettingsError
from records.settings import read_settings
from records.tls.certificates import PeerCertificate

PIN = "ab" * 32
CERTIFICATE = PeerCertificate(frozenset({"ed-cr.hospital.example", "ed"}), PIN)


def proof(**changed):
    return CallerProof(read_settings(**changed))


@pytest.mark.parametrize(
    ("address", "is_believed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("10.1.2.4", False),
        ("10.7.200.1", True),
        ("10.8.0.1", False),
        ("fd00::7", True),
        ("fd01::7", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_addresses_and_networks(address, is_believed):
    listed = proof(caller_addresses="ED_CR=10.1.2.3 10.7.0.0/16 fd00::/16")
    assert listed.believes("ED_CR", address, None) is is_believed
    assert listed.believes("ED_CR", address, CERTIFICATE) is is_believed


@pytest.mark.parametrize(
    ("named", "is_believed"),
    [
        ("ED-CR.hospital.example", True),
        ("other.example ed", True),
        (f"sha256:{PIN.upper()}", True),
        (f"sha256:{'cd' * 32}", False),
        ("hospital.example", False),
    ],
)
def test_certificates(named, is_believed):
    listed = proof(caller_certificates={"ED_CR": named})
    assert listed.believes("ED_CR", "10.1.2.3", CERTIFICATE) is is_believed
    assert listed.believes("ED_CR", "10.1.2.3", None) is False


def test_either_is_enough():
    listed = proof(caller_addresses="ED_CR=10.1.2.3", caller_certificates="ED_CR=ed")
    assert listed.believes("ED_CR", "10.1.2.3", None)
    assert listed.believes("ED_CR", "10.9.9.9", CERTIFICATE)
    assert not listed.believes("ED_CR", "10.9.9.9", None)


def test_titles_that_nothing_ties_to_a_device():
    urgent = {"caller_priorities": "ED_CR=STAT, ICU=URGENT, BATCH=BACKLOG, WARD=ROUTINE"}
    urgent |= {"caller_addresses": "ICU=10.1.2.3"}
    listed = proof(**urgent, unproven_callers="believe")
    assert (listed.claimable(), listed.ignored()) == (["ED_CR"], [])
    assert listed.believes("ED_CR", "10.9.9.9", None)
    doubting = proof(**urgent, unproven_callers="doubt")
    assert (doubting.claimable(), doubting.ignored()) == ([], ["ED_CR"])
    assert not doubting.believes("ED_CR", "10.9.9.9", None)
    assert not doubting.believes("ED_CR", "127.0.0.1", None)


@pytest.mark.parametrize(
    ("address", "is_believed"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.1.2.3", False),
        ("::ffff:10.1.2.3", False),
        ("0.0.0.0", False),
        ("fe80::1", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_a_title_in_no_list_is_believed_from_this_machine_alone(address, is_believed):
    assert proof().believes("CR1", address, None) is is_believed
    assert proof().believes("CR1", address, CERTIFICATE) is is_believed
    listed = proof(caller_addresses="ED_CR=10.9.9.9")
    assert not listed.believes("ED_CR", address, None)


@pytest.mark.parametrize(
    ("host", "ignored"), [("127.0.0.1", []), ("::1", []), ("0.0.0.0", ["ED_CR"])]
)
def test_nothing_is_ignored_where_only_this_machine_reaches_the_listener(host, ignored):
    urgent = {"caller_priorities": "ED_CR=STAT", "listen_host": host}
    assert proof(**urgent).ignored() == ignored
    assert proof(**urgent).claimable() == []


def test_a_digest_that_is_none_is_named():
    with pytest.raises(SettingsError, match="NIGHTDRAFT_CALLER_CERTIFICATES: sha256:12"):
        proof(caller_certificates="ED_CR=sha256:12")


@pytest.mark.parametrize("written", ["ED_CR=10.1.2.300", "ED_CR=10.1.2.3/16", "ED_CR="])
def test_an_address_that_is_none_is_named(written):
    with pytest.raises(SettingsError, match="NIGHTDRAFT_CALLER_ADDRESSES"):
        proof(caller_addresses=written)

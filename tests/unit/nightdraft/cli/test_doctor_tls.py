"""What doctor says of certificates and of AE titles that anybody may claim."""

from __future__ import annotations

import pytest

from nightdraft.doctor import list_checks, run_checks
from records.settings import read_settings
from tests.support.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


def line(name, **changed):
    """The line of one check."""
    settings = read_settings(**changed)
    assert name in list_checks(settings)
    (found,) = [result for result in run_checks(settings) if result.name == name]
    return found


def certificates(issued, **changed):
    return line(
        "certificates",
        serve_certificate=str(issued.certificate),
        serve_certificate_key=str(issued.key),
        **changed,
    )


def test_a_certificate_that_is_good_ends_soon_has_ended_or_cannot_be_used(authority):
    good = certificates(authority.issue("good"))
    assert (good.failed, good.warning) == (False, False)
    assert "the pages until 20" in good.sentence
    soon = certificates(authority.issue("soon", days=(-1, 20)))
    assert soon.warning
    assert "renew soon: the pages" in soon.sentence
    old = authority.issue("old", days=(-9, -1))
    ended = certificates(old)
    assert ended.failed
    assert str(old.certificate) in ended.sentence
    broken = certificates(authority.issue("good"), hl7_certificate="/none.pem")
    assert broken.failed
    assert "NIGHTDRAFT_HL7_CERTIFICATE" in broken.sentence
    assert not line("certificates").warning


def test_titles_that_anybody_may_claim_or_that_do_not_count_are_named():
    urgent = {"caller_priorities": "ED_CR=STAT, BATCH=BACKLOG", "listen_host": "0.0.0.0"}
    for unproven, said in (
        ("believe", "every sender may claim the priority of ED_CR"),
        ("local", "the priority of ED_CR does not count"),
        ("doubt", "the priority of ED_CR does not count"),
    ):
        told = line("callers", **urgent, unproven_callers=unproven)
        assert told.warning
        assert said in told.sentence
        assert "NIGHTDRAFT_CALLER_ADDRESSES" in told.sentence
        assert "BATCH" not in told.sentence
    assert not line("callers", **urgent, caller_addresses="ED_CR=10.1.2.3").warning
    assert not line("callers").warning

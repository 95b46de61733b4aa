"""PostgreSQL by TLS: what verify-full takes, what it refuses, and what a person is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from nightdraft.doctor import run_checks
from nightdraft.station.checks import check_database, look_at_database
from records.database.session import unit_of_work
from records.errors import DatabaseDown
from records.settings import read_settings, settings
from tests.support.certificates import Authority
from tests.support.postgres_tls import PASSWORD, TlsPostgres

ELSEWHERE = {"hostaddr": "127.0.0.1"}
"""libpq takes the host for a name alone, and connects to this address."""


@pytest.fixture(scope="module")
def postgres(short_folder: Callable[[], Path]) -> TlsPostgres:
    return TlsPostgres(short_folder())


@pytest.fixture(scope="module")
def authority(short_folder: Callable[[], Path]) -> Authority:
    return Authority(short_folder())


@pytest.fixture
def good(postgres: TlsPostgres, authority: Authority) -> Iterator[None]:
    with postgres.running(authority.issue("postgres", names=("localhost",))):
        yield


def full(authority: Authority) -> dict[str, object]:
    return {"sslmode": "verify-full", "sslrootcert": authority.file}


def refusal(setting: Callable[..., None], url: str) -> str:
    """What doctor's check and a part's transaction say of an address; neither has the password."""
    with pytest.raises(DatabaseDown) as by_check:
        check_database(read_settings(database_url=url))
    setting(database_url=url)
    with pytest.raises(DatabaseDown) as by_part, unit_of_work() as session:
        session.execute(text("SELECT 1"))
    for told in (str(by_check.value), str(by_part.value)):
        assert "NIGHTDRAFT_DATABASE_URL" in told
        assert PASSWORD not in told
    assert url.rpartition("@")[2].partition("/")[0] in str(by_check.value)
    problem = str(by_check.value).partition(": ")[2].rpartition(" (")[0]
    assert problem in str(by_part.value)
    return problem


def test_a_good_certificate_is_checked_and_doctor_says_so(
    good: None, postgres: TlsPostgres, authority: Authority, setting: Callable[..., None]
) -> None:
    setting(database_url=postgres.url("localhost", **full(authority)))
    with unit_of_work() as session:
        row = session.execute(
            text("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        ).one()
    assert row.ssl
    assert row.version in ("TLSv1.2", "TLSv1.3")
    answer, problem = look_at_database(settings())
    assert answer.endswith(f"encrypted by {row.version}, and its certificate was checked")
    assert problem == ""


@pytest.mark.parametrize("mode", ["require", "verify-ca", "prefer"])
def test_doctor_warns_of_a_certificate_whose_host_nobody_checks(
    good: None, postgres: TlsPostgres, authority: Authority, setting: Callable[..., None], mode: str
) -> None:
    query = {**full(authority), **ELSEWHERE, "sslmode": mode}
    if mode != "verify-ca":
        del query["sslrootcert"]  # with one, libpq checks more than the mode says
    setting(database_url=postgres.url("db.example.org", **query))
    line = next(one for one in run_checks(settings()) if one.name == "database")
    assert line.warning
    place = f"db.example.org:{postgres.port}"
    assert f"nobody checked whose certificate {place} shows" in line.sentence
    assert "verify-full" in line.sentence
    assert PASSWORD not in line.sentence


def test_an_authority_that_is_not_ours_is_refused(
    good: None, postgres: TlsPostgres, authority: Authority, setting: Callable[..., None]
) -> None:
    other = Authority(authority.folder, "another")
    assert "another authority" in refusal(setting, postgres.url("localhost", **full(other)))


def test_another_host_name_is_refused(
    good: None, postgres: TlsPostgres, authority: Authority, setting: Callable[..., None]
) -> None:
    assert "another host name" in refusal(setting, postgres.url("127.0.0.1", **full(authority)))


def test_a_missing_file_of_the_authority_is_named(
    good: None, postgres: TlsPostgres, tmp_path: Path, setting: Callable[..., None]
) -> None:
    url = postgres.url("localhost", sslmode="verify-full", sslrootcert=tmp_path / "none.pem")
    assert "file that sslrootcert names" in refusal(setting, url)


def test_a_certificate_that_has_ended_is_refused(
    postgres: TlsPostgres, authority: Authority, setting: Callable[..., None]
) -> None:
    ended = authority.issue("ended", names=("localhost",), days=(-30, -1))
    with postgres.running(ended):
        assert "not valid today" in refusal(setting, postgres.url("localhost", **full(authority)))


def test_a_server_of_tls_1_1_is_refused(
    postgres: TlsPostgres, authority: Authority, setting: Callable[..., None]
) -> None:
    issued = authority.issue("old", names=("localhost",))
    old = ("ssl_min_protocol_version=TLSv1", "ssl_max_protocol_version=TLSv1.1")
    with postgres.running(issued, *old):
        assert "no TLS 1.2 or newer" in refusal(
            setting, postgres.url("localhost", **full(authority))
        )


def test_a_server_without_tls_is_refused_and_one_in_the_clear_is_warned_of(
    postgres: TlsPostgres, authority: Authority, setting: Callable[..., None]
) -> None:
    with postgres.running(None):
        url = postgres.url("localhost", **full(authority))
        assert "it speaks no TLS" in refusal(setting, url)
        answer, problem = look_at_database(read_settings(database_url=postgres.url("localhost")))
        assert answer.endswith("not encrypted")
        assert problem == ""  # nobody else is on loopback
        url = postgres.url("db.example.org", **ELSEWHERE)
        _, problem = look_at_database(read_settings(database_url=url))
        assert f"the connection to db.example.org:{postgres.port} is not encrypted" in problem
        assert PASSWORD not in problem

"""TLS of the calls of a FHIR server: what is accepted, what is refused, and what is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from intake.queries.report_server import ReportServer
from intake.turns import SystemAway
from records.errors import SettingsError
from records.settings import settings
from tests.support.certificates import Authority
from tests.support.tls_servers import BAD_SERVERS, fixed_server, server_context, two_authorities

TOKEN = "Qvistplanted"
BODY = b'{"resourceType": "CapabilityStatement"}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(BODY), BODY)
)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    return two_authorities(tmp_path_factory.mktemp("certificates"))


def make_server(setting: Callable[..., None], port: int, ca_file: object) -> ReportServer:
    setting(
        reports_url=f"https://127.0.0.1:{port}/fhir",
        reports_ca_file=ca_file,
        reports_login="bearer",
        reports_bearer_token=TOKEN,
        reports_patient_system="http://hospital.example/mrn",
    )
    return ReportServer(settings())


def test_a_server_of_a_trusted_authority_is_asked(
    setting: Callable[..., None], authorities: tuple[Authority, Authority]
) -> None:
    with fixed_server(ANSWER, server_context("good", *authorities)) as server:
        make_server(setting, server.port, authorities[0].file).check()
        assert TOKEN.encode() in server.requests[0]


@pytest.mark.parametrize("kind", BAD_SERVERS)
def test_one_that_is_not_who_it_should_be_gets_no_token(
    kind: str, setting: Callable[..., None], authorities: tuple[Authority, Authority]
) -> None:
    with fixed_server(ANSWER, server_context(kind, *authorities)) as server:
        with pytest.raises(SystemAway, match=BAD_SERVERS[kind]) as away:
            make_server(setting, server.port, authorities[0].file).check()
        assert TOKEN not in str(away.value)
        assert server.requests == []


def test_without_a_file_the_authorities_of_the_machine_count(
    setting: Callable[..., None], authorities: tuple[Authority, Authority]
) -> None:
    with (
        fixed_server(ANSWER, server_context("good", *authorities)) as server,
        pytest.raises(SystemAway, match="an authority that is not trusted"),
    ):
        make_server(setting, server.port, "").check()


def test_a_file_that_holds_no_authority_is_named(setting: Callable[..., None]) -> None:
    with pytest.raises(SettingsError, match="NIGHTDRAFT_REPORTS_CA_FILE: /etc/hostname"):
        make_server(setting, 1, "/etc/hostname")

"""Programs log in to the running server: our own client of FHIR servers, and another maker's."""

import json
import time
import urllib.request

import pytest
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey, RSAKey

from intake.queries.report_server import ReportServer
from records.accounts import key_sets, programs
from records.accounts.programs import ProgramKeys
from records.database.session import unit_of_work
from records.settings import read_settings
from records.states import Permission
from tests.support.accounts import make_account, run_sql, trail_lines
from tests.support.fhir_resources import patient
from tests.support.key_publisher import KeyPublisher

KEYS = {
    "RS384": RSAKey.generate_key(2048, {"kid": "one"}),
    "ES384": ECKey.generate_key("P-384", {"kid": "one"}),
}


@pytest.fixture
def server(serve, free_port):
    """A server with an account, so that nothing is answered without a login."""
    make_account()
    return serve(serve_port=free_port)


def register(key, permissions=(Permission.SEND_ORDERS,), url=""):
    public = json.dumps({"keys": [key.as_dict(private=False)]}).encode()
    keys = ProgramKeys(url=url) if url else ProgramKeys(key_sets.parse(public))
    with unit_of_work() as session:
        programs.create(session, "ris", permissions, "a test", keys=keys)


@pytest.mark.parametrize("algorithm", sorted(KEYS))
def test_our_own_client_logs_in(server, tmp_path, algorithm):
    register(KEYS[algorithm])
    key_file = tmp_path / "key.json"
    key_file.write_text(json.dumps(KEYS[algorithm].as_dict(private=True)))
    client = ReportServer(
        read_settings(
            reports_url=f"{server.url}/fhir",
            reports_login="smart",
            reports_client_id="ris",
            reports_key_file=str(key_file),
            reports_seconds=10,
        )
    )
    client.check()
    client.check()  # with the same token
    assert run_sql("SELECT count(*) FROM program_access_tokens") == [(1,)]
    assert trail_lines()[-1][:5] == ("LOGIN", "SUCCESS", "PROGRAM", "ris", "127.0.0.1")


@pytest.mark.parametrize("algorithm", sorted(KEYS))
def test_a_client_of_another_maker_logs_in_with_keys_at_an_address(server, algorithm, monkeypatch):
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    public = json.dumps({"keys": [KEYS[algorithm].as_dict(private=False)]}).encode()
    with KeyPublisher(public) as at:
        register(KEYS[algorithm], url=at.url)
        with urllib.request.urlopen(f"{server.url}/.well-known/smart-configuration") as answer:
            address = json.load(answer)["token_endpoint"]
        method = PrivateKeyJWT(
            address,
            claims={"exp": int(time.time()) + 200},
            headers={"kid": "one"},
            alg=algorithm,
        )
        with OAuth2Session(
            "ris",
            KEYS[algorithm],
            scope="system/Patient.cruds nightdraft/send_orders",
            token_endpoint_auth_method="private_key_jwt",
        ) as session:
            session.register_client_auth_method(method)
            token = session.fetch_token(address, grant_type="client_credentials")
            assert token["scope"] == "nightdraft/send_orders"
            person = patient() | {"id": "p1"}
            answer = session.put(
                f"{server.url}/fhir/Patient/p1",
                data=json.dumps(person),
                headers={"content-type": "application/fhir+json"},
            )
            assert answer.status_code == 201, answer.text
            assert session.get(f"{server.url}/fhir/Patient/p1").json()["id"] == "p1"
        assert at.asked == 1

"""Answers of the identity provider: wrong ones, hostile ones, and none while it is away."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, RSAKey

from records.accounts import provider_logins
from records.states import Role
from tests.support.accounts import PASSWORD, let_pass, make_account
from tests.support.identity_provider import half_hash
from tests.support.provider_logins import (
    begin,
    come_back,
    details,
    leads_to,
    log_in,
    rows,
    sessions_open,
    with_query,
)


def test_an_answer_counts_once_in_its_browser_and_within_ten_minutes(browser, provider):
    client, other = browser(), browser()
    address = provider.visit(begin(client))
    # Another browser: somebody would log a victim in to his own account.
    begin(other)
    assert come_back(other, address).status_code == 400
    assert come_back(browser(), address).status_code == 400
    assert leads_to(come_back(client, address)) == "/"
    # Replayed, with its own and with a new state.
    assert come_back(client, address).status_code == 400
    code = dict(parse_qsl(urlsplit(address).query))["code"]
    fresh = with_query(provider.visit(begin(client)), code=code)
    answer = come_back(client, fresh)
    assert answer.status_code == 403
    assert "code is not taken" in answer.text
    old = provider.visit(begin(client))
    let_pass("provider_logins", provider_logins.LOGIN_SECONDS, "ends_at")
    assert come_back(client, old).status_code == 400
    assert sessions_open() == 1


def test_a_code_of_another_login_is_not_taken(browser, provider):
    """PKCE: who injects a stolen code into a login of his own has not its verifier."""
    victim, thief = browser(), browser()
    stolen = dict(parse_qsl(urlsplit(provider.visit(begin(victim))).query))["code"]
    answer = come_back(thief, with_query(provider.visit(begin(thief)), code=stolen))
    assert answer.status_code == 403
    assert sessions_open() == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://login.other.example"},
        {"iss": None},
        {"iss": ""},
        {"code": None},
        {"error": "access_denied"},
        {"error": "<script>", "code": None},
    ],
    ids=str,
)
def test_a_wrong_answer_logs_nobody_in(browser, provider, changes):
    client = browser()
    answer = come_back(client, with_query(provider.visit(begin(client)), **changes))
    assert answer.status_code == 403
    assert "<script>" not in answer.text
    assert (sessions_open(), rows()) == (0, [])
    assert details()[-1][:2] == ("LOGIN", "REFUSED")
    # The code of another provider's answer was not given away (RFC 9207).
    if "iss" in changes:
        assert "/realm/token" not in provider.asked


def test_an_answer_that_says_something_twice_is_refused(browser, provider):
    client = browser()
    address = provider.visit(begin(client))
    assert come_back(client, f"{address}&state=x").status_code == 400
    # What it says beyond that is left alone.
    assert leads_to(come_back(client, f"{address}&session_state=x")) == "/"


@pytest.mark.parametrize(
    ("token", "header"),
    [
        ({"iss": "https://login.other.example"}, {}),
        ({"aud": "other"}, {}),
        ({"nonce": "other"}, {}),
        ({"nonce": None}, {}),
        ({"exp": 1_000_000_000}, {}),
        ({"iat": 4_000_000_000}, {}),
        ({"at_hash": half_hash("other")}, {}),
        ({"sub": None}, {}),
        ({}, {"kid": "unknown"}),
        ({}, {"alg": "PS512", "kid": "of another use"}),
    ],
    ids=str,
)
def test_a_wrong_token_logs_nobody_in(browser, provider, token, header):
    provider.token, provider.header = token, header
    client = browser()
    answer = log_in(client, provider)
    assert answer.status_code == 403
    assert (sessions_open(), rows()) == (0, [])
    assert details()[-1][:2] == ("LOGIN", "REFUSED")
    provider.token, provider.header = {}, {}
    assert leads_to(log_in(client, provider)) == "/"


def test_a_new_key_is_looked_for_but_not_at_each_unknown_name(browser, provider, monkeypatch):
    client = browser()
    log_in(client, provider)
    second = RSAKey.generate_key(2048, {"kid": "second"}, private=True)
    provider.published.append(second.as_dict(private=False))
    provider.key = second
    # The keys were read just now, so they are not read again at once.
    assert log_in(client, provider).status_code == 403
    assert log_in(client, provider).status_code == 403
    assert provider.asked.count("/realm/keys") == 1
    monkeypatch.setattr("api.oidc.provider.KEY_LOOK_SECONDS", 0.0)
    assert leads_to(log_in(client, provider)) == "/"
    assert provider.asked.count("/realm/keys") == 2
    # Without a name a key counts where it is the only one that fits.
    provider.header = {"kid": None}
    assert log_in(client, provider).status_code == 403
    provider.published.pop(0)
    assert leads_to(log_in(client, provider)) == "/"


def test_keys_for_other_uses_do_not_count(browser, provider):
    published = provider.published[0]
    for changes in ({"use": "enc"}, {"alg": "RS512"}, {"kty": "oct", "k": "c2VjcmV0"}):
        provider.published = [{**published, **changes}, "no key", {"kty": "RSA"}]
        client = browser(oidc_name=str(len(changes)))
        assert log_in(client, provider).status_code == 403
    with pytest.warns(SecurityWarning):
        small = RSAKey.generate_key(1024, {"kid": "small"}, private=True)
    provider.published, provider.key = [small.as_dict(private=False)], small
    answer = log_in(browser(oidc_name="x"), provider)
    assert answer.status_code == 403
    assert "does not name" in answer.text
    assert rows() == []


def test_a_key_in_place_of_the_secret(browser, provider, tmp_path):
    key = ECKey.generate_key("P-256", private=True)
    file = tmp_path / "key.pem"
    file.write_bytes(key.as_pem(private=True))
    provider.client_key = key
    client = browser(oidc_client_secret=None, oidc_client_key_file=str(file))
    assert leads_to(log_in(client, provider)) == "/"
    provider.client_key = ECKey.generate_key("P-256", private=True)
    assert log_in(client, provider).status_code == 403


def test_while_the_provider_is_away_nothing_changes(browser, provider):
    make_account("root", Role.ADMINISTRATOR)
    client = browser(fallback_account="root")
    log_in(client, provider)
    address = provider.visit(begin(client))
    provider.stop()
    for answer in (client.get("/login/oidc"), come_back(client, address)):
        assert answer.status_code == 503
        assert "Hospital does not answer" in answer.text
        assert "/login?local=1" in answer.text
        assert "<code>nightdraft doctor</code>" in answer.text
    assert client.get("/").status_code == 200  # who is logged in stays so
    assert ("LOGIN", "FAILED") in [line[:2] for line in details()]
    local = browser()
    assert "Password" not in local.get("/login").text
    assert "Password" in local.get("/login?local=1").text
    answer = local.post("/login", data={"login": "root", "password": PASSWORD})
    assert answer.status_code == 303
    assert details()[-1] == (
        "LOGIN",
        "SUCCESS",
        "root",
        "logged in with the fallback account",
    )
    with provider:
        assert leads_to(log_in(client, provider)) == "/"


@pytest.mark.parametrize(
    "fault",
    [
        (500, b"{}"),
        (302, b"{}"),
        (200, b"no JSON"),
        (200, b"[]"),
        (200, b'{"issuer": "https://login.other.example"}'),
        (200, b"x" * 1_100_000),
    ],
    ids=lambda fault: f"{fault[0]} {fault[1][:12]}",
)
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/keys", "/token"])
def test_a_provider_with_a_fault_is_away(browser, provider, path, fault):
    client = browser()
    provider.fault = lambda asked: fault if asked == f"/realm{path}" else None
    answer = client.get("/login/oidc")
    if path.startswith("/."):
        assert answer.status_code == 503
    else:
        answer = come_back(client, provider.visit(answer.headers["location"]))
        assert answer.status_code in (403, 503)
    assert (sessions_open(), rows()) == (0, [])


@pytest.mark.parametrize(
    "metadata",
    [
        {"authorization_endpoint": "http://login.hospital.example/authorize"},
        {"token_endpoint": "http://login.hospital.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"token_endpoint": None},
        {"code_challenge_methods_supported": ["plain"]},
        {"issuer": "http://127.0.0.1:1/other"},
    ],
    ids=str,
)
def test_a_discovery_document_without_tls_or_pkce_is_not_used(browser, provider, metadata):
    provider.metadata = metadata
    assert browser().get("/login/oidc").status_code == 503

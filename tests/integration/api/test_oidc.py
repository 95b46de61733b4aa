"""Logins at an identity provider: good ones, hostile ones, and while it is away."""

import json
import re
import time
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, RSAKey
from starlette.testclient import TestClient

from api.app import make_app
from records.accounts import accounts, provider_logins
from records.database.session import unit_of_work
from records.settings import settings
from records.states import Role
from records.workflow import sites
from tests.support.accounts import PASSWORD, let_pass, make_account, run_sql, trail_lines
from tests.support.identity_provider import (
    CLIENT,
    RSA_KEY,
    SECRET,
    IdentityProvider,
    half_hash,
    sign,
)

CROSS_SITE = {
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
}
"""What a browser sends that another site has sent here."""


@pytest.fixture
def provider():
    with IdentityProvider() as running:
        yield running


@pytest.fixture
def browser(database, data_dir, setting, provider):
    """Makes browsers of an application with the settings that are given."""
    clients = []
    app = None

    def open_one(address="192.0.2.7", **values):
        nonlocal app
        if app is None or values:
            given = {
                "oidc_issuer": provider.issuer,
                "oidc_name": "Hospital",
                "oidc_client_id": CLIENT,
                "oidc_client_secret": SECRET,
                "oidc_roles": "leads=lead, radiologists=reader, admins=administrator",
                "pages_url": "http://localhost",
                **values,
            }
            setting(**{name: value for name, value in given.items() if value is not None})
            app = make_app(settings())
        client = TestClient(
            app,
            base_url="http://localhost",
            client=(address, 50_000),
            follow_redirects=False,
            raise_server_exceptions=False,
        )
        clients.append(client)
        return client.__enter__()

    yield open_one
    for client in clients:
        client.__exit__(None, None, None)


def begin(client, path="/login/oidc"):
    """Where a browser is sent that begins a login."""
    answer = client.get(path)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def come_back(client, address):
    parts = urlsplit(address)
    return client.get(f"{parts.path}?{parts.query}", headers=CROSS_SITE)


def log_in(client, provider, path="/login/oidc"):
    return come_back(client, provider.visit(begin(client, path)))


def leads_to(answer):
    assert answer.status_code == 200, answer.text
    return re.search(r'http-equiv="refresh" content="0; url=([^"]*)"', answer.text)[1]


def with_query(address, **changes):
    parts = urlsplit(address)
    values = {**dict(parse_qsl(parts.query)), **changes}
    return parts._replace(
        query=urlencode({name: value for name, value in values.items() if value is not None})
    ).geturl()


def rows(what="login, role, issuer, subject, name, created_by"):
    return run_sql(f"SELECT {what} FROM accounts ORDER BY login")


def sessions_open():
    return run_sql("SELECT count(*) FROM account_sessions")[0][0]


def details():
    return [
        (action, outcome, name, detail) for action, outcome, _, name, _, detail in trail_lines()
    ]


def test_a_person_logs_in_and_is_known_from_then_on(browser, provider, seeder):
    study = seeder.draft_study(1)
    client = browser()
    # Nothing is answered without a login, although there is no account yet.
    assert client.get("/").headers["location"] == "/login"
    assert "Log in with Hospital" in client.get("/login").text
    address = begin(client, f"/login/oidc?next=/studies/{study}")
    sent = dict(parse_qsl(urlsplit(address).query))
    assert sent["code_challenge_method"] == "S256"
    assert sent["redirect_uri"] == "http://localhost/login/oidc/callback"
    assert "prompt" not in sent
    # Neither the verifier nor the cookie is sent to the provider.
    verifier, browser_hash = run_sql("SELECT verifier, browser_hash FROM provider_logins")[0]
    assert verifier not in address
    assert browser_hash not in address
    answer = come_back(client, provider.visit(address))
    assert leads_to(answer) == f"/studies/{study}"
    assert client.get(f"/studies/{study}").status_code == 200
    assert rows() == [
        (
            "ada.lovelace",
            "READER",
            provider.issuer,
            "4711",
            "Ada Lovelace",
            "the identity provider",
        )
    ]
    assert details()[:3] == [
        (
            "ACCOUNT",
            "SUCCESS",
            "ada.lovelace",
            "account ada.lovelace created by the identity provider as READER",
        ),
        ("ROLE", "SUCCESS", "ada.lovelace", "account ada.lovelace: sites default, by groups"),
        ("LOGIN", "SUCCESS", "ada.lovelace", "logged in by the identity provider"),
    ]
    assert run_sql("SELECT count(*) FROM provider_logins") == [(0,)]
    # A second login is the same account, even with another name and address there.
    provider.person.update(preferred_username="someone.else", name="Ada King")
    log_in(browser(), provider)
    assert rows("login, name") == [("ada.lovelace", "Ada King")]
    page = client.get("/account").text
    assert "Present password" not in page
    assert "Set it up" not in page


def test_role_and_sites_are_those_of_the_groups_at_each_login(browser, provider):
    client = browser(oidc_sites="radiologists=north, leads=north south")
    with unit_of_work() as session:
        sites.create(session, "north", "North")
        sites.create(session, "south", "South")
    log_in(client, provider)
    provider.person["groups"] = ["leads"]
    log_in(client, provider)
    assert rows("login, role") == [("ada.lovelace", "LEAD")]
    assert [line for line in details() if line[0] == "ROLE"][-2:] == [
        ("ROLE", "SUCCESS", "ada.lovelace", "account ada.lovelace: READER to LEAD, by groups"),
        ("ROLE", "SUCCESS", "ada.lovelace", "account ada.lovelace: sites north, south, by groups"),
    ]
    provider.person["groups"] = ["nobody"]
    answer = log_in(browser(), provider)
    assert answer.status_code == 403
    assert "None of this person&#39;s groups has a role here." in answer.text
    assert details()[-1] == (
        "LOGIN",
        "REFUSED",
        "",
        "a login by the identity provider failed: account ada.lovelace: none of this person's "
        "groups has a role here",
    )
    assert rows("login, role") == [("ada.lovelace", "LEAD")]
    # By hand they would hold until the next login alone.
    with unit_of_work() as session:
        for change in (
            lambda: accounts.set_role(session, "ada.lovelace", Role.LEAD),
            lambda: accounts.set_sites(session, "ada.lovelace", ["north"]),
            lambda: accounts.reset(session, "ada.lovelace", "a test"),
        ):
            with pytest.raises(accounts.NotAllowed):
                change()


def test_who_has_no_role_gets_no_account(browser, provider):
    provider.person["groups"] = []
    answer = log_in(browser(), provider)
    assert answer.status_code == 403
    assert rows() == []
    assert sessions_open() == 0


def test_groups_may_stand_within_a_claim_or_be_one_text(browser, provider):
    client = browser(oidc_groups_claim="realm_access.roles")
    provider.person.update(realm_access={"roles": ["leads", 5, None]}, groups=["admins"])
    log_in(client, provider)
    provider.person.update(realm_access={"roles": "radiologists"})
    log_in(client, provider)
    assert rows("role") == [("READER",)]


def test_groups_that_are_not_in_the_token_are_asked_for(browser, provider):
    provider.user_info = {"sub": "4711", "groups": ["leads"], "preferred_username": "ada"}
    provider.person.pop("groups")
    client = browser()
    log_in(client, provider)
    assert rows("login, role") == [("ada.lovelace", "LEAD")]  # what is signed counts first
    provider.user_info["sub"] = "4712"
    answer = log_in(client, provider)
    assert answer.status_code == 403
    assert "another person" in answer.text


def test_too_many_groups_are_said_to_be_too_many(browser, provider):
    provider.person.pop("groups")
    provider.person["_claim_names"] = {"groups": "src1"}
    answer = log_in(browser(), provider)
    assert answer.status_code == 403
    assert "too many" in answer.text


def test_accounts_are_not_joined_by_their_names(browser, provider):
    make_account("ada.lovelace")
    client = browser()
    answer = log_in(client, provider)
    assert answer.status_code == 403
    assert "belongs to another account here" in answer.text
    provider.person["sub"] = "4712"
    provider.person["preferred_username"] = "grace"
    log_in(client, provider)
    provider.person["sub"] = "4713"  # another person whom the provider gives the same name
    assert log_in(browser(), provider).status_code == 403
    assert [login for (login,) in rows("login")] == ["ada.lovelace", "grace", "root"]


@pytest.mark.parametrize("name", ["", "Müller", "a b", "x" * 65, None, ["ada"], "a\r\nset: b"])
def test_a_login_name_that_cannot_be_one_is_refused(browser, provider, name):
    provider.person["preferred_username"] = name
    answer = log_in(browser(), provider)
    assert answer.status_code == 403
    assert "NIGHTDRAFT_OIDC_LOGIN_CLAIM" in answer.text
    assert rows() == []


def test_a_disabled_account_stays_disabled(browser, provider):
    client = browser()
    log_in(client, provider)
    with unit_of_work() as session:
        accounts.disable(session, "ada.lovelace")
    assert client.get("/").status_code == 303
    answer = log_in(client, provider)
    assert answer.status_code == 403
    assert "This account is disabled here." in answer.text
    assert sessions_open() == 0
    assert details()[-1][1:] == (
        "REFUSED",
        "",
        "a login by the identity provider failed: account ada.lovelace: this account is disabled "
        "here",
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


def test_a_session_cannot_be_fixed(browser, provider):
    client = browser()
    log_in(client, provider)
    before = client.cookies["nightdraft-session"]
    log_in(client, provider)
    assert client.cookies["nightdraft-session"] != before
    assert sessions_open() == 1


@pytest.mark.parametrize(
    "back", ["https://other.example/", "//other.example", "/\\other.example", "javascript:alert(1)"]
)
def test_a_login_leads_to_pages_of_ours_alone(browser, provider, back):
    client = browser()
    assert leads_to(log_in(client, provider, f"/login/oidc?{urlencode({'next': back})}")) == "/"


def test_another_site_cannot_begin_a_login(browser):
    client = browser()
    assert client.get("/login/oidc", headers=CROSS_SITE).status_code == 403
    # What the provider sends browsers back to is answered; all else is not.
    assert client.get("/login/oidc/logged-out?state=x", headers=CROSS_SITE).status_code == 200
    assert client.get("/login", headers=CROSS_SITE).status_code == 403
    framed = {**CROSS_SITE, "sec-fetch-dest": "iframe"}
    assert client.get("/login/oidc/callback?state=x", headers=framed).status_code == 403


def test_logins_that_are_begun_and_not_ended_are_limited(browser, provider, monkeypatch):
    monkeypatch.setattr(provider_logins, "MOST_OF_ADDRESS", 3)
    client = browser()
    for _ in range(3):
        begin(client)
    assert client.get("/login/oidc").status_code == 429
    begin(browser("192.0.2.8"))
    let_pass("provider_logins", provider_logins.LOGIN_SECONDS, "ends_at")
    begin(client)


def test_fresh_authentication_is_asked_of_the_provider(browser, provider):
    client = browser()
    log_in(client, provider)  # logged in there 5000 seconds ago
    token = form_token(client)
    answer = client.post("/account/sessions", data={"form_token": token})
    assert answer.status_code == 303
    answer = client.post("/account/second-factor", data={"form_token": token})
    assert answer.headers["location"] == "/again?next=%2Faccount"
    page = client.get("/again?next=/account").text
    assert "Log in again with Hospital" in page
    assert "Password" not in page
    # Where the provider says that the person was logged in already, it does not count.
    provider.token = {"auth_time": 1_000_000_000}
    address = begin(client, "/again/oidc?next=/account")
    sent = dict(parse_qsl(urlsplit(address).query))
    assert (sent["prompt"], sent["max_age"]) == ("login", "0")
    assert come_back(client, provider.visit(address)).status_code == 403
    provider.token = {"auth_time": None}
    assert log_in(client, provider, "/again/oidc").status_code == 403
    assert not is_fresh(client)
    # Nor does another person.
    provider.token = {"sub": "4712"}
    answer = log_in(client, provider, "/again/oidc")
    assert "Another person" in answer.text
    assert not is_fresh(client)
    provider.token = {"sid": "session-2"}
    assert leads_to(log_in(client, provider, "/again/oidc?next=/account")) == "/account"
    assert is_fresh(client)
    assert details()[-1] == (
        "LOGIN",
        "SUCCESS",
        "ada.lovelace",
        "logged in again at the identity provider",
    )
    assert run_sql("SELECT provider_session FROM account_sessions") == [("session-2",)]
    # The second factor is the provider's.
    answer = client.post("/account/second-factor", data={"form_token": token})
    assert answer.status_code == 409


def form_token(client):
    found = re.search(
        r'<meta name="form-token" content="([0-9a-f]{64})">', client.get("/account").text
    )
    return found[1]


def is_fresh(client):
    answer = client.get("/account/second-factor")
    return answer.headers.get("location") != "/again?next=%2Faccount"


def test_a_login_just_now_is_fresh(browser, provider):
    provider.token = {"auth_time": None}
    client = browser()
    log_in(client, provider)
    assert not is_fresh(client)
    provider.token = {"auth_time": time.time() + 30}  # its clock is fast
    log_in(client, provider)
    assert is_fresh(client)
    assert run_sql("SELECT max(proven_at) <= clock_timestamp() FROM account_sessions") == [(True,)]


def test_after_the_lock_of_the_screen_the_person_must_show_again_who_it_is(browser, provider):
    client = browser()
    log_in(client, provider)
    client.post("/logout", data={"form_token": form_token(client), "why": "locked"})
    client.get("/login?why=locked&next=/")
    # Whoever sits there now is not let in by the provider's session.
    address = begin(client)
    assert dict(parse_qsl(urlsplit(address).query))["prompt"] == "login"
    provider.token = {"auth_time": 1_000_000_000}
    assert come_back(client, provider.visit(address)).status_code == 403
    provider.token = {}
    log_in(client, provider)
    assert "prompt" not in dict(parse_qsl(urlsplit(begin(client)).query))


def test_a_logout_leads_to_that_of_the_provider(browser, provider):
    client = browser()
    log_in(client, provider)
    answer = client.post("/logout", data={"form_token": form_token(client)})
    address = leads_to(answer).replace("&amp;", "&")
    assert sessions_open() == 0
    assert "Ada Lovelace" not in answer.text  # nor is there a head with what a person may open
    assert 'action="/logout"' not in answer.text
    sent = dict(parse_qsl(urlsplit(address).query))
    assert sent == {
        "client_id": CLIENT,
        "post_logout_redirect_uri": "http://localhost/login/oidc/logged-out",
    }
    assert "You are logged out" in come_back(client, provider.visit(address)).text
    # One that has no such page, and one that is away.
    provider.metadata = {"end_session_endpoint": None}
    client = browser(oidc_name="Other")
    log_in(client, provider)
    answer = client.post("/logout", data={"form_token": form_token(client)})
    assert "You may still be logged in with Other" in answer.text


def post_logout(client, token):
    return client.post("/login/oidc/backchannel-logout", data={"logout_token": token})


def test_the_provider_ends_sessions(browser, provider):
    client, other, machine = browser(), browser(), browser()
    log_in(client, provider)
    provider.person["sid"] = "session-2"
    log_in(other, provider)
    make_account("grace")
    machine.post("/login", data={"login": "grace", "password": PASSWORD})
    # One session by its name.
    token = provider.logout_token()
    assert post_logout(browser(), token).status_code == 200
    assert client.get("/").status_code == 200
    assert other.get("/").status_code == 303
    assert (
        "LOGOUT",
        "SUCCESS",
        "",
        "account ada.lovelace: 1 sessions ended by the identity provider",
    ) in details()
    # It counts once.
    answer = post_logout(browser(), token)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    # All of a person.
    log_in(other, provider)
    assert post_logout(browser(), provider.logout_token(sid=None)).status_code == 200
    assert client.get("/").status_code == other.get("/").status_code == 303
    assert machine.get("/").status_code == 200
    assert answer.headers["cache-control"] == "no-store"


def test_a_session_of_another_person_is_not_ended_by_its_name(browser, provider):
    client = browser()
    log_in(client, provider)
    assert post_logout(browser(), provider.logout_token(sub="4712")).status_code == 200
    assert post_logout(browser(), provider.logout_token(sid="session-9")).status_code == 200
    assert client.get("/").status_code == 200


def test_foreign_logout_tokens_end_nothing(browser, provider):
    client = browser()
    log_in(client, provider)
    stranger = RSAKey.generate_key(2048, {"kid": RSA_KEY.kid}, private=True)
    for token in (
        provider.logout_token(stranger),
        provider.logout_token(iss="https://login.other.example"),
        provider.logout_token(aud="other"),
        provider.logout_token(nonce="x"),
        provider.logout_token(events=None),
        provider.logout_token(jti=None),
        provider.logout_token(sid=None, sub=None),
        provider.logout_token(iat=1_000_000_000),
        sign({"sub": "4711"}),
        "",
        "x",
    ):
        assert post_logout(browser(), token).status_code == 400
    assert client.get("/").status_code == 200
    # A form of another site is none of the provider's.
    answer = browser().post(
        "/login/oidc/backchannel-logout",
        data={"logout_token": provider.logout_token()},
        headers={"sec-fetch-site": "cross-site"},
    )
    assert answer.status_code == 403
    assert client.get("/").status_code == 200


def test_local_accounts_are_switched_off_but_one(browser, provider):
    make_account("root", Role.ADMINISTRATOR)
    make_account("ada")
    with unit_of_work() as session:
        link = accounts.reset(session, "ada", "a test")
        accounts.use_link(session, link, PASSWORD)
        link = accounts.make_link(session, accounts.get(session, "ada"), "a test")
    client = browser()
    assert client.post("/login", data={"login": "ada", "password": PASSWORD}).status_code == 303
    assert client.get("/account").status_code == 200
    limited = browser(fallback_account="Root")
    limited.cookies = client.cookies
    assert limited.get("/account").status_code == 303  # the session has ended
    stranger = browser()
    assert stranger.post("/login", data={"login": "ada", "password": PASSWORD}).status_code == 401
    assert stranger.get(f"/link/{link}").status_code == 404
    assert stranger.post("/login", data={"login": "root", "password": PASSWORD}).status_code == 303
    with unit_of_work() as session:
        with pytest.raises(accounts.NotAllowed, match="switched off"):
            accounts.create(session, "grace", Role.READER, (), "a test")
        with pytest.raises(accounts.NotAllowed, match="fallback account"):
            accounts.disable(session, "root")
    log_in(stranger, provider)
    assert stranger.get("/").status_code == 200


def test_without_the_provider_in_the_settings_its_people_are_logged_out(browser, provider, setting):
    client = browser()
    log_in(client, provider)
    assert client.get("/").status_code == 200
    setting(oidc_issuer="")
    later = TestClient(make_app(settings()), base_url="http://localhost", follow_redirects=False)
    later.cookies = client.cookies
    with later:
        assert later.get("/").status_code == 303
        assert later.get("/login/oidc").status_code == 404
        assert "Password" in later.get("/login").text


def test_nothing_of_a_login_is_logged(browser, provider, capfd):
    provider.person["name"] = "PHANTOM^NAME"
    client = browser()
    address = provider.visit(begin(client))
    come_back(client, address)
    come_back(client, address)
    post_logout(client, provider.logout_token(nonce="x"))
    written = "".join(capfd.readouterr())
    sent = dict(parse_qsl(urlsplit(address).query))
    for secret in ("PHANTOM", sent["code"], sent["state"], SECRET, "access-token", "4711"):
        assert secret not in written
        assert secret not in json.dumps(details())

"""Logins at an identity provider: how they begin, are proven again, and end."""

import json
import time
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from joserfc.jwk import RSAKey

from records.accounts import provider_logins
from tests.support.accounts import PASSWORD, let_pass, make_account, run_sql
from tests.support.identity_provider import CLIENT, RSA_KEY, SECRET, sign
from tests.support.provider_logins import (
    CROSS_SITE,
    begin,
    come_back,
    details,
    form_token,
    is_fresh,
    leads_to,
    log_in,
    post_logout,
    sessions_open,
)


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

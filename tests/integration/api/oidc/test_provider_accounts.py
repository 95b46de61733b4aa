"""Accounts of the identity provider: who they are, what their groups give them, and local ones."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from starlette.testclient import TestClient

from api.app import make_app
from records.accounts import accounts
from records.database.session import unit_of_work
from records.settings import settings
from records.states import Role
from records.workflow import sites
from tests.support.accounts import PASSWORD, make_account, run_sql
from tests.support.provider_logins import (
    begin,
    come_back,
    details,
    leads_to,
    log_in,
    rows,
    sessions_open,
)


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

"""Logins at an identity provider in a browser, and what a server with wrong settings says."""

import httpx2 as httpx
import pytest
from playwright.sync_api import expect

from nightdraft.doctor import run_checks
from nightdraft.station.wheels import free_port
from records.settings import read_settings
from records.states import Role
from tests.support.accounts import PASSWORD, make_account, run_sql
from tests.support.identity_provider import CLIENT, SECRET, IdentityProvider
from tests.support.seeded_studies import StudySeeder


@pytest.fixture
def provider():
    with IdentityProvider() as running:
        yield running


def values_for(provider, port, **changes):
    given = {
        "serve_port": port,
        "pages_url": f"http://127.0.0.1:{port}",
        "oidc_issuer": provider.issuer,
        "oidc_name": "Hospital",
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "oidc_roles": "radiologists=reader",
        **changes,
    }
    return {name: value for name, value in given.items() if value is not None}


def test_a_person_logs_in_and_out(serve, open_page, provider, database, data_dir):
    study = StudySeeder(data_dir).draft_study(1)
    server = serve(**values_for(provider, free_port()))
    # The first login, without any account, and from a page to that page.
    page = open_page(f"{server.url}/studies/{study}")
    page.get_by_role("link", name="Log in with Hospital").click()
    page.wait_for_url(f"{server.url}/studies/{study}")
    page.wait_for_load_state("networkidle")
    page.get_by_role("link", name="Ada Lovelace").click()
    page.wait_for_url(f"{server.url}/account")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(f"{server.url}/login/oidc/logged-out")
    assert "/realm/end-session" in provider.asked
    assert run_sql("SELECT count(*) FROM account_sessions") == [(0,)]
    page.get_by_role("link", name="Log in", exact=True).click()
    page.wait_for_url(f"{server.url}/login")
    secret = provider.sent[0]
    log = server.log.read_text()
    for planted in (secret["state"], secret["nonce"], "4711", "Lovelace", SECRET):
        assert planted not in log


def test_the_fallback_account_logs_in_while_the_provider_is_away(serve, open_page, provider):
    make_account("root", Role.ADMINISTRATOR)
    server = serve(**values_for(provider, free_port(), fallback_account="root"))
    page = open_page(f"{server.url}/login")
    expect(page.get_by_label("Password")).to_have_count(0)
    provider.stop()
    answer = httpx.get(f"{server.url}/login/oidc")
    assert answer.status_code == 503
    assert "Hospital does not answer" in answer.text
    page.goto(f"{server.url}/login?local=1", wait_until="networkidle")
    page.get_by_label("Login name").fill("root")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{server.url}/tonight")
    page.wait_for_load_state("networkidle")
    said = "logged in with the fallback account"
    assert run_sql(f"SELECT actor_name FROM audit_entries WHERE detail = '{said}'") == [("root",)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fallback_account": "root"}, "NIGHTDRAFT_FALLBACK_ACCOUNT=root would lock everybody"),
        ({"oidc_client_id": None}, "NIGHTDRAFT_OIDC_CLIENT_ID"),
        ({"oidc_sites": "*=nowhere"}, "NIGHTDRAFT_OIDC_SITES"),
        ({"oidc_ca_file": "/no/such/file"}, "NIGHTDRAFT_OIDC_CA_FILE"),
    ],
    ids=str,
)
def test_a_server_that_nobody_could_log_in_to_does_not_start(serve, provider, changes, said):
    server = serve(wait=False, **values_for(provider, free_port(), **changes))
    assert server.process.wait(timeout=60) == 1
    (line,) = server.log.read_text().splitlines()
    assert line.startswith("SettingsError: ")
    assert said in line
    assert SECRET not in line


def test_doctor_says_whether_the_provider_answers(provider, database, data_dir, setting):
    setting(**values_for(provider, 8080))

    def line():
        found = [one for one in run_checks(read_settings()) if one.name == "identity provider"]
        return found[0]

    assert line().sentence == f"Hospital answers, and is {provider.issuer}"
    provider.metadata = {"end_session_endpoint": None}
    assert line().warning
    provider.stop()
    assert line().failed
    assert "Hospital does not answer" in line().sentence
    setting(fallback_account="nobody")
    assert "no such account" in line().sentence

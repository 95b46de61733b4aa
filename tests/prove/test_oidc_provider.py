"""oidc-provider (of another maker) with real logins in Chromium, and its logouts.

Slow to set up; `make prove-peers` installs it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from playwright.sync_api import Browser, Page, sync_playwright

from nightdraft.station.wheels import free_port
from tests.support.accounts import make_account, run_sql
from tests.support.node_packages import require_package
from tests.support.waiting import eventually
from tools.pictures import CHROMIUM, FLAGS

PROVIDER = Path(__file__).with_name("oidc_provider.js")
SECRET = "a secret of the tests"

START = """
import sys
from pathlib import Path
from api.app import run_server
from records.settings import settings
from records.telemetry import set_up_logs
set_up_logs(part="api")
run_server(settings(), ready=lambda port: Path(sys.argv[1]).touch())
"""


@pytest.fixture
def start(database: str, data_dir: Path, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Start the provider and our pages for its client; the address of our pages."""
    require_package("oidc-provider")
    processes: list[subprocess.Popen[Any]] = []

    def run(client: dict[str, Any], **values: object) -> str:
        port = free_port()
        pages = f"http://127.0.0.1:{port}"
        provider = subprocess.Popen(
            ["node", str(PROVIDER), pages, json.dumps(client)], stdout=subprocess.PIPE, text=True
        )
        processes.append(provider)
        assert provider.stdout is not None
        issuer = f"http://127.0.0.1:{provider.stdout.readline().strip()}"
        given = {
            "serve_port": port,
            "pages_url": pages,
            "oidc_issuer": issuer,
            "oidc_name": "Hospital",
            "oidc_client_id": "nightdraft",
            "oidc_roles": "leads=lead, radiologists=reader",
            **values,
        }
        env = {f"NIGHTDRAFT_{name.upper()}": str(value) for name, value in given.items()}
        ready = tmp_path / "ready"
        with (tmp_path / "log").open("wb") as log:
            server = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", START, str(ready)],
                env={**os.environ, **env},
                stdout=log,
                stderr=log,
            )
        processes.append(server)

        def is_up() -> bool:
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert ready.exists(), (tmp_path / "log").read_text()
            return True

        eventually(is_up, 60)
        return pages

    yield run
    for process in reversed(processes):
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def sign_in(page: Page, login: str) -> None:
    """Fill in the provider's own pages: the login, and the consent where it asks for it."""
    page.get_by_placeholder("Enter any login").fill(login)
    page.get_by_placeholder("and password").fill("x")
    page.get_by_role("button", name="Sign-in").click()
    page.wait_for_load_state("networkidle")
    consent = page.get_by_role("button", name="Continue")
    if consent.count():
        consent.click()
        page.wait_for_load_state("networkidle")


def sessions() -> int:
    count: int = run_sql("SELECT count(*) FROM account_sessions")[0][0]
    return count


def test_a_person_logs_in_proves_it_again_and_logs_out(start, page):
    pages = start({"client_secret": SECRET}, oidc_client_secret=SECRET)
    page.goto(f"{pages}/account")
    page.get_by_role("link", name="Log in with Hospital").click()
    sign_in(page, "ada")
    page.wait_for_url(f"{pages}/account")
    assert "Person ada" in page.content()
    issuer, login, role = run_sql("SELECT issuer, login, role FROM accounts")[0]
    assert (login, role) == ("ada", "READER")
    assert run_sql("SELECT provider_session IS NOT NULL FROM account_sessions") == [(True,)]

    # What needs the password again: the provider asks although it knows the person.
    page.goto(f"{pages}/again?next=/account")
    page.get_by_role("link", name="Log in again with Hospital").click()
    page.wait_for_url(re.compile(issuer))
    sign_in(page, "ada")
    page.wait_for_url(f"{pages}/account")
    assert run_sql("SELECT detail FROM audit_entries ORDER BY id DESC LIMIT 1")[0][0] == (
        "logged in again at the identity provider"
    )

    # A logout here leads to the provider, which ends its session and leads back.
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(re.compile(issuer))
    assert sessions() == 0
    page.get_by_role("button", name="Yes, sign me out").click()
    page.wait_for_url(f"{pages}/login/oidc/logged-out")
    page.get_by_role("link", name="Log in", exact=True).click()
    page.get_by_role("link", name="Log in with Hospital").click()
    sign_in(page, "grace")  # it asks again who it is
    page.wait_for_url(f"{pages}/")
    assert run_sql("SELECT role FROM accounts WHERE login = 'grace'") == [("LEAD",)]


def test_a_logout_at_the_provider_ends_the_session_here(start, page):
    pages = start({"client_secret": SECRET}, oidc_client_secret=SECRET)
    make_account()
    page.goto(f"{pages}/login/oidc")
    sign_in(page, "grace")
    page.wait_for_url(f"{pages}/")
    assert sessions() == 1
    issuer = run_sql("SELECT issuer FROM accounts WHERE issuer IS NOT NULL")[0][0]
    page.goto(f"{issuer}/session/end")
    page.get_by_role("button", name="Yes, sign me out").click()
    eventually(lambda: sessions() == 0)
    assert run_sql("SELECT detail FROM audit_entries WHERE action = 'LOGOUT'") == [
        ("account grace: 1 sessions ended by the identity provider",)
    ]
    page.goto(pages)
    assert page.url == f"{pages}/login?why=ended"


@pytest.mark.parametrize("algorithm", ["ES256", "PS256"])
def test_a_key_in_place_of_the_secret_and_other_signatures(start, page, tmp_path, algorithm):
    key = ECKey.generate_key("P-256", {"kid": "ours"}, private=True)
    file = tmp_path / "key.json"
    file.write_text(json.dumps(key.as_dict(private=True)))
    client = {
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": [key.as_dict(private=False)]},
        "id_token_signed_response_alg": algorithm,
    }
    pages = start(client, oidc_client_key_file=file)
    page.goto(f"{pages}/login/oidc")
    sign_in(page, "ada")
    page.wait_for_url(f"{pages}/")
    # A person without a group that has a role here is told so.
    page.context.clear_cookies()
    page.goto(f"{pages}/login/oidc")
    sign_in(page, "eve")
    page.wait_for_url(re.compile(f"{pages}/login/oidc/callback"))
    assert "None of this person's groups has a role here." in page.locator("main").inner_text()
    assert run_sql("SELECT login FROM accounts") == [("ada",)]

"""Who is answered what: without accounts, with them, by role, by token, and to forms of others."""

import re

import pyotp
import pytest
from starlette.testclient import TestClient

from api.access.table import TABLE, Door, allows, home_of
from api.access.visitor import Visitor
from api.app import make_app
from records.accounts import accounts, lockouts, programs
from records.accounts.roles import PERMISSIONS
from records.actors import Actor
from records.database.session import database_time, unit_of_work
from records.settings import settings
from records.states import ActorKind, Permission, Role
from tests.support.accounts import (
    PASSWORD,
    begin_second_factor,
    let_pass,
    make_account,
    run_sql,
    trail_lines,
)

PERSONS = [role for role in Role if role is not Role.SERVICE]


@pytest.fixture
def app(database, data_dir, setting):
    setting(serve_names="testserver")
    return make_app(settings())


@pytest.fixture
def browser(app):
    """Makes browsers, each with cookies of its own; redirects are not followed."""
    clients = []

    def open_one(scheme="http", address="192.0.2.7"):
        client = TestClient(
            app,
            base_url=f"{scheme}://localhost",
            client=(address, 50_000),
            follow_redirects=False,
            raise_server_exceptions=False,
        )
        clients.append(client)
        return client.__enter__()

    yield open_one
    for client in clients:
        client.__exit__(None, None, None)


def log_in(client, login="ada", password=PASSWORD, **fields):
    return client.post("/login", data={"login": login, "password": password, **fields})


def form_token(client):
    found = re.search(
        r'<meta name="form-token" content="([0-9a-f]{64})">', client.get("/account").text
    )
    return found[1]


def post(client, path, **fields):
    return client.post(path, data={"form_token": form_token(client), **fields})


def test_without_an_account_everything_is_answered_as_before(browser, seeder):
    study = seeder.draft_study(1)
    client = browser()
    for path in ("/", f"/studies/{study}", "/api/studies", "/campaigns", "/api/docs", "/messages"):
        assert client.get(path).status_code == 200
    assert client.post(f"/studies/{study}/release").status_code == 303
    assert "Log out" not in client.get("/").text
    # There is nobody whose account it could be.
    assert client.get("/account").status_code == 403


def test_from_the_first_account_on_nothing_is_answered_without_a_login(browser, seeder):
    study = seeder.draft_study(1)
    client = browser()
    assert client.get("/").status_code == 200
    make_account()
    for (method, route), row in TABLE.items():
        path = re.sub(r"\{\w+\}", str(study), route)
        answer = client.request(method, path)
        if row.needs is Door.PUBLIC:
            assert answer.status_code in (200, 400, 401, 404)
        elif path.startswith(("/api/", "/fhir", "/readyz", "/metrics")) or not row.is_use:
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
        else:
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/login")
        assert "PHANTOM" not in answer.text
    # Nor does it say which addresses there are.
    assert client.get("/no/such/page").headers["location"] == "/login?next=%2Fno%2Fsuch%2Fpage"
    assert client.get("/api/no-such-call").status_code == 401
    assert client.get("/static/nightdraft.css").status_code == 200
    assert client.get("/healthz").json() == {"status": "alive"}


def test_an_answer_without_a_login_has_the_form_of_its_caller(browser):
    make_account()
    client = browser()
    problem = client.get("/api/studies")
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["title"] == "Nobody is logged in"
    outcome = client.get("/fhir/Patient/1").json()
    assert outcome["issue"][0]["code"] == "login"
    image = client.get("/", headers={"sec-fetch-mode": "no-cors", "sec-fetch-site": "same-origin"})
    assert image.status_code == 401
    assert client.get("/?words=M%C3%BCller").headers["location"] == (
        "/login?next=%2F%3Fwords%3DM%25C3%25BCller"
    )


def fill(route):
    """The path of a route with ids of nothing."""
    return re.sub(r"\{\w+\}", "00000000-0000-4000-8000-000000000000", route)


@pytest.mark.parametrize("role", PERSONS)
def test_each_role_is_answered_what_the_table_says_and_nothing_else(browser, role):
    make_account("ada", role)
    client = browser()
    assert log_in(client).status_code == 303
    headers = {"x-form-token": form_token(client)}
    visitor = Visitor(Actor(ActorKind.ACCOUNT), PERMISSIONS[role])
    answered = {}
    # The end of the session comes last.
    for key in sorted(TABLE, key=lambda key: (key[1] in ("/logout", "/login"), key)):
        method, route = key
        answer = client.request(method, fill(route), headers=headers)
        answered[key] = answer.status_code
        is_own = TABLE[key].needs is Door.LOGGED_IN
        if is_own or allows(TABLE[key], visitor):
            assert answer.status_code not in (403, 405), key
            if route != "/api/openapi.json":  # it describes that answer
                assert "Nobody is logged in" not in answer.text, key
            assert answer.headers.get("location", "") != "/login", key
        elif key == ("GET", "/"):
            # Nobody's page in particular: it leads to one's own.
            assert answer.headers["location"] == home_of(visitor)
        else:
            assert answer.status_code == 403, key
            assert "You may not do this" in answer.text, key
    allowed = {key for key, status in answered.items() if status != 403} - {("GET", "/")}
    allowed |= {("GET", "/")} if allows(TABLE["GET", "/"], visitor) else set()
    patients = {"/", "/studies/{study}", "/api/studies", "/holds", "/studies/{study}/decision"}
    if role in (Role.ADMINISTRATOR, Role.AUDITOR):
        assert not {path for _, path in allowed} & patients
    if role is Role.AUDITOR:
        assert {path for _, path in allowed} == {
            path for (_, path), row in TABLE.items() if isinstance(row.needs, Door)
        } | {"/trail", "/api/trail"}
    if role is Role.READER:
        assert patients <= {path for _, path in allowed}
        assert answered["POST", "/campaigns/{campaign_id}/change"] == 403
    refusals = [line for line in trail_lines() if line[0] == "REFUSED"]
    assert len(refusals) == list(answered.values()).count(403)
    assert all(line[2:5] == ("ACCOUNT", "ada", "192.0.2.7") for line in refusals)


@pytest.mark.parametrize("permission", sorted(PERMISSIONS[Role.SERVICE]))
def test_a_token_is_answered_what_its_permissions_say(browser, permission):
    make_account()
    with unit_of_work() as session:
        token = programs.create(session, "ris", [permission], "a test")
    client = browser()
    headers = {"authorization": f"Bearer {token}"}
    visitor = Visitor(Actor(ActorKind.PROGRAM), frozenset({permission}))
    for (method, route), row in TABLE.items():
        status = client.request(method, fill(route), headers=headers).status_code
        if row.needs is not Door.PUBLIC:
            assert (status == 403) is not allows(row, visitor), (method, route, status)
            assert status != 401
    (name, used) = run_sql("SELECT name, used_at IS NOT NULL FROM program_tokens")[0]
    assert (name, used) == ("ris", True)


def test_a_token_that_has_ended_is_none(browser):
    make_account()
    with unit_of_work() as session:
        token = programs.create(session, "ris", [Permission.READ_STUDIES], "a test")
    client = browser()

    def status(value):
        return client.get("/api/studies", headers={"authorization": value}).status_code

    assert status(f"Bearer {token}") == 200
    assert status(f"bearer {token}") == 200
    for wrong in (f"Bearer {token}x", "Bearer", "Bearer ", f"Basic {token}", token):
        assert status(wrong) == 401
    with unit_of_work() as session:
        programs.revoke(session, "ris")
    assert status(f"Bearer {token}") == 401


def test_probes_are_answered_to_near_networks_and_to_tokens(browser):
    make_account()
    with unit_of_work() as session:
        token = programs.create(session, "prometheus", [Permission.READ_PROBES], "a test")
    near, far = browser(address="127.0.0.1"), browser(address="192.0.2.7")
    mapped = browser(address="::ffff:127.0.0.1")
    for path in ("/readyz", "/metrics"):
        assert near.get(path).status_code in (200, 503)
        assert mapped.get(path).status_code in (200, 503)
        assert far.get(path).status_code == 401
        allowed = far.get(path, headers={"authorization": f"Bearer {token}"})
        assert allowed.status_code in (200, 503)


def test_a_login_sets_cookies_that_no_script_reads(browser):
    make_account()
    answer = log_in(browser(), next="/studies/1?before=3")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/studies/1?before=3"
    session, device = answer.headers.get_list("set-cookie")
    assert re.fullmatch(r"nightdraft-session=[\w-]{43}; HttpOnly; Path=/; SameSite=lax", session), (
        session
    )
    assert re.fullmatch(
        r"nightdraft-browser=[\w-]{43}; HttpOnly; Max-Age=31536000; Path=/; SameSite=lax", device
    ), device


def test_behind_tls_cookies_are_of_this_host_alone(browser):
    make_account()
    client = browser(scheme="https")
    for cookie in log_in(client).headers.get_list("set-cookie"):
        assert cookie.startswith("__Host-nightdraft-")
        assert "; Secure" in cookie
        assert "; Path=/" in cookie
        assert "Domain" not in cookie
    assert client.get("/").status_code == 200
    # A cookie that another site could have set does not count there.
    token = client.cookies["__Host-nightdraft-session"]
    other = browser(scheme="https")
    assert other.get("/", headers={"cookie": f"nightdraft-session={token}"}).status_code == 303


@pytest.mark.parametrize("given", ["//evil.example", "https://evil.example/", "/\\evil.example"])
def test_nobody_is_led_to_another_site(browser, given):
    make_account()
    client = browser()
    assert "evil" not in client.get("/login", params={"next": given}).text
    assert log_in(client, next=given).headers["location"] == "/"


def test_a_login_is_a_new_session_and_ends_the_older_one(browser):
    make_account()
    client = browser()
    client.cookies.set(
        "nightdraft-session", "a-token-that-somebody-else-chose", domain="localhost.local"
    )
    log_in(client)
    first = client.cookies["nightdraft-session"]
    assert first != "a-token-that-somebody-else-chose"
    log_in(client)
    second = client.cookies["nightdraft-session"]
    assert second != first
    old = browser()
    assert old.get("/", headers={"cookie": f"nightdraft-session={first}"}).status_code == 303
    assert old.get("/", headers={"cookie": f"nightdraft-session={second}"}).status_code == 200


def test_what_is_wrong_is_not_told_and_waits_are(browser):
    make_account()
    client = browser()
    unknown = log_in(client, "nobody")
    wrong = log_in(client, password="wrong password")
    assert unknown.status_code == wrong.status_code == 401
    assert unknown.text == wrong.text
    assert "wrong password" not in wrong.text
    for _ in range(lockouts.FREE_FAILURES - 1):
        wrong = log_in(client, password="wrong password")
    assert wrong.status_code == 429
    assert 0 < int(wrong.headers["retry-after"]) <= lockouts.FIRST_WAIT_SECONDS
    assert log_in(client).status_code == 429


def test_a_logout_ends_the_session_on_the_server(browser):
    make_account()
    client = browser()
    log_in(client)
    token = client.cookies["nightdraft-session"]
    assert post(client, "/logout").headers["location"] == "/login?why=out"
    assert "nightdraft-session" not in client.cookies
    kept = browser().get("/", headers={"cookie": f"nightdraft-session={token}"})
    assert kept.status_code == 303
    assert trail_lines()[-1][:4] == ("LOGOUT", "SUCCESS", "ACCOUNT", "ada")
    assert "You are logged out." in client.get("/login?why=out").text


def test_what_a_page_asks_by_itself_keeps_no_session_open(browser):
    make_account()
    client = browser()
    log_in(client)
    let_pass("account_sessions", 60 * settings().session_idle_minutes - 60, "used_at")
    assert client.get("/live").status_code == 200
    let_pass("account_sessions", 61, "used_at")
    assert client.get("/live").status_code == 401
    assert client.get("/").status_code == 303


def test_a_form_of_another_login_changes_nothing(browser, seeder):
    make_account()
    study = seeder.receive(1)
    client, other = browser(), browser()
    log_in(client)
    log_in(other)
    path = f"/studies/{study}/release"
    for fields in ({}, {"form_token": ""}, {"form_token": form_token(other)}, {"form_token": "ü"}):
        refused = client.post(path, data=fields)
        assert refused.status_code == 403
        assert "not from your present login" in refused.text
    assert client.post(f"/api{path}").status_code == 403
    assert client.post(path, json={"form_token": form_token(client)}).status_code == 403
    assert run_sql("SELECT released FROM studies") == [(False,)]
    assert post(client, path).status_code == 303
    assert run_sql("SELECT released FROM studies") == [(True,)]
    token = {"x-form-token": form_token(client)}
    assert client.post(f"/api{path}", headers=token).status_code == 200


def test_every_form_of_a_page_carries_the_token(browser, seeder):
    from pathlib import Path

    import api

    for template in Path(api.__file__).parent.glob("templates/*.html"):
        if template.name in ("login.html", "link.html"):
            continue  # before a login
        forms = re.findall(
            r'<form method="post"[^>]*>(?:\{\{ form_token\(\) \}\})?', template.read_text()
        )
        assert all(form.endswith("{{ form_token() }}") for form in forms), template.name
    make_account()
    client = browser()
    log_in(client)
    page = client.get(f"/studies/{seeder.receive(1)}").text
    assert f'name="form_token" value="{form_token(client)}"' in page


def test_the_head_shows_the_pages_that_one_may_open(browser):
    make_account("ada", Role.ADMINISTRATOR)
    client = browser()
    assert log_in(client).headers["location"] == "/tonight"
    page = client.get("/tonight").text
    assert 'href="/tonight"' in page
    assert 'href="/holds"' not in page
    assert "Log out" in page
    make_account("eve", Role.AUDITOR)
    auditor = browser()
    assert log_in(auditor, "eve").headers["location"] == "/trail"
    assert 'href="/tonight"' not in auditor.get("/trail").text


def test_a_link_lets_a_person_choose_a_password_once(browser):
    with unit_of_work() as session:
        _, token = accounts.create(session, "root", Role.ADMINISTRATOR, (), "a test")
    client = browser()
    page = client.get(f"/link/{token}")
    assert page.status_code == 200
    assert "root" in page.text
    for new, repeated, why in (
        ("password1", "password1", "common ones"),
        (PASSWORD, PASSWORD + "x", "two passwords differ"),
    ):
        refused = client.post(f"/link/{token}", data={"new": new, "repeated": repeated})
        assert refused.status_code == 422
        assert why in refused.text
    done = client.post(f"/link/{token}", data={"new": PASSWORD, "repeated": PASSWORD})
    assert done.headers["location"] == "/login?why=chosen"
    assert client.get(f"/link/{token}").status_code == 404
    assert (
        client.post(f"/link/{token}", data={"new": PASSWORD, "repeated": PASSWORD}).status_code
        == 404
    )
    assert log_in(client, "root").status_code == 303


def test_a_password_is_changed_on_ones_own_page(browser):
    make_account()
    client, other = browser(), browser()
    log_in(client)
    log_in(other)
    new = {"new": "another long password", "repeated": "another long password"}
    wrong = post(client, "/account/password", password="wrong password", **new)
    assert wrong.status_code == 422
    assert "are wrong" in wrong.text
    assert post(client, "/account/password", password=PASSWORD, **new).status_code == 303
    assert client.get("/account").status_code == 200  # with its new session
    assert other.get("/account").status_code == 303
    assert log_in(other, password="another long password").status_code == 303


def test_a_second_factor_is_set_up_and_taken_away(browser):
    make_account()
    client = browser()
    log_in(client)
    assert post(client, "/account/second-factor").headers["location"] == "/account/second-factor"
    page = client.get("/account/second-factor").text
    assert "<svg" in page
    secret = re.search(r"<code>([A-Z2-7 ]+)</code>", page)[1].replace(" ", "")
    assert post(client, "/account/second-factor/confirm", code="000000").status_code == 422
    with unit_of_work() as session:
        now = int(database_time(session).timestamp())
    done = post(client, "/account/second-factor/confirm", code=pyotp.TOTP(secret).at(now))
    codes = re.findall(r"<code>([a-z2-7-]{19})</code>", done.text)
    assert len(codes) == 10
    assert log_in(browser()).status_code == 401
    assert log_in(browser(), code=codes[0]).status_code == 303
    assert "9 recovery codes" in client.get("/account").text
    assert post(client, "/account/second-factor/remove").status_code == 303
    assert log_in(browser()).status_code == 303


def test_what_needs_it_asks_for_the_password_again(browser):
    make_account()
    _, codes = begin_second_factor()
    client = browser()
    log_in(client, code=codes[0])
    let_pass("account_sessions", 60 * settings().fresh_minutes + 1, "proven_at")
    asked = post(client, "/account/second-factor/remove")
    assert asked.headers["location"] == "/again?next=%2Faccount"
    assert client.get("/again?next=%2Faccount").status_code == 200
    assert post(client, "/again", password=PASSWORD, next="/account").status_code == 401
    again = post(client, "/again", password=PASSWORD, code=codes[1], next="//evil.example")
    assert again.headers["location"] == "/account"
    assert post(client, "/account/second-factor/remove").headers["location"] == "/account"


def test_others_of_ones_sessions_are_ended(browser):
    make_account()
    client, other = browser(), browser()
    log_in(client)
    log_in(other)
    assert post(client, "/account/sessions").status_code == 303
    assert other.get("/account").status_code == 303
    assert client.get("/account").status_code == 200


def test_an_unknown_address_is_404_and_another_method_405(browser):
    make_account()
    client = browser()
    log_in(client)
    assert client.get("/no/such/page").status_code == 404
    assert client.get("/api/no-such-call").json()["status"] == 404
    assert (
        client.put("/api/studies", headers={"x-form-token": form_token(client)}).status_code == 405
    )
    refused = client.put("/api/worklist/views", headers={"x-form-token": form_token(client)})
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, POST")
    assert refused.headers["content-type"] == "application/problem+json"


def test_while_the_database_is_away_a_system_is_told_when_to_ask_again(data_dir, setting):
    setting(database_url="postgresql://nobody@127.0.0.1:1/none")
    with TestClient(make_app(settings()), base_url="http://localhost") as client:
        refused = client.get("/api/counts")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert refused.headers["content-type"] == "application/problem+json"


def test_no_secret_gets_into_the_trail(browser):
    account = make_account()
    client = browser()
    log_in(client)
    log_in(client, PASSWORD, "ada")  # the fields were mixed up
    lines = str(trail_lines()) + str(run_sql("SELECT * FROM login_failures"))
    assert PASSWORD not in lines
    assert client.cookies["nightdraft-session"] not in lines
    assert str(account.id) in str(run_sql("SELECT actor_id FROM audit_entries"))


@pytest.fixture
def limited(setting):
    """Small limits; made before `app`."""
    setting(
        account_requests_per_minute="8",
        token_requests_per_minute="5",
        stranger_requests_per_minute="6",
    )


def statuses(client, path, times, **headers):
    return [client.get(path, headers=headers).status_code for _ in range(times)]


def test_a_stranger_who_sends_too_much_is_told_when_to_come_again(limited, browser):
    make_account()
    client = browser()
    assert statuses(client, "/login", 4) == [200] * 4
    assert statuses(client, "/api/studies", 4) == [401, 401, 429, 429]
    refused = client.get("/api/studies")
    assert refused.headers["content-type"] == "application/problem+json"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert "Send it again in" in client.get("/login").text
    # What a page needs to be shown, and what watches the process, is answered all the same.
    assert statuses(client, "/healthz", 10) == [200] * 10
    assert client.get("/static/nightdraft.css").status_code == 200
    assert browser(address="192.0.2.8").get("/login").status_code == 200


def test_addresses_of_one_ipv6_subscriber_count_as_one(limited, browser):
    make_account()
    answered = [
        browser(address=f"2001:db8:1:1::{number}").get("/login").status_code
        for number in range(1, 8)
    ]
    assert answered == [200] * 6 + [429]
    assert browser(address="2001:db8:1:2::1").get("/login").status_code == 200


def test_one_account_s_requests_count_together_and_nobody_else_s(limited, browser):
    make_account()
    make_account("ben")
    first, second = browser(), browser()
    assert log_in(first).status_code == log_in(second).status_code == 303
    found = [client.get("/api/studies").status_code for client in (first, second) * 5]
    assert found == [200] * 8 + [429] * 2
    other = browser()
    assert log_in(other, "ben").status_code == 303
    assert other.get("/api/studies").status_code == 200


def test_what_is_too_much_changes_nothing(limited, browser, seeder):
    make_account()
    study = seeder.draft_study(1)
    client = browser()
    log_in(client)
    token = form_token(client)
    statuses(client, "/api/studies", 8)
    path = f"/studies/{study}/withdraw"
    refused = client.post(path, data={"form_token": token, "by": "Ada", "reason": "x"})
    assert refused.status_code == 429
    assert run_sql("SELECT count(*) FROM events WHERE kind = 'WITHDRAWN'") == [(0,)]


def test_a_token_has_a_limit_of_its_own(limited, browser):
    make_account()
    with unit_of_work() as session:
        token = programs.create(session, "ris", [Permission.READ_STUDIES], "a test")
    client = browser()
    sent = {"authorization": f"Bearer {token}"}
    assert statuses(client, "/api/studies", 6, **sent) == [200] * 5 + [429]

"""Pages offer what one may do: no link and no form is shown that would be refused, and no other.

Each role logs in, and so does one that sees a single site; programs come with one permission.
Every page that they may open is opened, and then every page that these link to.
"""

import re
from collections import Counter
from contextlib import contextmanager
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urljoin, urlsplit

import pytest
from starlette.routing import Match
from starlette.testclient import TestClient

from api.access.table import TABLE, Door, Row, allows, explain, find_row
from api.access.visitor import Visitor
from api.app import ROUTERS, make_app
from records.accounts import accounts, programs, sessions
from records.accounts.roles import PERMISSIONS
from records.actors import Actor
from records.database.session import unit_of_work
from records.settings import settings
from records.states import ActorKind, Permission, Role
from records.workflow import site_scope, sites
from tests.support.accounts import PASSWORD, make_account, run_sql
from tests.support.filled_records import SETTINGS, add_states, addresses, fill

PERSONS = [role for role in Role if role is not Role.SERVICE]
ROUTES = [route for router in ROUTERS for route in router.routes]

SAMPLES = 2
"""Pages that are opened of one route and one set of query parameters."""

NOT_OFFERED = {
    ("POST", "/login"),  # a page from before a login
    ("POST", "/link/{token}"),
    ("POST", "/again"),
    ("POST", "/account/second-factor/confirm"),  # shown once a secret was offered
    ("POST", "/account/second-factor/remove"),  # shown once there is a second factor
    ("POST", "/account/sessions"),  # shown once there are others
    # Offered once a report is signed, or while a draft is hidden (tests of the editor).
    ("POST", "/studies/{study}/addendum"),
    ("POST", "/studies/{study}/countersign"),
    ("POST", "/studies/{study}/score"),
    ("POST", "/studies/{study}/show-draft"),
    # Shown once studies are ticked, or once a view is saved; a script asks for the others.
    ("POST", "/worklist/change/confirmed"),
    ("POST", "/worklist/views/{view_id}/remove"),
    ("POST", "/studies/{study}/lock"),
    ("POST", "/studies/{study}/unlock"),
    # Of programs, and of the identity provider.
    ("POST", "/auth/token"),
    ("POST", "/login/oidc/backchannel-logout"),
    # Offered while a model is stopped, and while a proposal waits (test_models).
    ("POST", "/models/{digest}/lift"),
    ("POST", "/mode-proposals/{proposal_id}/decision"),
    # Offered where somebody is looked for in vain, and while an access lasts.
    ("POST", "/emergency"),
    ("POST", "/emergency/{access_id}/end"),
}
"""Forms that need more than a login to be shown."""


class References(HTMLParser):
    """(method, address) of each link, form, picture and part of a page that changes."""

    def __init__(self, base):
        super().__init__()
        self.base = base
        self.found = []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag in ("a", "img") and (address := values.get("href") or values.get("src")):
            self.found.append(("GET", address))
        elif tag == "form":
            self.found.append((values.get("method", "get").upper(), values.get("action", "")))
        if "data-live" in values:
            self.found.append(("GET", values["data-live"]))

    @classmethod
    def of(cls, page, base):
        parser = cls(base)
        parser.feed(page)
        return {
            (method, urljoin(base, address).split("#")[0])
            for method, address in parser.found
            if not address.startswith("#")
        }


def route_of(method, address):
    """The route of an address, as the application finds it."""
    scope = {"type": "http", "method": method, "path": urlsplit(address).path, "headers": []}
    for route in ROUTES:
        if route.matches(scope)[0] is Match.FULL:
            return method, route.path
    raise AssertionError(f"no route has {method} {address}")


def walk(client, visitor, ids):
    """Open all that the visitor may open; the routes to which its pages lead."""
    starts = {
        path: None  # each once, in their order
        for some in (ids, *({"study": study} for study in ids["studies"].values()))
        for route, path in addresses(some)
        if allows(TABLE["GET", route], visitor) and TABLE["GET", route].needs is not Door.PUBLIC
        if not path.startswith(("/api/", "/fhir"))
    }
    waiting, seen, opened, led_to = list(starts), set(starts), Counter(), set()
    while waiting:
        address = waiting.pop(0)
        parts = urlsplit(address)
        if address not in starts:
            kind = (route_of("GET", address), frozenset(dict(parse_qsl(parts.query))))
            opened[kind] += 1
            if opened[kind] > SAMPLES:
                continue
        answer = client.get(address)
        if address in starts:
            # Who sees every site needs no emergency; an own style is an account's.
            may_refuse = {409} if parts.path in ("/emergency", "/report-styles/own") else set()
            assert answer.status_code in {200, 204, 303, 404, 422, 503} | may_refuse, address
        else:
            leads_on = parts.path.endswith(("/next", "/previous")) and answer.status_code == 303
            is_picture = parts.path.endswith(".jpg")
            assert answer.status_code in (200, 204) or leads_on or is_picture, address
        if not answer.headers.get("content-type", "").startswith("text/html"):
            continue
        for method, target in References.of(answer.text, address):
            route = route_of(method, target)
            assert allows(TABLE[route], visitor), f"{address} offers {method} {target}"
            led_to.add(route)
            if method == "GET" and target not in seen:
                seen.add(target)
                waiting.append(target)
    return led_to


def fill_two_sites(data_dir):
    with unit_of_work() as session:
        sites.create(session, "north", "North Hospital")
    return fill() | {"studies": add_states(data_dir)}


@pytest.fixture
def ids(filled_copy, setting):
    # More requests are sent than a person would.
    setting(account_requests_per_minute=0, stranger_requests_per_minute=0, **SETTINGS)
    return filled_copy(fill_two_sites)


@pytest.fixture
def app(ids):
    return make_app(settings())


@contextmanager
def browser(app):
    with TestClient(app, base_url="http://localhost", follow_redirects=False) as client:
        yield client


@pytest.fixture
def client(app):
    with browser(app) as client:
        yield client


def forms_of(led_to):
    return {route for route in led_to if route[0] == "POST"} - NOT_OFFERED


def expected_forms(visitor):
    """The routes of forms that the visitor's pages must offer, for there is something of each."""
    return {
        (method, path)
        for (method, path), row in TABLE.items()
        if method == "POST"
        and allows(row, visitor)
        and not path.startswith(("/api/", "/fhir"))
        and (method, path) not in NOT_OFFERED
    } - _without_rows(visitor)


def _without_rows(visitor):
    """Forms of rows that are not there: the campaign and the message are of no site."""
    if visitor.session is None:
        # A view and an own style are an account's.
        return {("POST", "/worklist/views"), ("POST", "/report-styles/own")}
    if visitor.site_ids is None:
        return set()
    left_out = {
        ("POST", "/campaigns/{campaign_id}/change"),
        ("POST", "/messages/{message_id}/settle"),
    }
    # One site alone: there is no other to which a study could be moved.
    return left_out | ({("POST", "/studies/{study}/site")} if len(visitor.site_ids) == 1 else set())


def log_in(client, login):
    """Log in; the visitor that the account is."""
    client.post("/login", data={"login": login, "password": PASSWORD})
    with unit_of_work() as session:
        live = sessions.find(session, client.cookies["nightdraft-session"], is_use=False)
        seen = site_scope.reduce(session, live.site_ids)
    return Visitor(Actor(ActorKind.ACCOUNT, login), PERMISSIONS[live.role], seen, live)


@pytest.mark.timeout(900)  # it opens every page as each role, with each set of sites
def test_each_role_is_offered_what_it_may_do_and_nothing_else(app, ids):
    for role in PERSONS:
        for codes in (("default", "north"), ("default",), ("north",)):
            login = f"{role}-{len(codes)}-{codes[0]}".lower()
            make_account(login, role, sites=codes)
            with browser(app) as client:
                visitor = log_in(client, login)
                led_to = walk(client, visitor, ids)
            forms = forms_of(led_to)
            if codes == ("north",):  # none of the studies is of that site
                assert forms <= expected_forms(visitor), login
                assert ("POST", "/logout") in forms, login
            else:
                assert forms == expected_forms(visitor), login
    assert run_sql("SELECT detail FROM audit_entries WHERE action = 'REFUSED'") == []


def test_a_program_is_offered_what_its_permission_allows(app, ids):
    make_account()
    for permission in sorted(PERMISSIONS[Role.SERVICE]):
        with unit_of_work() as session:
            token = programs.create(session, permission.lower(), [permission], "a test")
        visitor = Visitor(Actor(ActorKind.PROGRAM, "ris"), frozenset({permission}))
        with browser(app) as client:
            client.headers["authorization"] = f"Bearer {token}"
            walk(client, visitor, ids)


def test_before_the_first_account_everything_is_offered(client, ids):
    visitor = Visitor(Actor(ActorKind.NOBODY), frozenset(Permission))
    led_to = walk(client, visitor, ids)
    assert forms_of(led_to) == expected_forms(visitor)
    assert not accounts_exist()


def accounts_exist():
    with unit_of_work() as session:
        return accounts.exist(session)


def test_what_one_may_not_do_says_who_may(client, ids):
    make_account("tom", Role.TRAINEE)
    client.post("/login", data={"login": "tom", "password": PASSWORD})
    held = client.get(f"/studies/{ids['studies']['held']}").text
    assert "This is for readers and lead readers." in held
    assert 'name="by"' not in held
    assert "This is for readers and lead readers." in client.get("/holds").text
    refused = client.get("/campaigns")
    assert refused.status_code == 403
    assert "This is for lead readers. Ask an administrator" in refused.text
    # The page that says no leads on.
    assert "Log out" in refused.text
    assert 'href="/">Back to your first page' in refused.text


def test_whoever_types_the_name_of_the_server_comes_to_a_page_of_his_own(client, ids):
    make_account("ada", Role.ADMINISTRATOR)
    client.post("/login", data={"login": "ada", "password": PASSWORD})
    assert client.get("/").headers["location"] == "/tonight"
    assert client.get("/?state=FAILED").status_code == 403
    assert 'class="brand" href="/tonight"' in client.get("/?state=FAILED").text


def test_a_session_that_has_ended_says_so_and_what_to_do(client, ids):
    make_account()
    client.post("/login", data={"login": "ada", "password": PASSWORD})
    run_sql("DELETE FROM account_sessions")
    asked = client.get("/holds").headers["location"]
    assert asked == "/login?why=ended&next=%2Fholds"
    assert "Your session has ended" in client.get(asked).text
    sent = client.post("/holds", data={}).headers["location"]
    assert "what you sent changed nothing" in client.get(sent).text
    assert client.post("/logout").headers["location"] == "/login?why=out"


@pytest.mark.parametrize(
    ("method", "address", "key"),
    [
        ("GET", "/campaigns/live?after=1", ("GET", "/campaigns/live")),
        ("GET", "/campaigns/1#studies", ("GET", "/campaigns/{campaign_id}")),
        ("GET", "/studies/1/views/2.jpg", ("GET", "/studies/{study}/views/{instance}.jpg")),
        (
            "GET",
            "/studies/1/instances/2/pixels",
            ("GET", "/studies/{study}/instances/{instance}/pixels"),
        ),
        ("POST", "/studies/{study}/decision", ("POST", "/studies/{study}/decision")),
    ],
)
def test_the_row_of_an_address_is_found(method, address, key):
    assert find_row(address, method) is TABLE[key]


@pytest.mark.parametrize("address", ["", "/none", "/studies", "//studies/1", "/studies/1/2"])
def test_what_is_no_address_has_no_row(address):
    assert find_row(address) is None


def person(role, site_ids=None):
    return Visitor(Actor(ActorKind.ACCOUNT, "ada"), PERMISSIONS[role], site_ids)


def test_who_may_is_said_by_role_site_and_permission():
    campaigns = TABLE["POST", "/campaigns/{campaign_id}/change"]
    assert explain(campaigns, person(Role.READER)) == "This is for lead readers."
    assert "This is for programs" in explain(TABLE["POST", "/fhir"], person(Role.LEAD))
    program = Visitor(Actor(ActorKind.PROGRAM, "ris"), frozenset())
    assert "MANAGE_CAMPAIGNS" in explain(campaigns, program)
    assert "programs have no account" in explain(Row(Door.LOGGED_IN), program)


def test_the_words_of_a_link_stay_where_it_may_not_be_followed(client, ids):
    study = ids["studies"]["drafted"]
    make_account("tom", Role.ADMINISTRATOR)
    client.post("/login", data={"login": "tom", "password": PASSWORD})
    page = client.get("/tonight").text
    assert "waiting" in page
    assert not re.search(r'href="/\?state', page)
    assert str(study) not in page

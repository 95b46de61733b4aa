"""The table of routes: one row for every route that there is, and no row without one."""

import pytest
from starlette.routing import Mount

from api.access.table import TABLE, Door, Row, Scope, allows, home_of
from api.access.visitor import Visitor
from api.app import ROUTERS, make_app
from records.accounts.roles import PERMISSIONS
from records.accounts.sessions import LiveSession
from records.actors import Actor
from records.settings import settings
from records.states import ActorKind, Permission, Role

ROUTES = [
    (method, route.path)
    for router in ROUTERS
    for route in router.routes
    for method in route.methods
]


def visitor(role, site_ids=None, session=None):
    return Visitor(Actor(ActorKind.ACCOUNT, "ada"), PERMISSIONS[role], site_ids, session)


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_every_route_has_a_row(route):
    assert isinstance(TABLE.get(route), Row), (
        f"add a row for {' '.join(route)} to api/access/table.py: who may have it answered?"
    )


def test_every_row_has_a_route():
    assert set(TABLE) == set(ROUTES)


def test_the_application_has_no_other_routes_than_these_and_the_static_files():
    others = [
        route
        for route in make_app(settings()).router.routes
        if type(route).__name__ != "_IncludedRouter"
    ]
    assert [(type(route), route.path) for route in others] == [(Mount, "/static")]


def test_what_is_public_shows_no_patients():
    public = {key for key, row in TABLE.items() if row.needs is Door.PUBLIC}
    assert public == {
        ("GET", "/healthz"),
        ("GET", "/login"),
        ("POST", "/login"),
        ("GET", "/login/oidc"),
        ("GET", "/login/oidc/callback"),
        ("GET", "/login/oidc/logged-out"),
        ("POST", "/login/oidc/backchannel-logout"),
        ("GET", "/link/{token}"),
        ("POST", "/link/{token}"),
        ("POST", "/auth/token"),
        ("GET", "/.well-known/smart-configuration"),
        ("GET", "/fhir/.well-known/smart-configuration"),
    }


def test_what_shows_patients_is_limited_to_sites():
    of_patients = {
        Permission.READ_STUDIES,
        Permission.SEE_IMAGES,
        Permission.DECIDE_HOLDS,
        Permission.CHANGE_WORK,
        Permission.ANSWER_SECOND_LOOKS,
        Permission.READ_MESSAGES,
        Permission.SETTLE_MESSAGES,
        Permission.READ_CAMPAIGNS,
        Permission.MANAGE_CAMPAIGNS,
        Permission.SEND_ORDERS,
    }
    unlimited = {
        key for key, row in TABLE.items() if row.needs in of_patients and row.scope is Scope.NONE
    }
    assert unlimited == {("GET", "/fhir/metadata")}


def test_no_program_has_a_page_of_an_account():
    assert not allows(TABLE["GET", "/account"], visitor(Role.SERVICE))


@pytest.mark.parametrize(
    ("role", "home"),
    [
        (Role.READER, "/"),
        (Role.TRAINEE, "/"),
        (Role.LEAD, "/"),
        (Role.ADMINISTRATOR, "/tonight"),
        (Role.AUDITOR, "/trail"),
    ],
)
def test_each_role_begins_on_a_page_that_it_may_open(role, home):
    assert home_of(visitor(role, session=object.__new__(LiveSession))) == home

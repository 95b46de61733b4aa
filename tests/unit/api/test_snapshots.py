"""Routes that only read show one moment."""

import inspect

import pytest

from api.app import ROUTERS
from records.database import session

WRITES = {
    ("/trail", "that the trail was read is a line of it"),
    ("/api/trail", "that the trail was read is a line of it"),
    ("/login/oidc/callback", "the login that was begun ends"),
}
"""Routes of GET that write by themselves, and what."""

READ = [
    route
    for router in ROUTERS
    for route in router.routes
    if "GET" in route.methods and route.path not in {path for path, _ in WRITES}
]


@pytest.mark.parametrize("route", READ, ids=lambda route: route.path)
def test_what_only_reads_reads_a_snapshot(route):
    source = inspect.getsource(inspect.unwrap(route.endpoint))
    assert f"with {session.unit_of_work.__name__}()" not in source, (
        f"GET {route.path} puts its answer together from several moments: read a snapshot()"
    )

"""An identity provider on a real port, and browsers of an application that knows it."""

import pytest
from starlette.testclient import TestClient

from api.app import make_app
from records.settings import settings
from tests.support.identity_provider import CLIENT, SECRET, IdentityProvider


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

"""A browser that logs in at the identity provider of the tests, and what rows say of it."""

import re
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.support.accounts import run_sql, trail_lines

CROSS_SITE = {
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
}
"""What a browser sends that another site has sent here."""


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


def form_token(client):
    found = re.search(
        r'<meta name="form-token" content="([0-9a-f]{64})">', client.get("/account").text
    )
    return found[1]


def is_fresh(client):
    answer = client.get("/account/second-factor")
    return answer.headers.get("location") != "/again?next=%2Faccount"


def post_logout(client, token):
    return client.post("/login/oidc/backchannel-logout", data={"logout_token": token})


def rows(what="login, role, issuer, subject, name, created_by"):
    return run_sql(f"SELECT {what} FROM accounts ORDER BY login")


def sessions_open():
    return run_sql("SELECT count(*) FROM account_sessions")[0][0]


def details():
    return [
        (action, outcome, name, detail) for action, outcome, _, name, _, detail in trail_lines()
    ]

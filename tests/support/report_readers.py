"""Readers who are logged in, and what they send to write and sign a report."""

from __future__ import annotations

import contextlib
import html
import re

from starlette.testclient import TestClient

from api.app import make_app
from records.settings import settings
from records.states import Role
from tests.support.accounts import PASSWORD, make_account, run_sql

READERS = (
    ("roe", Role.READER, "default"),
    ("doe", Role.LEAD, "default"),
    ("kim", Role.TRAINEE, "default"),
)
"""Login, role and site of a reader, a lead and a trainee."""


@contextlib.contextmanager
def logged_in_people(people=READERS):
    """Clients by login, of people who are made here, each with login, role and site."""
    app = make_app(settings())
    clients = {}
    try:
        for login, role, site in people:
            make_account(login, role, sites=[site], name=login.title())
            client = TestClient(app, base_url="http://localhost", follow_redirects=False)
            client.__enter__()
            client.post("/login", data={"login": login, "password": PASSWORD})
            page = client.get("/account").text
            client.headers["x-form-token"] = re.search(r'form-token" content="(\w+)"', page)[1]
            clients[login] = client
        yield clients
    finally:
        for client in clients.values():
            client.__exit__(None, None, None)


def uid_of(study):
    """The UID of a study of ours."""
    ((uid,),) = run_sql("SELECT study_instance_uid FROM studies WHERE id = :id", id=study)
    return uid


def path_of(study):
    """The address of the text in work."""
    return f"/api/studies/{uid_of(study)}/working-text"


def put(client, study, etag, findings, impression="Normal."):
    """Save a text by REST."""
    return client.put(
        path_of(study),
        json={"findings": findings, "impression": impression},
        headers={"if-match": etag} if etag else {},
    )


def sign(client, study, shown):
    """Sign by REST what was shown."""
    body = {key: shown[key] for key in ("draft", "version", "sha256")}
    return client.post(f"/api/studies/{study}/reviews/sign", json=body)


def page_fields(page):
    """The fields of the form that `page` has, as a browser would send them."""
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    for name, words in re.findall(r'<textarea [^>]*name="(\w+)"[^>]*>\n?([^<]*)</textarea>', page):
        fields[name] = html.unescape(words)
    return fields


def editor_form(client, study):
    """The fields of the form of the text on the study's page."""
    page = client.get(f"/studies/{study}").text
    return page_fields(page.partition('id="text"')[2].partition("</form>")[0])

"""Two sites: whoever sees one sees nothing of the other, on no page, in no list, by no call."""

import re

import pytest
from starlette.testclient import TestClient

from api.access.table import TABLE, Scope
from api.app import make_app
from records.accounts import programs
from records.accounts.roles import PERMISSIONS
from records.database.session import unit_of_work
from records.settings import settings
from records.states import HoldReason, Role
from records.workflow import site_scope, sites, worklist
from tests.support.accounts import PASSWORD, make_account, run_sql

REFUSED = "You may not do this"


@pytest.fixture
def two_sites(database, data_dir, setting, seeder):
    """A drafted and a held study of the north, and the same of the first site."""
    with unit_of_work() as session:
        sites.create(session, "north", "North Hospital")
        sites.set_callers(session, "north", ["NORTH_CR"])
    found = {}
    for code, caller, number in (("north", "NORTH_CR", 1), ("default", "XRAY1", 4)):
        (drafted,) = seeder.complete(number, calling_ae=caller)
        seeder.draft(drafted, number)
        (held,) = seeder.complete(number + 1, calling_ae=caller)
        seeder.hold(held)
        found[code] = (drafted, held)
    return found


@pytest.fixture
def open_as(two_sites):
    """Makes a client of an account of these sites, or of a token."""
    app = make_app(settings())
    clients = []

    def open_one(login, role, *codes, token=""):
        client = TestClient(app, base_url="http://localhost", follow_redirects=False)
        clients.append(client)
        client.__enter__()
        if token:
            client.headers["authorization"] = f"Bearer {token}"
            return client
        make_account(login, role, sites=codes)
        client.post("/login", data={"login": login, "password": PASSWORD})
        page = client.get("/account").text
        found = re.search(r'name="form-token" content="(\w+)"', page)
        client.headers["x-form-token"] = found[1]
        return client

    yield open_one
    for client in clients:
        client.__exit__(None, None, None)


def marks(study):
    """What names a study and its patient on a page or in an answer."""
    ((uid, patient_id, accession, instance),) = run_sql(
        "SELECT study_instance_uid, patient_id, accession_number,"
        " (SELECT min(id::text) FROM instances WHERE study_id = studies.id)"
        " FROM studies WHERE id = :id",
        id=study,
    )
    return {"id": str(study), "uid": uid, "patient": patient_id, "instance": instance}, {
        str(study),
        uid,
        patient_id,
        accession,
    } - {""}


def addresses(study):
    """Every GET address that takes a study or lists studies."""
    named, words = marks(study)
    for (method, route), row in TABLE.items():
        if method != "GET" or row.scope is Scope.NONE:
            continue
        path = route.replace("{study}", named["id"]).replace("{instance}", named["instance"])
        for uid in (named["id"], named["uid"]):
            yield row, re.sub(r"\{\w+\}", uid, path)
    for state in ("HELD", "DRAFTED"):
        yield TABLE["GET", "/"], f"/?state={state}"
        yield TABLE["GET", "/api/studies"], f"/api/studies?state={state}"
    for word in words:
        yield TABLE["GET", "/"], f"/?words={word}"
        yield TABLE["GET", "/api/studies"], f"/api/studies?words={word}"
    yield TABLE["GET", "/"], f"/studies/{named['id']}/changed?seen=x"


def test_nobody_sees_anything_of_another_site(two_sites, open_as):
    lead = open_as("north.lead", Role.LEAD, "north")
    with unit_of_work() as session:
        token = programs.create(
            session,
            "north.ris",
            PERMISSIONS[Role.SERVICE],
            "a test",
            site_code="north",
        )
    program = open_as("", None, token=token)
    seen = set()
    for study in two_sites["default"]:
        named, words = marks(study)
        for row, path in addresses(study):
            for client in (lead, program):
                answer = client.get(path)
                text = answer.text.replace(path, "")  # what was asked for comes back
                text = re.sub(r"/emergency\?number=[^\"]*", "", text)
                for query in re.findall(r"words=([^&]+)", path):
                    text = text.replace(query, "")
                found = {word for word in words if word in text}
                assert not found, (path, found)
                if row.scope is Scope.EVERY_SITE:
                    assert answer.status_code == 403
                    assert REFUSED in answer.text
                elif named["id"] in path.split("?")[0] or named["uid"] in path.split("?")[0]:
                    assert answer.status_code in (404, 422), path
                seen.add(answer.status_code)
    assert seen == {200, 403, 404, 422}


def test_ones_own_site_is_answered(two_sites, open_as):
    lead = open_as("north.lead", Role.LEAD, "north")
    drafted, held = two_sites["north"]
    named, _ = marks(drafted)
    for path in (
        f"/studies/{drafted}",
        f"/studies/{drafted}/views/{named['instance']}.jpg",
        f"/api/studies/{named['uid']}",
    ):
        assert lead.get(path).status_code == 200, path
    listed = lead.get("/api/studies").json()["studies"]
    assert {row["id"] for row in listed} == {str(drafted), str(held)}
    assert [hold["study"] for hold in lead.get("/api/holds").json()] == [str(held)]
    found = lead.get(f"/api/studies?words={named['patient']}").json()["studies"]
    assert [row["id"] for row in found] == [str(drafted)]
    page = lead.get("/").text
    assert str(drafted) in page
    assert str(two_sites["default"][0]) not in page
    assert 'href="/campaigns"' not in page


def test_who_sees_every_site_sees_what_belongs_to_none(two_sites, open_as):
    both = open_as("both", Role.LEAD, "north", "default")
    listed = both.get("/api/studies").json()["studies"]
    assert len(listed) == 4
    assert both.get("/campaigns").status_code == 200
    with unit_of_work() as session:  # until there is a further site
        sites.create(session, "south")
    assert both.get("/campaigns").status_code == 403
    assert len(both.get("/api/studies").json()["studies"]) == 4


def test_nothing_of_another_site_is_changed(two_sites, open_as):
    lead = open_as("north.lead", Role.LEAD, "north")
    drafted, held = two_sites["default"]
    (hold,) = run_sql("SELECT id FROM holds WHERE study_id = :id", id=held)
    decision = {"decision": "CANCEL", "by": "Dr. Roe"}
    before = run_sql("SELECT * FROM events ORDER BY id")
    for study in (drafted, held):
        for verb, body in (
            ("release", None),
            ("retry", None),
            ("decision", decision | {"holds": [str(hold[0])]}),
            ("withdraw", {"by": "Dr. Roe", "reason": "x", "draft": str(drafted)}),
            ("reinstate", {"by": "Dr. Roe", "note": "x"}),
        ):
            answer = lead.post(f"/api/studies/{study}/{verb}", json=body)
            assert answer.status_code == 404, (verb, answer.text)
    answer = lead.post("/api/holds/decision", json=decision | {"holds": [str(hold[0])]})
    assert answer.json() == {"decided": 0, "not_decided": []}
    assert run_sql("SELECT * FROM events ORDER BY id") == before


def test_a_study_keeps_the_site_of_its_first_caller(two_sites, seeder):
    drafted, _ = two_sites["north"]
    seeder.receive(1, calling_ae="XRAY1")
    rows = run_sql(
        "SELECT code FROM studies JOIN sites ON sites.id = site_id WHERE studies.id = :id",
        id=drafted,
    )
    assert rows == [("north",)]
    entries = run_sql(
        "SELECT count(*) FROM worklist_entries JOIN studies ON studies.id = study_id"
        " WHERE worklist_entries.site_id <> studies.site_id"
    )
    assert entries == [(0,)]


def test_lists_of_a_site_have_their_order_and_their_pages(two_sites):
    with unit_of_work() as session:
        north = sites.get(session, "north").id
        first = sites.get(session, "default").id
    with unit_of_work() as session, site_scope.limited_to([north, first]):
        whole = [row.id for row in worklist.read_page(session, limit=10).rows]
        paged, after = [], None
        while True:
            page = worklist.read_page(session, limit=1, after=after)
            paged += [row.id for row in page.rows]
            after = page.next
            if after is None:
                break
    assert paged == whole
    assert len(whole) == 4
    with unit_of_work() as session, site_scope.limited_to(()):
        assert worklist.read_page(session).rows == []
        assert worklist.read_page(session, search="PHANTOM").rows == []


def test_a_hold_does_not_show_the_film_of_another_site(two_sites, seeder, open_as):
    """The same film under another patient, sent by another site's machine."""
    lead = open_as("first.lead", Role.LEAD, "default")
    drafted, _ = two_sites["north"]
    ((sop_uid,),) = run_sql(
        "SELECT sop_instance_uid FROM instances WHERE study_id = :id LIMIT 1", id=drafted
    )
    other = seeder.receive(7, calling_ae="XRAY1", sop_instance_uid=sop_uid)
    reasons = run_sql("SELECT reason FROM holds WHERE study_id = :id", id=other)
    assert reasons == [(HoldReason.MOVED_HERE,)]
    _, words = marks(drafted)
    text = lead.get("/holds").text + lead.get("/api/holds").text
    assert not {word for word in words if word in text}

"""Two sites: whoever sees one sees nothing of the other, on no page, in no list, by no call."""

import json
import re

import pytest
from starlette.testclient import TestClient

from api.access.table import TABLE, Scope
from api.app import make_app
from records.accounts import programs
from records.accounts.roles import PERMISSIONS
from records.database.session import unit_of_work
from records.operations import refusals
from records.settings import settings
from records.states import HoldReason, Origin, Permission, Role
from records.workflow import site_scope, sites, worklist
from tests.support.accounts import PASSWORD, make_account, run_sql
from tests.support.campaigns import create
from tests.support.fhir_resources import MRN, identifier, patient, service_request
from tests.support.received_orders import send_order, send_order_for
from tests.support.two_sites import show_drafts, site_of

REFUSED = "You may not do this"


@pytest.fixture
def two_sites(database, data_dir, setting, seeder):
    """A drafted and a held study of the north, and the same of the first site."""
    with unit_of_work() as session:
        sites.create(session, "north", "North Hospital")
        sites.set_callers(session, "north", ["NORTH_CR"])
    show_drafts()
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
            yield re.sub(r"\{\w+\}", uid, path)
    for state in ("HELD", "DRAFTED"):
        yield f"/?state={state}"
        yield f"/api/studies?state={state}"
    for word in words:
        yield f"/?words={word}"
        yield f"/api/studies?words={word}"
    yield f"/studies/{named['id']}/changed?seen=x"


def test_refusals_are_of_the_site_of_their_calling_title(two_sites, open_as):
    for title in ("NORTH_CR", "XRAY1", "NOBODYS"):
        with unit_of_work() as session:
            refusals.record_refusal(
                session,
                calling_ae=title,
                sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                sop_instance_uid=f"2.25.{title}",
                reason="OTHER",
                sentence="It is not taken here.",
            )
    for login, codes, titles in (
        ("north.admin", ["north"], {"NORTH_CR"}),
        ("first.admin", ["default"], {"XRAY1", "NOBODYS"}),
        ("both.admin", ["north", "default"], {"NORTH_CR", "XRAY1", "NOBODYS"}),
    ):
        admin = open_as(login, Role.ADMINISTRATOR, *codes)
        listed = admin.get("/api/refusals").json()
        assert {row["calling_ae"] for row in listed} >= titles
        page = admin.get("/refusals").text
        for title in ("NORTH_CR", "XRAY1", "NOBODYS"):
            is_theirs = title in titles
            assert (f"2.25.{title}" in page) is is_theirs
            assert any(row["sop_instance_uid"] == f"2.25.{title}" for row in listed) is is_theirs


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
        for path in addresses(study):
            for client in (lead, program):
                answer = client.get(path)
                text = answer.text.replace(path, "")  # what was asked for comes back
                text = re.sub(r"/emergency\?number=[^\"]*", "", text)
                for query in re.findall(r"words=([^&]+)", path):
                    text = text.replace(query, "")
                found = {word for word in words if word in text}
                assert not found, (path, found)
                if answer.status_code == 403:  # for want of a permission
                    assert REFUSED in answer.text
                elif answer.status_code == 409:  # saved views are a person's
                    assert (client, path) == (program, "/api/worklist/views")
                elif named["id"] in path.split("?")[0] or named["uid"] in path.split("?")[0]:
                    assert answer.status_code in (404, 422), path
                seen.add(answer.status_code)
    assert seen == {200, 403, 404, 409, 422}


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
    assert 'href="/campaigns"' in page


def test_who_sees_every_site_sees_what_belongs_to_none(two_sites, open_as):
    both = open_as("both", Role.LEAD, "north", "default")
    listed = both.get("/api/studies").json()["studies"]
    assert len(listed) == 4
    every = create(name="of every site")
    assert both.get(f"/campaigns/{every}").status_code == 200
    with unit_of_work() as session:  # until there is a further site
        sites.create(session, "south")
    assert both.get(f"/campaigns/{every}").status_code == 404
    assert both.get("/campaigns").status_code == 200
    assert len(both.get("/api/studies").json()["studies"]) == 4


def test_the_numbers_of_the_worklist_are_of_ones_own_sites(two_sites, open_as, seeder):
    seeder.complete(7, 8, calling_ae="XRAY1")
    lead = open_as("north.lead", Role.LEAD, "north")
    counts = lead.get("/api/counts").json()
    assert counts["states"]["DRAFTED"] == counts["states"]["HELD"] == 1
    assert (counts["total"], counts["to_do"]) == (2, 0)
    page = lead.get("/").text
    assert re.search(r'id="count-all"[^>]*><b>2</b>', page)
    assert "Nothing is left to draft" in page
    tonight = lead.get("/tonight").text
    assert "The numbers are those of your sites" in tonight
    assert "Nothing is left to draft." in tonight
    assert lead.get("/api/tonight").json()["to_do"] == 0
    both = open_as("both", Role.LEAD, "north", "default")
    assert both.get("/api/counts").json()["total"] == 6
    assert "The numbers are those of your sites" not in both.get("/tonight").text
    assert both.get("/api/tonight").json()["to_do"] == 2


def test_a_lead_reader_tries_again_what_failed_at_the_own_site(two_sites, open_as, seeder):
    failed = {}
    for number, (code, caller) in enumerate((("north", "NORTH_CR"), ("default", "XRAY1")), 10):
        (failed[code],) = seeder.complete(number, calling_ae=caller)
        seeder.fail(failed[code])
    lead = open_as("north.lead", Role.LEAD, "north")
    assert lead.get("/api/failures").json() == [
        {"reason": "UNREADABLE", "number": 1, "is_more": False}
    ]
    assert "Draft 1 study again?" in lead.get("/tonight/retry?reason=UNREADABLE").text
    answer = lead.post("/api/failures/retry", json={"reason": "UNREADABLE"})
    assert answer.json() == {"studies": 1}
    states = dict(
        run_sql(
            "SELECT code, draft_requests.state FROM studies JOIN sites ON sites.id = site_id"
            " JOIN draft_requests ON draft_requests.id = request_id WHERE studies.id = ANY(:ids)",
            ids=list(failed.values()),
        )
    )
    assert states == {"north": "WAITING", "default": "FAILED"}


def test_a_study_is_moved_on_its_page_by_who_sees_both_sites(two_sites, open_as):
    drafted, _ = two_sites["north"]
    lead = open_as("north.lead", Role.LEAD, "north")
    assert 'id="move"' not in lead.get(f"/studies/{drafted}").text
    form = {"site": "default", "because": "sent by a borrowed device"}
    answer = lead.post(f"/studies/{drafted}/site", data=form)
    assert (answer.status_code, site_of("studies", drafted)) == (404, "north")
    both = open_as("both", Role.READER, "north", "default")
    assert 'id="move"' in both.get(f"/studies/{drafted}").text
    assert both.post(f"/studies/{drafted}/site", data=form).status_code == 303
    assert site_of("studies", drafted) == "default"
    page = both.get(f"/studies/{drafted}").text
    assert "moved from north by both: sent by a borrowed device" in page
    assert both.post(f"/api/studies/{drafted}/site", json=form).status_code == 409
    assert lead.get(f"/studies/{drafted}").status_code == 404
    back = form | {"site": "north"}
    assert both.post(f"/api/studies/{drafted}/site", json=back).status_code == 200
    assert lead.get(f"/studies/{drafted}").status_code == 200
    trainee = open_as("trainee", Role.TRAINEE, "north", "default")
    assert 'id="move"' not in trainee.get(f"/studies/{drafted}").text
    assert trainee.post(f"/studies/{drafted}/site", data=form).status_code == 403


@pytest.mark.parametrize("path", ["/studies/{}/site", "/api/studies/{}/site"])
def test_the_history_of_an_order_names_the_account_that_moved_its_study(two_sites, open_as, path):
    drafted, _ = two_sites["default"]
    order = send_order_for(drafted).order_id
    both = open_as("both", Role.LEAD, "north", "default")
    body = {"site": "north", "because": "sent by a borrowed device"}
    sent = {"json": body} if path.startswith("/api/") else {"data": body}
    assert both.post(path.format(drafted), **sent).status_code in (200, 303)
    page = both.get(f"/orders/{order}").text
    line = page.partition("<del>default</del>")[2].partition("</tr>")[0]
    assert " ".join(re.sub(r"<[^>]+>", " ", line).split()) == "→ north a person here, both"
    # So does a lead reader who sees the new site alone.
    north = open_as("north.lead", Role.LEAD, "north")
    _, moved = north.get(f"/api/orders/{order}").json()["changes"]
    assert (moved["origin"], moved["sender"]) == ("PERSON", "both")


def test_a_program_of_a_site_sends_to_it_alone_and_reads_nothing_else(two_sites, open_as):
    other = send_order(origin=Origin.REST, sender="REST", placer_order_number="1").order_id
    with unit_of_work() as session:
        token = programs.create(
            session, "ris", [Permission.SEND_ORDERS], "a test", site_code="north"
        )
    program = open_as("", None, token=token)
    order = {
        "sender": "REST",
        "patient_id": "P9",
        "placer_order_number": "2",
        "accession_numbers": ["A9"],
    }
    placed = program.post("/api/orders", json=order)
    assert placed.status_code == 201, placed.text
    assert site_of("orders", placed.json()["order"]["id"]) == "north"
    assert program.get("/api/orders").status_code == 403
    assert program.get("/api/studies").status_code == 403
    assert program.put(f"/api/orders/{other}", json=order).status_code == 404
    taken = program.post("/api/orders", json=order | {"placer_order_number": "1"})
    assert taken.status_code == 422, taken.text
    assert "for another site" in taken.json()["title"]
    assert "send it again" in taken.json()["detail"]
    assert "HL7" not in taken.text
    assert site_of("orders", other) == "default"
    resource = service_request(identifier=[identifier("PLAC", "F1"), identifier("ACSN", "A8")])
    headers = {"content-type": "application/fhir+json"}
    sent = program.post("/fhir/ServiceRequest", content=json.dumps(resource), headers=headers)
    assert sent.status_code == 201, sent.text
    ((order_id,),) = run_sql("SELECT order_id FROM fhir_resources")
    assert site_of("orders", order_id) == "north"
    # Another site's program may know the same identifier, and is told nothing by it.
    with unit_of_work() as session:
        sites.create(session, "south")
        token = programs.create(
            session, "south", [Permission.SEND_ORDERS], "a test", site_code="south"
        )
    south = open_as("", None, token=token)
    twin = south.post("/fhir/ServiceRequest", content=json.dumps(resource), headers=headers)
    assert twin.status_code == 201, twin.text
    assert twin.json()["id"] != sent.json()["id"]
    assert south.get(f"/fhir/ServiceRequest/{sent.json()['id']}").status_code == 404
    own = resource | {"id": sent.json()["id"]}
    address = f"/fhir/ServiceRequest/{own['id']}"
    refused = south.put(address, content=json.dumps(own), headers=headers)
    assert refused.status_code == 412, refused.text
    # Nor is another site's patient found by an identifier.
    named = patient(id="known", name=[{"family": "Plugh"}], identifier=[identifier("MR", "7", MRN)])
    kept = program.put("/fhir/Patient/known", content=json.dumps(named), headers=headers)
    assert kept.status_code == 201, kept.text
    asked = service_request(
        contained=[],
        identifier=[identifier("PLAC", "F2")],
        subject={"reference": f"Patient?identifier={MRN}|7"},
    )
    assert (
        south.post("/fhir/ServiceRequest", content=json.dumps(asked), headers=headers).status_code
        == 201
    )
    names = run_sql(
        "SELECT patient_id, patient_name FROM orders WHERE placer_order_number LIKE '%F2%'"
    )
    assert names == [("7", "")]


def test_nothing_of_another_site_is_changed(two_sites, open_as):
    lead = open_as("north.lead", Role.LEAD, "north")
    drafted, held = two_sites["default"]
    (hold,) = run_sql("SELECT id FROM holds WHERE study_id = :id", id=held)
    decision = {"decision": "CANCEL"}
    before = run_sql("SELECT * FROM events ORDER BY id")
    for study in (drafted, held):
        for verb, body in (
            ("release", None),
            ("retry", None),
            ("decision", decision | {"holds": [str(hold[0])]}),
            ("withdraw", {"reason": "x", "draft": str(drafted)}),
            ("reinstate", {"note": "x"}),
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


def test_the_page_of_a_new_campaign_offers_the_sites_that_one_sees_and_no_others(open_as):
    with unit_of_work() as session:
        sites.create(session, "south", "South Hospital")
    two = open_as("two", Role.LEAD, "north", "default")
    page = two.get("/campaigns/new").text
    assert 'value="north"' in page
    assert "South Hospital" not in page
    assert "Every site" not in page
    form = {"name": "backlog", "studies": "1.2.3", "priority": "BACKLOG", "do": "create"}
    assert "one of your sites" in two.post("/campaigns/new", data=form).text
    assert two.post("/campaigns/new", data=form | {"site": "south"}).status_code == 422
    assert two.post("/campaigns/new", data=form | {"site": "north"}).status_code == 303
    (listed,) = two.get("/api/campaigns").json()["campaigns"]
    assert listed["site"] == "north"
    one = open_as("one", Role.LEAD, "north")
    assert 'name="site"' not in one.get("/campaigns/new").text
    assert one.post("/campaigns/new", data=form | {"name": "second"}).status_code == 303
    every = open_as("every", Role.LEAD, "north", "default", "south")
    assert "Every site" in every.get("/campaigns/new").text


def test_the_page_of_a_new_campaign_offers_the_places_that_are_for_ones_sites(
    open_as, setting, tmp_path
):
    file = tmp_path / "pacs.toml"
    table = '[{}]\nhost = "pacs.example.org"\nae_title = "ARCHIVE"\n'
    file.write_text(table.format("shared") + table.format("ours") + 'sites = ["north"]\n')
    setting(pacs_file=file, campaign_folders=tmp_path)
    page = open_as("one", Role.LEAD, "north").get("/campaigns/new").text
    assert ("ours" in page, "shared" in page, 'name="folder"' in page) == (True, False, False)
    page = open_as("every", Role.LEAD, "north", "default").get("/campaigns/new").text
    assert ("ours" in page, "shared" in page, 'name="folder"' in page) == (True, True, True)

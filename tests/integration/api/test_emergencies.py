"""A patient of another site in an emergency: by the page and by REST, and what stays closed."""

import re

import pytest
from starlette.testclient import TestClient

from api.access.table import TABLE, Scope
from api.app import make_app
from records.database.session import unit_of_work
from records.settings import settings
from records.states import Role
from records.workflow import sites
from tests.support.accounts import PASSWORD, let_pass, make_account, run_sql, trail_lines

REASON = "Trauma, and the earlier film is needed"


@pytest.fixture
def north(database, data_dir, setting, seeder):
    """Two studies of one patient and one of another, all of the north; our ids."""
    with unit_of_work() as session:
        sites.create(session, "north", "North Hospital")
        sites.set_callers(session, "north", ["NORTH_CR"])
    first, second, other = seeder.complete(1, 2, 3, calling_ae="NORTH_CR")
    seeder.draft(first, 1)
    ((number, name, birth_date, sex),) = run_sql(
        "SELECT patient_id, patient_name, patient_birth_date, patient_sex FROM studies"
        " WHERE id = :id",
        id=first,
    )
    run_sql(
        "UPDATE studies SET patient_id = :number, patient_name = :name,"
        " patient_birth_date = :birth_date, patient_sex = :sex WHERE id = :id",
        id=second, number=number, name=name, birth_date=birth_date, sex=sex,
    )  # fmt: skip
    return first, second, other


@pytest.fixture
def open_as(north):
    """Makes a client of a new account of the first site."""
    app = make_app(settings())
    clients = []

    def open_one(login="ada", role=Role.READER, sites=()):
        if not run_sql("SELECT 1 FROM accounts WHERE login = :login", login=login):
            make_account(login, role, sites=sites)
        client = TestClient(app, base_url="http://localhost", follow_redirects=False)
        clients.append(client.__enter__())
        client.post("/login", data={"login": login, "password": PASSWORD})
        found = re.search(r'name="form-token" content="(\w+)"', client.get("/account").text)
        client.headers["x-form-token"] = found[1]
        return client

    yield open_one
    for client in clients:
        client.__exit__(None, None, None)


def read(study, column):
    return run_sql(f"SELECT {column} FROM studies WHERE id = :id", id=study)[0][0]


def open_it(client, number, reason=REASON):
    return client.post("/emergency", data={"number": number, "reason": reason})


def emergencies():
    """What emergencies wrote into the trail: action, outcome, person, and the detail's end."""
    return [
        (action, outcome, name, re.sub(r"^emergency [0-9a-f -]+: ", "", detail))
        for action, outcome, _, name, _, detail in trail_lines()
        if detail.startswith("emergency ") or action == "EMERGENCY"
    ]


def film(study):
    return str(run_sql("SELECT min(id::text) FROM instances WHERE study_id = :id", id=study)[0][0])


def test_a_patient_is_opened_looked_at_and_closed_again(north, open_as):
    first, second, _ = north
    ada = open_as()
    pages = [
        f"/studies/{first}",
        f"/studies/{second}",
        f"/studies/{first}/views/{film(first)}.jpg",
        f"/api/studies/{read(first, 'study_instance_uid')}",
    ]
    assert [ada.get(path).status_code for path in pages] == 4 * [404]
    answer = open_it(ada, read(first, "accession_number"))
    assert answer.headers["location"] == f"/studies/{first}"
    assert emergencies() == [("EMERGENCY", "SUCCESS", "ada", "opened for 60 minutes")]
    assert [ada.get(path).status_code for path in pages] == 4 * [200]
    page = ada.get(f"/studies/{first}").text
    assert REASON in page
    assert f'href="/studies/{second}"' in page
    # Looking is all that one may do.
    assert page.count('<form method="post"') == 2
    for form in re.findall(r'<form method="post" action="([^"]+)"', page):
        assert form == "/logout" or form.endswith("/end")
    (end,) = re.findall(r'action="(/emergency/[^"]+/end)"', page)
    assert ada.post(end).headers["location"] == "/"
    assert [ada.get(path).status_code for path in pages] == 4 * [404]
    assert "in an emergency until" not in ada.get("/").text
    assert ada.post(end).status_code == 303
    assert emergencies()[-1] == ("EMERGENCY", "SUCCESS", "ada", "ended")


def test_every_look_is_marked_and_looks_at_others_are_not(north, open_as, seeder):
    first, second, _ = north
    own = seeder.complete(7)[0]
    ada = open_as()
    open_it(ada, read(first, "accession_number"))
    before = len(trail_lines())
    ada.get(f"/studies/{first}")
    ada.get(f"/studies/{first}/views/{film(first)}.jpg")
    ada.get(f"/api/studies/{second}")
    ada.get(f"/api/studies?words={read(first, 'patient_id')}")
    ada.get(f"/studies/{own}")
    ada.get("/")
    looks = [line for line in trail_lines()[before:] if line[0] == "VIEW"]
    marked = [detail.startswith("emergency ") for *_, detail in looks]
    assert marked == [True, True, True, True, False, False]
    ((named,),) = run_sql("SELECT min(cardinality(patients)) FROM audit_entries WHERE"
                          " detail LIKE 'emergency % GET %'")  # fmt: skip
    assert named == 1


def test_a_search_with_studies_of_both_sites_is_two_entries(north, open_as, seeder):
    first, second, _ = north
    own = seeder.complete(7)[0]
    run_sql(
        "UPDATE studies SET patient_id = :number, patient_name = 'SOMEBODY^ELSE' WHERE id = :id",
        id=own,
        number=read(first, "patient_id"),
    )
    ada = open_as()
    open_it(ada, read(first, "accession_number"))
    before = len(trail_lines())
    listed = ada.get(f"/api/studies?words={read(first, 'patient_id')}").json()["studies"]
    assert {row["id"] for row in listed} == {str(first), str(second), str(own)}
    details = [detail for *_, detail in trail_lines()[before:]]
    assert [detail.startswith("emergency ") for detail in details] == [True, False]
    counted = run_sql("SELECT cardinality(study_ids) FROM audit_entries ORDER BY id DESC LIMIT 2")
    assert counted == [(1,), (2,)]


def test_the_wall_stays_for_everything_else(north, open_as, seeder):
    first, _, other = north
    held = seeder.complete(5, calling_ae="NORTH_CR")[0]
    seeder.hold(held)
    ada, bob = open_as(), open_as("bob")
    open_it(ada, read(first, "accession_number"))
    again = open_as()  # another login of the same person
    names = {read(other, "patient_id"), read(other, "study_instance_uid"), str(other), str(held)}
    theirs = {read(first, "patient_id"), read(first, "study_instance_uid"), str(first)}
    for client, hidden in ((ada, names), (bob, names | theirs), (again, names | theirs)):
        for (method, route), row in TABLE.items():
            if method != "GET" or row.scope is Scope.NONE:
                continue
            for study in (other, held) if client is ada else (other, held, first):
                path = route.replace("{study}", str(study)).replace("{instance}", film(study))
                path = re.sub(r"\{\w+\}", str(study), path)
                answer = client.get(path)
                text = answer.text.replace(str(study), "")
                assert answer.status_code in (200, 303, 403, 404, 422), path
                assert not {word for word in hidden - {str(study)} if word in text}, path
                if "{study}" in route or route == "/api/studies/{uid}":
                    assert answer.status_code in (404, 422), path
        for word in (read(other, "patient_id"), read(other, "accession_number"), "PHANTOM"):
            found = client.get("/api/studies", params={"words": word}).json()["studies"]
            assert not {row["id"] for row in found} & {str(other), str(held)}
    # Nobody browses to what is open, either.
    assert ada.get("/api/studies").json()["studies"] == []
    assert ada.get("/api/holds").json() == []


def test_nothing_of_an_opened_patient_is_changed(north, open_as):
    first, _, _ = north
    ada = open_as()
    open_it(ada, read(first, "accession_number"))
    ((draft,),) = run_sql("SELECT id FROM drafts WHERE study_id = :id", id=first)
    for verb, body in (
        ("release", None),
        ("retry", None),
        ("decision", {"decision": "CANCEL", "by": "Ada", "holds": [str(draft)]}),
        ("withdraw", {"by": "Ada", "reason": "x", "draft": str(draft)}),
        ("reinstate", {"by": "Ada", "note": "x"}),
    ):
        assert ada.post(f"/api/studies/{first}/{verb}", json=body).status_code == 404, verb
    assert run_sql("SELECT count(*) FROM events WHERE actor_name = 'ada'") == [(0,)]


def test_it_ends_at_its_time_at_the_logout_and_with_the_role(north, open_as):
    first, _, _ = north
    path = f"/studies/{first}"
    ada = open_as()
    open_it(ada, read(first, "accession_number"))
    assert ada.get(path).status_code == 200
    let_pass("emergency_accesses", 3600, "until")
    assert ada.get(path).status_code == 404
    open_it(ada, read(first, "accession_number"))
    for role, status in (("TRAINEE", 404), ("LEAD", 200), ("READER", 200)):
        run_sql("UPDATE accounts SET role = :role WHERE login = 'ada'", role=role)
        assert ada.get(path).status_code == status
    token = ada.cookies["nightdraft-session"]
    assert ada.post("/logout").status_code == 303
    assert emergencies()[-1] == ("EMERGENCY", "SUCCESS", "ada", "ended")
    assert ada.get(path, headers={"cookie": f"nightdraft-session={token}"}).status_code == 303
    assert open_as().get(path).status_code == 404
    assert run_sql("SELECT count(*) FROM emergency_accesses WHERE ended_at IS NULL") == [(1,)]


def test_no_answer_before_the_reason_tells_whether_there_is_such_a_patient(north, open_as):
    first, _, _ = north
    ada = open_as()
    known = {"id": str(first), "number": read(first, "accession_number")}
    unknown = {"id": str(first)[:-4] + "ffff", "number": "no-such-number"}

    def answers(words):
        for path in (
            f"/studies/{words['id']}",
            f"/?words={words['number']}",
            f"/api/studies/{words['id']}",
            f"/emergency?number={words['number']}",
        ):
            answer = ada.get(path)
            text = answer.text.replace(words["id"], "ID").replace(words["number"], "NUMBER")
            text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.+-]+", "", text)
            text = re.sub(r"[0-9a-f]{32}|[0-9a-f]{8}-[-0-9a-f]{27}|\d\d:\d\d(:\d\d)?", "", text)
            yield answer.status_code, text
        for reason in ("", "short"):
            answer = open_it(ada, words["number"], reason)
            yield answer.status_code, answer.text.replace(words["number"], "NUMBER")

    assert list(answers(known)) == list(answers(unknown))
    assert emergencies() == []
    assert 'id="emergency"' in ada.get(f"/studies/{first}").text
    assert "/emergency?number=A%26B" in ada.get("/", params={"words": "A&B"}).text


def test_what_is_not_found_is_said_after_it_was_recorded(north, open_as):
    ada = open_as()
    answer = open_it(ada, "no-such-number")
    assert answer.status_code == 404
    assert "No study of another site" in answer.text
    assert REASON in answer.text  # nothing has to be typed again
    assert emergencies() == [
        ("EMERGENCY", "REFUSED", "ada", "emergency: nothing of another site was found")
    ]


def test_by_rest_the_same_is_done(north, open_as):
    first, _, _ = north
    ada = open_as()
    body = {"number": read(first, "study_instance_uid"), "reason": REASON}
    answer = ada.post("/api/emergency-accesses", json=body)
    assert answer.status_code == 201
    opened = answer.json()
    assert opened["study"] == str(first)
    assert ada.get(f"/api/studies/{first}").status_code == 200
    path = f"/api/emergency-accesses/{opened['id']}"
    assert open_as("bob").delete(path).status_code == 404
    assert ada.delete(path).status_code == 204
    assert ada.delete(path).status_code == 404
    assert ada.get(f"/api/studies/{first}").status_code == 404
    for wrong, status in (
        (body | {"reason": "short"}, 422),
        (body | {"number": " "}, 422),
        (body | {"number": "none"}, 404),
    ):
        assert ada.post("/api/emergency-accesses", json=wrong).status_code == status


@pytest.mark.parametrize("role", [Role.TRAINEE, Role.ADMINISTRATOR, Role.AUDITOR])
def test_others_open_nothing(north, open_as, role):
    eve = open_as("eve", role)
    assert eve.get("/emergency").status_code == 403
    assert open_it(eve, "A1").status_code == 403
    assert "emergency" not in eve.get("/account").text
    if role is Role.TRAINEE:
        assert "/emergency" not in eve.get("/?words=A1").text


def test_who_sees_every_site_needs_none(north, open_as):
    both = open_as("both", Role.LEAD, ("default", "north"))
    assert both.get("/emergency").status_code == 409
    assert open_it(both, read(north[0], "accession_number")).status_code == 422
    assert "/emergency" not in both.get("/?words=A1").text
    assert emergencies() == []


def test_auditors_see_who_opened_whom_and_why(north, open_as):
    first, _, _ = north
    eve = open_as("eve", Role.AUDITOR)
    assert 'id="emergencies"' not in eve.get("/trail").text
    ada = open_as()
    open_it(ada, read(first, "accession_number"))
    ada.get(f"/studies/{first}")
    ada.get("/")
    open_it(ada, "no-such-number")
    page = eve.get("/trail").text
    assert "In the last 7 days 1 patient of other sites was opened in an emergency." in page
    page = eve.get("/trail?emergency=true").text
    assert page.count(f"Reason: {REASON}") == 2
    assert "no lines" not in page
    lines = eve.get("/api/trail?emergency=true").json()["lines"]
    assert [(line["action"], line["outcome"], line["reasons"]) for line in lines] == [
        ("EMERGENCY", "REFUSED", []),
        ("VIEW", "SUCCESS", [REASON]),
        ("EMERGENCY", "SUCCESS", [REASON]),
    ]
    assert {line["actor_name"] for line in lines} == {"ada"}
    assert {one["patient_id"] for line in lines for one in line["patients"]} == {
        read(first, "patient_id")
    }
    # With the other filters, and page by page.
    of_bob = eve.get("/api/trail?emergency=true&person=bob").json()
    assert of_bob["lines"] == []
    patient = read(first, "patient_id")
    found = eve.get(f"/api/trail?emergency=true&patient={patient}").json()["lines"]
    assert len(found) == 2
    page = eve.get("/api/trail?emergency=true&limit=1").json()
    assert page["lines"] == lines[:1]
    after = eve.get(f"/api/trail?emergency=true&limit=5&after={page['next']}").json()
    assert after["lines"] == lines[1:]

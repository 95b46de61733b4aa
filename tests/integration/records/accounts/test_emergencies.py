"""Patients of other sites in an emergency: found by a whole number, for a reason, for a while."""

from dataclasses import replace

import pytest
from sqlalchemy import text

from nightdraft.bench.growth_fill import fill
from records.accounts import accounts, emergencies, sessions
from records.accounts.emergencies import Opened
from records.database.session import engine, unit_of_work
from records.database.site_tables import DEFAULT_SITE_ID
from records.database.tables import Study
from records.emergency_grants import current_grants, granted
from records.errors import NotAllowed, NotFound
from records.retention.erasure import erase_patient
from records.settings import settings
from records.states import WARNING
from records.workflow import search, site_scope, sites, studies, worklist
from records.workflow.identifiers import PatientId
from tests.support.accounts import ADDRESS, let_pass, make_account, run_sql, trail_lines
from tests.support.query_plans import explained, nodes
from tests.support.registered_studies import PATIENT, new_instance, register

pytestmark = pytest.mark.usefixtures("database", "data_dir")

REASON = "Trauma, and the earlier film is needed"

SOME_ID = "00000000-0000-4000-8000-0123456789ab"


@pytest.fixture
def north():
    """A site of the north, whose machine is NORTH_CR."""
    with unit_of_work() as session:
        site = sites.create(session, "north", "North Hospital")
        sites.set_callers(session, "north", ["NORTH_CR"])
        return site.id


@pytest.fixture
def live(north):
    """The session of a reader of the first site alone."""
    return begin()


def begin(login="ada"):
    if not run_sql(f"SELECT 1 FROM accounts WHERE login = '{login}'"):
        make_account(login)
    with unit_of_work() as session:
        token = sessions.begin(session, accounts.get(session, login).id, ADDRESS)
        return sessions.find(session, token)


def receive(number, caller="NORTH_CR", **changed):
    """A study with an accession number of its own; our id."""
    (done,) = register(
        new_instance(f"1.2.{number}", accession_number=f"A{number}", calling_ae=caller, **changed)
    )
    return done.study_id


def open_it(live, typed, reason=REASON):
    with unit_of_work() as session:
        return emergencies.open_patient(session, live, live.site_ids, typed, reason)


def grants(live):
    with unit_of_work() as session:
        return emergencies.find_live(session, live.id, live.site_ids)


def entries():
    return [
        (outcome, detail.partition(": ")[2])
        for action, outcome, _, _, _, detail in trail_lines()
        if action == "EMERGENCY"
    ]


@pytest.mark.parametrize("typed", ["A1", "a1", " A1 ", "1.2.1", PATIENT.patient_id, "OUR"])
def test_a_whole_number_opens_the_patient(live, typed):
    study = receive(1)
    other = receive(2)
    opened = open_it(live, str(study) if typed == "OUR" else typed)
    assert isinstance(opened, Opened)
    (grant,) = grants(live)
    assert grant.access_id == opened.access_id
    assert grant.study_ids == {study, other}
    assert grant.reason == REASON
    ((account, reason),) = run_sql(
        "SELECT login, reason FROM emergency_accesses JOIN accounts ON accounts.id = account_id"
    )
    assert (account, reason) == ("ada", REASON)
    assert entries() == [("SUCCESS", "opened for 60 minutes")]
    assert run_sql(
        "SELECT cardinality(patients) FROM audit_entries WHERE action = 'EMERGENCY'"
    ) == [(1,)]


@pytest.mark.parametrize("typed", ["A", "1.2", "PHANTOM", "A11", "%", SOME_ID])
def test_a_part_of_a_number_or_a_name_opens_nothing(live, typed):
    receive(1)
    assert "No study of another site" in open_it(live, typed)
    assert grants(live) == ()
    assert entries() == [("REFUSED", "nothing of another site was found")]
    assert typed not in str(trail_lines()[-1])


def test_what_was_typed_and_the_reason_are_in_no_entry(live):
    receive(1)
    open_it(live, PATIENT.patient_id, "the patient MEIER^ANNA is in the trauma room")
    lines = str(trail_lines())
    assert "MEIER" not in lines
    assert PATIENT.patient_id not in lines


@pytest.mark.parametrize("reason", ["", "   ", "because", " " * 20, "x" * 501])
def test_without_a_reason_nothing_is_looked_for(live, reason):
    receive(1)
    with pytest.raises(NotAllowed, match="say the reason"):
        open_it(live, "A1", reason)
    for typed in ("", " ", "9" * 65):
        with pytest.raises(NotAllowed, match="name a whole"):
            open_it(live, typed)
    assert run_sql("SELECT count(*) FROM emergency_accesses") == [(0,)]
    assert entries() == []


def test_what_one_sees_anyway_is_not_opened(live):
    receive(1, "XRAY1")
    assert "No study of another site" in open_it(live, "A1")
    there = receive(2)
    opened = open_it(live, PATIENT.patient_id)
    assert opened.study_id == there
    assert grants(live)[0].study_ids == {there}


def other_person(**changed):
    return replace(PATIENT, **({"name": "OTHER^PERSON", "birth_date": "19310101"} | changed))


def test_a_number_of_several_patients_opens_none_of_them(live):
    receive(1)
    receive(2, patient=other_person())
    answer = open_it(live, PATIENT.patient_id)
    assert "Several patients" in answer
    assert entries() == [("REFUSED", "the number is of several patients")]
    assert grants(live) == ()
    # By the accession number one of them is opened, and the other stays closed.
    opened = open_it(live, "A1")
    assert grants(live)[0].study_ids == {opened.study_id}
    run_sql("UPDATE studies SET accession_number = 'A1'")
    assert "Several patients" in open_it(live, "A1")


def test_another_issuers_patient_is_another_patient(live):
    study = receive(1)
    receive(2, patient=other_person(issuer="OTHER", name=PATIENT.name, birth_date=""))
    open_it(live, "A1")
    assert grants(live)[0].study_ids == {study}


def test_without_a_patient_id_the_study_alone_is_opened(live):
    nobody = other_person(patient_id="", issuer="")
    study = receive(1, patient=nobody)
    receive(2, patient=nobody)
    open_it(live, "A1")
    assert grants(live)[0].study_ids == {study}


def test_a_study_that_comes_meanwhile_is_shown_too(live):
    study = receive(1)
    open_it(live, "A1")
    later = receive(2)
    assert grants(live)[0].study_ids == {study, later}


def test_it_ends_by_itself(live):
    receive(1)
    open_it(live, "A1")
    let_pass("emergency_accesses", 60 * settings().emergency_minutes - 120, "until")
    assert grants(live)
    let_pass("emergency_accesses", 121, "until")
    assert grants(live) == ()


def test_it_lasts_as_long_as_the_setting_says(live, setting):
    receive(1)
    setting(emergency_minutes=5)
    open_it(live, "A1")
    assert entries() == [("SUCCESS", "opened for 5 minutes")]
    ((seconds,),) = run_sql("SELECT extract(epoch FROM until - began_at) FROM emergency_accesses")
    assert abs(seconds - 300) < 1


def test_it_is_ended_by_who_opened_it_and_by_nobody_else(live):
    receive(1)
    opened = open_it(live, "A1")
    again, other = begin(), begin("bob")
    for stranger in (again, other):
        assert grants(stranger) == ()
        with pytest.raises(NotFound), unit_of_work() as session:
            emergencies.end(session, stranger.id, opened.access_id)
        with unit_of_work() as session:
            assert emergencies.end_all(session, stranger.id) == 0
    assert grants(live)
    with unit_of_work() as session:
        emergencies.end(session, live.id, opened.access_id)
    assert grants(live) == ()
    with pytest.raises(NotFound), unit_of_work() as session:
        emergencies.end(session, live.id, opened.access_id)
    assert entries() == [("SUCCESS", "opened for 60 minutes"), ("SUCCESS", "ended")]


def test_what_is_shown_by_it_is_found_and_listed_nowhere_else(live):
    study = receive(1)
    receive(2, patient=other_person(patient_id="OTHER"))
    open_it(live, "A1")
    with site_scope.limited_to(live.site_ids), granted(grants(live)), unit_of_work() as session:
        assert studies.get_by_uid(session, "1.2.1").id == study
        assert len(studies.list_instances(session, study)) == 1
        assert search.find_studies(session, "A1").study_ids == [study]
        assert search.find_studies(session, PATIENT.patient_id).study_ids == [study]
        with pytest.raises(NotFound):
            studies.get_by_uid(session, "1.2.2")
        assert search.find_studies(session, "OTHER").study_ids == []
        assert worklist.read_page(session).rows == []
        assert [row.id for row in worklist.read_page(session, search="A1").rows] == [study]
        assert site_scope.shows_study(session.get_one(Study, study))
    with site_scope.limited_to(live.site_ids), unit_of_work() as session:
        with pytest.raises(NotFound):
            studies.get_by_uid(session, "1.2.1")
        assert not site_scope.shows_study(session.get_one(Study, study))
    assert current_grants() == ()


def test_an_erasure_takes_the_reason_with_it(live):
    receive(1)
    open_it(live, "A1")
    with unit_of_work() as session:
        erase_patient(session, PatientId(PATIENT.patient_id, PATIENT.issuer), "request 7")
    assert run_sql("SELECT count(*) FROM emergency_accesses") == [(0,)]
    assert grants(live) == ()
    assert ("SUCCESS", "opened for 60 minutes") in entries()


def test_its_queries_have_their_indexes(live):
    with unit_of_work() as session:
        fill(session, 20_000, WARNING)
    run_sql(f"UPDATE studies SET site_id = '{DEFAULT_SITE_ID}'")
    receive(1)
    run_sql(
        "INSERT INTO emergency_accesses (account_id, session_id, study_id, reason, until)"
        " SELECT accounts.id, gen_random_uuid(), studies.id, 'x', now() + interval '1 hour'"
        " FROM accounts, studies LIMIT 20000"
    )
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))
    with explained() as plans:
        opened = open_it(live, PATIENT.patient_id)
        (grant,) = grants(live)
        with site_scope.limited_to(live.site_ids), granted([grant]), unit_of_work() as session:
            search.find_studies(session, "PHAN")
            search.find_studies(session, "A1")
            studies.get_by_uid(session, "1.2.1")
        with unit_of_work() as session:
            emergencies.end(session, live.id, opened.access_id)
    walked = [
        (node["Relation Name"], statement)
        for statement, plan in plans
        for node in nodes(plan)
        if node["Node Type"].endswith("Seq Scan")
        and node["Relation Name"] in ("studies", "emergency_accesses", "worklist_entries")
    ]
    assert not walked

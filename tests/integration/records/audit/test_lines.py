"""Reading the trail: looks and acts in one list, found by patient, person and time."""

import datetime as dt
import itertools

import pytest
from sqlalchemy import text

from records.actors import Actor, acting_as
from records.audit import trail
from records.audit.keys import load_key
from records.audit.lines import TrailFilter, read_all, read_page
from records.database.session import engine, unit_of_work
from records.errors import NotAllowed
from records.states import ActorKind, AuditAction, EventKind
from records.workflow import events
from tests.support.query_plans import explained, nodes
from tests.support.registered_studies import OTHER_PATIENT, PATIENT, new_instance, register

pytestmark = pytest.mark.usefixtures("database")

ANA = Actor(ActorKind.ACCOUNT, "ana", "17", "10.0.0.7")
BOB = Actor(ActorKind.ACCOUNT, "bob", "18", "10.0.0.8")
SWEEP = Actor(ActorKind.PART, "sweep")


def page(**options):
    wanted = TrailFilter(**{
        name: options.pop(name)
        for name in ("patient", "person", "action", "since", "until")
        if name in options
    })  # fmt: skip
    with unit_of_work() as session:
        return read_page(session, wanted, **options)


def said(lines):
    return [(line.actor_name, line.action) for line in lines]


@pytest.fixture
def studies():
    with acting_as(SWEEP):
        return [
            done.study_id
            for done in register(new_instance("1.1"), new_instance("1.2", patient=OTHER_PATIENT))
        ]


@pytest.fixture
def done(studies):
    """Ana sees both patients and withdraws a draft of the first; Bob sees the second."""
    with acting_as(ANA), unit_of_work() as session:
        trail.record(session, AuditAction.VIEW, study_ids=studies, detail="the worklist")
    with acting_as(ANA), unit_of_work() as session:
        events.append_event(session, studies[0], EventKind.WITHDRAWN, "by ana")
    with acting_as(SWEEP), unit_of_work() as session:
        events.append_event(session, studies[0], EventKind.COMPLETE, "by itself")
    with acting_as(BOB), unit_of_work() as session:
        trail.record(session, AuditAction.VIEW, study_ids=studies[1:], detail="a study")


def test_looks_and_acts_are_one_list_and_parts_are_none_of_it(done, studies):
    lines = page().lines
    assert said(lines) == [("bob", "VIEW"), ("ana", "WITHDRAWN"), ("ana", "VIEW")]
    act = lines[1]
    assert act.is_event
    assert (act.actor_kind, act.actor_id, act.actor_address) == ("ACCOUNT", "17", "10.0.0.7")
    assert [patient.patient_id for patient in act.patients] == ["P-1"]
    assert [(study.id, study.study_instance_uid) for study in act.studies] == [(studies[0], "1.1")]
    assert {patient.patient_id for patient in lines[2].patients} == {"P-1", "P-2"}


def test_the_search_is_by_patient_person_action_and_time(done):
    assert said(page(patient="P-1").lines) == [("ana", "WITHDRAWN"), ("ana", "VIEW")]
    assert said(page(patient="P-2").lines) == [("bob", "VIEW"), ("ana", "VIEW")]
    assert page(patient="P").lines == []
    pseudonym = str(load_key().pseudonym("P-1", ""))
    assert said(page(patient=pseudonym).lines) == [("ana", "WITHDRAWN"), ("ana", "VIEW")]
    assert said(page(person="bob").lines) == [("bob", "VIEW")]
    assert said(page(action="WITHDRAWN").lines) == [("ana", "WITHDRAWN")]
    assert said(page(patient="P-2", person="ana").lines) == [("ana", "VIEW")]
    newest, act, oldest = page().lines
    assert said(page(since=act.at).lines) == said([newest, act])
    assert said(page(until=act.at).lines) == said([oldest])


def test_an_erased_patient_is_a_pseudonym(done):
    with unit_of_work() as session:
        trail.forget_patient(session, [PATIENT])
    pseudonym = load_key().pseudonym("P-1", "")
    oldest = page().lines[-1]
    assert {patient.patient_id for patient in oldest.patients} == {"", "P-2"}
    assert pseudonym in {patient.pseudonym for patient in oldest.patients}
    assert said(page(patient=str(pseudonym), action="VIEW").lines) == [("ana", "VIEW")]


def test_pages_have_every_line_once_though_many_are_of_one_moment(studies):
    at = dt.datetime(2026, 11, 24, 1, 0, tzinfo=dt.UTC)
    with engine().begin() as connection:
        for moment in (at, at, at + dt.timedelta(seconds=1)):
            connection.execute(
                text(
                    "INSERT INTO audit_entries (at, action, actor_kind, actor_name, actor_id,"
                    " actor_address, detail) SELECT :at, 'VIEW', 'ACCOUNT', 'ana', '', '', ''"
                    " FROM generate_series(1, 3)"
                ),
                {"at": moment},
            )
            connection.execute(
                text(
                    "INSERT INTO events (at, study_id, kind, detail, actor_kind, actor_name)"
                    " SELECT :at, :study, 'RELEASED', '', 'ACCOUNT', 'ana'"
                    " FROM generate_series(1, 3)"
                ),
                {"at": moment, "study": studies[0]},
            )
    for oldest_first, limit in itertools.product((False, True), (1, 4, 100)):
        seen, mark = [], None
        while True:
            found = page(after=mark, limit=limit, oldest_first=oldest_first)
            seen += [(line.is_event, line.id) for line in found.lines]
            mark = found.next
            if mark is None:
                break
        assert len(seen) == len(set(seen)) == 18
    assert [line.id for part in read_all(TrailFilter(), 5) for line in part] == [
        line.id for line in page(limit=100, oldest_first=True).lines
    ]


@pytest.mark.parametrize("mark", ["x", "", "MjAyNg==", "MjAyNi0wMS0wMVQwMDowMDowMCAwIDE="])
def test_a_mark_that_is_none_is_refused(mark):
    with pytest.raises(NotAllowed, match="not the mark"):
        page(after=mark)


@pytest.fixture
def many(studies):
    """Forty thousand entries of other patients and people, and as many events."""
    with engine().begin() as connection:
        connection.execute(
            text(
                "INSERT INTO audit_entries (at, action, actor_kind, actor_name, actor_id,"
                " actor_address, patients, detail) SELECT now() - make_interval(secs => n), 'VIEW',"
                " 'ACCOUNT', 'person ' || n % 50, '', '', ARRAY[md5((n % 4000)::text)::uuid], ''"
                " FROM generate_series(1, 40000) AS n"
            )
        )
        connection.execute(
            text(
                "INSERT INTO events (at, study_id, kind, detail, actor_kind, actor_name)"
                " SELECT now() - make_interval(secs => n), :study, 'ARRIVED', '',"
                " CASE WHEN n % 20 = 0 THEN 'ACCOUNT' END, 'person ' || n % 50"
                " FROM generate_series(1, 40000) AS n"
            ),
            {"study": studies[1]},
        )
    with engine().connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        for table in ("audit_entries", "events", "studies", "audit_patients"):
            connection.execute(text(f"VACUUM ANALYZE {table}"))


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"person": "person 7"},
        {"since": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)},
        {"patient": "P-1"},
        {"patient": "P-1", "person": "ana"},
    ],
)
def test_a_page_of_many_lines_reads_few_of_them(done, many, wanted):
    """EXPLAIN: no plan walks a whole table, and none sorts one."""
    mark = page(limit=1).next
    for after in (None, mark):
        with explained() as plans:
            page(after=after, limit=50, **wanted)
        about = [
            (statement, plan)
            for statement, plan in plans
            if "FROM audit_entries" in statement or "FROM events" in statement
        ]
        assert len(about) == 2
        for statement, plan in about:
            for node in nodes(plan):
                assert node["Node Type"] != "Seq Scan", (statement, plan)
                if node["Node Type"] == "Sort":
                    assert node["Plan Rows"] < 2000, (statement, plan)

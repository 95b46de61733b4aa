"""A study without an order gets the one that the worklist has, and no other."""

from __future__ import annotations

import ssl

import pytest
from pydicom import Dataset
from sqlalchemy import select, text, update

from intake.queries.asking import Asker, QuestionFailed
from intake.queries.worklist import AskedStudy, SeveralOrders
from intake.turns import SystemAway
from records.database.operation_tables import Alarm, Observation
from records.database.order_tables import Order, StudyOrder, StudyQuery
from records.database.session import unit_of_work
from records.database.tables import Hold, Study
from records.orders import queries
from records.settings import settings
from records.states import HoldReason, QueryState
from records.workflow import events
from records.workflow.identifiers import KeyKind, PatientId
from tests.support.registered_studies import complete, new_instance
from tests.support.smtp_receiver import make_certificate
from tests.support.worklists import REASON, OddWorklist, make_entry, make_worklist

ASKED = AskedStudy(("A1",), "", PatientId("P-1"), "20260101")


@pytest.fixture
def worklist():
    with OddWorklist() as running:
        yield running


@pytest.fixture
def asked(database, setting, worklist):
    """A study that waits for the worklist's answer."""
    setting(worklist_host="127.0.0.1", worklist_port=worklist.port, worklist_retry_seconds=0)
    return ask_about(new_instance())


def ask_about(*instances):
    study_ids = complete(*instances)
    with unit_of_work() as session:
        queries.open_queries(session, study_ids, settings())
    return study_ids[0]


def find(worklist, asked=ASKED, **changed):
    return make_worklist(worklist.port, **changed).find(asked)


def read(*columns):
    with unit_of_work() as session:
        return [
            row[0] if len(columns) == 1 else tuple(row) for row in session.execute(select(*columns))
        ]


def details(study_id):
    with unit_of_work() as session:
        return [event.detail for event in events.timeline(session, study_id)]


def test_it_is_asked_by_accession_number_and_then_by_patient_and_date(worklist):
    assert find(worklist) == (KeyKind.PATIENT, [])
    first, second = worklist.asked
    assert (first.AccessionNumber, first.PatientID) == ("A1", "")
    assert (second.AccessionNumber, second.PatientID) == ("", "P-1")
    (step,) = second.ScheduledProcedureStepSequence
    assert step.ScheduledProcedureStepStartDate == "20260101"
    assert set(worklist.callers) == {"NIGHTDRAFT"}


def test_what_a_worklist_answers_too_much_is_dropped(worklist):
    ours = make_entry()
    worklist.answers = [make_entry(AccessionNumber=f"B{n}") for n in range(50)] + [ours]
    matched_by, (order,) = find(worklist)
    assert (matched_by, order.accession_numbers) == (KeyKind.ACCESSION, ("A1",))


def test_an_accession_number_of_another_issuer_is_another_number(worklist):
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "ELSEWHERE"
    worklist.answers = [make_entry(IssuerOfAccessionNumberSequence=[issuer], PatientID="P-2")]
    asked = AskedStudy(("A1",), "HERE", PatientId("P-1"), "20260101")
    assert find(worklist, asked) == (KeyKind.PATIENT, [])
    asked = AskedStudy(("A1",), "elsewhere", PatientId("P-1"), "20260101")
    assert find(worklist, asked)[0] is KeyKind.ACCESSION


@pytest.mark.parametrize(
    ("step", "fields"),
    [
        ({}, {"PatientID": "P-2"}),
        ({}, {"IssuerOfPatientID": "ELSEWHERE"}),
        ({"ScheduledProcedureStepStartDate": "20260102"}, {}),
        ({"Modality": "CT"}, {}),
        ({}, {"AccessionNumber": "OTHER"}),
    ],
    ids=["patient", "issuer", "date", "modality", "accession number"],
)
def test_by_patient_and_date_everything_must_fit(worklist, step, fields):
    worklist.answers = [make_entry(step, **{"AccessionNumber": None, **fields})]
    asked = AskedStudy(("A1",), "", PatientId("P-1", "HOSPITAL"), "20260101")
    assert find(worklist, asked)[1] == []
    worklist.answers = [make_entry(AccessionNumber=None, IssuerOfPatientID="HOSPITAL")]
    assert len(find(worklist, asked)[1]) == 1


def test_of_two_orders_of_one_day_none_is_taken(worklist):
    worklist.answers = [
        make_entry(AccessionNumber=number, StudyInstanceUID=f"1.2.{number[1:]}")
        for number in ("A7", "A8")
    ]
    with pytest.raises(SeveralOrders):
        find(worklist, AskedStudy((), "", PatientId("P-1"), "20260101"))


def test_a_cut_answer_is_an_error(worklist):
    worklist.answers = lambda _: (make_entry(AccessionNumber=f"B{n}") for n in range(1000))
    with pytest.raises(QuestionFailed, match="WORKLIST_ANSWERS=20 answers; it may not match"):
        find(worklist, worklist_answers=20)


@pytest.mark.parametrize(
    ("status", "error"),
    [(0xA700, SystemAway), (0xA900, QuestionFailed), (0xC001, QuestionFailed)],
)
def test_an_error_status_is_an_error(worklist, status, error):
    worklist.status = status
    with pytest.raises(error, match=f"status 0x{status:04X}"):
        find(worklist)


def test_who_does_not_answer_is_away(worklist, free_port):
    with pytest.raises(SystemAway, match="called ae title not recognised"):
        find(worklist, worklist_ae_title="SOMEBODY")
    with pytest.raises(SystemAway, match="nobody answers there"):
        make_worklist(free_port).find(ASKED)
    with pytest.raises(SystemAway, match="name that is not known"):
        make_worklist(free_port, worklist_host="no.such.host.invalid").find(ASKED)


def test_a_worklist_is_asked_over_tls(tmp_path):
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    login = {
        "worklist_tls": True,
        "worklist_certificate_file": str(certificate),
        "worklist_key_file": str(key),
    }
    with OddWorklist(answers=[make_entry()], tls=context) as worklist:
        orders = find(worklist, worklist_ca_file=str(certificate), **login)[1]
        assert len(orders) == 1
        # A certificate that nobody vouches for, and a client without TLS.
        for changed in (login, {}):
            with pytest.raises(SystemAway):
                find(worklist, **changed)


def test_its_order_counts_for_the_study(asked, worklist):
    worklist.answers = [make_entry()]
    asker = Asker(make_worklist(worklist.port))
    asker.take_turn()
    assert read(Order.origin, Order.sender, Order.texts) == [
        ("WORKLIST", "WORKLIST", [{"source": "order_reason", "text": REASON}])
    ]
    assert read(StudyOrder.study_id, StudyOrder.state, StudyOrder.matched_by) == [
        (asked, "MATCHED", "ACCESSION")
    ]
    assert read(StudyQuery.state, StudyQuery.answers) == [(QueryState.ANSWERED, 1)]
    assert "asked the worklist: 1 order" in details(asked)
    assert read(Study.priority) == [1]


def test_an_order_that_is_found_by_patient_and_date_counts_for_the_study(
    database, setting, worklist
):
    setting(worklist_host="127.0.0.1", worklist_port=worklist.port)
    study_id = ask_about(new_instance(accession_number=""))
    worklist.answers = [make_entry(AccessionNumber="A9")]
    Asker(make_worklist(worklist.port)).take_turn()
    assert read(StudyOrder.study_id, StudyOrder.matched_by) == [(study_id, "PATIENT")]
    assert read(Study.priority) == [1]


def test_the_order_of_another_patient_is_a_question_to_a_person(asked, worklist):
    worklist.answers = [make_entry(PatientID="P-2", PatientName="PHANTOM^TWO")]
    Asker(make_worklist(worklist.port)).take_turn()
    assert read(Hold.reason) == [HoldReason.ORDER_MISMATCH]
    assert "asked the worklist: its order does not count for this study" in details(asked)


def test_a_worklist_without_an_order_is_asked_again_and_then_left_alone(asked, worklist):
    asker = Asker(make_worklist(worklist.port, worklist_attempts=2, worklist_retry_seconds=0))
    asker.take_turn()
    assert read(StudyQuery.state, StudyQuery.attempts) == [(QueryState.WAITING, 1)]
    asker.take_turn()
    assert read(StudyQuery.state, StudyQuery.answers) == [(QueryState.ANSWERED, 0)]
    assert "asked the worklist: no order" in details(asked)


def test_a_worklist_that_is_away_is_one_alarm_and_goes_on_by_itself(asked, worklist, setting):
    for number in range(3):
        ask_about(new_instance(study=f"1.2.{number}", accession_number=f"B{number}"))
    worklist.stop()
    asker = Asker(make_worklist(worklist.port, query_alarm_seconds=0, worklist_attempts=1))
    pauses = [asker.take_turn() for _ in range(4)]
    assert pauses == [5, 10, 20, 40]
    assert read(Alarm.kind, Alarm.part, Alarm.closed_at) == [("WORKLIST_AWAY", "worklist", None)]
    assert set(read(StudyQuery.state, StudyQuery.attempts)) == {(QueryState.WAITING, 0)}
    assert read(Observation.name, Observation.is_well) == [("worklist", False)]
    worklist.answers = [make_entry()]
    with worklist:
        for _ in range(4):
            assert asker.take_turn() < 1
    assert read(Alarm.closed_at) != [None]
    assert read(Observation.is_well) == [True]
    assert read(StudyOrder.study_id) == [asked]
    # Nothing is left to ask; the next turn only looks.
    assert asker.take_turn() == 1


def test_a_system_that_is_away_is_looked_for_without_a_question(asked, worklist):
    with unit_of_work() as session:
        session.execute(text("DELETE FROM study_queries"))
    port = worklist.port
    worklist.stop()
    asker = Asker(make_worklist(port, query_alarm_seconds=0))
    asker.take_turn()
    assert read(Alarm.closed_at) == [None]
    with worklist:
        asker.take_turn()
    assert read(Alarm.closed_at) != [None]


def test_one_failure_after_the_other_is_the_worklists_fault(asked, worklist):
    for number in range(4):
        ask_about(new_instance(study=f"1.2.{number}", accession_number=f"B{number}"))
    worklist.status = 0xC001
    asker = Asker(
        make_worklist(worklist.port, worklist_attempts=9, worklist_retry_seconds=3600,
                      query_alarm_seconds=0)
    )  # fmt: skip
    assert [asker.take_turn() < 1 for _ in range(3)] == [True, True, False]
    assert read(Alarm.kind) == ["WORKLIST_AWAY"]


def test_an_old_question_is_given_up(asked, worklist):
    with unit_of_work() as session:
        session.execute(update(StudyQuery).values(created_at=text("now() - interval '25 h'")))
    assert Asker(make_worklist(worklist.port)).take_turn() == 0
    assert read(StudyQuery.state) == [QueryState.GIVEN_UP]
    assert worklist.asked == []


def test_nothing_is_asked_where_an_order_came_meanwhile(asked, worklist):
    worklist.answers = [make_entry()]
    asker = Asker(make_worklist(worklist.port))
    asker.take_turn()
    with unit_of_work() as session:
        queries_again = update(StudyQuery).values(state="WAITING", not_before=text("now()"))
        session.execute(queries_again)
    asker.take_turn()
    assert len(worklist.asked) == 1
    assert read(StudyQuery.state) == [QueryState.ANSWERED]


def test_the_rate_is_kept(asked, worklist):
    wait = Asker(make_worklist(worklist.port, worklist_per_minute=6)).take_turn()
    assert 5 < wait <= 10

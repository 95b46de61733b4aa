"""Where many messages of one sender are refused, one alarm opens, and closes by itself."""

import pytest
from sqlalchemy import text, update

from records import received_messages
from records.alarm_kinds import AlarmKind
from records.database.order_tables import ReceivedMessage
from records.database.session import engine, unit_of_work
from records.operations import alarms, refused_messages
from records.orders.order import OrderAction, ReceivedOrder
from records.orders.receiving import receive_order
from records.states import MessageOutcome, Origin
from records.workflow.patients import Patient
from tests.support.query_plans import explained, nodes
from worker.part_alarms import PartAlarms

MINUTES = 60.0
RIS = "RIS|HOSPITAL"
PART = "messages by HL7 from RIS|HOSPITAL"


def receive(count, *, sender=RIS, origin=Origin.HL7, outcome=MessageOutcome.REFUSED, code="101"):
    with unit_of_work() as session:
        start = session.query(ReceivedMessage).count()
        for number in range(start, start + count):
            is_refused = outcome is MessageOutcome.REFUSED
            received_messages.keep(
                session,
                origin=origin,
                sender=sender,
                control_id=str(number),
                message_type="ORM^O01",
                processing_id="P",
                content=b"PID|||4711||Doe^Jane %d" % number,
                outcome=outcome,
                answer_code="AE" if is_refused else "AA",
                error_code=code if is_refused else "",
                sentence="the message has no PID-3" if is_refused else "",
                location="PID-3" if is_refused and code == "101" else "",
            )


def make_older(minutes, outcome=MessageOutcome.REFUSED):
    with unit_of_work() as session:
        session.execute(
            update(ReceivedMessage)
            .where(ReceivedMessage.outcome == outcome)
            .values(received_at=ReceivedMessage.received_at - text(f"interval '{minutes} min'"))
        )


def settle_all():
    with unit_of_work() as session:
        for message in received_messages.list_open(session, 1000):
            received_messages.settle(session, message.id, "Dr. Adams")


def look(count=20):
    with unit_of_work() as session:
        refused_messages.settle_alarms(session, count, MINUTES)
    with unit_of_work() as session:
        return {alarm.part: alarm.cause for alarm in alarms.open_alarms(session)}


def test_one_alarm_says_from_whom_how_many_and_why(database, data_dir):
    receive(19)
    receive(19, sender="OTHER|RIS")
    receive(40, outcome=MessageOutcome.ACCEPTED)
    assert look() == {}
    receive(1)
    receive(6, code="207")
    cause = look()[PART]
    assert cause == (
        "26 messages by HL7 from RIS|HOSPITAL were refused within 60 minutes, and nobody has "
        "settled them. Most of them have the error 101 at PID-3."
    )
    receive(4)
    assert look() == {PART: cause.replace("26", "30")}
    with unit_of_work() as session:
        (alarm,) = alarms.list_newest(session, 10)
        assert alarm.kind == AlarmKind.MESSAGES_REFUSED
        assert "messages list --open" in alarm.remedy
        assert "Doe" not in alarm.cause + alarm.part


def test_what_is_old_or_settled_opens_none(database, data_dir):
    receive(30)
    settle_all()
    receive(10)
    make_older(MINUTES + 1)
    receive(19)
    assert look() == {}
    assert look(count=19) != {}
    assert look(count=0) == {}  # no such alarm is wanted any more


def test_it_closes_when_messages_are_accepted_and_none_is_refused(database, data_dir):
    receive(20)
    assert PART in look()
    receive(5, outcome=MessageOutcome.ACCEPTED)
    assert PART in look()  # some are accepted, and some were refused within the hour
    make_older(MINUTES + 1)
    make_older(MINUTES + 1, MessageOutcome.ACCEPTED)
    assert PART in look()  # the sender fell silent
    receive(1, sender="OTHER|RIS", outcome=MessageOutcome.ACCEPTED)
    assert PART in look()
    receive(1, outcome=MessageOutcome.ACCEPTED)
    assert look() == {}
    receive(20)
    assert PART in look()


def test_it_closes_when_a_person_has_settled_all(database, data_dir):
    receive(20)
    assert PART in look()
    with unit_of_work() as session:
        for message in received_messages.list_open(session, 19):
            received_messages.settle(session, message.id, "Dr. Adams")
    assert PART in look()
    make_older(MINUTES + 1)
    assert PART in look()
    settle_all()
    assert look() == {}


def test_a_fhir_client_is_heard_again_by_what_it_placed(database, data_dir):
    receive(20, sender="FHIR", origin=Origin.FHIR, code="required")
    assert list(look()) == ["messages by FHIR from FHIR"]
    make_older(MINUTES + 1)
    assert look() != {}
    with unit_of_work() as session:
        order = ReceivedOrder(
            Origin.FHIR, "FHIR", OrderAction.PLACE, Patient("P1"), accession_numbers=("A1",)
        )
        receive_order(session, order)
    assert look() == {}


@pytest.mark.parametrize("count", [2, 3])
def test_the_sweep_looks_by_the_settings(database, broker, data_dir, setting, count):
    setting(refused_messages=count, refused_minutes=5)
    receive(2)
    PartAlarms().settle()
    with unit_of_work() as session:
        kinds = [alarm.kind for alarm in alarms.open_alarms(session)]
    assert (AlarmKind.MESSAGES_REFUSED in kinds) is (count == 2)


FILL = """
INSERT INTO received_messages (origin, sender, control_id, message_type, processing_id, digest,
    outcome, answer_code, error_code, sentence, location, received_at, settled_at)
SELECT 'HL7', CASE WHEN n % 2 = 0 THEN 'RIS|HOSPITAL' ELSE 'OTHER' END, n, 'ORM^O01', 'P', n,
    CASE WHEN n % 4 = 0 THEN 'REFUSED' ELSE 'ACCEPTED' END, 'AA', '101', '', '',
    now() - make_interval(mins => n), CASE WHEN n % 100 <> 0 THEN now() END
FROM generate_series(1, 20000) n
"""


def test_a_look_reads_no_table_from_end_to_end(database, data_dir):
    with unit_of_work() as session:
        session.execute(text(FILL))
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))
    receive(20)
    assert PART in look()
    with unit_of_work() as session, explained() as plans:
        refused_messages.settle_alarms(session, 20, MINUTES)
    make_older(MINUTES + 1)
    with unit_of_work() as session, explained() as closing:
        refused_messages.settle_alarms(session, 20, MINUTES)
    assert len(plans) >= 2
    assert len(closing) >= 4
    walked = [
        node["Relation Name"]
        for _, plan in plans + closing
        for node in nodes(plan)
        if node["Node Type"].endswith("Seq Scan") and node["Relation Name"] != "alarms"
    ]
    assert walked == []

"""Messages come in by MLLP, take effect once, and are answered after that."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, text

from intake.hl7.mllp import make_frame
from records import received_messages
from records.database.order_tables import Order, OrderChange, ReceivedMessage
from records.database.report_tables import ReceivedReport
from records.database.session import engine, unit_of_work
from records.states import MessageOutcome
from tests.support.mllp import (
    MllpSender,
    field,
    make_message,
    make_order,
    make_segment,
    running_listener,
)


@pytest.fixture
def listener(database, data_dir):
    with running_listener() as running:
        yield running


@pytest.fixture
def sender(listener):
    with MllpSender(listener.port) as connection:
        yield connection


def count(table, *conditions):
    with unit_of_work() as session:
        return session.scalar(select(func.count()).select_from(table).where(*conditions))


def messages():
    with unit_of_work() as session:
        return session.scalars(select(ReceivedMessage).order_by(ReceivedMessage.received_at)).all()


def test_an_order_is_kept_before_it_is_answered_and_only_once(sender):
    answer = sender.send(make_order())
    assert field(answer, "MSA", 1) == "AA"
    assert field(answer, "MSA", 2) == "1"
    assert field(answer, "MSH", 9) == "ACK^O01^ACK"
    assert [field(answer, "MSH", n) for n in (3, 4, 5, 6)] == [
        "NIGHTDRAFT",
        "WARD",
        "RIS",
        "HOSPITAL",
    ]
    with unit_of_work() as session:
        order = session.scalars(select(Order)).one()
        assert (order.accession_numbers, order.texts[0]["text"]) == (["A1"], "Fever and cough.")
    assert field(sender.send(make_order()), "MSA", 1) == "AA"
    (message,) = messages()
    assert (message.outcome, message.repeats, message.content) == ("ACCEPTED", 1, None)
    assert count(OrderChange) == 1


def test_the_same_control_id_with_other_bytes_is_another_message(sender):
    sender.send(make_order())
    assert field(sender.send(make_order(reason="Chest pain.")), "MSA", 1) == "AA"
    assert len(messages()) == 2
    with unit_of_work() as session:
        assert session.scalars(select(Order)).one().texts[0]["text"] == "Chest pain."


def test_a_refused_message_is_answered_with_the_field_and_kept_encrypted(sender, capfd):
    content = make_message("PID|1||||Doe^Jane", "ORC|NW|77", "OBR|1|77||CXR")
    answer = sender.send(content)
    assert field(answer, "MSA", 1) == "AE"
    assert field(answer, "ERR", 2) == "PID^1^3"
    assert field(answer, "ERR", 3) == "101^Required field missing^HL70357"
    assert "patient id" in field(answer, "ERR", 8)
    assert field(sender.send(content), "MSA", 1) == "AE"
    (message,) = messages()
    assert (message.outcome, message.location, message.repeats) == ("REFUSED", "PID-3", 1)
    assert received_messages.read_content(message) == content
    # The next message of the connection is not held up, and no log names the patient.
    assert field(sender.send(make_order()), "MSA", 1) == "AA"
    assert "Doe" not in "".join(capfd.readouterr())


def test_a_refused_message_can_be_good_after_the_mapping_is_corrected(
    database, data_dir, tmp_path, setting
):
    content = make_order(control="ZN")
    with running_listener() as listener, MllpSender(listener.port) as sender:
        assert field(sender.send(content), "ERR", 2) == "ORC^1^1"
    mapping = tmp_path / "hl7.toml"
    mapping.write_text('[actions]\nZN = "PLACE"\n')
    setting(hl7_mapping=mapping)
    with running_listener() as listener, MllpSender(listener.port) as sender:
        assert field(sender.send(content), "MSA", 1) == "AA"
        assert field(sender.send(content), "MSA", 1) == "AA"
    (message,) = messages()
    assert (message.outcome, message.content) == ("ACCEPTED", None)
    assert count(OrderChange) == 1


@pytest.mark.parametrize("processing_id", ["T", "D"])
def test_messages_of_training_have_an_effect_on_a_test_system_only(
    database, data_dir, setting, processing_id
):
    content = make_order(processing_id=processing_id)
    with running_listener() as listener, MllpSender(listener.port) as sender:
        answer = sender.send(content)
        assert (field(answer, "MSA", 1), field(answer, "MSH", 11)) == ("AA", processing_id)
    assert (messages()[0].outcome, count(Order)) == (MessageOutcome.TEST, 0)
    setting(hl7_test_system=True)
    with running_listener() as listener, MllpSender(listener.port) as sender:
        other = make_order(processing_id=processing_id, control_id="2")
        assert field(sender.send(other), "MSA", 1) == "AA"
    assert count(Order) == 1


@pytest.mark.parametrize(
    ("accept", "application", "good", "bad"),
    [
        ("AL", "NE", ["CA"], ["CE"]),
        ("AL", "AL", ["CA", "AA"], ["CA", "AE"]),
        ("NE", "AL", ["AA"], ["AE"]),
        ("ER", "ER", [], ["AE"]),
        ("SU", "NE", ["CA"], []),
        ("ER", "NE", [], ["CE"]),
        ("NE", "NE", [], []),
    ],
)
def test_enhanced_mode_answers_as_msh_15_and_16_ask(sender, accept, application, good, bad):
    def codes(content):
        sender.socket.sendall(make_frame(content) + make_frame(make_order(control_id="last")))
        answers = []
        while field(answer := sender.receive(), "MSA", 2) != "last":
            answers.append(field(answer, "MSA", 1))
        return answers

    rest = f"|||{accept}|{application}"
    assert codes(make_order(rest=rest)) == good
    assert codes(make_message("PID|1||4711", rest=rest, control_id="2")) == bad


def test_types_that_are_about_nothing_here_are_accepted_and_unknown_ones_rejected(sender):
    assert field(sender.send(make_message("PID|1||1", kind="ADT^A01")), "MSA", 1) == "AA"
    answer = sender.send(make_message(kind="QBP^Q11", control_id="2"))
    assert (field(answer, "MSA", 1), field(answer, "ERR", 3)[:3]) == ("AR", "200")
    assert "ORM^O01" in field(answer, "ERR", 8).replace("\\S\\", "^")
    answer = sender.send(make_order(processing_id="X", control_id="3"))
    assert (field(answer, "MSA", 1), field(answer, "ERR", 3)[:3]) == ("AR", "202")
    assert [m.outcome for m in messages()] == ["IGNORED", "REFUSED", "REFUSED"]


def test_an_old_version_gets_the_error_where_it_looks_for_it(sender):
    content = make_order().replace(b"|2.5.1", b"|2.3").replace(b"PID|1||4711^^^ADT^MR", b"PID|1||")
    assert field(sender.send(content), "ERR", 1) == "PID^1^3^101&Required field missing&HL70357"


def test_a_batch_is_answered_by_a_batch(sender):
    batch = b"FHS|^~\\&|RIS\rBHS|^~\\&|RIS\r" + make_order() + make_message(control_id="2")
    answer = sender.send(batch + make_order("78", control_id="3") + b"BTS|3\rFTS|1\r")
    assert answer.startswith("BHS|^~\\&\rMSH|")
    assert answer.endswith("BTS|3\r")
    codes = [line.split("|")[1:3] for line in answer.split("\r") if line.startswith("MSA")]
    assert codes == [["AA", "1"], ["AE", "2"], ["AA", "3"]]
    assert count(Order) == 2


def test_acknowledgments_are_not_answered(sender):
    sender.socket.sendall(make_frame(make_message("MSA|AA|1", kind="ACK", control_id="9")))
    assert field(sender.send(make_order()), "MSA", 2) == "1"


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"MSH", b"MSH|", b"MSH|^~\\&|\r", b"\xff" * 90, b"BHS|^~\\&|\rBTS|0\r"],
)
def test_what_is_no_message_is_refused_and_blocks_nothing(sender, content):
    assert field(sender.send(content), "MSA", 1) in ("AE", "AR")
    assert field(sender.send(make_order()), "MSA", 1) == "AA"


def test_a_message_of_megabytes_is_read_and_one_beyond_the_limit_refused(
    database, data_dir, setting
):
    setting(hl7_max_mb=2)
    with running_listener() as listener, MllpSender(listener.port) as sender:
        assert field(sender.send(make_order(reason="x" * 1_500_000)), "MSA", 1) == "AA"
        answer = sender.send(make_order("78", control_id="2", reason="x" * 2_500_000))
        assert (field(answer, "MSA", 1), field(answer, "MSA", 2)) == ("AE", "2")
        assert "NIGHTDRAFT_HL7_MAX_MB" in field(answer, "ERR", 8)
        assert field(sender.send(make_order("79", control_id="3")), "MSA", 1) == "AA"
    assert count(Order) == 2


def test_half_a_message_and_a_silent_peer_end_and_hold_nobody_up(database, data_dir, setting):
    setting(hl7_message_seconds=0.2, hl7_idle_seconds=0.5)
    with running_listener() as listener, MllpSender(listener.port) as half:
        half.socket.sendall(make_frame(make_order())[:-9])
        with MllpSender(listener.port) as silent, MllpSender(listener.port) as other:
            assert field(other.send(make_order("78")), "MSA", 1) == "AA"
            assert half.receive() == ""
            assert silent.receive() == ""
    assert count(Order) == 1


def test_a_hundred_connections_at_once_all_get_their_own_answers(listener):
    barrier = threading.Barrier(100, timeout=60)

    def talk(number):
        with MllpSender(listener.port) as sender:
            barrier.wait()
            return [
                field(
                    sender.send(make_order(f"{number}-{n}", control_id=f"{number}.{n}")), "MSA", 2
                )
                for n in range(3)
            ]

    with ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(talk, range(100)))
    assert answers == [[f"{number}.{n}" for n in range(3)] for number in range(100)]
    assert count(Order) == 300


def test_connections_beyond_the_limit_and_of_other_addresses_are_closed(
    database, data_dir, setting
):
    setting(hl7_max_connections=1)
    with running_listener() as listener, MllpSender(listener.port) as first:
        assert field(first.send(make_order()), "MSA", 1) == "AA"
        with MllpSender(listener.port) as second:
            assert second.receive() == ""
    setting(hl7_max_connections=9, hl7_allowed_peers="10.0.0.0/8, ::1")
    with running_listener() as listener, MllpSender(listener.port) as stranger:
        assert stranger.receive() == ""


def test_while_the_database_is_away_nothing_is_answered_and_nothing_refused(
    listener, sender, database
):
    with engine().begin() as connection:
        connection.execute(text("ALTER TABLE received_messages RENAME TO away"))
    assert sender.send(make_order()) == ""
    with engine().begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO received_messages"))
    with MllpSender(listener.port) as again:
        assert field(again.send(make_order()), "MSA", 1) == "AA"
    assert [m.outcome for m in messages()] == ["ACCEPTED"]


def test_two_listeners_give_one_message_one_effect(listener, sender):
    contents = [make_order(str(number), control_id=str(number)) for number in range(30)]

    def send_all(connection):
        return [field(connection.send(content), "MSA", 1) for content in contents]

    with (
        running_listener() as other,
        MllpSender(other.port) as second,
        ThreadPoolExecutor(2) as pool,
    ):
        both = list(pool.map(send_all, (sender, second)))
    assert both == [["AA"] * 30] * 2
    assert (count(Order), count(OrderChange)) == (30, 30)
    assert sum(m.repeats for m in messages()) == 30


def test_what_has_come_in_is_answered_when_the_listener_stops(database, data_dir):
    contents = [make_frame(make_order(str(n), control_id=str(n))) for n in range(50)]
    with running_listener() as listener:
        sender = MllpSender(listener.port)
        sender.socket.sendall(b"".join(contents))
        assert field(sender.receive(), "MSA", 2) == "0"
    answered = 1
    try:
        while answer := sender.receive():
            assert field(answer, "MSA", 1) == "AA"
            answered += 1
    except ConnectionResetError:
        pass  # bytes of ours that were not read
    sender.socket.close()
    assert count(Order) == answered


OBR = {1: 1, 3: "F1", 4: "CXR^Chest PA", 7: "20260101101500", 18: "A1", 24: "CR", 25: "F"}


def test_a_final_report_by_oru_is_kept(sender):
    content = make_message(
        "PID|1||4711^^^ADT^MR||Doe^Jane",
        make_segment("OBR", OBR),
        "OBX|1|TX|59776-5^Findings^LN||Clear lungs.||||||F",
        "OBX|2|TX|19005-8^Impression^LN||Normal.||||||F",
        kind="ORU^R01",
    )
    assert field(sender.send(content), "MSA", 1) == "AA"
    with unit_of_work() as session:
        report = session.scalars(select(ReceivedReport)).one()
        assert (report.findings, report.impression) == ("Clear lungs.", "Normal.")
        assert (report.accession_numbers, report.modality) == (["A1"], "CR")
        assert (report.status, report.performed_on) == ("FINAL", "20260101101500")


def test_a_merge_and_a_moved_visit_take_orders_along(sender):
    pv1 = make_segment("PV1", {1: 1, 19: "V7^^^ADT"})
    order = make_order(patient="99^^^ADT^MR").replace(b"ORC|", f"{pv1}\rORC|".encode())
    sender.send(order)
    merge = make_message("PID|1||4711^^^ADT^MR||Doe^Jane", "MRG|99^^^ADT", kind="ADT^A40")
    assert field(sender.send(merge), "MSA", 1) == "AA"
    with unit_of_work() as session:
        assert session.scalars(select(Order)).one().patient_id == "4711"
    pid = "PID|1||5000^^^ADT^MR||Roe^Richard"
    move = make_message(pid, "MRG|4711^^^ADT||||V7^^^ADT", kind="ADT^A45", control_id="3")
    assert field(sender.send(move), "MSA", 1) == "AA"
    with unit_of_work() as session:
        assert session.scalars(select(Order)).one().patient_id == "5000"
    correction = make_message("PID|1||5000^^^ADT^MR||Row^Richard", kind="ADT^A08", control_id="4")
    assert field(sender.send(correction), "MSA", 1) == "AA"
    with unit_of_work() as session:
        assert session.scalars(select(Order)).one().patient_name == "Row^Richard"


def test_the_listener_frees_its_port(database, data_dir):
    with running_listener() as listener:
        port = listener.port
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))

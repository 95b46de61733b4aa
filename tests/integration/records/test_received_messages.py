"""Messages of other systems are known again, and refused ones are kept encrypted, for a while."""

import os
import stat
import threading
import uuid

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from records import message_keys, received_messages
from records.database.order_tables import ReceivedMessage
from records.database.session import engine, unit_of_work
from records.errors import NotAllowed, NotFound, PartError, SettingsError
from records.received_messages import AcceptedMessage
from records.states import MessageOutcome, Origin
from records.workflow import site_scope
from tests.integration.records.workflow.test_query_plans import explained, nodes
from tests.support.two_sites import make_site

CONTENT = b"MSH|^~\\&|RIS|HOSPITAL|||20260101||ORM^O01|1|P|2.3\rPID|||4711||Doe^Jane\r"


def keep(session, content=CONTENT, outcome=MessageOutcome.REFUSED, control_id="1"):
    return received_messages.keep(
        session,
        origin=Origin.HL7,
        sender="RIS|HOSPITAL",
        control_id=control_id,
        message_type="ORM^O01",
        processing_id="P",
        content=content,
        outcome=outcome,
        answer_code="AE",
        error_code="101",
        sentence="the order has no number",
        location="ORC-2",
    )


def find(session, content=CONTENT, control_id="1"):
    digest = received_messages.make_digest(content)
    return received_messages.find(session, Origin.HL7, "RIS|HOSPITAL", control_id, digest)


def test_a_message_is_known_by_control_id_and_bytes(database, data_dir):
    with unit_of_work() as session:
        assert find(session) is None
        kept = keep(session)
        assert find(session).id == kept
        assert find(session, CONTENT + b"Z") is None
        assert find(session, control_id="2") is None
        received_messages.count_repeat(session, kept)
    with unit_of_work() as session:
        assert session.get(ReceivedMessage, kept).repeats == 1
    with pytest.raises(IntegrityError), engine().begin() as connection:
        keep(connection)


def test_only_refused_messages_are_kept_and_only_encrypted(database, data_dir):
    with unit_of_work() as session:
        refused = session.get(ReceivedMessage, keep(session))
        accepted = session.get(
            ReceivedMessage, keep(session, outcome=MessageOutcome.ACCEPTED, control_id="2")
        )
        assert b"Doe" not in refused.content
        assert received_messages.read_content(refused) == CONTENT
        assert accepted.content is None
        with pytest.raises(NotFound):
            received_messages.read_content(accepted)


def test_a_person_settles_a_refused_message_once(database, data_dir):
    with unit_of_work() as session:
        first, second = keep(session), keep(session, control_id="2")
        ignored = keep(session, outcome=MessageOutcome.IGNORED, control_id="3")
    with unit_of_work() as session:
        assert [row.id for row in received_messages.list_open(session, 10)] == [first, second]
        assert received_messages.count_open(session, 1)[0] == 1
        received_messages.settle(session, first, "Dr. Adams")
        count, since = received_messages.count_open(session, 10)
        assert (count, since) == (1, session.get(ReceivedMessage, second).received_at)
        for message_id, error in (
            (first, NotAllowed),
            (ignored, NotAllowed),
            (uuid.uuid4(), NotFound),
        ):
            with pytest.raises(error):
                received_messages.settle(session, message_id, "Dr. Adams")


def test_old_contents_go_and_the_history_of_orders_stays(database, data_dir):
    with unit_of_work() as session:
        ids = {
            outcome: keep(session, outcome=outcome, control_id=outcome)
            for outcome in MessageOutcome
        }
        session.execute(text("UPDATE received_messages SET received_at = now() - interval '8 d'"))
        fresh = keep(session, control_id="fresh")
    with unit_of_work() as session:
        assert received_messages.remove_old(session, 9) == 0
        assert received_messages.remove_old(session, 7) == 3
        assert received_messages.remove_old(session, 7) == 0
    with unit_of_work() as session:
        kept = {row.id: row for row in session.query(ReceivedMessage)}
        assert kept.keys() == {ids[MessageOutcome.ACCEPTED], ids[MessageOutcome.REFUSED], fresh}
        assert kept[ids[MessageOutcome.REFUSED]].content is None
        assert kept[fresh].content is not None


def test_every_question_about_messages_has_its_index(database, data_dir):
    with unit_of_work() as session:
        session.execute(
            text(
                "INSERT INTO received_messages (origin, sender, control_id, message_type,"
                " processing_id, digest, outcome, answer_code, error_code, sentence, location)"
                " SELECT 'HL7', 'RIS|HOSPITAL', n, 'ORM^O01', 'P', md5(n::text), 'ACCEPTED', 'AA',"
                " '', '', '' FROM generate_series(1, 20000) n"
            )
        )
        for number in range(3):
            keep(session, control_id=f"refused {number}")
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE) received_messages"))
    with explained() as plans, unit_of_work() as session:
        found = find(session, control_id="refused 1")
        received_messages.list_open(session, 10)
        received_messages.count_open(session, 100)
        received_messages.count_repeat(session, found.id)
        received_messages.settle(session, found.id, "Dr. Adams")
        received_messages.remove_old(session, 7)
    assert len(plans) >= 7
    walked = [
        statement
        for statement, plan in plans
        for node in nodes(plan)
        if node["Node Type"].endswith("Seq Scan")
    ]
    assert not walked


def test_several_processes_make_one_key_that_only_its_user_reads(data_dir):
    sealed = []
    threads = [
        threading.Thread(target=lambda: sealed.append(message_keys.encrypt(b"content")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    file = data_dir / message_keys.KEY_FILE
    assert [message_keys.decrypt(token) for token in sealed] == [b"content"] * 8
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away")
def test_a_key_that_root_makes_belongs_to_the_user_of_the_films(data_dir):
    os.chown(data_dir / "blobs", 65534, 65534)
    message_keys.encrypt(b"content")
    file = data_dir / message_keys.KEY_FILE
    assert (file.stat().st_uid, file.parent.stat().st_uid) == (65534, 65534)
    assert data_dir.stat().st_uid == 0


def test_keys_of_the_setting_can_be_changed_for_new_ones(data_dir, setting):
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    setting(message_key=old)
    sealed = message_keys.encrypt(b"content")
    setting(message_key=f"{new}, {old}")
    assert message_keys.decrypt(sealed) == b"content"
    setting(message_key=new)
    with pytest.raises(SettingsError, match="NIGHTDRAFT_MESSAGE_KEY"):
        message_keys.decrypt(sealed)
    setting(message_key="secret")
    with pytest.raises(SettingsError, match="openssl rand -base64 32") as error:
        message_keys.encrypt(b"content")
    assert "secret" not in str(error.value)


def test_a_folder_that_cannot_be_written_is_named(data_dir):
    (data_dir / "keys").write_text("")
    with pytest.raises(PartError, match=r"keys/messages\.key"):
        message_keys.encrypt(b"content")


def test_a_message_is_of_the_site_of_its_sender(database, data_dir):
    north, south = make_site("north", senders=["RIS|HOSPITAL"]), make_site("south")
    with unit_of_work() as session:
        own = keep(session)
        kept = AcceptedMessage("RIS|OTHER", "9", "ORM^O01", "P", "d")
        (unknown,) = received_messages.keep_accepted(session, Origin.HL7, "AA", [kept])
    with site_scope.limited_to([north]), unit_of_work() as session:
        assert [row.id for row in received_messages.read_page(session).messages] == [own]
        assert [row.id for row in received_messages.list_open(session, 9)] == [own]
        assert received_messages.get_message(session, own).sender == "RIS|HOSPITAL"
        with pytest.raises(NotFound):
            received_messages.get_message(session, unknown)
    with site_scope.limited_to([south]), unit_of_work() as session:
        assert received_messages.read_page(session).messages == []
        assert received_messages.list_open(session, 9) == []
        assert received_messages.count_open(session, 9) == (0, None)
        for ask in (
            lambda: received_messages.get_message(session, own),
            lambda: received_messages.settle(session, own, "Dr. Roe"),
        ):
            with pytest.raises(NotFound):
                ask()
    with unit_of_work() as session:
        assert len(received_messages.read_page(session).messages) == 2
        assert received_messages.count_open(session, 9)[0] == 1

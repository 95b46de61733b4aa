"""The trail is sealed and sent by the sweep's process; rsyslog takes the messages over TLS."""

import json
import re
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import select, text

from records.actors import Actor, acting_as
from records.audit import heads, trail
from records.audit.status import read_status
from records.audit.verifying import verify
from records.database.audit_tables import AuditDelivery, AuditEntry, AuditSeal
from records.database.operation_tables import Alarm
from records.database.session import engine, unit_of_work
from records.settings import settings
from records.states import ActorKind, AuditAction, EventKind
from records.workflow import events
from tests.integration.records.audit.test_messages import check
from tests.support.audit_servers import audit_server, make_certificates
from tests.support.registered_studies import new_instance, register
from tests.support.waiting import eventually
from worker.trail_keeper import seal_due, send_due, trail_keeper

ANA = Actor(ActorKind.ACCOUNT, "ana", "17", "10.0.0.7")


@pytest.fixture(autouse=True)
def _folders(database, data_dir):
    """A fresh database, and a folder for the heads."""


@pytest.fixture
def server(tmp_path, setting):
    with audit_server(tmp_path) as server:
        setting(trail_server=f"localhost:{server.port}", trail_server_ca_file=tmp_path / "ca.pem")
        yield server


def look(detail="a study"):
    """Ana looks at a study, and releases it."""
    (done,) = register(new_instance(f"1.2.{abs(hash(detail)) % 10**6}"))
    with acting_as(ANA), unit_of_work() as session:
        trail.record(session, AuditAction.VIEW, study_ids=[done.study_id], detail=detail)
        events.append_event(session, done.study_id, EventKind.RELEASED, "by hand")


def open_alarms():
    with unit_of_work() as session:
        rows = session.scalars(select(Alarm).where(Alarm.closed_at.is_(None)))
        return [(row.kind, row.part) for row in rows]


def count_alarms():
    with unit_of_work() as session:
        return len(session.scalars(select(Alarm)).all())


def count_entries():
    with unit_of_work() as session:
        return len(session.scalars(select(AuditEntry)).all())


def pause_is_over():
    with engine().begin() as connection:
        connection.execute(text("UPDATE audit_deliveries SET next_at = now()"))


def audit_messages(server):
    return [words for _, message_id, words in server.received() if message_id == "IHE+RFC-3881"]


def test_rsyslog_takes_what_the_schema_allows(server, tmp_path):
    server.start()
    look("first \u6f22\u5b57")
    assert seal_due() > 0
    assert send_due(settings()) == 1
    eventually(lambda: len(server.received()) == 3)
    assert {priority for priority, _, _ in server.received()} == {"85"}
    messages = audit_messages(server)
    folder = tmp_path / "messages"
    folder.mkdir()
    assert check(folder, messages) == (0, "")
    codes = [ET.fromstring(message).find(".//EventID").get("csd-code") for message in messages]
    assert codes == ["110103", "110111"]
    assert "P-1" in messages[0]
    assert "first \u6f22\u5b57" in messages[0]
    # The head of the seal went out, too, and verify reads it from the server's own file.
    (head,) = [words for _, name, words in server.received() if name == "NIGHTDRAFT-SEAL"]
    assert json.loads(head)["number"] == 1
    result = verify([server.folder / "received.log"])
    assert result.findings == []
    assert result.heads == 2
    assert send_due(settings()) == 0


def test_a_server_that_is_away_gets_all_of_it_later_and_opens_one_alarm(server):
    for number in range(3):
        look(f"look {number}")
        seal_due()
    entries = count_entries()
    for attempt in range(4):
        assert send_due(settings()) == 0
        assert open_alarms() == ([] if attempt == 0 else [("AUDIT_AWAY", "audit server")])
        assert send_due(settings()) == 0  # the pause is kept
        with unit_of_work() as session:
            kept = session.scalars(select(AuditDelivery)).one()
            assert (kept.sent_seal, kept.attempts) == (0, attempt + 1)
        pause_is_over()
    with unit_of_work() as session:
        (waiting,) = read_status(session).deliveries
        rows = sum(session.scalars(select(AuditSeal.row_count)))
    assert waiting.waiting == rows
    assert "cannot be reached" in waiting.error
    server.start()
    assert send_due(settings()) == 3
    assert open_alarms() == []
    assert count_alarms() == 1
    eventually(lambda: len(audit_messages(server)) == 6)
    found = [re.search(r"look \d", words)[0] for words in audit_messages(server) if "look" in words]
    assert found == ["look 0", "look 1", "look 2"]
    assert count_entries() == entries  # sending is not itself an entry


def test_a_server_that_comes_back_is_found_again(server):
    server.start()
    look("first")
    seal_due()
    assert send_due(settings()) == 1
    server.stop()
    look("second")
    seal_due()
    assert send_due(settings()) == 0
    server.start()
    pause_is_over()
    assert send_due(settings()) == 1
    eventually(lambda: len(audit_messages(server)) == 4)


def test_a_server_with_a_foreign_certificate_gets_nothing(server, setting, tmp_path):
    server.start()
    other = tmp_path / "other"
    other.mkdir()
    make_certificates(other)
    setting(trail_server_ca_file=other / "ca.pem")
    look()
    seal_due()
    assert send_due(settings()) == 0
    with unit_of_work() as session:
        assert "is not trusted" in session.scalars(select(AuditDelivery)).one().error
    setting(trail_server=f"127.0.0.1:{server.port}", trail_server_ca_file=tmp_path / "ca.pem")
    assert send_due(settings()) == 0  # the certificate is for another name
    assert server.received() == []


def test_our_certificate_is_shown_where_one_is_set(tmp_path, setting):
    with audit_server(tmp_path, client_certificates=True) as server:
        server.start()
        setting(
            trail_server=f"localhost:{server.port}",
            trail_server_ca_file=tmp_path / "ca.pem",
            trail_server_cert_file=tmp_path / "client.pem",
            trail_server_key_file=tmp_path / "client.key",
        )
        look()
        seal_due()
        assert send_due(settings()) == 1
        eventually(lambda: len(audit_messages(server)) == 2)


def test_a_lost_key_opens_an_alarm_and_its_return_closes_it(tmp_path, setting, trail_key_file):
    look()
    seal_due()
    setting(trail_key_file=tmp_path / "another")
    assert seal_due() == 0
    assert open_alarms() == [("TRAIL_UNSEALED", "trail")]
    setting(trail_key_file=trail_key_file)
    seal_due()
    assert open_alarms() == []


def test_heads_that_do_not_go_on_open_an_alarm():
    look()
    seal_due()
    heads.head_file().write_text('{"number":1,"seal":"another","at":""}\n')
    look("more")
    seal_due()
    assert open_alarms() == [("TRAIL_UNSEALED", "trail")]


def test_the_thread_seals_and_sends(server, setting):
    server.start()
    setting(trail_seal_seconds=0.1)
    with trail_keeper():
        look()
        eventually(lambda: len(audit_messages(server)) == 2)
    assert verify().findings == []

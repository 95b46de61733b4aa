"""A part that starts with other settings than before is in the trail, without the values."""

import pytest
from sqlalchemy import select, text

from records.audit.setting_changes import note_settings
from records.database.audit_tables import AuditEntry
from records.database.session import engine, unit_of_work
from records.operations.heartbeats import HeartbeatThread
from records.settings import settings
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("database")


def note(part="api"):
    with unit_of_work() as session:
        return note_settings(session, part, settings())


def entries():
    with unit_of_work() as session:
        return session.scalars(select(AuditEntry)).all()


def test_what_differs_is_named_and_no_value_is_kept(setting):
    assert note() == []
    assert note() == []
    setting(quiet_seconds=77, alarm_webhook_secret="a-secret-of-sixteen-letters")
    assert note() == ["alarm_webhook_secret", "quiet_seconds"]
    assert note() == []
    assert note("sweep") == []  # its first start
    (entry,) = entries()
    assert (entry.action, entry.actor_kind, entry.actor_name) == ("SETTING", "PART", "api")
    assert "NIGHTDRAFT_ALARM_WEBHOOK_SECRET, NIGHTDRAFT_QUIET_SECONDS" in entry.detail
    with engine().connect() as connection:
        kept = connection.execute(text("SELECT digests::text FROM audit_settings")).scalars()
        assert not any(value == "77" or "a-secret" in value for value in kept)


def test_a_part_notes_them_with_its_first_heartbeat(setting):
    note("sweep")
    setting(quiet_seconds=77)
    with HeartbeatThread("sweep", dict, seconds=0.01):
        eventually(entries)
    assert len(entries()) == 1
    assert "NIGHTDRAFT_QUIET_SECONDS" in entries()[0].detail

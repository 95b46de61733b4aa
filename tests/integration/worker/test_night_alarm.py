"""The alarm that the night is too short, and the summary of a night as a message."""

import datetime as dt

import pytest
from sqlalchemy import text

from records.alarm_kinds import AlarmKind, MessageEvent
from records.database.session import unit_of_work
from records.operations import alarms, heartbeats, night_summaries
from records.settings import settings
from records.states import FailReason, Stage, WorkKind
from records.workflow import attempts
from tests.support.nights import let_it_be_night
from tests.support.registered_studies import (
    claim,
    complete,
    draft_all,
    new_instance,
    prepare,
    save,
)
from tests.support.seeded_studies import seed_heartbeats
from tests.support.smtp_receiver import SmtpReceiver
from tests.support.webhook_receiver import SECRET, WebhookReceiver
from tests.support.work_counts import add_work
from worker.alarm_sender import send_due
from worker.night_alarm import LOOK_SECONDS, NightAlarm
from worker.sweep import sweep

MINUTES = 10


class Watch:
    """The alarm on a clock that the test moves."""

    def __init__(self):
        self.now = 1000.0
        self.alarm = NightAlarm(lambda: self.now)

    def look(self, minutes=0.0):
        """Look again and again for so long."""
        end = self.now + 60 * minutes
        self.alarm.settle()
        while self.now < end:
            self.now += LOOK_SECONDS
            self.alarm.settle()


@pytest.fixture
def watch(database, data_dir, setting):
    let_it_be_night(setting, hours=1)
    seed_heartbeats("listener", "sweep", "prepare", "draft")
    return Watch()


def open_alarms():
    with unit_of_work() as session:
        return [(alarm.kind, alarm.cause) for alarm in alarms.open_alarms(session)]


def age_drafts():
    """Let no draft be of the last minutes."""
    with unit_of_work() as session:
        session.execute(text("ALTER TABLE drafts DISABLE TRIGGER USER"))
        session.execute(text("UPDATE drafts SET created_at = created_at - interval '1 hour'"))
        session.execute(text("ALTER TABLE drafts ENABLE TRIGGER USER"))


def be_slow(prefix, to_do=90):
    """One study was drafted in the last minute, and many wait."""
    complete(new_instance(f"{prefix}.1"))
    draft(1)
    complete(*(new_instance(f"{prefix}.2.{number}") for number in range(to_do)))


def be_fast(prefix):
    """Twenty studies were drafted in the last minute, and as many came."""
    complete(*(new_instance(f"{prefix}.{number}") for number in range(20)))
    draft(20)


def draft(number):
    for lease in claim(Stage.PREPARE, limit=number):
        prepare(lease)
    for lease in claim(Stage.DRAFT, limit=number):
        save(lease)


def test_it_opens_when_the_pace_has_been_too_slow_for_long_and_closes_when_it_is_not(watch):
    be_slow("1")
    watch.look(MINUTES - 1)
    assert open_alarms() == []
    watch.look(1)
    ((kind, cause),) = open_alarms()
    assert kind == AlarmKind.NIGHT_LATE
    assert cause.startswith("90 studies are to be drafted. At 1 a minute all are drafted at")
    be_fast("2")
    watch.look(MINUTES - 1)
    assert len(open_alarms()) == 1
    watch.look(1 + LOOK_SECONDS / 60)
    assert open_alarms() == []


def test_a_pace_that_wavers_rings_once(watch):
    be_slow("1")
    watch.look(MINUTES)
    assert len(open_alarms()) == 1
    with unit_of_work() as session:
        first = alarms.list_newest(session, 10)
    for round_ in range(3):
        be_fast(f"3.{round_}")
        watch.look(MINUTES / 2)
        age_drafts()
        be_slow(f"4.{round_}", 1)
        watch.look(MINUTES / 2)
    with unit_of_work() as session:
        assert [alarm.id for alarm in alarms.list_newest(session, 10)] == [first[0].id]
    assert len(open_alarms()) == 1


def test_a_short_slowness_rings_not_at_all(watch):
    for round_ in range(3):
        age_drafts()
        be_slow(f"1.{round_}")
        watch.look(MINUTES / 2)
        be_fast(f"2.{round_}")
        watch.look(LOOK_SECONDS / 60)
    with unit_of_work() as session:
        assert alarms.list_newest(session, 10) == []


def test_it_closes_when_the_night_is_over(watch, setting):
    be_slow("1")
    watch.look(MINUTES)
    assert len(open_alarms()) == 1
    now = dt.datetime.now(dt.UTC)
    begin, end = now + dt.timedelta(hours=2), now + dt.timedelta(hours=3)
    setting(night_hours=f"{begin:%H}:00-{end:%H}:00")
    watch.look(1)
    assert open_alarms() == []
    watch.look(2 * MINUTES)  # by day it does not open
    assert open_alarms() == []


def test_it_closes_when_nothing_is_left(watch):
    be_slow("1")
    watch.look(MINUTES)
    assert len(open_alarms()) == 1
    while draft_all():
        pass
    watch.look(1)
    assert open_alarms() == []


def test_a_part_that_is_down_rings_by_its_own_alarm_alone(watch):
    complete(new_instance("1.1"))
    with unit_of_work() as session:
        heartbeats.end_heartbeat(session, "draft")
        alarms.raise_alarm(session, AlarmKind.PART_MISSING, "part draft", "It is not there.")
    watch.look(2 * MINUTES)
    assert [kind for kind, _ in open_alarms()] == ["PART_MISSING"]


def test_work_that_stands_still_without_an_alarm_about_that_rings(watch):
    complete(new_instance("1.1"))
    with unit_of_work() as session:
        alarms.raise_alarm(session, AlarmKind.MESSAGES_REFUSED, "messages by HL7", "Many.")
    watch.look(MINUTES)
    _, (kind, cause) = open_alarms()
    assert kind == AlarmKind.NIGHT_LATE
    assert "None was drafted in the last 10 minutes" in cause


def test_it_can_be_switched_off(watch, setting):
    setting(night_late_minutes=0)
    be_slow("1")
    watch.look(3 * MINUTES)
    assert open_alarms() == []


@pytest.fixture
def webhook(database, setting):
    with WebhookReceiver() as receiver:
        setting(alarm_webhook_url=receiver.url, alarm_webhook_secret=SECRET)
        yield receiver


@pytest.fixture
def mail(database, setting):
    with SmtpReceiver() as receiver:
        setting(
            smtp_host="127.0.0.1",
            smtp_port=receiver.port,
            smtp_security="none",
            alarm_mail_to="oncall@hospital.example",
        )
        yield receiver


def test_one_message_says_that_it_begins_and_one_that_it_ends(watch, webhook, mail, setting):
    setting(alarm_gather_seconds=0)
    be_slow("1")
    watch.look(MINUTES)
    assert send_due() == 2
    be_fast("2")
    watch.look(MINUTES + LOOK_SECONDS / 60)
    assert send_due() == 2
    assert send_due() == 0
    assert [message["event"] for message in webhook.messages] == ["START", "END"]
    assert {alarm["kind"] for message in webhook.messages for alarm in message["alarms"]} == {
        "NIGHT_LATE"
    }
    start, end = mail.mails
    assert start["Subject"] == "Nightdraft: The night is too short for what is to be drafted"
    assert end["In-Reply-To"] == start["Message-ID"]
    assert "PHANTOM" not in str(webhook.bodies) + start.as_string() + end.as_string()


def sum_up(setting):
    """A night that is over, with work and with a study that waits."""
    now = dt.datetime.now(dt.UTC)
    quarter = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
    begin, end = quarter - dt.timedelta(hours=6), quarter - dt.timedelta(hours=1)
    setting(time_zone="UTC", night_hours=f"{begin:%H:%M}-{end:%H:%M}")
    add_work(begin, WorkKind.DRAFTED, 250, worker="draft@gpu-1")
    add_work(begin, WorkKind.SKIPPED, 3, reason="not_chest")
    complete(new_instance("1.1"), new_instance("1.2"))
    (lease,) = claim(limit=1)
    with unit_of_work() as session:
        attempts.fail(session, lease, FailReason.UNREADABLE, "-", max_attempts=1, retry_seconds=0)
    return begin.date()


def test_the_summary_is_sent_once_by_each_channel(webhook, mail, broker, data_dir, setting):
    setting(morning_messages=True)
    night = sum_up(setting)
    for _ in range(3):
        sweep()
        send_due()
    (message,) = webhook.messages
    assert message["event"] == MessageEvent.SUMMARY
    assert message["night"]["drafted"] == 250
    assert message["night"]["skipped"] == {"not_chest": 3}
    assert message["night"]["waiting"] == 1
    assert message["page"] == f"http://127.0.0.1:8080/nights/{night}"
    (letter,) = mail.mails
    assert letter["Subject"] == f"Nightdraft: night of {night}: 250 drafted, 3 skipped, 0 failed"
    body = letter.get_content()
    assert "Drafted: 250" in body
    assert "Skipped, not for this model: 3 (not chest 3)" in body
    assert "Pace: 50 drafts an hour; there is no night before" in body
    assert message["page"] in body
    assert "PHANTOM" not in str(webhook.bodies) + letter.as_string()
    with unit_of_work() as session:
        assert night_summaries.read_night(session).row.night == night


def test_no_summary_is_sent_unless_a_site_wants_it(webhook, broker, data_dir, setting):
    sum_up(setting)
    sweep()
    assert send_due() == 0
    with unit_of_work() as session:
        assert night_summaries.read_night(session).row.drafted == 250


def test_a_summary_that_no_server_took_is_tried_again(database, broker, data_dir, setting):
    with WebhookReceiver(503) as receiver:
        setting(alarm_webhook_url=receiver.url, alarm_webhook_secret=SECRET, morning_messages=True)
        sum_up(setting)
        sweep()
        assert send_due() == 0
        with unit_of_work() as session:
            session.execute(text("UPDATE alarm_messages SET due_at = now()"))
        assert send_due() == 1
        assert [message["event"] for message in receiver.messages] == ["SUMMARY"]


def test_a_summary_that_was_made_before_messages_were_wanted_is_not_sent_later(
    webhook, broker, data_dir, setting
):
    sum_up(setting)
    sweep()
    setting(morning_messages=True)
    sweep()
    assert send_due() == 0
    assert settings().morning_messages

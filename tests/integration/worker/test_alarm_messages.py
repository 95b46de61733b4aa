"""Messages about alarms: what is pushed, to whom, how often, and what they never hold."""

import datetime as dt
import threading
import time

import pytest
from sqlalchemy import text

from records.alarm_kinds import AlarmKind, MessageEvent
from records.database.session import unit_of_work
from records.errors import WorkerSick, safe_text
from records.operations import alarms
from records.operations.troubles import (
    ALARM_AFTER_ATTEMPTS,
    CLAIM_SECONDS,
    GIVE_UP_SECONDS,
    claim_message,
    list_history,
    update_troubles,
)
from records.settings import settings
from records.states import Stage
from tests.support.registered_studies import complete, new_instance
from tests.support.smtp_receiver import PASSWORD, USER, SmtpReceiver, make_certificate
from tests.support.waiting import eventually
from tests.support.webhook_receiver import SECRET, WebhookReceiver
from worker import alarm_channels
from worker.alarm_channels import NotSent, signature
from worker.alarm_messages import describe_test, without_identifiers
from worker.alarm_sender import send_due
from worker.circuit_breaker import CircuitBreaker

START, END = MessageEvent.START, MessageEvent.END


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def webhook(database, setting):
    with WebhookReceiver() as receiver:
        setting(alarm_webhook_url=receiver.url, alarm_webhook_secret=SECRET)
        yield receiver


@pytest.fixture
def use_mail(setting, certificate):
    def use(receiver, **values):
        setting(
            **{
                "smtp_host": "127.0.0.1",
                "smtp_port": receiver.port,
                "smtp_security": receiver.security,
                "alarm_mail_to": "oncall@hospital.example, it@hospital.example",
                "alarm_ca_file": certificate[0],
            }
            | ({"smtp_user": USER, "smtp_password": PASSWORD} if receiver.context else {})
            | values
        )

    return use


def open_alarm(part="listener", kind=AlarmKind.DISK_FULL, cause="480 MB are free."):
    with unit_of_work() as session:
        alarms.raise_alarm(session, kind, part, cause)


def close_alarm(part="listener"):
    with unit_of_work() as session:
        alarms.close_alarms(session, part)


def let_pass(seconds):
    """Make alarms and messages so many seconds older."""
    columns = {
        "alarms": ("opened_at", "closed_at"),
        "alarm_messages": ("created_at", "due_at"),
    }
    with unit_of_work() as session:
        for table, names in columns.items():
            changes = ", ".join(f"{name} = {name} - make_interval(secs => :s)" for name in names)
            session.execute(text(f"UPDATE {table} SET {changes}"), {"s": seconds})


def events(receiver):
    return [(message["event"], len(message["alarms"])) for message in receiver.messages]


def test_a_trouble_is_one_message_at_its_start_and_one_at_its_end(webhook):
    open_alarm()
    assert send_due() == 0  # others may open with it
    let_pass(20)
    open_alarm("films", AlarmKind.FILES_DAMAGED, "Stored files are gone.")
    let_pass(15)
    assert send_due() == 1
    assert send_due() == 0
    assert events(webhook) == [(START, 2)]
    close_alarm()
    let_pass(60)
    assert send_due() == 0  # one of its alarms is still open
    close_alarm("films")
    assert send_due() == 0
    let_pass(60)
    assert send_due() == 1
    assert send_due() == 0
    assert events(webhook) == [(START, 2), (END, 2)]
    start, end = webhook.messages
    assert start["trouble"] == end["trouble"]
    assert start["message"] != end["message"]
    assert start["ended_at"] is None
    assert end["ended_at"]
    disk, films = start["alarms"]
    assert disk["kind"] == "DISK_FULL"
    assert disk["cause"] == "480 MB are free."
    assert disk["remedy"].startswith("Make room")
    assert disk["runbook"] == "http://127.0.0.1:8080/runbook#disk_full"
    assert "Stored films are damaged: films" in start["text"]
    assert films["closed_at"] is None


def test_a_link_begins_with_the_address_of_the_pages(webhook, setting):
    setting(pages_url="https://nightdraft.hospital.example/")
    open_alarm()
    let_pass(60)
    send_due()
    (alarm,) = webhook.messages[0]["alarms"]
    assert alarm["runbook"] == "https://nightdraft.hospital.example/runbook#disk_full"


def test_what_is_over_before_its_message_is_not_told_and_what_comes_back_is_not_told_twice(
    webhook,
):
    open_alarm()
    close_alarm()
    let_pass(60)
    assert send_due() == 0
    for _ in range(5):  # it opens and closes all the time, as one trouble
        open_alarm()
        let_pass(40)
        send_due()
        close_alarm()
        let_pass(10)
        send_due()
    assert events(webhook) == [(START, 1)]
    let_pass(60)
    assert send_due() == 1
    assert events(webhook)[1][0] == END
    open_alarm()
    let_pass(60)
    assert send_due() == 1
    assert events(webhook)[2] == (START, 1)


def test_a_message_is_sent_once_although_several_processes_send(webhook):
    for number in range(4):
        open_alarm(f"part {number}", AlarmKind.PART_MISSING)
    let_pass(60)
    begin = threading.Barrier(6)

    def send():
        begin.wait()
        send_due()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event for event, _ in events(webhook)] == [START]


def test_a_message_whose_sender_died_is_sent_by_another(webhook):
    open_alarm()
    let_pass(60)
    channels = alarm_channels.configured_channels(settings())
    with unit_of_work() as session:
        update_troubles(session, 30, channels)
    with unit_of_work() as session:
        assert claim_message(session, channels) is not None  # and then its process is killed
    assert send_due() == 0
    let_pass(CLAIM_SECONDS + 1)
    assert send_due() == 1


def test_what_failed_is_tried_later_and_later_and_the_end_waits_for_the_start(webhook):
    webhook.answers = [500] * (ALARM_AFTER_ATTEMPTS + 1)
    open_alarm()
    let_pass(60)
    assert send_due() == 0
    assert send_due() == 0
    assert webhook.attempts == 1  # not again at once
    close_alarm()
    let_pass(31)
    send_due()
    assert webhook.attempts == 2
    let_pass(31)
    send_due()
    assert webhook.attempts == 2
    let_pass(31)
    send_due()
    assert webhook.attempts == ALARM_AFTER_ATTEMPTS
    with unit_of_work() as session:
        (alarm,) = alarms.open_alarms(session)
        history = list_history(session, 10)
    assert alarm.kind == AlarmKind.MESSAGES_FAIL
    assert "answered 500" in alarm.cause
    assert [m.event for m in history[-1].messages] == [START, END]
    for _ in range(2):
        let_pass(600)
        send_due()
    # Both are there in order, and the alarm about messages was closed and not pushed itself.
    assert events(webhook) == [(START, 1), (END, 1)]
    with unit_of_work() as session:
        assert not alarms.open_alarms(session)


def test_a_message_that_fails_for_a_day_is_given_up(webhook):
    webhook.answers = [503] * 100
    open_alarm()
    let_pass(60)
    send_due()
    let_pass(GIVE_UP_SECONDS)
    send_due()
    close_alarm()
    let_pass(GIVE_UP_SECONDS)
    assert send_due() == 0
    assert webhook.attempts == 2
    with unit_of_work() as session:
        (message,) = list_history(session, 1)[0].messages
    assert message.given_up_at


def test_nothing_is_kept_for_a_channel_that_is_set_up_later(database, setting):
    open_alarm()
    let_pass(60)
    assert send_due() == 0
    with WebhookReceiver() as receiver:
        setting(alarm_webhook_url=receiver.url, alarm_webhook_secret=SECRET)
        assert send_due() == 0
        close_alarm()
        let_pass(60)
        assert send_due() == 0
        assert receiver.messages == []


def test_a_receiver_can_refuse_what_is_altered_or_old():
    with WebhookReceiver() as receiver:
        now = str(int(time.time()))

        def status(timestamp, signed, body):
            headers = {
                "X-Nightdraft-Timestamp": timestamp,
                "X-Nightdraft-Signature": signature(SECRET, now, signed),
            }
            return receiver.take(headers, body)

        assert status(now, b"{}", b"{}") == 204
        assert status(now, b"{}", b"[]") == 401
        assert status(str(int(now) + 1), b"{}", b"{}") == 401
        old = "1000000000"
        headers = {
            "X-Nightdraft-Timestamp": old,
            "X-Nightdraft-Signature": signature(SECRET, old, b"{}"),
        }
        assert receiver.take(headers, b"{}") == 401


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mails_go_encrypted_with_a_login_and_the_end_answers_the_start(
    database, certificate, use_mail, security
):
    with SmtpReceiver(certificate, security) as receiver:
        use_mail(receiver)
        open_alarm()
        open_alarm("films", AlarmKind.FILES_DAMAGED, "Stored files are gone.")
        let_pass(60)
        assert send_due() == 1
        with unit_of_work() as session:
            alarms.close_alarms(session)
        let_pass(60)
        assert send_due() == 1
        start, end = receiver.mails
        assert receiver.logins == [(USER, True)] * 2
    assert start["Subject"] == "Nightdraft: The disk is full (and 1 more)"
    assert end["Subject"] == "Nightdraft: over: The disk is full (and 1 more)"
    assert start["To"] == "oncall@hospital.example, it@hospital.example"
    assert end["In-Reply-To"] == start["Message-ID"]
    assert start["Auto-Submitted"] == "auto-generated"
    body = start.get_content()
    assert "480 MB are free." in body
    assert "What to do: Make room" in body
    assert "/runbook#disk_full" in body


def test_a_mail_without_login_and_tls_goes_where_the_server_asks_for_neither(database, use_mail):
    with SmtpReceiver(refused=frozenset({"it@hospital.example"})) as receiver:
        use_mail(receiver, alarm_ca_file="")
        assert "refused 1 addresses" in send_test()
        assert len(receiver.mails) == 1


@pytest.mark.parametrize(
    ("values", "refused", "message"),
    [
        ({"smtp_password": "wrong-password"}, (), r"refuses the login \(535\)"),
        ({"alarm_ca_file": ""}, (), "signed by itself and is not trusted"),
        ({"alarm_ca_file": "/nowhere.pem"}, (), "NIGHTDRAFT_ALARM_CA_FILE: .* cannot be used"),
        ({"smtp_port": 1}, (), "cannot be reached"),
        ({}, ("oncall@hospital.example", "it@hospital.example"), "refuses every address"),
    ],
)
def test_a_mail_that_cannot_be_sent_says_why_without_the_password(
    certificate, use_mail, values, refused, message
):
    with SmtpReceiver(certificate, "starttls", frozenset(refused)) as receiver:
        use_mail(receiver, **values)
        with pytest.raises(NotSent, match=message) as failed:
            send_test()
        assert receiver.mails == []
    assert "password" not in str(failed.value)


def test_no_password_goes_to_a_server_without_starttls(use_mail):
    with SmtpReceiver() as receiver:
        use_mail(receiver, smtp_security="starttls", smtp_user=USER, smtp_password=PASSWORD)
        with pytest.raises(NotSent, match="took no mail"):
            send_test()
        assert receiver.logins == []


def send_test():
    config = settings()
    (channel,) = alarm_channels.configured_channels(config)
    return alarm_channels.send(channel, describe_test(dt.datetime.now(dt.UTC)), config)


@pytest.mark.parametrize("status", [302, 404])
def test_a_webhook_that_does_not_take_a_message_is_named_by_its_host_alone(setting, status):
    with WebhookReceiver(status) as receiver:
        setting(alarm_webhook_url=receiver.url, alarm_webhook_secret=SECRET)
        with pytest.raises(NotSent, match=f"127.0.0.1 answered {status}") as failed:
            send_test()
    assert "token" not in str(failed.value)


def test_no_message_holds_a_patient(webhook, certificate, use_mail):
    """A worker stops itself on errors of a library that quote the patient and the study."""
    name, accession, uid = "DOE^PLANTED", "ACC20261124", "1.2.826.0.1.3680043.9.7"
    studies = complete(*[new_instance(f"{uid}.{number}") for number in range(3)])
    assert len(studies) == 3
    breaker = CircuitBreaker(Stage.DRAFT)

    def fail_all(requests):
        for request in requests:
            try:
                raise ValueError(f"{name} {accession} {uid}")
            except ValueError as error:
                breaker.record_failure(request, safe_text(error))

    with unit_of_work() as session:
        ids = list(session.execute(text("SELECT id FROM draft_requests")).scalars())
        alarms.raise_alarm(
            session, AlarmKind.FILES_SET_ASIDE, "lost+found", f"{uid}.4 and 20261124 are there."
        )
    with SmtpReceiver(certificate, "starttls") as receiver:
        use_mail(receiver)
        with pytest.raises(WorkerSick):
            fail_all(ids)
        let_pass(60)
        assert send_due() == 2
        mail = receiver.mails[0].as_string()
    (body,) = webhook.bodies
    assert b"WORKER_STOPPED" in body
    assert "3 different studies" in mail
    for content in (body.decode(), mail):
        for planted in ("PLANTED", accession, uid, "20261124 are"):
            assert planted not in content


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("study 1.2.840.10008.5.1 failed", "study [number left out] failed"),
        ("study 2.25.123456789012345 failed", "study [number left out] failed"),
        ("accession 20261124001", "accession [number left out]"),
        ("PostgreSQL at 10.0.0.7:5432, 480 MB, 3 studies, version 1.2.3", None),
    ],
)
def test_uids_and_long_numbers_are_left_out(sentence, expected):
    assert without_identifiers(sentence) == (expected or sentence)


def test_the_sweeps_process_sends(night, run_part):
    with WebhookReceiver() as receiver:
        night(alarm_webhook_url=receiver.url, alarm_webhook_secret=SECRET, alarm_gather_seconds=0.1)
        sweep = run_part("sweep")
        open_alarm()
        eventually(lambda: events(receiver) == [(START, 1)], 60)
        close_alarm()
        eventually(lambda: len(receiver.messages) == 2, 60)
        assert sweep.end() == 0
    assert events(receiver) == [(START, 1), (END, 1)]

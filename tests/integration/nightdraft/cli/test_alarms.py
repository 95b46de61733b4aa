"""`nightdraft alarms`: what is listed, and a test message that says how it went."""

import json

import pytest
from typer.testing import CliRunner

from nightdraft.cli.main import app
from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.errors import SettingsError
from records.operations import alarms
from tests.support.webhook_receiver import SECRET, WebhookReceiver
from worker.alarm_sender import send_due


def run(*arguments):
    return CliRunner().invoke(app, ["alarms", *arguments], catch_exceptions=False)


def test_alarms_are_listed_with_what_became_of_their_messages(database, setting):
    assert "there were no alarms" in run().output
    with WebhookReceiver(500) as receiver:
        setting(alarm_webhook_url=receiver.url, alarm_webhook_secret=SECRET, alarm_gather_seconds=0)
        with unit_of_work() as session:
            alarms.raise_alarm(session, AlarmKind.FILES_DAMAGED, "films", "Files are gone.")
        send_due()
        with unit_of_work() as session:
            alarms.raise_alarm(session, AlarmKind.DISK_FULL, "listener", "No room.", "Make room.")
            alarms.close_alarms(session, "films")
        send_due()
    output = run().output
    newest, oldest = output.index("DISK_FULL, listener, since"), output.index("FILES_DAMAGED")
    assert newest < oldest
    assert "Make room. (http://127.0.0.1:8080/runbook#disk_full)" in output
    assert "message about the start by webhook: sent" in output
    assert "failed 1 times, next" in output
    (disk, films) = json.loads(run("--json").output)
    assert (disk["closed_at"], disk["messages"][0]["event"]) == (None, "START")
    assert films["closed_at"]
    assert films["messages"][0]["error"].endswith("answered 500")
    assert len(json.loads(run("--json", "--limit", "1").output)) == 1


def test_a_test_message_says_how_it_went_by_each_channel(setting, free_port):
    with WebhookReceiver() as receiver:
        setting(
            alarm_webhook_url=receiver.url,
            alarm_webhook_secret=SECRET,
            alarm_mail_to="a@hospital.example",
            smtp_host="127.0.0.1",
            smtp_port=free_port,
        )
        result = run("test")
        assert [message["event"] for message in receiver.messages] == ["TEST"]
    assert result.exit_code == 1
    assert "webhook: sent, 127.0.0.1 answered 204" in result.output
    assert f"email: NOT SENT, the mail server 127.0.0.1 port {free_port} cannot" in result.output


def test_a_test_message_without_a_channel_names_the_settings(setting):
    with pytest.raises(SettingsError, match="NIGHTDRAFT_ALARM_WEBHOOK_URL"):
        run("test")

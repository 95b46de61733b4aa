"""Messages about alarms: webhooks point where they may, and no password is sent in the open."""

import pytest

from records.errors import SettingsError
from records.settings import read_settings

WEBHOOK = {"alarm_webhook_url": "https://chat.example/hook", "alarm_webhook_secret": "s" * 16}


def test_no_password_goes_over_a_connection_that_is_not_encrypted(monkeypatch):
    monkeypatch.setenv("NIGHTDRAFT_SMTP_SECURITY", "none")
    read_settings(smtp_host="mail.example", alarm_mail_to="a@b.example")
    with pytest.raises(SettingsError, match="NIGHTDRAFT_SMTP_SECURITY: a login needs"):
        read_settings(smtp_user="nightdraft", smtp_password="a-password")
    with pytest.raises(SettingsError, match="ALARM_MAIL_TO: 'b' is no mail address"):
        read_settings(smtp_host="mail.example", alarm_mail_to="a@b.example, b")


@pytest.mark.parametrize(
    "hosts", ["", "chat.example", "other.example, CHAT.example", "chat.example:443"]
)
def test_a_webhook_may_point_to_a_listed_server(hosts):
    assert read_settings(alarm_webhook_hosts=hosts, **WEBHOOK).alarm_webhook_url


@pytest.mark.parametrize(
    "hosts", ["other.example", "example", "chat.example:8443", "hook.chat.example"]
)
def test_a_webhook_that_points_elsewhere_is_refused(hosts):
    with pytest.raises(SettingsError, match="ALARM_WEBHOOK_URL: its server is not one of"):
        read_settings(alarm_webhook_hosts=hosts, **WEBHOOK)

"""Settings: read from the environment, refused by a line that names the variable, documented."""

import pytest

from records.errors import SettingsError
from records.settings import ADVANCED, EVERYDAY, Settings, read_settings
from records.states import Priority
from tests.support.paths import ROOT
from tools.settings_page import settings_page


def test_docs_list_every_setting_as_it_is():
    assert (ROOT / "docs/operate/settings.md").read_text() == settings_page()


def test_every_setting_says_what_it_does_and_is_in_one_table():
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        assert field.json_schema_extra in (EVERYDAY, ADVANCED), name
        assert settings_page().count(f"| `NIGHTDRAFT_{name.upper()}` |") == 1, name


def test_everyday_settings_come_first():
    everyday, advanced = settings_page().split("## Advanced")
    assert "`NIGHTDRAFT_BUNDLE`" in everyday
    assert "`NIGHTDRAFT_LEASE_SECONDS`" in advanced


def test_lists_and_tables_are_written_with_commas(monkeypatch):
    monkeypatch.setenv("NIGHTDRAFT_ALLOWED_CALLERS", "CR1, DX2,")
    monkeypatch.setenv("NIGHTDRAFT_CALLER_PRIORITIES", "ED_CR=STAT, ICU = urgent")
    settings = read_settings()
    assert settings.allowed_callers == ("CR1", "DX2")
    assert settings.caller_priorities == {"ED_CR": Priority.STAT, "ICU": Priority.URGENT}


def test_an_option_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("NIGHTDRAFT_LISTEN_PORT", "104")
    assert read_settings(listen_port=11113).listen_port == 11113
    assert read_settings(listen_port=None).listen_port == 104


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LISTEN_PORT", "99999"),
        ("LISTEN_PORT", "many"),
        ("PRIORITY", "SOON"),
        ("CALLER_PRIORITIES", "ED_CR"),
        ("CALLER_PRIORITIES", "ED_CR=SOON"),
        ("UNKNOWN_CHEST", "perhaps"),
        ("AE_TITLE", "A_TITLE_THAT_IS_TOO_LONG"),
        ("MAX_ATTEMPTS", "0"),
        ("LEASE_SECONDS", "-1"),
        ("PAGES_URL", "nightdraft.example"),
        ("ALARM_WEBHOOK_URL", "file:///etc/passwd"),
        ("ALARM_WEBHOOK_URL", "https://chat.example/hook"),  # nothing to sign with
        ("ALARM_MAIL_TO", "a@hospital.example"),  # no server
    ],
)
def test_a_wrong_value_is_named(monkeypatch, name, value):
    monkeypatch.setenv(f"NIGHTDRAFT_{name}", value)
    with pytest.raises(SettingsError, match=f"NIGHTDRAFT_{name}: ") as caught:
        read_settings()
    assert "\n" not in str(caught.value)


def test_secrets_are_not_shown_by_accident():
    settings = read_settings(
        alarm_webhook_secret="a-secret-to-sign-with", smtp_password="a-password"
    )
    assert "a-secret" not in repr(settings)
    assert "a-password" not in repr(settings)

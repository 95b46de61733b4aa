"""Settings: read from the environment, refused by a line that names the variable, documented."""

import socket
from pathlib import Path

import pytest

from records.errors import SettingsError
from records.settings import (
    ADVANCED,
    EVERYDAY,
    Settings,
    default_data_dir,
    read_settings,
)
from records.states import Priority
from tests.support.paths import ROOT
from tools.settings_page import settings_page


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"NIGHTDRAFT_{name.upper()}", raising=False)


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


def test_no_password_goes_over_a_connection_that_is_not_encrypted(monkeypatch):
    monkeypatch.setenv("NIGHTDRAFT_SMTP_SECURITY", "none")
    read_settings(smtp_host="mail.example", alarm_mail_to="a@b.example")
    with pytest.raises(SettingsError, match="NIGHTDRAFT_SMTP_SECURITY: a login needs"):
        read_settings(smtp_user="nightdraft", smtp_password="a-password")
    with pytest.raises(SettingsError, match="ALARM_MAIL_TO: 'b' is no mail address"):
        read_settings(smtp_host="mail.example", alarm_mail_to="a@b.example, b")


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"serve_host": "::1", "serve_port": 81}, "http://[::1]:81"),
        ({"serve_host": "0.0.0.0"}, f"http://{socket.gethostname()}:8080"),
        ({"pages_url": "https://drafts.hospital.example/"}, "https://drafts.hospital.example"),
    ],
)
def test_links_begin_with_the_address_of_the_pages(values, address):
    assert read_settings(**values).pages_address() == address


def test_secrets_are_not_shown_by_accident():
    settings = read_settings(
        alarm_webhook_secret="a-secret-to-sign-with", smtp_password="a-password"
    )
    assert "a-secret" not in repr(settings)
    assert "a-password" not in repr(settings)


def test_no_address_says_what_to_set(tmp_path):
    with pytest.raises(SettingsError, match=r"NIGHTDRAFT_REDIS_URL.*nightdraft station"):
        read_settings(data_dir=tmp_path).address("redis_url")


def test_a_running_station_is_found_by_its_data_folder(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/addresses.json").write_text('{"redis_url": "redis://127.0.0.1:1/0"}')
    assert read_settings(data_dir=tmp_path).address("redis_url") == "redis://127.0.0.1:1/0"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_database_addresses_name_the_driver(scheme):
    settings = read_settings(database_url=f"{scheme}://u:p@h/n")
    assert settings.address("database_url") == "postgresql+psycopg2://u:p@h/n"


def test_another_database_is_refused():
    with pytest.raises(SettingsError, match="postgresql://"):
        read_settings(database_url="mysql://h/n").address("database_url")


def test_the_data_folder_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / "nightdraft"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_data_dir() == Path("/var/lib/nightdraft")


def test_the_trust_in_view_positions(monkeypatch):
    monkeypatch.setenv("NIGHTDRAFT_VIEW_POSITION_TRUST", "DigitalDiagnost=Always, CR-IR 359=never")
    trust = read_settings().view_position_trust
    assert trust == {"DigitalDiagnost": "always", "CR-IR 359": "never"}
    for wrong in ("DigitalDiagnost", "DigitalDiagnost=sometimes"):
        monkeypatch.setenv("NIGHTDRAFT_VIEW_POSITION_TRUST", wrong)
        with pytest.raises(SettingsError, match="VIEW_POSITION_TRUST"):
            read_settings()


def test_a_station_that_runs_says_where_its_pages_are(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/addresses.json").write_text('{"serve_host": "127.0.0.1", "serve_port": 28080}')
    assert read_settings(data_dir=tmp_path).pages_address() == "http://127.0.0.1:28080"
    own = read_settings(data_dir=tmp_path, pages_url="https://drafts.hospital.example")
    assert own.pages_address() == "https://drafts.hospital.example"


WEBHOOK = {"alarm_webhook_url": "https://chat.example/hook", "alarm_webhook_secret": "s" * 16}


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


@pytest.mark.parametrize("name", ["Europe/Atlantis", "../../etc/passwd", "Europe", "x" * 300])
def test_a_time_zone_that_is_not_known_is_refused(name):
    with pytest.raises(SettingsError, match=r"TIME_ZONE: .* is no time zone"):
        read_settings(time_zone=name)


@pytest.mark.parametrize("hours", ["19:10-07:00", "19-07", "24:00-07:00", ""])
def test_the_night_begins_and_ends_on_a_quarter_of_an_hour(hours):
    with pytest.raises(SettingsError, match="NIGHT_HOURS"):
        read_settings(night_hours=hours)

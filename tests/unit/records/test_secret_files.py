"""Secrets in files: each secret setting can be one; a file that is open to others is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from records.errors import SettingsError
from records.secret_files import secret_settings, set_variable
from records.settings import Settings, keep_for_children, read_settings, settings
from records.settings_report import as_plain, mask, report_settings

Plant = Callable[..., Path]

SECRETS = secret_settings(Settings.model_fields)

VALUES = {
    "otlp_endpoint": "http://user:planted@collector:4318",
    "reports_url": "https://user:planted@ehr.example/fhir",
    "reports_token_url": "https://user:planted@ehr.example/token",
    "alarm_webhook_url": "https://chat.example/planted",
    "message_key": "cGxhbnRlZHBsYW50ZWRwbGFudGVkcGxhbnRlZHBsYW4=",
}


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Write a secret into a file of its own, and name it by the variable."""

    def write(name: str, text: str, mode: int = 0o600) -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode())
        path.chmod(mode)
        monkeypatch.setenv(f"NIGHTDRAFT_{name.upper()}_FILE", str(path))
        settings.cache_clear()
        return path

    return write


def test_the_secrets_are_all_that_are_masked_and_no_path() -> None:
    assert {
        "database_url", "redis_url", "redis_sentinel_password", "smtp_password",
        "alarm_webhook_secret", "alarm_webhook_url", "message_key", "reports_bearer_token",
    } <= set(SECRETS)  # fmt: skip
    planted = "postgresql://user:planted@host/name"
    masked = {name for name in Settings.model_fields if "planted" not in str(mask(name, planted))}
    # These name files, and their address is the one that people are told.
    assert masked - {"hl7_certificate_key", "pages_url", "image_display_url"} >= set(SECRETS)
    for name in SECRETS:
        assert mask(name, planted) != planted, name


@pytest.mark.parametrize("name", SECRETS)
def test_each_secret_can_be_a_file(name: str, plant: Plant) -> None:
    if name == "alarm_webhook_url":
        plant("alarm_webhook_secret", "planted-secret-to-sign-with")
    value = VALUES.get(name, "planted")
    plant(name, f"{value}\n")
    read = read_settings()
    assert as_plain(getattr(read, name)) == value
    (report,) = [entry for entry in report_settings(read) if entry.name == name]
    assert report.origin == "secret file"
    assert "planted" not in str(report.value)
    assert value not in repr(read)
    assert "planted" not in f"{read!r} {read}"


@pytest.mark.parametrize(
    ("text", "secret"),
    [("se same\n", "se same"), ("sesame\r\n", "sesame"), ("sesame", "sesame"), ("a \n", "a ")],
)
def test_only_the_end_of_the_line_is_dropped(text: str, secret: str, plant: Plant) -> None:
    plant("smtp_password", text)
    assert read_settings().smtp_password.get_secret_value() == secret


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o644, 0o660, 0o601])
def test_a_file_that_is_open_to_others_is_refused(mode: int, plant: Plant) -> None:
    path = plant("smtp_password", "sesame", mode)
    with pytest.raises(SettingsError, match=r"SMTP_PASSWORD_FILE: other users.*chmod 0600") as got:
        read_settings()
    assert str(path) in str(got.value)
    assert "sesame" not in str(got.value)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o440])
def test_a_group_may_read_it(mode: int, plant: Plant) -> None:
    plant("smtp_password", "sesame", mode)
    assert read_settings().smtp_password.get_secret_value() == "sesame"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("", "is empty"), ("\n", "is empty"), ("a\nb\n", "one line"), ("a" * 70_000, "one line")],
)
def test_a_file_that_holds_no_secret_is_an_error(text: str, sentence: str, plant: Plant) -> None:
    plant("smtp_password", text)
    with pytest.raises(SettingsError, match=sentence):
        read_settings()


def test_a_file_that_is_missing_or_no_text_is_an_error(plant: Plant) -> None:
    path = plant("smtp_password", "sesame")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="is not UTF-8"):
        read_settings()
    path.unlink()
    with pytest.raises(SettingsError, match=r"SMTP_PASSWORD_FILE: .* cannot be read \(No such"):
        read_settings()


def test_a_value_and_a_file_are_an_error(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant("smtp_password", "sesame")
    monkeypatch.setenv("NIGHTDRAFT_SMTP_PASSWORD", "other")
    with pytest.raises(SettingsError, match="SMTP_PASSWORD are both set"):
        read_settings()


def test_a_wrong_secret_is_named_and_not_quoted(plant: Plant) -> None:
    plant("alarm_webhook_url", "sesame-is-no-address")
    with pytest.raises(SettingsError, match="ALARM_WEBHOOK_URL") as got:
        read_settings()
    assert "sesame" not in str(got.value)


def test_the_configuration_file_names_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("sesame\n")
    secret.chmod(0o600)
    config = tmp_path / "nightdraft.toml"
    monkeypatch.setenv("NIGHTDRAFT_CONFIG", str(config))
    config.write_text(f'smtp_password_file = "{secret}"\n')
    assert read_settings().smtp_password.get_secret_value() == "sesame"
    secret.chmod(0o644)
    with pytest.raises(SettingsError, match=r"nightdraft\.toml: smtp_password_file: other users"):
        read_settings()
    config.write_text(f'smtp_password_file = "{secret}"\nsmtp_password = "other"\n')
    with pytest.raises(SettingsError, match="both set"):
        read_settings()
    config.write_text('pages_url_file = "x"\n')
    with pytest.raises(SettingsError, match="no setting 'pages_url_file'"):
        read_settings()


def test_a_variable_wins_over_the_files_of_the_configuration_file(
    tmp_path: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "nightdraft.toml"
    config.write_text('smtp_password = "of the configuration file"\n')
    monkeypatch.setenv("NIGHTDRAFT_CONFIG", str(config))
    plant("smtp_password", "sesame")
    assert read_settings().smtp_password.get_secret_value() == "sesame"


def test_only_the_children_of_root_get_secrets_by_their_environment(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant("smtp_password", "sesame")
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    keep_for_children()
    assert "sesame" not in os.environ.values()
    assert read_settings().smtp_password.get_secret_value() == "sesame"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    keep_for_children()
    assert os.environ["NIGHTDRAFT_SMTP_PASSWORD"] == "sesame"
    assert read_settings().smtp_password.get_secret_value() == "sesame"


def test_a_value_that_is_set_replaces_the_file(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant("database_url", "postgresql://a/b")
    monkeypatch.setattr(os, "environ", os.environ.copy())
    set_variable("database_url", "postgresql://c/d")
    assert read_settings().database_url == "postgresql://c/d"

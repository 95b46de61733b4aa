"""Settings are shown with where they are from, and without what is secret."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nightdraft.cli.main import app
from nightdraft.cli.options import start_logging
from nightdraft.doctor import run_checks
from records.settings import Settings, settings
from records.settings_report import MASK, holds_secrets, mask
from tests.support.logging_state import logging_restored

SECRET = "open/ses?ame"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("database_url", f"postgresql://u:{SECRET}@h/n", f"postgresql://u:{MASK}@h/n"),
        ("database_url", f"postgresql://u:a@{SECRET}@h/n", f"postgresql://u:{MASK}@h/n"),
        ("database_url", "postgresql://h/n", "postgresql://h/n"),
        (
            "database_url",
            "postgresql:///n?host=/run/pg&password=sesame",
            f"postgresql:///n?host=/run/pg&password={MASK}",
        ),
        ("database_url", "host=h password=sesame", MASK),
        ("redis_url", f"redis://:{SECRET}@h:6379/0", f"redis://:{MASK}@h:6379/0"),
        ("redis_url", "sentinel://:sesame@a:1,b:2/0", f"sentinel://:{MASK}@a:1,b:2/0"),
        ("redis_sentinel_password", SECRET, MASK),
        ("webhook_secret", SECRET, MASK),
        ("api_key", SECRET, MASK),
        ("webhook_url", "https://hooks.example.org/sesame", f"https://hooks.example.org/{MASK}"),
        ("webhook_url", "https://h.example.org", "https://h.example.org"),
        ("redis_sentinel_password", "", ""),
        ("bundle", "/srv/bundle", "/srv/bundle"),
        ("listen_port", 104, 104),
    ],
)
def test_secrets_are_masked(name: str, value: object, shown: object) -> None:
    assert mask(name, value) == shown
    assert holds_secrets({"ae_title": "X", name: value}) == (value != shown)


def show(*arguments: str, **variables: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*arguments, "settings", "show", "--json"], env=variables)
    assert done.exit_code == 0, done.output
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration file that holds a password, named for this process and its children."""
    path = tmp_path / "nightdraft.toml"
    path.write_text(
        f'redis_sentinel_password = "{SECRET}"\nlisten_port = 104\nserve_port = 81\n'
        '[caller_priorities]\nED_CR = "STAT"\n'
    )
    monkeypatch.setenv("NIGHTDRAFT_CONFIG", str(path))
    monkeypatch.setenv("NIGHTDRAFT_SERVE_PORT", "82")
    # The command puts its options into the environment.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    settings.cache_clear()
    return path


def test_each_setting_is_shown_with_its_origin(file: Path, tmp_path: Path) -> None:
    report = show("--data-dir", str(tmp_path))
    shown = report["settings"]
    assert report["file"] == str(file)
    assert list(shown) == list(Settings.model_fields)
    assert shown["data_dir"] == {"value": str(tmp_path), "from": "option"}
    assert shown["serve_port"] == {"value": 82, "from": "environment"}
    assert shown["listen_port"] == {"value": 104, "from": "file"}
    assert shown["caller_priorities"] == {"value": {"ED_CR": "STAT"}, "from": "file"}
    assert shown["priority"] == {"value": "ROUTINE", "from": "default"}
    assert shown["redis_sentinel_password"] == {"value": MASK, "from": "file"}


def test_a_person_sees_the_same_and_no_secret(file: Path) -> None:
    url = f"postgresql://u:{SECRET}@h/n"
    done = CliRunner().invoke(app, ["--database-url", url, "settings", "show"])
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert f"database_url postgresql://u:{MASK}@h/n option" in lines
    assert "caller_priorities ED_CR=STAT file" in lines
    assert "listen_shared false default" in lines
    assert lines[-1] == f"configuration file: {file}"
    assert "ses?ame" not in done.output


def test_the_option_names_another_file(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("listen_port = 4242")
    report = show("--config", str(other))
    assert report["file"] == str(other)
    assert report["settings"]["listen_port"] == {"value": 4242, "from": "file"}


def test_a_part_keeps_its_settings_for_its_children(file: Path) -> None:
    with logging_restored():
        current = start_logging("listener")
    file.write_text("this file was broken later")
    settings.cache_clear()
    assert settings() == current
    assert current.listen_port == 104


def test_doctor_warns_of_a_password_that_everybody_may_read(file: Path, data_dir: Path) -> None:
    def line() -> Any:
        settings.cache_clear()
        return next(result for result in run_checks(settings()) if result.name == "settings")

    file.chmod(0o644)
    assert line().warning
    assert f"chmod o-r {file}" in line().sentence
    file.chmod(0o640)
    assert not line().warning
    file.write_text("listen_port = 104")
    file.chmod(0o644)
    assert not line().warning

"""The configuration file: environment over file over default, and errors that name file and key."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from records import config_file
from records.config_file import find_config_file, ignore_default_file, without_settings
from records.errors import SettingsError
from records.settings import Settings, keep_for_children, read_settings, settings
from records.states import Priority

Write = Callable[[str], Path]

FILE = """
data_dir = "/srv/nightdraft"
listen_port = 104
quiet_seconds = 30
draft_int8 = true
priority = "URGENT"
allowed_callers = ["ED_CR", "Comma, Inc."]
known_callers = "A, B"
caller_priorities = "ED_CR=STAT"
database_url = "postgresql://u:sesame@h/n"

[view_position_trust]
"FUJIFILM, Inc. = FCR" = "always"
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the configuration file, which NIGHTDRAFT_CONFIG names."""

    def write_file(text: str) -> Path:
        path = tmp_path / "nightdraft.toml"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setenv("NIGHTDRAFT_CONFIG", str(path))
        settings.cache_clear()
        return path

    return write_file


def test_the_file_sets_every_kind_of_setting(write: Write) -> None:
    write(FILE)
    read = read_settings()
    assert read.data_dir == Path("/srv/nightdraft")
    assert (read.listen_port, read.quiet_seconds, read.draft_int8) == (104, 30.0, True)
    assert read.priority is Priority.URGENT
    assert read.allowed_callers == ("ED_CR", "Comma, Inc.")
    assert read.known_callers == ("A", "B")
    assert read.caller_priorities == {"ED_CR": Priority.STAT}
    assert read.view_position_trust == {"FUJIFILM, Inc. = FCR": "always"}


def test_option_over_environment_over_file_over_default(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write('listen_port = 104\nserve_port = 80\nae_title = "FILE"\n[caller_priorities]\nA = "STAT"')
    monkeypatch.setenv("NIGHTDRAFT_SERVE_PORT", "81")
    monkeypatch.setenv("NIGHTDRAFT_AE_TITLE", "VARIABLE")
    monkeypatch.setenv("NIGHTDRAFT_CALLER_PRIORITIES", "")
    read = read_settings(ae_title="OPTION")
    assert (read.listen_port, read.serve_port, read.ae_title) == (104, 81, "OPTION")
    assert read.caller_priorities == {}
    assert read.listen_host == Settings.model_fields["listen_host"].default


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("listen_prt = 104", ["no setting 'listen_prt'", "did you mean listen_port?"]),
        ("NIGHTDRAFT_BUNDLE = 'demo'", ["no setting 'NIGHTDRAFT_BUNDLE'", "mean bundle?"]),
        ("[listener]\nport = 104", ["no setting 'listener'"]),
        ("redis_sentinel_pasword = 'sesame'", ["mean redis_sentinel_password?"]),
        ("listen_port = '104'", ["listen_port must be a whole number"]),
        ("listen_port = true", ["listen_port must be a whole number"]),
        ("listen_port = 99999", ["listen_port: ", "65535"]),
        ("quiet_seconds = true", ["quiet_seconds must be a number"]),
        ("draft_int8 = 1", ["draft_int8 must be true or false"]),
        ("redis_sentinel_password = ['sesame']", ["redis_sentinel_password must be a text"]),
        ("allowed_callers = 5", ["allowed_callers must be a list of texts"]),
        ("allowed_callers = [5]", ["allowed_callers"]),
        ("caller_priorities = ['A']", ["caller_priorities must be a table"]),
        ("[caller_priorities]\nA = 'SOON'", ["caller_priorities: 'SOON' is none of STAT"]),
        ("unknown_chest = 'sesame'", ["unknown_chest: "]),
        ("priority = 'NOW'\nlease_seconds = -1", ["priority: ", "lease_seconds: "]),
        ("redis_url = 'sesame", ["is not TOML"]),
        ("redis_url = sesame", ["is not TOML", "line 1"]),
        ("bundle = 'a'\nbundle = 'b'", ["is not TOML"]),
    ],
)
def test_a_fault_is_one_line_with_file_and_key(write: Write, text: str, faults: list[str]) -> None:
    path = write(text)
    with pytest.raises(SettingsError) as caught:
        read_settings()
    line = str(caught.value)
    assert str(path) in line
    assert [fault for fault in faults if fault not in line] == []
    assert "\n" not in line
    assert "sesame" not in line


def test_a_wrong_variable_is_named_beside_a_file(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("lease_seconds = -1\nsick_after = 4")
    monkeypatch.setenv("NIGHTDRAFT_SICK_AFTER", "0")
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert "NIGHTDRAFT_SICK_AFTER: " in str(caught.value)
    assert f"{path}: lease_seconds: " in str(caught.value)


def test_which_file_is_read(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = tmp_path / "default.toml"
    monkeypatch.setattr(config_file, "DEFAULT_FILE", default)
    named = write("listen_port = 104")
    assert find_config_file() == named
    monkeypatch.delenv("NIGHTDRAFT_CONFIG")
    assert find_config_file() is None
    default.write_text("listen_port = 105")
    assert find_config_file() == default
    assert read_settings().listen_port == 105
    monkeypatch.setattr(os, "environ", os.environ.copy())
    ignore_default_file()
    assert find_config_file() is None
    assert read_settings().listen_port == 11112


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTDRAFT_CONFIG", str(tmp_path / "nowhere.toml"))
    with pytest.raises(SettingsError, match=r"nowhere\.toml: .* does not exist"):
        read_settings()
    monkeypatch.setenv("NIGHTDRAFT_CONFIG", str(tmp_path))
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings()
    (tmp_path / "latin.toml").write_bytes(b'ae_title = "\xc4"')
    monkeypatch.setenv("NIGHTDRAFT_CONFIG", str(tmp_path / "latin.toml"))
    with pytest.raises(SettingsError, match="UTF-8"):
        read_settings()

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.delenv("NIGHTDRAFT_CONFIG")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SettingsError, match=r"nightdraft\.toml: .*Permission denied"):
        read_settings()


def test_children_have_the_settings_of_a_file_that_is_gone(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(FILE)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ["NIGHTDRAFT_LISTEN_PORT"] = "105"
    before = settings()
    keep_for_children()
    path.unlink()
    settings.cache_clear()
    assert settings() == before
    assert before.listen_port == 105
    assert before.draft_int8


def test_a_process_without_the_settings_of_this_machine() -> None:
    environment = {"PATH": "/bin", "NIGHTDRAFT_BUNDLE": "demo", "NIGHTDRAFT_CONFIG": "/a"}
    assert without_settings(environment) == {"PATH": "/bin", "NIGHTDRAFT_CONFIG": ""}

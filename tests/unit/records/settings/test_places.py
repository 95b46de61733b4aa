"""Where things are: the data folder, the servers' addresses, and the pages."""

import socket
from pathlib import Path

import pytest

from records.errors import SettingsError
from records.settings import default_data_dir, read_settings


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


def test_a_station_that_runs_says_where_its_pages_are(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/addresses.json").write_text('{"serve_host": "127.0.0.1", "serve_port": 28080}')
    assert read_settings(data_dir=tmp_path).pages_address() == "http://127.0.0.1:28080"
    own = read_settings(data_dir=tmp_path, pages_url="https://drafts.hospital.example")
    assert own.pages_address() == "https://drafts.hospital.example"

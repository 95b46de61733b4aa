"""A running station keeps its secrets: planted in files, they are nowhere that others look."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx2 as httpx
import psutil
import psycopg2
import pytest
from sqlalchemy import text

import migrations
from nightdraft.station.embedded import EmbeddedServers
from nightdraft.station.embedded_postgres import PARTS_ROLE
from nightdraft.station.station import PARTS
from nightdraft.station.wheels import free_port
from records.alarm_kinds import AlarmKind
from records.database.session import make_engine, unit_of_work
from records.operations import alarms
from records.secret_files import secret_settings
from records.settings import Settings
from tests.support.dicom_senders import make_image, send_images
from tests.support.paths import ROOT
from tests.support.station import Station, running_station
from tests.support.waiting import eventually

PLANTED = "Qvistplanted"

NOWHERE = "127.0.0.1:1"

SECRETS = {
    "database_url": f"postgresql://user:{PLANTED}@{NOWHERE}/nightdraft",
    "migration_database_url": f"postgresql://owner:{PLANTED}@{NOWHERE}/nightdraft",
    "redis_url": f"redis://user:{PLANTED}@{NOWHERE}/0",
    "redis_sentinel_password": PLANTED,
    "smtp_password": PLANTED,
    "alarm_webhook_secret": f"{PLANTED}-to-sign-with",
    "alarm_webhook_url": f"https://{NOWHERE}/hook/{PLANTED}",
    "reports_url": f"https://user:{PLANTED}@{NOWHERE}/fhir",
    "reports_bearer_token": PLANTED,
    "reports_token_url": f"https://user:{PLANTED}@{NOWHERE}/token",
    "message_key": f"{PLANTED}-key",
    "oidc_client_secret": PLANTED,
    "otlp_endpoint": f"http://user:{PLANTED}@{NOWHERE}",
}

OF_OTHER_SERVERS = ("database_url", "migration_database_url", "redis_url", "otlp_endpoint")
"""Settings without which a station runs servers of its own, and sends no spans."""


@pytest.fixture
def secret_files(tmp_path: Path) -> dict[str, str]:
    """A file for each secret: the path by the variable that names it."""
    files = {}
    for name, secret in SECRETS.items():
        path = tmp_path / name
        path.write_text(f"{secret}\n")
        path.chmod(0o600)
        files[f"{name.upper()}_FILE"] = str(path)
    return files


@pytest.fixture
def station(short_folder: Callable[[], Path], secret_files: dict[str, str]) -> Iterator[Station]:
    kept = {
        name: path
        for name, path in secret_files.items()
        if name.removesuffix("_FILE").lower() not in OF_OTHER_SERVERS
    }
    kept |= {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": "1", "SMTP_USER": "nightdraft"}
    kept |= {"ALARM_MAIL_TO": "a@example.org", "ALARM_GATHER_SECONDS": "0"}
    kept |= {"REPORTS_LOGIN": "bearer", "REPORTS_PATIENT_SYSTEM": "http://example.org/mrn"}
    with running_station(short_folder(), BUNDLE="null", **kept) as running:
        yield running


def arguments_of_all_processes() -> str:
    """What every user of this machine can read of every process, as `ps` shows it."""
    return subprocess.run(
        ["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True
    ).stdout


def test_every_secret_is_planted() -> None:
    assert set(SECRETS) == set(secret_settings(Settings.model_fields))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_running_station_shows_no_secret(
    station: Station, setting: Callable[..., None], tmp_path: Path
) -> None:
    password = str(station.addresses["redis_url"]).rpartition("@")[0].rpartition(":")[2]
    setting(database_url=station.addresses["migration_database_url"])
    with unit_of_work() as session:
        alarms.raise_alarm(session, AlarmKind.DISK_FULL, "listener", "480 MB are free.")
    send_images(station.port, make_image())
    eventually(lambda: station.all_ended(1), 60)
    # Webhook and mail server do not answer, which the log says.
    eventually(lambda: "mail" in station.logs() and "webhook" in station.logs(), 60)
    with station.broker() as broker:
        assert broker.acl_log() == []  # the parts' user had every right that they needed
    shown = {"ps": arguments_of_all_processes(), "logs": station.logs()}
    with httpx.Client(base_url=station.page, timeout=30) as client:
        for page in (
            *("/", "/status", "/alarms", "/tonight", "/runbook", "/metrics", "/readyz", "/nowhere"),
            *("/studies/no-id", "/api/studies?limit=wrong", "/openapi.json"),
        ):
            shown[page] = client.get(page).text
    for command in (("doctor",), ("doctor", "--json"), ("settings", "show"), ("status",)):
        done = station.run(*command)
        shown[" ".join(command)] = done.stdout + done.stderr
        assert done.stdout, command
    archive = tmp_path / "support.zip"
    assert station.run("support-bundle", "--out", str(archive)).returncode == 0
    with zipfile.ZipFile(archive) as opened:
        shown |= {name: opened.read(name).decode() for name in opened.namelist()}
    for place, content in shown.items():
        assert content, place
        assert PLANTED not in content, place
        assert password not in content, place
    # The parts have no way to become the owner: neither its address nor the file with it.
    parent = psutil.Process(station.process.pid)
    environments = []
    for child in parent.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # one ended this moment
            environments.append(child.environ())
    assert len(environments) >= len(PARTS)
    assert not [name for values in environments for name in values if "MIGRATION" in name]


@pytest.mark.parametrize(
    "arguments",
    [
        ("doctor",),
        ("settings", "show", "--json"),
        ("status",),
        ("--debug", "status"),
        ("--debug", "migrate"),
        ("--debug", "listen"),
        ("--debug", "work", "sweep"),
        ("--debug", "serve"),
        ("--debug", "station"),
    ],
    ids=" ".join,
)
def test_servers_that_are_away_are_named_without_their_password(
    arguments: tuple[str, ...], secret_files: dict[str, str], data_dir: Path
) -> None:
    variables = {f"NIGHTDRAFT_{name}": path for name, path in secret_files.items()}
    del variables["NIGHTDRAFT_OTLP_ENDPOINT_FILE"]
    variables |= {"NIGHTDRAFT_SMTP_HOST": "127.0.0.1", "NIGHTDRAFT_BUNDLE": "null"}
    variables |= {"NIGHTDRAFT_USER": "root", "NIGHTDRAFT_LISTEN_PORT": "0"}
    variables |= {"NIGHTDRAFT_SERVE_PORT": str(free_port())}
    done = subprocess.run(
        [sys.executable, "-m", "nightdraft", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert PLANTED not in done.stdout + done.stderr
    told = done.stdout + done.stderr
    assert NOWHERE in told or "PostgreSQL does not answer" in told


def test_a_password_in_an_option_is_warned_of(data_dir: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "nightdraft", "--redis-url", SECRETS["redis_url"]),
            *("settings", "show"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "warning: every user of this machine can read the password" in done.stderr
    assert "NIGHTDRAFT_REDIS_URL_FILE" in done.stderr
    assert PLANTED not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_data_folder_of_an_earlier_version_gets_the_role_at_the_next_start(
    short_folder: Callable[[], Path],
) -> None:
    folder = short_folder()
    with EmbeddedServers(folder, durable=False, valkey=False) as servers:
        owner = make_engine(servers.owner_url.replace("postgresql:", "postgresql+psycopg2:", 1))
        migrations.upgrade(owner, "0034")  # as it was when there was one role for all
        owner.dispose()
        with pytest.raises(psycopg2.OperationalError, match="does not exist"):
            psycopg2.connect(servers.database_url)
    with running_station(folder, BUNDLE="null") as station:
        send_images(station.port, make_image())
        assert eventually(lambda: station.all_ended(1), 60)
        assert f"//{PARTS_ROLE}@" in station.addresses["database_url"]
        rows = station.query(
            "SELECT DISTINCT usename FROM pg_stat_activity"
            " WHERE application_name = 'nightdraft' AND pid <> pg_backend_pid()"
        )
        assert [row.usename for row in rows] == [PARTS_ROLE]
        assert "ok" in next(
            line for line in station.run("doctor").stdout.splitlines() if "database role" in line
        )
        # A person's command finds the owner's address, too, and brings the tables up to date.
        assert station.run("migrate").returncode == 0
        engine = make_engine(
            station.addresses["database_url"].replace("postgresql:", "postgresql+psycopg2:", 1)
        )
        with engine.connect() as connection, pytest.raises(Exception, match="permission denied"):
            connection.execute(text("TRUNCATE drafts CASCADE"))
        engine.dispose()

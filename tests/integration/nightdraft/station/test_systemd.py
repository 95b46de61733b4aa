"""The units that `nightdraft install` writes: systemd takes them, and their commands run."""

from __future__ import annotations

import configparser
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from nightdraft.station.station import PARTS
from nightdraft.station.systemd import InstallFile, find_program, install_files
from records.database.session import unit_of_work
from records.operations import heartbeats
from records.settings import read_settings
from tests.support.paths import ROOT
from tests.support.waiting import eventually

OTHERS = {
    "NIGHTDRAFT_DATABASE_URL": 'postgresql://nightdraft:pa$$ "w\\d%@db/nightdraft',
    "NIGHTDRAFT_REDIS_URL": "redis://redis:6379/0",
}
"""Servers that others run."""


def units(files: list[InstallFile]) -> dict[str, configparser.ConfigParser]:
    """The units by name. Of a key with several lines only the last one is kept."""
    parsed = {}
    for file in files:
        if file.path.suffix in (".service", ".target"):
            unit = configparser.ConfigParser(strict=False, interpolation=None)
            unit.optionxform = str  # type: ignore[assignment,method-assign]
            unit.read_string(file.content)
            parsed[file.path.name] = unit
    return parsed


def made(**environment: str) -> list[InstallFile]:
    """The files for these variables and those of this process."""
    options = {name.removeprefix("NIGHTDRAFT_").lower(): environment[name] for name in environment}
    return install_files(read_settings(**options), find_program(sys.executable))


@pytest.mark.parametrize(
    "environment",
    [
        {},
        OTHERS,
        OTHERS | {"NIGHTDRAFT_LISTEN_PORT": "104", "NIGHTDRAFT_LISTEN_PROCESSES": "3"},
        OTHERS | {"NIGHTDRAFT_DATA_DIR": "/srv/100% night draft"},
    ],
    ids=["station", "parts", "port 104", "odd folder"],
)
def test_systemd_takes_the_files(
    environment: dict[str, str], tmp_path: Path, setting: Callable[..., None]
) -> None:
    setting(**{name.removeprefix("NIGHTDRAFT_"): value for name, value in environment.items()})
    files = made(**environment)
    for file in files:
        place = tmp_path / file.path.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(file.content)
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not on this machine")
    written = [tmp_path / "etc/systemd/system" / name for name in units(files)]
    done = subprocess.run(
        [verify, "verify", "--man=no", *written], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if "nightdraft" in line]
    assert (done.returncode, complaints) == (0, [])
    for program, names in (("systemd-sysusers", []), ("systemd-tmpfiles", ["--create"])):
        # A dry run where the version has one: it reads the file, and says what it does not take.
        if where := shutil.which(program):
            done = subprocess.run(
                [where, *names, f"--root={tmp_path}"], capture_output=True, text=True, check=False
            )
            assert "nightdraft.conf:" not in done.stderr, done.stderr
    folder = environment.get("NIGHTDRAFT_DATA_DIR", "/var/lib/nightdraft")
    assert (tmp_path / Path(folder).relative_to("/")).is_dir()


def test_a_station_with_its_own_servers_is_one_unit() -> None:
    parsed = units(made())
    assert set(parsed) == {"nightdraft.target", "nightdraft-station.service"}
    service = parsed["nightdraft-station.service"]["Service"]
    assert shlex.split(service["ExecStart"])[1:] == ["station"]
    assert service["Restart"] == "always"


def test_the_hl7_listener_is_a_unit_where_its_port_is_set(setting: Callable[..., None]) -> None:
    setting(listen_processes=1, gpus="")
    assert "nightdraft-hl7.service" not in units(made(**OTHERS))
    unit = units(made(**OTHERS, NIGHTDRAFT_HL7_PORT="575"))["nightdraft-hl7.service"]
    assert shlex.split(unit["Service"]["ExecStart"])[1:] == ["listen", "--hl7"]
    assert unit["Service"]["AmbientCapabilities"] == "CAP_NET_BIND_SERVICE"
    assert "nightdraft-sweep.service" in unit["Unit"]["After"].split()  # it stops before


def test_every_part_is_a_unit_and_the_listener_stops_first(setting: Callable[..., None]) -> None:
    setting(listen_processes=2, gpus="")
    parsed = units(made(**OTHERS))
    commands = {
        tuple(shlex.split(unit["Service"]["ExecStart"])[1:])
        for name, unit in parsed.items()
        if name.endswith(".service")
    }
    assert commands == {*PARTS.values(), ("migrate",)}
    listeners = [name for name in parsed if name.startswith("nightdraft-listener")]
    assert len(listeners) == 2
    others = {f"nightdraft-{part}.service" for part in PARTS if part != "listener"} | {
        "nightdraft-migrate.service"
    }
    for name in listeners:
        assert others <= set(parsed[name]["Unit"]["After"].split())
    wanted = set(parsed["nightdraft.target"]["Unit"]["Wants"].split())
    assert wanted == {name for name in parsed if name.endswith(".service")}
    # Whoever stops the target stops all of it, and nothing starts before the tables are there.
    for name in wanted - {"nightdraft-migrate.service"}:
        assert parsed[name]["Unit"]["PartOf"] == "nightdraft.target"
        assert "nightdraft-migrate.service" in parsed[name]["Unit"]["After"].split()
        # A database that comes up late must not end the night: a failed migration is tried again,
        # and no part is given up because of it.
        assert "Requires" not in parsed[name]["Unit"]
    assert parsed["nightdraft-migrate.service"]["Service"]["Restart"] == "on-failure"


def test_only_a_listener_at_a_low_port_has_a_right_of_root(setting: Callable[..., None]) -> None:
    for port, right in ((104, "CAP_NET_BIND_SERVICE"), (11112, "")):
        setting(listen_port=port, listen_processes=1)
        parsed = units(made(**OTHERS))
        assert parsed["nightdraft-listener.service"]["Service"]["AmbientCapabilities"] == right
        assert parsed["nightdraft-prepare.service"]["Service"]["CapabilityBoundingSet"] == ""


def test_the_configuration_file_holds_the_settings_and_is_nobody_elses(
    tmp_path: Path, setting: Callable[..., None]
) -> None:
    setting(
        listen_port=104, quiet_seconds=30, draft_int8=True, priority="STAT", unknown_age="skip",
        allowed_callers="A, B", caller_priorities="ED_CR=STAT", data_dir="/srv/night",
        redis_sentinel_password='"\x7f\\Ü\U0001f600',
    )  # fmt: skip
    (file,) = [file for file in made(**OTHERS) if file.shown]
    assert file.mode == 0o640
    expected = read_settings(
        **{name.removeprefix("NIGHTDRAFT_").lower(): value for name, value in OTHERS.items()}
    )
    written = tmp_path / "written.toml"
    written.write_text(file.content, encoding="utf-8")
    for name in expected.model_fields_set:
        os.environ.pop(f"NIGHTDRAFT_{name.upper()}", None)
    setting(config=written)
    read = read_settings()
    assert read == expected
    assert read.model_fields_set == expected.model_fields_set
    assert made()[2].content == file.content


def test_secrets_in_files_stay_there_and_the_owners_is_for_migrations_alone(
    tmp_path: Path, setting: Callable[..., None]
) -> None:
    for name in ("smtp_password", "database_url", "migration_database_url"):
        (tmp_path / name).write_text(f"postgresql://{name}:sesame@db/nightdraft\n")
        (tmp_path / name).chmod(0o600)
        setting(**{f"{name}_file": tmp_path / name})
    files = made()
    assert not [file.path for file in files if "sesame" in file.content + file.shown]
    (file,) = [file for file in files if file.shown]
    assert f'smtp_password_file = "{tmp_path}/smtp_password"' in file.content
    assert f'database_url_file = "{tmp_path}/database_url"' in file.content
    assert "migration" not in file.content
    for name, unit in units(files).items():
        if name == "nightdraft-migrate.service":
            assert unit["Service"]["LoadCredential"] == (
                f"migration_database_url:{tmp_path}/migration_database_url"
            )
            assert unit["Service"]["Environment"] == (
                "NIGHTDRAFT_MIGRATION_DATABASE_URL_FILE=%d/migration_database_url"
            )
        elif "Service" in unit:
            assert "LoadCredential" not in unit["Service"]
    # The configuration file names the same files, and is written again as it was.
    written = tmp_path / "written.toml"
    written.write_text(file.content)
    for name in ("smtp_password", "database_url"):
        del os.environ[f"NIGHTDRAFT_{name.upper()}_FILE"]
    setting(config=written)
    assert made()[2].content == file.content


def test_the_units_expose_little(tmp_path: Path, setting: Callable[..., None]) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not on this machine")
    setting(listen_processes=1)
    for environment in ({}, OTHERS):
        for file in made(**environment):
            if file.path.suffix != ".service":
                continue
            (tmp_path / file.path.name).write_text(file.content)
            done = subprocess.run(
                [
                    *(analyze, "security", "--offline=true", "--threshold=30", "--no-pager"),
                    str(tmp_path / file.path.name),
                ],
                capture_output=True,
                text=True,
                check=False,
            )
            # 10 is a service without any limit; the threshold is ten times the exposure.
            assert done.returncode == 0, (file.path.name, done.stdout[-300:], done.stderr)


def test_the_files_are_written_and_never_over_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "nightdraft", "install", *arguments],
            env=os.environ | OTHERS,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    assert "either --print" in run().stderr
    page = run("--print").stdout
    assert 'database_url = "postgresql://nightdraft:***@db/nightdraft"' in page
    assert "pa$$" not in page
    assert run("--to", str(tmp_path)).returncode == 0
    secret = tmp_path / "etc/nightdraft/nightdraft.toml"
    assert secret.stat().st_mode & 0o777 == 0o640
    assert run("--to", str(tmp_path)).returncode == 0  # the same once more
    if os.geteuid() == 0:
        os.chown(secret, 0, 4321)  # systemd-tmpfiles gave it to the group of the service
    secret.write_text("# mine\n")
    refused = run("--to", str(tmp_path))
    assert refused.returncode == 1
    assert str(secret) in refused.stderr
    assert secret.read_text() == "# mine\n"
    assert run("--to", str(tmp_path), "--replace").returncode == 0
    assert secret.read_text() != "# mine\n"
    assert secret.stat().st_mode & 0o777 == 0o640
    if os.geteuid() == 0:
        assert secret.stat().st_gid == 4321
    monkeypatch.setitem(OTHERS, "NIGHTDRAFT_DATABASE_URL", "")
    page = run("--to", str(tmp_path), "--replace").stdout
    assert "disable --now nightdraft-api.service nightdraft-draft.service" in page
    assert "nightdraft-station.service\n  rm" not in page


@contextmanager
def running(
    name: str, unit: configparser.ConfigParser, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A unit's command, as systemd starts and stops it."""
    service = unit["Service"]
    own = dict(word.split("=", 1) for word in shlex.split(service.get("Environment", "")))
    with log.open("ab") as output:
        process = subprocess.Popen(
            shlex.split(service["ExecStart"]), env=os.environ | own, stdout=output, stderr=output
        )
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=40) in (0, -signal.SIGKILL), (name, log.read_text())
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def is_up(process: subprocess.Popen[bytes]) -> bool:
    with unit_of_work() as session:
        owners = {beat.owner for beat in heartbeats.running_parts(session)}
    return any(owner.endswith(f":{process.pid}") for owner in owners)


@pytest.mark.slow
@pytest.mark.usefixtures("empty_database", "broker")
def test_the_commands_of_the_units_start_restart_and_stop_in_order(
    data_dir: Path, setting: Callable[..., None], tmp_path: Path
) -> None:
    setting(
        bundle="null", listen_port=0, serve_port=0, listen_processes=1, prepare_processes=1,
        gpus="", heartbeat_seconds=1,
    )  # fmt: skip
    parsed = units(made(**OTHERS))
    migrate = parsed.pop("nightdraft-migrate.service")
    command = shlex.split(migrate["Service"]["ExecStart"])
    subprocess.run(command, check=True, capture_output=True)
    services = {name: unit for name, unit in parsed.items() if name.endswith(".service")}
    order = sorted(services, key=lambda name: "nightdraft-api" in services[name]["Unit"]["After"])
    assert order[-1] == "nightdraft-listener.service"
    with ExitStack() as stack:  # it stops them in the reverse order
        for name in order:
            log = tmp_path / f"{name}.log"
            process = stack.enter_context(running(name, services[name], log))
            eventually(lambda process=process: is_up(process), 60)
        # Each port and each lease is free for a successor of a process that was killed.
        process.kill()
        process.wait()
        successor = stack.enter_context(running(order[-1], services[order[-1]], log))
        eventually(lambda: is_up(successor), 60)

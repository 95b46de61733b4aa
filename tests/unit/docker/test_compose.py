"""The images and the compose file name parts, settings and files as the code does."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from nightdraft.station.station import OPTIONAL_PARTS, PARTS
from nightdraft.station.supervisor import GRACE_SECONDS
from records.broker_rights import acl_rules
from records.secret_files import secret_settings, variable_of_file
from records.settings import Settings
from tests.support.paths import ROOT

DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


ALL_PARTS = PARTS | OPTIONAL_PARTS


@pytest.mark.parametrize("part", ALL_PARTS)
def test_each_part_runs_its_command_and_has_a_health_check(part: str) -> None:
    assert tuple(SERVICES[part]["command"]) == ALL_PARTS[part]
    assert SERVICES[part].get("profiles", []) == ([part] if part in OPTIONAL_PARTS else [])
    assert SERVICES[part]["healthcheck"]["test"] == ["CMD", "nightdraft", "doctor", "--part", part]


def test_every_service_that_stays_up_has_a_health_check() -> None:
    lasting = {name for name, service in SERVICES.items() if service.get("restart") != "no"}
    assert lasting == {*ALL_PARTS, "postgres", "redis", "prometheus", "grafana"}
    assert all("healthcheck" in SERVICES[name] for name in lasting)


def test_redis_keeps_its_bells() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_every_named_setting_exists() -> None:
    text = (DOCKER / "compose.yaml").read_text() + (DOCKER / "Dockerfile").read_text()
    names = set(re.findall(r"NIGHTDRAFT_([A-Z_]+)[:=]", text)) - {"TARGET"}
    files = {variable_of_file(name) for name in secret_settings(Settings.model_fields)}
    assert names
    named = {name.lower() for name in names if f"NIGHTDRAFT_{name}" not in files}
    assert named <= set(Settings.model_fields)


def test_every_container_of_ours_has_the_time_zone_of_the_host_file() -> None:
    for name in (*ALL_PARTS, "migrate"):
        assert SERVICES[name]["environment"]["TZ"] == "${TZ:-UTC}", name


@pytest.mark.parametrize("service", ["api", "prometheus", "grafana"])
def test_what_has_pages_listens_on_loopback_only(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service]["ports"])


@pytest.mark.parametrize("service", ["prometheus", "grafana"])
def test_metrics_are_kept_and_shown_by_a_profile_alone(service: str) -> None:
    assert SERVICES[service]["profiles"] == ["observability"]
    mounted = [volume.split(":")[0] for volume in SERVICES[service]["volumes"]]
    assert all((DOCKER / path).exists() for path in mounted if path.startswith("./"))


def test_drafting_uses_all_gpus_by_default() -> None:
    (device,) = SERVICES["draft"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert device["count"] == "${GPUS:-all}"


def test_the_image_has_a_target_for_each_kind_of_machine() -> None:
    targets = re.findall(r"^FROM \S+ AS (\w+)$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    assert {"cpu", "cuda"} <= set(targets)


# ---- What a container is denied ----


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] > 0
    assert service["mem_limit"]
    assert "privileged" not in service
    assert "network_mode" not in service
    # Only PostgreSQL's image starts as root, to become another user.
    needed = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"]
    assert service.get("cap_add", []) == (needed if name == "postgres" else [])


@pytest.mark.parametrize("name", SERVICES)
def test_only_who_needs_it_has_a_way_out(name: str) -> None:
    asking = {"query", "retrieve", "sweep"}
    needs_it = bool(SERVICES[name].get("ports")) or name in asking
    assert SERVICES[name]["networks"] == (["inside", "outside"] if needs_it else ["inside"])


def test_the_network_inside_has_no_way_out() -> None:
    assert COMPOSE["networks"] == {"inside": {"internal": True}, "outside": None}
    assert "ports" not in SERVICES["postgres"]
    assert "ports" not in SERVICES["redis"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_time_to_end(name: str) -> None:
    seconds = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert seconds >= (5 * GRACE_SECONDS if name in (*ALL_PARTS, "migrate") else 30)


def test_secrets_are_files_and_nobody_has_more_than_it_needs() -> None:
    of_parts = {"database_url", "redis_url"}
    for name, service in SERVICES.items():
        expected = {
            "postgres": {"owner_password"},
            "redis": {"redis_users"},
            "migrate": {*of_parts, "migration_database_url"},
            "prometheus": set(),
            "grafana": {"grafana_password"},
        }.get(name, of_parts)
        assert set(service.get("secrets", [])) == expected, name
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN|DATABASE_URL|REDIS_URL", variable):
                assert variable.endswith("FILE"), variable
                assert str(value).startswith(("/run/secrets/", "${")), variable
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}


def test_no_argument_of_a_container_holds_a_secret() -> None:
    for name, service in SERVICES.items():
        words = " ".join(str(service.get(key, "")) for key in ("command", "entrypoint"))
        assert "requirepass" not in words, name
        assert "$" not in words, name


# ---- The files that are made ----


def make_secrets(folder: Path) -> list[Path]:
    """Run docker/make_secrets.py's function by a bare Python, as a host has one."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import make_secrets, pathlib;"
    code += "print(*make_secrets.make(pathlib.Path(sys.argv[2])), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(DOCKER), str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [Path(line) for line in done.stdout.split()]


def test_the_secrets_that_are_made_are_all_that_is_mounted(tmp_path: Path) -> None:
    made = make_secrets(tmp_path / "secrets")
    assert {path.name for path in made} == set(COMPOSE["secrets"])
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        if os.geteuid() == 0:
            assert path.stat().st_uid in (10001, 999, 472)
    before = {path: path.read_text() for path in made}
    assert make_secrets(tmp_path / "secrets") == []  # what is there stays
    assert {path: path.read_text() for path in made} == before
    read = {path.name: path.read_text().strip() for path in made}
    assert f":{read['owner_password']}@" in read["migration_database_url"]
    assert read["owner_password"] not in read["database_url"]
    password = read["redis_url"].partition("nightdraft:")[2].partition("@")[0]
    assert read["redis_users"] == (
        f"user default off\nuser nightdraft on >{password} {acl_rules()}"
    )


def test_each_secret_belongs_to_the_user_of_the_image_that_reads_it(tmp_path: Path) -> None:
    """The user ids were looked up in the Dockerfiles of these versions: look again for others."""
    images = {"postgres": "postgres:18", "redis": "redis:8", "grafana": "grafana/grafana:12"}
    for name, image in images.items():
        assert re.match(rf"{re.escape(image)}\b", SERVICES[name]["image"]), name
    # The image of Redis would give its folder to its user as root, which this container is not.
    assert SERVICES["redis"]["user"] == "999:999"
    assert SERVICES["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]  # since 18
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    owners = {path.name: path.stat().st_uid for path in make_secrets(tmp_path / "secrets")}
    parts = {"database_url", "redis_url", "migration_database_url"}
    assert owners == dict.fromkeys(parts, 10001) | {
        "owner_password": 999, "redis_users": 999, "grafana_password": 472,
    }  # fmt: skip


@pytest.mark.parametrize("file", [".gitignore", ".dockerignore"])
def test_no_secret_is_committed_or_built_into_an_image(file: str) -> None:
    lines = {line.rstrip("/") for line in (ROOT / file).read_text().splitlines()}
    assert {"docker/.env", "docker/secrets"} <= lines

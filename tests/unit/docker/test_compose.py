"""The images and the compose file name parts, settings and files as the code does."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from nightdraft.station.station import OPTIONAL_PARTS, PARTS
from records.settings import Settings
from tests.support.paths import ROOT

DOCKER = ROOT / "docker"
SERVICES: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]


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
    assert names
    assert {name.lower() for name in names} <= set(Settings.model_fields)


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

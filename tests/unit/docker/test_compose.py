"""The images and the compose file name parts, settings and files as the code does."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from nightdraft.station.station import PARTS
from records.settings import Settings
from tests.support.paths import ROOT

DOCKER = ROOT / "docker"
SERVICES: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]


@pytest.mark.parametrize("part", PARTS)
def test_each_part_runs_its_command_and_is_asked_for_its_health(part: str) -> None:
    assert tuple(SERVICES[part]["command"]) == PARTS[part]
    assert SERVICES[part]["healthcheck"]["test"] == ["CMD", "nightdraft", "doctor", "--part", part]


def test_all_services_that_stay_up_are_asked_for_their_health() -> None:
    staying = {name for name, service in SERVICES.items() if service.get("restart") != "no"}
    assert staying == {*PARTS, "postgres", "redis"}
    assert all("healthcheck" in SERVICES[name] for name in staying)


def test_redis_keeps_its_bells() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_every_setting_that_is_named_is_one() -> None:
    text = (DOCKER / "compose.yaml").read_text() + (DOCKER / "Dockerfile").read_text()
    named = set(re.findall(r"NIGHTDRAFT_([A-Z_]+)[:=]", text)) - {"TARGET"}
    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_pages_are_bound_to_the_hosts_loopback() -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["api"]["ports"])


def test_the_model_is_on_a_gpu_unless_told_otherwise() -> None:
    (device,) = SERVICES["draft"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert device["count"] == "${GPUS:-all}"


def test_the_image_has_a_target_for_each_kind_of_machine() -> None:
    targets = re.findall(r"^FROM \S+ AS (\w+)$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    assert {"cpu", "cuda"} <= set(targets)

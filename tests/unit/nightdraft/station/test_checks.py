"""The checks find what is missing, and their texts never hold a password."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from nightdraft.station.checks import check_broker, check_database, check_disk, check_port_free
from records.errors import BrokerDown, DatabaseDown, DiskFull, PortInUse, SettingsError
from records.settings import read_settings


def test_a_database_that_does_not_answer(tmp_path: Path) -> None:
    settings = read_settings(database_url="postgresql://somebody:secret@127.0.0.1:1/nightdraft")
    with pytest.raises(DatabaseDown, match=r"127\.0\.0\.1:1 .*NIGHTDRAFT_DATABASE_URL") as caught:
        check_database(settings)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://:secret@127.0.0.1:1/0", "unix:///nowhere/valkey.sock"])
def test_a_broker_that_does_not_answer(url: str) -> None:
    with pytest.raises(BrokerDown, match="Redis does not answer at") as caught:
        check_broker(read_settings(redis_url=url))
    assert "secret" not in str(caught.value)


def test_free_space_on_the_disk(tmp_path: Path) -> None:
    def warning(**limits: int) -> str:
        # A folder that does not exist yet will lie on the disk of its parent.
        return check_disk(read_settings(data_dir=tmp_path / "not/yet", **limits))

    assert warning(disk_warn_mb=0, disk_stop_mb=0) == ""
    assert "NIGHTDRAFT_DISK_WARN_MB" in warning(disk_warn_mb=10**9, disk_stop_mb=0)
    usage = shutil.disk_usage(tmp_path)
    almost_all = usage.total // 1_000_000
    assert usage.free // 1_000_000 < almost_all
    with pytest.raises(DiskFull, match=r"NIGHTDRAFT_DISK_STOP_MB.*make room"):
        warning(disk_warn_mb=10**9, disk_stop_mb=almost_all)
    with pytest.raises(SettingsError, match="NIGHTDRAFT_DISK_STOP_MB=1000000000 is more than"):
        warning(disk_warn_mb=10**9, disk_stop_mb=10**9)


def test_ports(free_port: int) -> None:
    check_port_free("NIGHTDRAFT_LISTEN_PORT", "127.0.0.1", free_port)
    with (
        socket.create_server(("127.0.0.1", free_port)),
        pytest.raises(PortInUse, match=f"port {free_port} .*NIGHTDRAFT_LISTEN_PORT"),
    ):
        check_port_free("NIGHTDRAFT_LISTEN_PORT", "127.0.0.1", free_port)
    with pytest.raises(SettingsError, match="NIGHTDRAFT_SERVE_PORT"):
        check_port_free("NIGHTDRAFT_SERVE_PORT", "192.0.2.1", free_port)

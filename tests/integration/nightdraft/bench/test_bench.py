"""The benches measure what they say, and leave neither process nor folder."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nightdraft.bench import feed, pipeline, prepare, receive
from nightdraft.station.station import PARTS
from records.errors import PartError


@pytest.fixture(autouse=True)
def _leaves_no_folder() -> Iterator[None]:
    def folders() -> set[Path]:
        return set(Path(tempfile.gettempdir()).glob("nightdraft-bench-*"))

    before = folders()
    yield
    assert folders() == before


def plain(measured: dict[str, Any]) -> dict[str, Any]:
    """As `--json FILE` writes it."""
    read: dict[str, Any] = json.loads(json.dumps(measured))
    return read


def test_a_few_studies_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTDRAFT_QUIET_SECONDS", "3600")  # the caller's settings do not count
    said: list[str] = []
    measured = plain(pipeline.measure(6, 2, said.append))
    assert measured["ended"] == {"DRAFTED": 6}
    assert measured["films"] >= 6
    assert measured["studies_per_minute"] > 0
    assert set(measured["memory_mb"]) == {*PARTS, "postgres", "valkey"}
    assert all(part["peak"] > 0 for part in measured["memory_mb"].values())
    assert measured["curve"][-1]["ended"] == 6
    assert pipeline.render(measured)
    assert os.environ["NIGHTDRAFT_QUIET_SECONDS"] == "3600"


def test_listeners_are_measured_side_by_side() -> None:
    measured = plain(receive.measure(4, 0.1, [1, 4], 1, lambda _: None))
    there = {(row["name"], row["associations"]): row["processes"] for row in measured["receivers"]}
    assert there["nightdraft listen", 1] == 1
    assert there["nightdraft listen", 4] == min(4, os.cpu_count() or 1)
    assert {("DCMTK storescp", 1), ("pynetdicom storescp", 4)} < set(there)
    assert measured["ratio_one"] > 0 < measured["ratio_four"]
    assert all(row["films_per_second"]["median"] > 0 for row in measured["receivers"])
    assert all(row["memory_mb"]["median"] > 1 for row in measured["receivers"])
    assert receive.render(measured)


def test_a_listener_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = receive.Receiver("broken", "/bin/sh", lambda *_: ["/bin/sh", "-c", "echo no"], "")
    monkeypatch.setattr(receive, "RECEIVERS", (receive.RECEIVERS[0], broken))
    with pytest.raises(PartError, match="broken does not start: no"):
        receive.measure(1, 0.01, [1], 1, lambda _: None)


def test_codecs_are_measured_beside_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "ROWS", 1300)
    monkeypatch.setattr(prepare, "COLUMNS", 1000)
    monkeypatch.setattr(prepare, "THREADS_SECONDS", 0.01)
    measured = plain(prepare.measure(2, lambda _: None))
    keys = {"uncompressed", "rle", "jpeg_lossless", "jpeg_ls", "jpeg_2000"}
    assert keys == set(prepare.CODECS)
    assert measured["two_threads_ratio"] > 0
    for codec in keys:
        row = measured[codec]
        assert row["ms"]["median"] > 0 < row["ms_plain"]["median"]
        assert row["films_per_s_core"] == pytest.approx(1000 / row["ms"]["median"], rel=0.1)
        assert row["ratio_plain"] > 0 < row["two_threads_ratio"]
        assert row["two_threads_ceiling"] > 0
        assert 0 < row["memory_mb"] < 60
        assert row["error"]["largest"] <= 2 or codec == "jpeg_2000"
        assert row["error"]["mean"] < 0.3  # both show the same film
    assert prepare.render(measured)


def test_feeding_is_measured_both_ways() -> None:
    measured = plain(feed.measure(6, 256, 2, lambda _: None))
    assert measured["shelf"]["median"] > 0 < measured["files"]["median"]
    assert measured["preparing"] > 0
    assert measured["ratio"] > 0
    assert feed.render(measured)

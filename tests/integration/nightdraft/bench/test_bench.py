"""The benches measure what they say, and leave neither process nor folder."""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from rich.console import Console, RenderableType

from nightdraft.bench import feed, films, pipeline, prepare, receive
from nightdraft.phantom_studies import draw_studies
from nightdraft.station.station import PARTS
from records.errors import PartError
from training.corpus.phantoms_dicom import SMALL_SIZE


@pytest.fixture(autouse=True)
def _leaves_no_folder(
    short_folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Each test has a place of its own for them: other benches may run on this machine."""
    place = short_folder()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    yield
    assert list(place.glob("nightdraft-bench-*")) == []


def as_written(measured: dict[str, Any]) -> dict[str, Any]:
    """The measurements as `--json FILE` writes them."""
    read: dict[str, Any] = json.loads(json.dumps(measured))
    return read


def rendered_text(rendered: RenderableType) -> str:
    page = io.StringIO()
    Console(file=page, width=240).print(rendered)
    return page.getvalue()


def assert_ordered(summary: dict[str, float]) -> None:
    assert 0 < summary["least"] <= summary["median"] <= summary["greatest"]


def rounded(value: float, step: float) -> Any:
    """`value` as it is after rounding to `step`, with room for rounded operands (1 %)."""
    return pytest.approx(value, rel=0.01, abs=step / 2)


# ---- pipeline ----


def test_a_few_studies_go_through_the_station(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NIGHTDRAFT_QUIET_SECONDS", "3600")  # the caller's settings do not count
    lines: list[str] = []
    started = time.monotonic()
    measured = as_written(pipeline.measure(6, 2, lines.append))
    wall_seconds = time.monotonic() - started
    assert os.environ["NIGHTDRAFT_QUIET_SECONDS"] == "3600"

    # What was drawn is what was sent, and what was sent has ended.
    assert measured["films"] == sum(len(paths) for paths in draw_studies(tmp_path, 6, SMALL_SIZE))
    assert measured["studies"] == 6
    assert measured["ended"] == {"DRAFTED": 6}
    assert lines[-1].endswith("6 of 6 studies ended")

    # Rates are quotients of the numbers beside them; the clock is this one, in seconds.
    assert 0 < measured["send_seconds"] <= measured["seconds"] <= wall_seconds
    assert measured["studies_per_minute"] == rounded(60 * 6 / measured["seconds"], 0.1)
    # Sending takes some hundredths of a second here, and is written to one hundredth.
    shortest, longest = (measured["send_seconds"] + sign * 0.005 for sign in (-1, 1))
    slowest, fastest = measured["films"] / longest, measured["films"] / max(0.01, shortest)
    assert slowest - 0.05 <= measured["films_per_second_received"] <= fastest + 0.05

    # The curve runs forward to the end, and the summaries are of it.
    curve = measured["curve"]
    assert [point["seconds"] for point in curve] == sorted(point["seconds"] for point in curve)
    assert [point["ended"] for point in curve] == sorted(point["ended"] for point in curve)
    assert curve[-1]["ended"] == 6
    assert curve[-1]["seconds"] == pytest.approx(measured["seconds"], abs=0.06)
    assert set(measured["memory_mb"]) == {*PARTS, "postgres", "valkey"}
    for part, memory in measured["memory_mb"].items():
        values = [point[part] for point in curve if part in point]
        assert memory["peak"] == max(values)
        assert {memory["at_quarter"], memory["at_end"]} <= set(values)
        # Megabytes: each part is a process of more than 1 MB and of less than 4 GB.
        assert 1 < memory["peak"] < 4000, part
        ratio, difference = pipeline.GROWTH_LIMITS
        growth = memory["at_end"] - memory["at_quarter"]
        assert memory["grows"] == (
            memory["at_end"] > ratio * memory["at_quarter"] and growth > difference
        )
    text = rendered_text(pipeline.render(measured))
    assert f"6 studies of {measured['films']} films" in text
    assert "DRAFTED 6" in text


# ---- receive ----


def test_listeners_are_measured_side_by_side() -> None:
    lines: list[str] = []
    started = time.monotonic()
    measured = as_written(receive.measure(4, 0.1, [1, 4], 1, lines.append))
    wall_seconds = time.monotonic() - started
    rows = {(row["name"], row["associations"]): row for row in measured["receivers"]}
    installed = {name for name, _ in rows}
    assert {"nightdraft listen", "pynetdicom storescp"} <= installed
    assert installed | set(measured["not_installed"]) == {
        receiver.name for receiver in receive.RECEIVERS
    }
    assert set(rows) == {(name, count) for name in installed for count in (1, 4)}
    for (name, count), row in rows.items():
        processes = min(count, os.cpu_count() or 1) if name == "nightdraft listen" else 1
        assert row["processes"] == processes
        assert_ordered(row["films_per_second"])
        assert_ordered(row["memory_mb"])
        assert row["films_per_second"]["least"] >= 4 / wall_seconds
        assert 1 < row["memory_mb"]["median"] < 4000, name  # megabytes
        line = next(line for line in lines if f", {name}, {count} at once:" in line)
        logged = float(line.rpartition(": ")[2].removesuffix(" films a second"))
        assert logged == rounded(row["films_per_second"]["median"], 0.1)
    text = rendered_text(receive.render(measured))
    for count, key in receive.RATIOS.items():
        fork_rate = rows["DCMTK storescp --fork", count]["films_per_second"]["median"]
        listener_rate = rows["nightdraft listen", count]["films_per_second"]["median"]
        assert measured[key] == rounded(listener_rate / fork_rate, 0.001)
        assert f"{measured[key]:.2f} x storescp --fork at {count}" in text


def storescp(*options: str | Path) -> receive.Receiver:
    """DCMTK's listener with these options, in place of the listeners that are compared."""
    program = "/usr/bin/storescp"
    if not Path(program).exists():
        pytest.skip(f"{program} is missing: apt install dcmtk")
    command = [program, *map(str, options)]
    return receive.Receiver("storescp", program, lambda port, _: [*command, str(port)], "")


def test_every_file_that_is_sent_is_received_in_each_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(receive, "RECEIVERS", (storescp("-od", tmp_path, "--unique-filenames"),))
    measured = receive.measure(5, 0.01, [2], 3, lambda _: None)
    (row,) = measured["receivers"]
    assert (measured["films"], measured["runs"], row["associations"]) == (5, 3, 2)
    assert_ordered(row["films_per_second"])
    # Five files in each of three runs. The names are new ones for each file that comes.
    received = [path for path in tmp_path.iterdir() if path.is_file()]
    assert len(received) == 15
    assert all(path.stat().st_size >= 0.009 * 1e6 for path in received)


def test_a_listener_that_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "RECEIVERS", (storescp("--refuse"),))
    with pytest.raises(PartError, match="did not take every film"):
        receive.measure(1, 0.01, [1], 1, lambda _: None)


def test_a_listener_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = receive.Receiver("broken", "/bin/sh", lambda *_: ["/bin/sh", "-c", "echo no"], "")
    monkeypatch.setattr(receive, "RECEIVERS", (receive.RECEIVERS[0], broken))
    with pytest.raises(PartError, match="broken does not start: no"):
        receive.measure(1, 0.01, [1], 1, lambda _: None)


# ---- prepare ----


def test_codecs_are_measured_beside_the_plain_script(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, columns = 1300, 1000
    monkeypatch.setattr(prepare, "ROWS", rows)
    monkeypatch.setattr(prepare, "COLUMNS", columns)
    monkeypatch.setattr(prepare, "THREADS_SECONDS", 0.01)
    measured = as_written(prepare.measure(3, lambda _: None))
    assert measured["film"] == {"rows": rows, "columns": columns, "bits": 14, "view": 224}
    codecs = {codec: measured[codec] for codec in prepare.CODECS}
    assert set(codecs) == {"uncompressed", "rle", "jpeg_lossless", "jpeg_ls", "jpeg_2000"}
    for codec, row in codecs.items():
        assert_ordered(row["ms"])
        assert_ordered(row["ms_plain"])
        assert row["films_per_s_core"] == rounded(1000 / row["ms"]["median"], 0.1)
        assert row["ratio_plain"] == rounded(row["ms_plain"]["median"] / row["ms"]["median"], 0.01)
        assert row["two_threads_ratio"] > 0
        assert row["two_threads_ceiling"] > 0
        # Less than ten times the samples' 2.6 MB, and not bytes.
        assert 0 < row["memory_mb"] < 26, codec
        # Both read the same image: the views differ by rounding.
        assert 0 <= row["error"]["mean"] < 0.3
        assert row["error"]["mean"] <= row["error"]["largest"]
    ratios = [row["two_threads_ratio"] for row in codecs.values()]
    assert measured["two_threads_ratio"] == median(ratios)
    # Two bytes a sample and a small header. Each JPEG is smaller; RLE does not gain on noise.
    assert codecs["uncompressed"]["mb"] == pytest.approx(2 * rows * columns / 1e6, abs=0.06)
    assert all(codecs[codec]["mb"] < 2.4 for codec in codecs if codec.startswith("jpeg"))
    # All are lossless, so the samples and the views are the same. Of JPEG 2000, a lower resolution
    # is decoded.
    del codecs["jpeg_2000"]
    assert all(row["error"] == codecs["uncompressed"]["error"] for row in codecs.values())
    assert codecs["uncompressed"]["error"]["largest"] <= 2
    text = rendered_text(prepare.render(measured))
    assert re.search(rf"JPEG-LS +{measured['jpeg_ls']['mb']:.1f} ", text)
    assert f"median of {measured['runs']} runs" in text


# ---- films ----


def test_films_are_read_as_served_and_resampled() -> None:
    lines: list[str] = []
    measured = as_written(films.measure("demo", 6, [0.0, 60.0], 0, "cpu", lines.append))
    assert lines[0] == "noise 0, films served: 6 studies"
    assert [row["noise"] for row in measured["noises"]] == [0.0, 60.0]
    clean, noisy = measured["noises"]
    assert clean["served"] > 0.8
    assert noisy["served"] < clean["served"]  # such noise hides findings
    for row in measured["noises"]:
        assert row["difference"] == pytest.approx(row["served"] - row["resampled"])
    assert measured["agree"] == all(abs(r["difference"]) <= 0.01 for r in measured["noises"])
    assert f"{clean['served']:.3f}" in rendered_text(films.render(measured))


# ---- feed ----


def test_feeding_is_measured_with_and_without_prepared_images() -> None:
    lines: list[str] = []
    started = time.monotonic()
    measured = as_written(feed.measure(6, 256, 2, lines.append))
    wall_seconds = time.monotonic() - started
    assert (measured["studies"], measured["pixels"], measured["runs"]) == (6, 256, 2)
    for key in ("shelf", "files"):
        assert_ordered(measured[key])
        # Studies a second: each run took less time than all of them.
        assert measured[key]["least"] >= 6 / wall_seconds
    assert measured["preparing"] >= 6 / wall_seconds - 0.05
    ratio = measured["shelf"]["median"] / measured["files"]["median"]
    assert measured["ratio"] == rounded(ratio, 0.01)
    assert lines[-2:] == ["run 1 of 2", "run 2 of 2"]
    text = rendered_text(feed.render(measured))
    assert f"{measured['ratio']:.1f} times as fast" in text
    assert f"{measured['files']['median']:,.0f}" in text

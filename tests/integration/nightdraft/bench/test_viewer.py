"""`nightdraft bench viewer` measures a real server, and a real browser where there is one."""

import json
import subprocess
import sys

import pytest

from nightdraft.bench.prepare import BITS, COLUMNS, ROWS
from nightdraft.bench.viewer import CHROMIUM


@pytest.mark.slow
def test_every_codec_and_every_way_is_measured(tmp_path):
    file = tmp_path / "viewer.json"
    # In a process of its own: this one may have a browser already.
    command = ["-m", "nightdraft", "bench", "viewer", "--runs", "1", "--json", str(file)]
    result = subprocess.run([sys.executable, *command], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr
    measured = json.loads(file.read_text())
    plain, *zipped = measured["encodings"]
    assert plain["mb"] == pytest.approx(2 * ROWS * COLUMNS / 1e6)
    assert all(way["mb"] < plain["mb"] for way in zipped)
    in_use = next(way for way in zipped if "in use" in way["way"])
    assert in_use["mb"] == min(way["mb"] for way in zipped)
    assert {codec["mb"] for codec in measured["codecs"]} == {in_use["mb"]}
    assert len(measured["codecs"]) == 5
    renderers = [page["renderer"] for page in measured["pages"]]
    assert renderers == (["webgl2", "2d"] if CHROMIUM.exists() else [])
    assert measured["film"] == f"{COLUMNS} x {ROWS}, {BITS} bits"

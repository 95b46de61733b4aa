"""A real Orthanc, set up as docs/operate/pacs.md says, sends its films to our listener."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import CTImageStorage

from nightdraft.station.wheels import free_port
from tests.support.dicom_senders import make_image, send_images
from tests.support.doc_commands import code_blocks
from tests.support.listener_state import read_rows
from tests.support.waiting import eventually

PAGE = "docs/operate/pacs.md"
PROGRAMS = [shutil.which(name) for name in ("Orthanc", "curl", "jq")]

pytestmark = pytest.mark.skipif(
    None in PROGRAMS, reason="Orthanc, curl and jq are needed (apt install orthanc curl jq)"
)


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc. `nightdraft_port` is where it sends to."""

    dicom_port: int
    http_port: int
    nightdraft_port: int

    def answers(self) -> bool:
        try:
            return self.jobs() == []
        except OSError:
            return False

    def jobs(self) -> list[dict[str, Any]]:
        """Its jobs that send, with their states."""
        address = f"http://127.0.0.1:{self.http_port}/jobs?expand"
        with urllib.request.urlopen(address, timeout=5) as answer:
            return [job for job in json.load(answer) if job["Type"] == "DicomModalityStore"]

    def resubmit_failed_jobs(self) -> None:
        """Run the command of the page."""
        (script,) = code_blocks(PAGE, "Orthanc", "sh")
        script = script.replace(":8042", f":{self.http_port}")
        subprocess.run(["bash", "-o", "pipefail", "-ec", script], check=True, capture_output=True)


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """An Orthanc with the configuration and the script of the page."""
    (written,) = code_blocks(PAGE, "Orthanc", "json")
    (script,) = code_blocks(PAGE, "Orthanc", "lua")
    running = Orthanc(free_port(), free_port(), free_port())
    lua = tmp_path / "nightdraft.lua"
    lua.write_text(script)
    config = json.loads(written)
    config["DicomModalities"]["nightdraft"] |= {
        "Host": "127.0.0.1",
        "Port": running.nightdraft_port,
    }
    config |= {
        "LuaScripts": [str(lua)], "StableAge": 1, "DicomPort": running.dicom_port,
        "HttpPort": running.http_port, "StorageDirectory": str(tmp_path / "storage"),
        "IndexDirectory": str(tmp_path / "storage"), "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True, "Plugins": [],
    }  # fmt: skip
    (tmp_path / "orthanc.json").write_text(json.dumps(config))
    with (tmp_path / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAMS[0], tmp_path / "orthanc.json"], stdout=log, stderr=log, cwd=tmp_path
        )
    try:
        eventually(running.answers, 60)
        yield running
    finally:
        process.terminate()
        process.wait(30)


def send_until_taken(port: int, *images: Any) -> None:
    # Orthanc answers HTTP a moment before it takes associations.
    def is_taken() -> bool:
        try:
            return set(send_images(port, *images, caller="XRAY1")) == {0}
        except AssertionError:
            time.sleep(0.2)
            return False

    assert eventually(is_taken)


@pytest.mark.slow
def test_films_wait_in_orthanc_until_the_listener_takes_them(listen, orthanc: Orthanc) -> None:
    film = make_image(study="1.2.826.1", Modality="DX")
    computed_tomography = make_image(
        study="1.2.826.1", sop_class=CTImageStorage, Modality="CT", SeriesInstanceUID="1.2.826.1.9"
    )
    send_until_taken(orthanc.dicom_port, film, computed_tomography)
    # Nobody listens yet. The job fails and is not lost.
    eventually(lambda: {job["State"] for job in orthanc.jobs()} == {"Failure"}, 60)
    listen(listen_port=orthanc.nightdraft_port, allowed_callers="ORTHANC")
    orthanc.resubmit_failed_jobs()
    eventually(lambda: {job["State"] for job in orthanc.jobs()} == {"Success"}, 60)
    (row,) = read_rows()
    assert (row.sop_instance_uid, row.calling_ae) == (film.SOPInstanceUID, "ORTHANC")

    late = make_image(study="1.2.826.1", Modality="DX")
    send_until_taken(orthanc.dicom_port, late)
    eventually(lambda: len(read_rows()) == 2, 60)
    assert {row.sop_instance_uid for row in read_rows()} == {
        film.SOPInstanceUID,
        late.SOPInstanceUID,
    }

"""The order of syncs: a power cut at any moment loses no film that was acknowledged.

Slow; `make prove-fsync`. A library between the listener and the kernel records what is written,
synced, linked and renamed, and the sender adds a line to the same log for each 0x0000. The replay
cuts the power behind each line. It needs gcc.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pynetdicom import AE

from records.blobs import Blobs
from tests.prove.fsync_replay import find_losses
from tests.support.dicom_senders import DX, make_image, start_listener
from tests.support.listener_state import read_rows

FILMS = 40

WITHOUT = {
    "nothing": "",
    "syncs of files": (
        "import os, stat\n"
        "_sync = os.fsync\n"
        "os.fsync = lambda fd: _sync(fd) if stat.S_ISDIR(os.fstat(fd).st_mode) else None\n"
    ),
    "syncs of folders": "import records.blobs\nrecords.blobs._sync_folder = lambda folder: None\n",
    "syncs of the parents of new folders": (
        "import records.blobs\n"
        "_sync = records.blobs._sync_folder\n"
        "records.blobs._sync_folder = lambda folder: _sync(folder)"
        " if len(folder.name) == 2 else None\n"
    ),
}
"""What is taken out of the listener on purpose, as code that runs before it."""


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that records."""
    library = tmp_path_factory.mktemp("recorder") / "fsync_recorder.so"
    source = Path(__file__).with_name("fsync_recorder.c")
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True
    )
    return library


@pytest.mark.parametrize("left_out", WITHOUT)
def test_what_is_acknowledged_survives_a_power_cut_at_any_moment(
    left_out: str, recorder: Path, database, data_dir, setting, tmp_path, capsys
):
    setting(disk_stop_mb=0, disk_warn_mb=0)
    log = tmp_path / "fsync.log"
    root = Blobs(data_dir).root
    listener = start_listener(
        tmp_path,
        WITHOUT[left_out],
        LD_PRELOAD=str(recorder),
        FSYNC_LOG=str(log),
        FSYNC_ROOT=str(root),
    )
    try:
        send_and_note(listener.port, log)
        blobs = {row.sop_instance_uid: str(root / row.blob) for row in read_rows()}
    finally:
        listener.stop()
    lines = log.read_text().splitlines()
    acknowledged = [line for line in lines if line.startswith("A\t")]
    cuts, losses = find_losses(lines, blobs)
    with capsys.disabled():
        print(
            f"\nwithout {left_out}: {len(acknowledged)} films acknowledged, {cuts} power cuts, "
            f"{len(losses)} films lost"
        )
    assert len(acknowledged) == FILMS
    assert (losses == set()) == (left_out == "nothing")


def send_and_note(port: int, log: Path) -> None:
    """Send films of several sizes over several associations; note each 0x0000 in the log."""
    ae = AE("PROOF")
    ae.add_requested_context(DX)
    with log.open("ab", buffering=0) as file:
        for number in range(0, FILMS, 4):
            association = ae.associate("127.0.0.1", port)
            assert association.is_established
            for film in range(number, number + 4):
                image = make_image(
                    f"1.2.{number + 10}", pixels=b"\1\2" * (50_000 * (film % 7) + 64)
                )
                assert association.send_c_store(image).Status == 0
                file.write(f"A\t{image.SOPInstanceUID}\n".encode())
            association.release()

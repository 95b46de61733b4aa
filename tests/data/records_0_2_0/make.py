"""Makes records.sql and files.tar.xz with the code of version 0.2.0 (migration 0004).

Run it in a check-out of commit a35b4d9, where `tests` and all packages are those of that version:

    python make.py FOLDER

The studies are drawn phantoms, one or two in every state that a study of that version could be in.
"""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from sqlalchemy import text
from sqlalchemy.orm import Session

from records.workflow import drafts, reviews, studies
from tests.support.station import Station, running_station
from tests.support.waiting import eventually
from training.corpus.phantoms import phantom
from training.corpus.phantoms_dicom import phantom_dicom

SIZE = 96


def main(folder: Path) -> None:
    """Write both files into the folder."""
    with tempfile.TemporaryDirectory(prefix="n", dir="/tmp") as name:
        data_dir = Path(name)
        with running_station(data_dir, BUNDLE="null", QUIET_SECONDS="1") as station:
            fill(station)
            dump(station, folder / "records.sql")
            with tarfile.open(folder / "files.tar.xz", "w:xz") as archive:
                for kind in ("instances", "prepared", "pictures"):
                    for path in sorted((data_dir / "blobs" / kind).rglob("*")):
                        if path.is_file():
                            add(archive, path, str(path.relative_to(data_dir)))


def add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    """Add a file without its owner and time."""
    content = path.read_bytes()
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def films(seed: int, **changes: object) -> list[Dataset]:
    """The films of a phantom, small, with some elements changed."""
    drawn = phantom_dicom(phantom(seed), size=SIZE)
    for ds in drawn:
        for keyword, value in changes.items():
            setattr(ds, keyword, value)
    return drawn


def send(station: Station, *datasets: Dataset) -> None:
    """Send films, as the command does."""
    with tempfile.TemporaryDirectory() as name:
        for number, ds in enumerate(datasets):
            ds.save_as(Path(name) / f"{number}.dcm", enforce_file_format=True)
        done = station.run("send", name, "--port", str(station.port))
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def frozen(station: Station, *parts: str) -> Iterator[None]:
    """Freeze parts, with their children, while the block runs."""
    pids = [station.parts()[part] for part in parts]
    processes = [p for pid in pids for p in (psutil.Process(pid), *psutil.Process(pid).children())]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


def is_in(station: Station, uid: str, state: str) -> bool:
    """Whether a study is in a state that a person sees."""
    return station.rows().get(uid, ("", ""))[0] == state


def fill(station: Station) -> None:
    """Bring a study into each state."""
    drafted, late, signed, rejected = films(1), films(2), films(3), films(4)
    unclear = films(5, BodyPartExamined="KNEE", StudyDescription="Knee")
    skipped = films(15, SOPClassUID=CTImageStorage, Modality="CT")
    for ds in skipped:
        ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    failed = films(6)
    for ds in failed:
        ds.PixelData = ds.PixelData[:100]
    held, cancelled = films(7), films(8)
    send(
        station,
        *drafted,
        late[0],
        *signed,
        *rejected,
        *unclear,
        *skipped,
        *failed,
        *held,
        *cancelled,
    )
    ends = {
        str(drafted[0].StudyInstanceUID): "DRAFTED",
        str(late[0].StudyInstanceUID): "DRAFTED",
        str(signed[0].StudyInstanceUID): "DRAFTED",
        str(rejected[0].StudyInstanceUID): "DRAFTED",
        str(failed[0].StudyInstanceUID): "FAILED",
        str(skipped[0].StudyInstanceUID): "SKIPPED",
        str(unclear[0].StudyInstanceUID): "HELD",
    }
    for uid, state in ends.items():
        eventually(lambda uid=uid, state=state: is_in(station, uid, state), 60)
    # A late image makes a second draft; other patients' films open holds.
    further = films(2)[0]
    further.SOPInstanceUID += "1"
    further.file_meta.MediaStorageSOPInstanceUID = further.SOPInstanceUID
    send(station, further)
    for study in (films(7), films(8)):
        study[0].PatientID, study[0].PatientName = "PHANTOM-OTHER", "PHANTOM^OTHER"
        study[0].SOPInstanceUID += "1"
        study[0].file_meta.MediaStorageSOPInstanceUID = study[0].SOPInstanceUID
        send(station, study[0])
    uid = str(cancelled[0].StudyInstanceUID)
    eventually(lambda: is_in(station, uid, "HELD"), 60)
    done = station.run("decide", uid, "cancel", "--by", "a reader")
    assert done.returncode == 0, done.stderr
    eventually(lambda: station.query("SELECT count(*) FROM drafts")[0][0] >= 7, 60)
    with Session(station.engine) as session, session.begin():
        review(session, str(signed[0].StudyInstanceUID), "sign")
        review(session, str(rejected[0].StudyInstanceUID), "reject")
    eventually(lambda: not station.query("SELECT 1 FROM draft_requests WHERE lease_owner <> ''"))
    with frozen(station, "draft"):
        send(station, *films(9), *films(10))
        eventually(lambda: station.counts().get("PREPARED") == 2, 60)
        with frozen(station, "prepare"):
            send(station, *films(11), *films(12))
            eventually(lambda: station.counts().get("WAITING") == 2, 60)
            # The worker that has these died before the upgrade; another one's is still alive.
            lease(station, films(10), "interval '-1 minute'", "gpu-1:4711")
            lease(station, films(12), "interval '10 minutes'", "gpu-1:4712")
            with frozen(station, "sweep"):
                send(station, *films(13), films(14)[0])
                eventually(lambda: station.counts().get("RECEIVING") == 2, 60)
                dump_now(station)


def review(session: Session, uid: str, what: str) -> None:
    """Sign or reject the draft of a study."""
    study = studies.get_by_uid(session, uid)
    draft = next(d for d in drafts.list_by_study(session, study.id) if not d.superseded_at)
    if what == "sign":
        reviews.sign(session, draft.id, "Dr. Example", "The lungs are clear.", "No acute disease.")
    else:
        reviews.reject(session, draft.id, "Dr. Example", "It names the wrong side.")


def lease(station: Station, study: list[Dataset], rest: str, owner: str) -> None:
    """Give the study's request to a worker."""
    with station.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE draft_requests SET lease_owner = :owner, claims = claims + 1,"
                f" lease_expires_at = now() + {rest} WHERE study_id ="
                " (SELECT id FROM studies WHERE study_instance_uid = :uid)"
            ),
            {"owner": owner, "uid": str(study[0].StudyInstanceUID)},
        )


_DUMP: list[str] = []


def dump_now(station: Station) -> None:
    """Keep what the database holds, while nothing moves."""
    url = station.addresses["database_url"]
    program = Path(os.environ.get("PG_DUMP", "pg_dump"))
    done = subprocess.run(
        [program, "--inserts", "--rows-per-insert=50", "--no-owner", "--no-privileges",
         "--exclude-table-data=heartbeats", url],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    host = re.escape(socket.gethostname())
    _DUMP.append(re.sub(rf"{host}:\d+", "station:1", done.stdout))


def dump(_: Station, path: Path) -> None:
    """Write what was kept, without the comments of pg_dump and without its session settings."""
    lines = [
        line
        for line in _DUMP[-1].splitlines()
        if not line.startswith(("--", "\\", "SET ", "SELECT pg_catalog.set_config"))
    ]
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

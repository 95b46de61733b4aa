"""The main job as a department sees it: DCMTK sends, and each study gets a draft or a reason."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from uuid import UUID

import httpx2 as httpx
import psutil
import pydicom
import pytest

from records.states import ENDED, WARNING
from tests.support.station import Station, running_station
from tests.support.waiting import eventually
from training.corpus.phantoms_dicom import write_phantoms

PLANTED_NAME = "PLANTED^NAME^FOR^TEST"
PARTS = {"listener", "sweep", "prepare", "draft", "api"}


@pytest.fixture(scope="module")
def station(short_folder: Callable[[], Path]) -> Iterator[Station]:
    with running_station(short_folder(), BUNDLE="demo", LOG_LEVEL="debug") as running:
        yield running


def dcmtk(program: str) -> str:
    """The path of Debian's program; pynetdicom has a storescu, too."""
    path = Path("/usr/bin") / program
    if not path.exists():
        pytest.skip(f"{path} is missing: apt install dcmtk")
    return str(path)


def uid_of(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True, force=True).StudyInstanceUID)


def uids(folder: Path) -> set[str]:
    return {uid_of(path) for path in folder.rglob("*.dcm")}


def send(station: Station, program: str, *options: str) -> None:
    done = subprocess.run(
        [
            dcmtk(program),
            *("-aec", "NIGHTDRAFT", "127.0.0.1", str(station.port)),
            *options,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"TCP_NODELAY": "1", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def association_profile(folder: Path) -> str:
    """An association profile for DCMTK: a context for each pair of class and transfer syntax."""
    metas = [pydicom.dcmread(path, stop_before_pixels=True).file_meta for path in
             sorted(folder.rglob("*.dcm"))]  # fmt: skip
    pairs = sorted({(m.MediaStorageSOPClassUID, m.TransferSyntaxUID) for m in metas})
    syntaxes = sorted({syntax for _, syntax in pairs})
    lines = ["[[TransferSyntaxes]]"]
    lines += [f"[T{number}]\nTransferSyntax1 = {uid}" for number, uid in enumerate(syntaxes)]
    lines += ["[[PresentationContexts]]", "[All]"]
    for number, (sop_class, syntax) in enumerate(pairs, start=1):
        lines.append(f"PresentationContext{number} = {sop_class}\\T{syntaxes.index(syntax)}")
    lines += ["[[Profiles]]", "[Films]", "PresentationContexts = All"]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    for _ in write_phantoms(folder, range(2_000_000_000, 2_000_000_006), size=320):
        pass
    return folder


@pytest.fixture(scope="module")
def drafted(station: Station, phantoms: Path) -> set[str]:
    """The UIDs of the phantoms' studies, sent by storescu in one run, when all are drafted."""
    expected = uids(phantoms)
    send(station, "storescu", "+sd", "+r", str(phantoms))
    eventually(
        lambda: all(station.rows().get(uid, ("", ""))[0] == "DRAFTED" for uid in expected), 90
    )
    return expected


def test_phantoms_by_storescu_are_all_drafted(station: Station, drafted: set[str]):
    texts = [row[0] for row in station.query("SELECT text FROM drafts")]
    assert len(texts) >= len(drafted) == 6
    assert all(text.startswith(WARNING) for text in texts)
    assert len(set(texts)) > 1  # the drafts depend on the images


def test_phantoms_again_by_dcmsend_change_nothing(
    station: Station, drafted: set[str], phantoms: Path
):
    before = station.query("SELECT id, superseded_at FROM drafts ORDER BY id")
    send(station, "dcmsend", "+sd", "+r", str(phantoms))
    eventually(
        lambda: station.query("SELECT count(*) FROM events WHERE kind = 'REPEATED'")[0][0] >= 6
    )
    assert station.query("SELECT id, superseded_at FROM drafts ORDER BY id") == before
    assert {station.rows()[uid] for uid in drafted} == {("DRAFTED", "")}


CHEST = {
    "CR-MONO1-10-chest.dcm": ("DRAFTED", ""),
    "cr_pa_chrJapMulti_nopixel.dcm": ("SKIPPED", "no_pixels"),
    "nih_dx_test1.dcm": ("DRAFTED", ""),
    "nih_dx_test2.dcm": ("DRAFTED", ""),
    "siim_cr_jpegbaseline.dcm": ("DRAFTED", ""),
    "wg04_RG1_J2KI.dcm": ("DRAFTED", ""),
}
"""How the study of each chest image among the samples ends, and why."""


def copy_as_new_studies(folder: Path, target: Path) -> None:
    """Copy DICOM files byte for byte, but for the last digit of their UIDs, which is another."""
    for path in sorted(folder.rglob("*.dcm")):
        content = path.read_bytes()
        ds = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        for uid in (ds.StudyInstanceUID, ds.SOPInstanceUID):
            last = str((int(uid[-1]) + 1) % 10)
            content = content.replace(uid.encode(), f"{uid[:-1]}{last}".encode())
        (target / path.name).write_bytes(content)


@pytest.mark.parametrize("program", ["storescu", "dcmsend"])
def test_real_chest_images_end_drafted_or_with_the_right_reason(
    samples: Path, station: Station, tmp_path: Path, program: str
):
    folder = samples / "dicom/chest"
    if program == "storescu":
        profile = tmp_path / "contexts.cfg"
        profile.write_text(association_profile(folder))
        send(station, "storescu", "-xf", str(profile), "Films", "+sd", "+r", str(folder))
    else:
        copies = tmp_path / "copies"
        copies.mkdir()
        # What another sender delivered is not delivered again.
        copy_as_new_studies(folder, copies)
        folder = copies
        send(station, "dcmsend", "--no-halt", "+sd", "+r", str(folder))
    expected = {uid_of(folder / name): end for name, end in CHEST.items()}
    assert set(expected) == uids(folder)
    eventually(lambda: rows_of(station, expected) == expected, 120)


def rows_of(station: Station, wanted: Collection[str]) -> dict[str, tuple[str, str]]:
    """State and reason of these studies, as far as they are there."""
    return {uid: row for uid, row in station.rows().items() if uid in wanted}


NOT_TAKEN = {
    "unknown_sop_class.dcm": "the listener does not take",
    "1.2.840.10008.1.2.1.99.dcm": "Deflated",
    "no_meta.dcm": "named like DICOM, but is not",
    "wklist1.dump": "not DICOM",
    "wklist2.dump": "not DICOM",
    "wklist3.dump": "not DICOM",
    "orig_other_station.wl": "no SOP class",
}
"""For each sample that the listener does not take, what the sender reports."""


def test_every_sample_gets_a_visible_end(samples: Path, station: Station):
    folder = samples / "dicom"
    files = [path for path in folder.rglob("*") if path.is_file()]
    taken = {path.name: uid_of(path) for path in files if path.name not in NOT_TAKEN}
    ended = {state.value for state in ENDED} | {"HELD"}
    lines = station.run("send", str(folder), "--port", str(station.port)).stdout.splitlines()

    def all_have_ended() -> bool:
        rows = rows_of(station, taken.values())
        return set(rows) == set(taken.values()) and {state for state, _ in rows.values()} <= ended

    eventually(all_have_ended, 180)  # no study vanished
    rows = station.rows()
    ends = {name: rows[uid] for name, uid in taken.items()}
    assert {name: ends[name] for name in CHEST} == CHEST
    radiographs = [path.name for path in (folder / "radiograph_other").iterdir()]
    assert {ends[name] for name in radiographs} == {("SKIPPED", "not_chest")}
    # All others are no radiographs and are skipped, also two different ones under one UID.
    other_ends = {end for name, end in ends.items() if name not in {*CHEST, *radiographs}}
    assert other_ends == {("SKIPPED", "no_films")}
    details = [row[0] for row in station.query("SELECT detail FROM draft_requests")]
    assert all(len(detail) > 20 for detail in details if detail)
    for name, reason in NOT_TAKEN.items():
        assert any(name in line and reason in line for line in lines), name
    refused = station.query("SELECT sentence FROM refusals")
    assert refused
    assert all(len(sentence) > 10 for (sentence,) in refused)
    # No part crashed.
    assert all(psutil.pid_exists(pid) for pid in station.parts().values())
    assert "Traceback" not in station.logs()


def log_lines(station: Station) -> list[dict[str, object]]:
    """Every line that the station and its parts wrote; the servers write logs of their own."""
    files = [*(station.data_dir / "logs").glob("*.log"), *station.data_dir.glob("*.out")]
    # Without what is just being written.
    whole = [path.read_text().rpartition("\n")[0] for path in files]
    return [json.loads(line) for content in whole for line in content.splitlines()]


def test_a_planted_name_is_in_no_log_no_metric_and_no_bell(
    station: Station, phantoms: Path, tmp_path: Path
):
    for number, path in enumerate(sorted(phantoms.rglob("*.dcm"))[:3]):
        ds = pydicom.dcmread(path)
        ds.PatientName, ds.PatientID = PLANTED_NAME, "PLANTED-ID"
        ds.StudyInstanceUID = f"1.2.826.0.1.3680043.9.{number + 1}"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = (
            f"1.2.826.0.1.3680043.9.{number + 1}.1"
        )
        ds.ReasonForTheRequestedProcedure = f"{PLANTED_NAME} coughs"
        if number == 2:  # no film that can be drafted from
            ds.PixelData = ds.PixelData[:100]
        ds.save_as(tmp_path / f"{number}.dcm")
    expected = uids(tmp_path)
    send(station, "storescu", "+sd", str(tmp_path))
    eventually(lambda: all(uid in station.rows() for uid in expected))
    eventually(lambda: station.all_ended(3), 60)
    uid = min(expected)
    for path in (f"/?words={PLANTED_NAME}", f"/api/studies/{uid}", f"/studies/{PLANTED_NAME}"):
        httpx.get(station.page + path, headers={"X-Request-ID": PLANTED_NAME})
    httpx.post(f"{station.page}/api/studies/{uid}/withdraw", json={"by": PLANTED_NAME})
    assert station.run("retry", uid).returncode in (0, 1)
    logs = station.logs()
    assert {line["part"] for line in log_lines(station)} == PARTS | {"station"}
    assert "PLANTED" not in logs
    with urllib.request.urlopen(f"{station.page}/metrics") as metrics:
        assert "PLANTED" not in metrics.read().decode()
    bells = [path for path in (station.data_dir / "valkey").rglob("*") if path.is_file()]
    assert bells
    assert all(b"PLANTED" not in path.read_bytes() for path in bells)
    with station.broker() as broker:
        for key in broker.scan_iter():
            kind = broker.type(key)
            values = broker.lrange(key, 0, -1) if kind == b"list" else [broker.dump(key)]
            assert all(b"PLANTED" not in value for value in values if value)


def test_no_process_writes_a_core_dump(station: Station):
    # The servers of PostgreSQL and Redis hold patients, too.
    processes = [station.process.pid, *(
        child.pid for child in psutil.Process(station.process.pid).children(recursive=True)
    )]  # fmt: skip
    assert len(processes) > len(PARTS)
    for pid in processes:
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE), pid


def test_every_line_of_every_part_has_one_form_and_a_study_is_followed_through_them(
    station: Station, drafted: set[str]
):
    answer = httpx.get(f"{station.page}/api/studies/{min(drafted)}")
    study = answer.json()["study"]["id"]
    way = {
        ("listener", "an object was kept"),
        ("sweep", "a study is complete"),
        ("prepare", "a study was looked at"),
        ("draft", "a draft was saved"),
        ("api", "a request was answered"),
    }

    def follow() -> dict[tuple[object, object], dict[str, object]]:
        return {
            (line["part"], line["message"]): line
            for line in log_lines(station)
            if line.get("study") == study
        }

    # A line follows its commit or its answer.
    eventually(lambda: way <= follow().keys())
    followed = follow()
    for step in way:
        assert UUID(str(followed[step]["request_id"]))
    for step in way - {("api", "a request was answered")}:
        assert followed[step]["trace_id"] == study.replace("-", "")
    lines = log_lines(station)
    for line in lines:
        assert list(line)[:5] == ["time", "level", "part", "pid", "message"], line
    assert {line["part"] for line in lines} == PARTS | {"station"}
    read = followed["api", "a request was answered"]
    assert read["request_id"] == answer.headers["x-request-id"]
    assert (read["route"], read["status"]) == ("/api/studies/{uid}", 200)
    # The association's own lines have its id, as the object's line has.
    association = followed["listener", "an object was kept"]["request_id"]
    assert "an association began" in {
        line["message"] for line in lines if line.get("request_id") == association
    }
    shown = station.run("study", min(drafted)).stdout
    assert study.replace("-", "") in shown


def test_the_person_on_call_sees_it_all_from_the_command(station: Station, drafted: set[str]):
    uid = min(drafted)
    study = station.run("study", uid)
    assert study.returncode == 0, study.stderr
    assert WARNING in " ".join(study.stdout.split())
    assert station.run("status", "--json").returncode == 0
    doctor = station.run("doctor")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr

"""Kills, stops and starves a station at random while devices send; at the end nothing may be lost.

    python -m tests.prove.random_kills --kills 250 --seed 1 --bundle null --out build/kills.jsonl
    python -m tests.prove.random_kills --total build/kills.jsonl

The same seed gives the same plan of kills; which process has which id, and when it is ready, is the
machine's. A run appends its figures to the file, so several runs can be added up. The status is 1
where something was lost, drafted twice or stuck, or where the station ended itself. As root, the
data folder lies on a small tmpfs, which can be filled; another user leaves full disks out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import redis
from pydicom import Dataset
from pydicom.uid import generate_uid

from tests.prove.kill_plan import Figures, Step, StoredFile, add_up, find_losses, make_plan
from tests.support.dicom_senders import send_unsent
from tests.support.disks import fill_disk
from tests.support.station import owner_redis_url
from training.corpus.phantoms import phantom
from training.corpus.phantoms_dicom import phantom_dicom

COMMANDS = {
    "listener": ["listen"],
    "sweep": ["work", "sweep"],
    "prepare": ["work", "prepare"],
    "draft": ["work", "draft"],
    "api": ["serve"],
}

SETTINGS = {
    "LISTEN_PORT": "0",
    "SERVE_PORT": "0",
    "QUIET_SECONDS": "2",
    "SWEEP_SECONDS": "1",
    "LEASE_SECONDS": "10",
    "RETRY_SECONDS": "0",
    # A kill of a worker that has a single study in hand may count as an attempt.
    "MAX_ATTEMPTS": "1000",
    "PREPARE_PROCESSES": "2",
    "LOG_FORMAT": "json",
    "DISK_WARN_MB": "0",
    "DISK_STOP_MB": "40",
}

DISK_MB = 1500
OUTSTANDING = 16
"""Studies that are sent and not yet ended, at most."""
KILLS_IN_A_ROW = 25
"""After so many, some drafts are waited for: where a slow machine drafts nothing between kills,
further ones would hit nothing."""


class Chaos:
    """A station, its senders, and what is done to it.

    Args:
        figures: Gets what is counted.
        data_dir: The station's data folder.
        listeners: Processes of the listener.
    """

    def __init__(self, figures: Figures, data_dir: Path, listeners: int) -> None:
        self.figures = figures
        self.data_dir = data_dir
        self.logs = data_dir.with_name(f"{data_dir.name}-logs")
        self.logs.mkdir(exist_ok=True)
        self.listeners = listeners
        self.station: subprocess.Popen[bytes] | None = None
        self.ended = threading.Event()
        self.lock = threading.Lock()
        self.acknowledged: dict[str, str] = {}  # SOP Instance UID -> Study Instance UID
        self.sent: deque[Dataset] = deque(maxlen=30)  # acknowledged of late
        self.damaged: list[Dataset] = []  # their files were damaged: a device sends them again
        self.disturbances: list[float] = []  # ends of those that no acknowledgement followed yet

    # ---- The station ----

    def start(self) -> None:
        """Start the station as a person does."""
        env = os.environ | {f"NIGHTDRAFT_{name}": value for name, value in SETTINGS.items()}
        env |= {
            "NIGHTDRAFT_DATA_DIR": str(self.data_dir),
            "NIGHTDRAFT_BUNDLE": self.figures.bundle,
            "NIGHTDRAFT_LISTEN_PROCESSES": str(self.listeners),
        }
        with (self.logs / "station.log").open("ab") as output:
            self.station = subprocess.Popen(
                [sys.executable, "-m", "nightdraft", "station", "--logs", str(self.logs)],
                env=env,
                stdout=output,
                stderr=output,
            )

    def check_station(self) -> None:
        """Count a station that ended itself, and start it again."""
        assert self.station is not None
        if self.station.poll() is not None:
            self.figures.station_ended += 1
            print(f"THE STATION ENDED ITSELF with status {self.station.returncode}", flush=True)
            self.start()

    def addresses(self) -> dict[str, Any]:
        """The station's addresses file; nothing while it starts."""
        try:
            content: dict[str, Any] = json.loads((self.data_dir / "run/addresses.json").read_text())
        except (OSError, ValueError):
            return {}
        return content

    def processes(self, name: str) -> list[psutil.Process]:
        """The processes of a part or a server."""
        assert self.station is not None
        if name == "station":
            return [psutil.Process(self.station.pid)]
        processes = []
        with suppress(psutil.Error):
            for child in psutil.Process(self.station.pid).children():
                with suppress(psutil.Error):
                    command = child.cmdline()
                    if name == "valkey" and child.name() == "valkey-server":
                        processes.append(child)
                    if name in ("postmaster", "backend") and child.name() == "postgres":
                        processes += [child] if name == "postmaster" else child.children()
                    part = name.removesuffix(" child")
                    words = COMMANDS.get(part)
                    if words and command[-len(words) :] == words:
                        processes += child.children() if name.endswith(" child") else [child]
        return processes

    # ---- What is done to it ----

    def disturb(self, step: Step) -> bool:
        """Do one step of the plan; false where there was no such process at that moment."""
        action, _, name = step.kind.partition(" ")
        if step.kind == "full disk":
            self._fill_disk(step.seconds)
        elif step.kind == "damage blob":
            if not self._damage_blob(step):
                return False
        elif step.kind == "flushall":
            with (
                suppress(redis.RedisError, KeyError, OSError),
                redis.Redis.from_url(owner_redis_url(self.data_dir), socket_timeout=2) as client,
            ):
                client.flushall()
        else:
            processes = self.processes(name)
            if not processes:
                return False
            process = processes[int(step.choice * len(processes))]
            try:
                if action == "kill":
                    process.kill()
                    if name == "station":
                        assert self.station is not None
                        self.station.wait()
                        self.start()
                else:
                    process.suspend()
                    self._sleep(step.seconds)
                    process.resume()
            except psutil.NoSuchProcess:
                return False
        with self.lock:
            self.disturbances.append(time.monotonic())
        return True

    def _fill_disk(self, seconds: float) -> None:
        ballasts = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ballasts.append(self.data_dir / f"ballast-{len(ballasts)}")
            fill_disk(ballasts[-1])  # and what others gave back meanwhile
            self._sleep(0.5)
        for ballast in ballasts:
            ballast.unlink(missing_ok=True)

    def _damage_blob(self, step: Step) -> bool:
        """Remove the file of an object, or overwrite its beginning; a device sends it again."""
        with self.lock:
            chosen = list(self.sent)
        if not chosen:
            return False
        ds = chosen[int(step.choice * len(chosen))]
        rows = self.query(
            f"SELECT blob FROM instances WHERE sop_instance_uid = '{ds.SOPInstanceUID}'"
        )
        if not rows:
            return False
        path = self.data_dir / "blobs" / rows[0][0]
        try:
            if step.seconds < 4:
                path.unlink()
            else:
                with path.open("r+b") as file:
                    file.seek(1000)
                    file.write(os.urandom(4000))
        except OSError:
            return False
        with self.lock:
            self.damaged.append(ds)
        return True

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(min(0.2, seconds))

    # ---- Devices ----

    def send_studies(self, number: int) -> None:
        """Send study after study as a device does: again and again until all is acknowledged."""
        seed = 2_100_000_000 + number * 1_000_000
        while not self.ended.is_set() or self.damaged:
            with self.lock:
                damaged = [self.damaged.pop()] if self.damaged else []
            self._send_whole(number, damaged)
            if self.ended.is_set():
                continue
            if self.outstanding() > OUTSTANDING:
                self.ended.wait(0.5)
                continue
            seed += 1
            drawn = phantom(seed)
            study = generate_uid()
            unsent = []
            for ds in phantom_dicom(drawn, size=256):
                ds.StudyInstanceUID = study
                ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
                unsent.append(ds)
            self._send_whole(number, unsent)

    def _send_whole(self, number: int, unsent: list[Dataset]) -> None:
        while unsent:
            unsent = self.deliver(f"DEVICE{number}", unsent)
            if unsent:
                time.sleep(0.3)

    def deliver(self, title: str, unsent: list[Dataset]) -> list[Dataset]:
        """Send; returns those that were not acknowledged with success."""
        port = self.addresses().get("listen_port")
        if not port:
            return unsent
        remaining = send_unsent(int(port), title, unsent, 45)
        left = {ds.SOPInstanceUID for ds in remaining}
        for ds in unsent:
            if ds.SOPInstanceUID not in left:
                self._note_acknowledged(ds)
        return remaining

    def _note_acknowledged(self, ds: Dataset) -> None:
        with self.lock:
            self.acknowledged[str(ds.SOPInstanceUID)] = str(ds.StudyInstanceUID)
            self.sent.append(ds)
            self.figures.healed += len(self.disturbances)
            self.disturbances.clear()

    # ---- What became of it ----

    def query(self, sql: str) -> list[tuple[Any, ...]] | None:
        """Rows; None while the database does not answer."""
        url = self.addresses().get("database_url")
        if not url:
            return None
        try:
            connection = psycopg2.connect(url, connect_timeout=5)
            try:
                with connection.cursor() as cursor:
                    cursor.execute(sql)
                    rows: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
                connection.commit()
                return rows
            finally:
                connection.close()
        except psycopg2.Error:
            return None

    def outstanding(self) -> int:
        """Studies that were acknowledged and are not drafted, as far as is known."""
        drafted = self.count_drafted()
        with self.lock:
            studies = len(set(self.acknowledged.values()))
        return OUTSTANDING + 1 if drafted is None else studies - drafted

    def count_drafted(self) -> int | None:
        """Studies that have a current draft; None while the database does not answer."""
        rows = self.query("SELECT count(DISTINCT study_id) FROM drafts WHERE superseded_at IS NULL")
        return int(rows[0][0]) if rows else None

    def resume(self) -> None:
        """Do what a person does who finds a stage's alarm; counted, for none should be needed."""
        rows = self.query(
            "UPDATE alarms SET closed_at = now() WHERE closed_at IS NULL"
            " AND (part IN ('prepare', 'draft') OR part LIKE 'prepare %' OR part LIKE 'draft %')"
            " RETURNING part"
        )
        self.figures.resumed += len(rows or ())

    def settle(self, seconds: float) -> None:
        """Wait until every acknowledged study is drafted, and the parts run."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check_station()
            self.resume()
            if self.outstanding() == 0 and not self._unfinished():
                return
            time.sleep(1.0)

    def wait_for_drafts(self, seconds: float) -> None:
        """Wait until half as many studies as may be outstanding were drafted."""
        deadline = time.monotonic() + seconds
        wanted: int | None = None
        while time.monotonic() < deadline:
            drafted = self.count_drafted()
            if wanted is None and drafted is not None:
                wanted = drafted + OUTSTANDING // 2
            if wanted is not None and drafted is not None and drafted >= wanted:
                return
            self.check_station()
            time.sleep(1.0)

    def _unfinished(self) -> bool:
        rows = self.query(
            "SELECT count(*) FROM draft_requests WHERE state IN ('WAITING', 'PREPARED')"
        )
        return rows is None or bool(rows[0][0])

    def judge(self) -> None:
        """Compare what was acknowledged with what is kept."""
        stored = {
            str(uid): StoredFile(*file)
            for uid, *file in self.query(
                "SELECT sop_instance_uid, blob, size, sha256 FROM instances"
            )
            or []
        }
        current = dict(
            self.query(
                "SELECT s.study_instance_uid, count(d.id) FROM studies s LEFT JOIN drafts d"
                " ON d.study_id = s.id AND d.superseded_at IS NULL GROUP BY 1"
            )
            or []
        )
        studies = set(self.acknowledged.values())
        figures = self.figures
        figures.acknowledged = len(self.acknowledged)
        figures.lost = len(find_losses(self.acknowledged, stored, self.data_dir))
        figures.drafted = sum(current.get(study, 0) >= 1 for study in studies)
        figures.twice = sum(count > 1 for count in current.values())
        figures.stuck = sum(not current.get(study) for study in studies)

    def end(self) -> None:
        """End the station as Ctrl-C does."""
        if self.station is not None and self.station.poll() is None:
            self.station.send_signal(signal.SIGINT)
            try:
                self.station.wait(120)
            except subprocess.TimeoutExpired:
                self.station.kill()
                self.station.wait()


def run(kills: int, seed: int, bundle: str, listeners: int, settle_seconds: float) -> Figures:
    """Run the plan of a seed; returns what was found."""
    figures = Figures(seed, bundle)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="nightdraft-kills-"))
    folder.chmod(0o711)
    data_dir = folder / "data"
    data_dir.mkdir(mode=0o711)
    is_small = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0711", "tmpfs", str(data_dir)],
            check=False,
        ).returncode
    )
    chaos = Chaos(figures, data_dir, listeners)
    try:
        chaos.start()
        senders = [
            threading.Thread(target=chaos.send_studies, args=(number,), daemon=True)
            for number in range(3)
        ]
        for sender in senders:
            sender.start()
        deadline = time.monotonic() + 300
        while not chaos.acknowledged and time.monotonic() < deadline:
            time.sleep(0.2)
        for number, step in enumerate(make_plan(kills, seed, full_disks=is_small)):
            time.sleep(step.pause_seconds)
            chaos.check_station()
            waited = time.monotonic() + 120
            while not chaos.disturb(step) and time.monotonic() < waited:
                chaos.check_station()
                time.sleep(0.3)  # the process is being started
            figures.kills += 1
            figures.kinds[step.kind] += 1
            chaos.resume()
            if figures.kills % KILLS_IN_A_ROW == 0:
                chaos.wait_for_drafts(180)
            print(
                f"{number + 1}/{kills} {step.kind}: {len(chaos.acknowledged)} acknowledged, "
                f"{chaos.outstanding()} outstanding",
                flush=True,
            )
        chaos.ended.set()
        for sender in senders:
            sender.join(300)
        chaos.settle(settle_seconds)
        chaos.judge()
    finally:
        chaos.ended.set()
        chaos.end()
        figures.seconds = round(time.monotonic() - began)
        if is_small:
            subprocess.run(["umount", "--lazy", str(data_dir)], check=False)
        if figures.is_well() and figures.acknowledged:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"the logs are in {chaos.logs}")
    return figures


def main() -> int:
    """Read the options, run, and print the last line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=250)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bundle", default="null", help="null, demo, or a bundle's folder")
    parser.add_argument("--listeners", type=int, default=2)
    parser.add_argument("--settle-seconds", type=float, default=900)
    parser.add_argument("--out", type=Path, default=Path("build/kills.jsonl"))
    parser.add_argument("--total", type=Path, help="only add up the runs of this file")
    options = parser.parse_args()
    if options.total:
        text, is_well = add_up(options.total.read_text().splitlines())
        print(text)
        return 0 if is_well else 1
    figures = run(
        options.kills, options.seed, options.bundle, options.listeners, options.settle_seconds
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("a") as file:
        file.write(json.dumps(vars(figures)) + "\n")
    print(figures.line())
    return 0 if figures.is_well() and figures.acknowledged else 1


if __name__ == "__main__":
    sys.exit(main())

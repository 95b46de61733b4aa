"""A campaign fetches 300 studies while its PACS and our parts are killed and its window closes.

Slow; `make prove-campaigns`. Orthanc and DCMTK's dcmqrscp are the PACSs, and each way of fetching
has a run of its own. At the end each study is drafted once, but those of which the PACS has lost
every film, and each lost film is named on the row of its study. Orthanc lists nothing
of a series of which it has lost a file, so there each of these studies fails by itself. Films are
lost after the walk: Orthanc answers questions that such a study is among with an error, and the
walk leaves out and names that part of an hour. The results are in docs/develop/chaos.md.

    PROVE_SEED, PROVE_STUDIES, PROVE_BUNDLE     make prove-campaigns SEED=2 STUDIES=300 BUNDLE=demo
    PROVE_SIZE                                  make prove-campaigns SIZE=2048: as films are
"""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import pytest
from pydicom import Dataset
from sqlalchemy import text

from records.campaigns.pulling import CLAIM_SECONDS
from records.states import CAMPAIGN_MOVING
from tests.prove.random_kills import COMMANDS
from tests.support.dicom_senders import make_image
from tests.support.pacs import (
    DCMQRSCP,
    DICOMWEB,
    ORTHANC,
    OURS,
    PRESENTATION_STATE,
    TITLE,
    PacsProgram,
    running_dcmqrscp,
    running_orthanc,
)
from tests.support.station import Station, running_station
from tests.support.waiting import eventually
from training.corpus.phantoms import phantom
from training.corpus.phantoms_dicom import phantom_dicom

SEED = int(os.environ.get("PROVE_SEED", "1"))
STUDIES = int(os.environ.get("PROVE_STUDIES", "300"))
BUNDLE = os.environ.get("PROVE_BUNDLE", "null")
SIZE = int(os.environ.get("PROVE_SIZE", "128"))
"""Rows and columns of each film, of 16 bits."""

PARTS = ("retrieve", "listener", "sweep", "prepare", "draft")
PART_KILLS, PACS_KILLS = 10, 2
WINDOW = "the window closes"
PACS = "the PACS"

LOST_FILMS, LOST_STUDIES = 8, 2
"""Studies of which the PACS has lost the last film, and all of them."""

PATIENCE = 900
"""Seconds that a step may take on a busy machine."""

DAY = "2026-01-15"
FIRST_PHANTOM = 2_107_000_000

WAYS = [
    ("Orthanc", "c-get"),
    ("Orthanc", "c-move"),
    ("Orthanc", "wado-rs"),
    ("dcmqrscp", "c-get"),
    ("dcmqrscp", "c-move"),
]

SETTINGS = {
    # Shorter than a PACS or a part is away: a study that was fetched in part waits for the rest.
    "QUIET_SECONDS": "5",
    "CAMPAIGN_AHEAD": "20",
    "LEASE_SECONDS": "10",
    # A kill of a worker that has a single study in hand may count as an attempt.
    "MAX_ATTEMPTS": "1000",
}


@dataclass
class Figures:
    """What a run found: studies by what became of them, and faults, which are all to be 0."""

    pacs: str
    way: str
    seed: int
    bundle: str
    studies: int = 0
    kills: int = 0
    minutes: float = 0.0
    drafted: int = 0
    drafted_twice: int = 0
    lost_films: int = 0
    lost_films_named: int = 0
    retrieve_peak_mb: int = 0


@dataclass(frozen=True)
class Step:
    """What is done once so many studies have their end."""

    ended: int
    what: str
    seconds_later: float


def make_plan(seed: int, studies: int) -> list[Step]:
    """The steps of a seed; each part is killed at least once."""
    chosen = random.Random(seed)
    steps = [*PARTS, *chosen.choices(PARTS, k=PART_KILLS - len(PARTS)), *[PACS] * PACS_KILLS]
    chosen.shuffle(steps)
    # In the first half, so that enough still waits when it is closed.
    steps.insert(chosen.randrange(len(steps) // 2), WINDOW)
    at = sorted(chosen.sample(range(studies // 30, studies - studies // 10), len(steps)))
    return [
        Step(ended, what, round(chosen.uniform(0, 1), 2))
        for ended, what in zip(at, steps, strict=True)
    ]


def draw_studies(number: int) -> dict[str, list[Dataset]]:
    """Small studies, each with a presentation state, by Study Instance UID."""
    # As long as UIDs are that are drawn at random (PS3.5 B.2), and the same in each run of a seed.
    drawn = random.Random(SEED)

    def new_uid() -> str:
        return f"2.25.{drawn.getrandbits(120)}"

    studies = {}
    for count in range(number):
        films = phantom_dicom(
            phantom(FIRST_PHANTOM + count),
            size=SIZE,
            study_date=DAY.replace("-", ""),
            accession=f"CK{count}",
        )
        study = new_uid()
        for film in films:
            film.StudyInstanceUID = study
            film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = new_uid()
        first = films[0]
        state = make_image(
            study,
            new_uid(),
            sop_class=PRESENTATION_STATE,
            SeriesInstanceUID=new_uid(),
            Modality="PR",
            PatientID=first.PatientID,
            PatientName=first.PatientName,
            AccessionNumber=first.AccessionNumber,
            StudyDate=first.StudyDate,
            StudyTime=first.StudyTime,
        )
        del state.PixelData
        studies[study] = [*films, state]
    return studies


def films_of(images: list[Dataset]) -> list[str]:
    """SOP Instance UIDs of the films of a study."""
    return [str(image.SOPInstanceUID) for image in images if image.Modality != "PR"]


def choose_lost(seed: int, studies: dict[str, list[Dataset]]) -> dict[str, list[str]]:
    """The films that the PACS lists and has lost, by study."""
    chosen = random.Random(seed + 1)
    several = [uid for uid, images in studies.items() if len(films_of(images)) > 1]
    picked = chosen.sample(several, LOST_FILMS + LOST_STUDIES)
    lost = {uid: films_of(studies[uid])[-1:] for uid in picked[:LOST_FILMS]}
    return lost | {uid: films_of(studies[uid]) for uid in picked[LOST_FILMS:]}


@contextmanager
def running_pacs(name: str, folder: Path) -> Iterator[PacsProgram]:
    """A PACS without a cache of files, so that a lost file is lost."""
    if name == "Orthanc":
        with running_orthanc(folder, MaximumStorageCacheSize=0) as program:
            yield program
    else:
        with running_dcmqrscp(folder) as program:
            yield program


def write_pacs_file(path: Path, way: str, program: PacsProgram) -> Path:
    """The file that names the PACS to the station."""
    lines = [
        "[archive]", 'host = "127.0.0.1"', f"port = {program.port}", f'ae_title = "{TITLE}"',
        f'retrieve = "{way}"', "studies_per_minute = 100000", "associations = 2", "seconds = 20",
        "attempts = 3", "retry_seconds = 10",
    ]  # fmt: skip
    if way == "wado-rs":
        lines.append(f'url = "{program.web}"')
    path.write_text("\n".join(lines) + "\n")
    return path


def closed_hours() -> tuple[str, str]:
    """Hours of a window that opens in two hours, in UTC."""
    now = dt.datetime.now(dt.UTC)
    opens, closes = (f"{now + dt.timedelta(hours=hours):%H:%M}" for hours in (2, 3))
    return opens, closes


class Night:
    """A campaign of a running station, and what is done to it."""

    def __init__(self, station: Station, pacs: PacsProgram) -> None:
        self.station = station
        self.pacs = pacs
        self.retrieve_peak_mb = 0

    def states(self) -> Counter[str]:
        """Studies of the campaign by state."""
        return Counter(
            dict(self.station.query("SELECT state, count(*) FROM campaign_studies GROUP BY 1"))
        )

    def ended(self) -> int:
        """Studies that wait and move no more."""
        return sum(n for state, n in self.states().items() if state not in CAMPAIGN_MOVING)

    def disturb(self, step: Step) -> None:
        """Do one step of the plan."""
        time.sleep(step.seconds_later)
        if step.what == PACS:
            self.kill_pacs()
        elif step.what == WINDOW:
            self.close_window()
        else:
            self.kill_part(step.what)

    def note_memory(self) -> None:
        """Keep the most memory that a process of the part `retrieve` has had resident."""
        part = self.find_part("retrieve")
        if part is None:
            return
        with suppress(OSError):
            words = Path(f"/proc/{part.pid}/status").read_text().split()
            peak = int(words[words.index("VmHWM:") + 1]) // 1024
            self.retrieve_peak_mb = max(self.retrieve_peak_mb, peak)

    def kill_part(self, part: str) -> None:
        """Kill a part of the station; it is the station that starts it again."""
        if part == "retrieve":
            self.note_memory()
        eventually(lambda: self.find_part(part), PATIENCE).kill()
        if part == "retrieve":
            # The time is let pass after which a dead process's claims count no more.
            self.write(
                "UPDATE campaign_studies SET claimed_at = claimed_at"
                f" - interval '{CLAIM_SECONDS} seconds' WHERE state = 'PULLING'"
            )

    def find_part(self, part: str) -> psutil.Process | None:
        """The process of a part; none while it is being started."""
        words = COMMANDS.get(part, [part])
        for child in psutil.Process(self.station.process.pid).children():
            with suppress(psutil.Error):
                if child.cmdline()[-len(words) :] == words:
                    return child
        return None

    def kill_pacs(self) -> None:
        """Kill the PACS, and start it again once the campaign says that it waits for it."""
        self.pacs.kill()
        eventually(lambda: self.campaign("stalled_reason"), PATIENCE)
        self.pacs.start()

    def close_window(self) -> None:
        """Close the window by other hours, let all that is under way end, and open it again."""
        opens, closes = closed_hours()
        self.write(f"UPDATE campaigns SET window_opens = '{opens}', window_closes = '{closes}'")
        eventually(lambda: not self.campaign("is_open"), PATIENCE)
        eventually(lambda: not self.states()["PULLING"], PATIENCE)
        waiting = self.states()["WAITING"]
        eventually(lambda: not self.states()["IN_WORK"], PATIENCE)
        assert self.states()["WAITING"] == waiting > 0, "a closed window let studies in"
        self.open_window()

    def open_window(self) -> None:
        """Let the campaign work at every hour."""
        self.write("UPDATE campaigns SET window_opens = NULL, window_closes = NULL")

    def campaign(self, column: str) -> object:
        """A column of the campaign."""
        return self.station.query(f"SELECT {column} FROM campaigns")[0][0]

    def write(self, sql: str) -> None:
        """Change rows."""
        with self.station.engine.begin() as connection:
            connection.execute(text(sql))


@pytest.mark.parametrize(("name", "way"), WAYS, ids=["-".join(way) for way in WAYS])
def test_a_campaign_ends_whole(
    name: str,
    way: str,
    short_folder: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    if not {"Orthanc": ORTHANC and DICOMWEB, "dcmqrscp": DCMQRSCP}[name]:
        pytest.skip(f"{name} is needed (apt install orthanc orthanc-dicomweb dcmtk)")
    plan = make_plan(SEED, STUDIES)
    studies = draw_studies(STUDIES)
    lost = choose_lost(SEED, studies)
    figures = Figures(name, way, SEED, BUNDLE, len(studies))
    with running_pacs(name, tmp_path / "pacs") as pacs:
        pacs.store([image for images in studies.values() for image in images])
        pacs_file = write_pacs_file(tmp_path / "pacs.toml", way, pacs)
        monkeypatch.setenv("NIGHTDRAFT_PACS_FILE", str(pacs_file))  # the command reads it, too
        settings = SETTINGS | {
            "AE_TITLE": OURS, "BUNDLE": BUNDLE,
            "LISTEN_PORT": str(pacs.listener_port),
        }  # fmt: skip
        with running_station(short_folder(), start_seconds=PATIENCE, **settings) as station:
            began = time.monotonic()
            created = station.run(
                "campaign", "create", "kills", "--pacs", "archive", "--from-day", DAY,
                "--to-day", DAY, "--zone", "UTC", "--hours", "{}-{}".format(*closed_hours()),
            )  # fmt: skip
            assert created.returncode == 0, created.stderr
            night = Night(station, pacs)
            eventually(lambda: night.campaign("walk_state") == "WALKED", PATIENCE)
            assert night.states() == {"WAITING": len(studies)}, night.campaign("walk_note")
            pacs.lose([uid for uids in lost.values() for uid in uids])
            night.open_window()
            for step in plan:
                eventually(lambda step=step: night.ended() >= step.ended, PATIENCE)
                print(f"{night.ended()} ended: {step.what}", flush=True)
                night.disturb(step)
                figures.kills += step.what != WINDOW
            eventually(lambda: night.campaign("state") == "DONE", PATIENCE)
            figures.minutes = round((time.monotonic() - began) / 60, 1)
            night.note_memory()
            figures.retrieve_peak_mb = night.retrieve_peak_mb
            judge(station, studies, lost, figures)


def judge(
    station: Station,
    studies: dict[str, list[Dataset]],
    lost: dict[str, list[str]],
    figures: Figures,
) -> None:
    """Compare what the PACS has with the rows of the campaign and with the drafts."""
    rows = {
        uid: (state, reason, detail, set(missing))
        for uid, state, reason, detail, missing in station.query(
            "SELECT study_instance_uid, state, reason, detail, missing FROM campaign_studies"
        )
    }
    drafts, requests = (
        Counter(
            dict(
                station.query(
                    f"SELECT s.study_instance_uid, count(*) FROM {table} t JOIN studies s"
                    " ON s.id = t.study_id GROUP BY 1"
                )
            )
        )
        for table in ("drafts", "draft_requests")
    )
    instances = station.query("SELECT sop_instance_uid FROM instances WHERE state = 'KEPT'")
    is_listed = figures.pacs == "dcmqrscp"
    gone = {uid for uid, films in lost.items() if not is_listed or films == films_of(studies[uid])}
    figures.drafted = sum(state == "DRAFTED" for state, *_ in rows.values())
    figures.drafted_twice = sum(number > 1 for number in (drafts | requests).values())
    figures.lost_films = sum(map(len, lost.values()))
    figures.lost_films_named = sum(len(rows[uid][3] & set(films)) for uid, films in lost.items())

    print(json.dumps(asdict(figures)), flush=True)

    assert set(rows) == set(studies)
    odd = {uid: row for uid, row in rows.items() if row[0] != "DRAFTED" and uid not in gone}
    assert odd == {}, "not drafted"
    named = {uid: row[3] for uid, row in rows.items() if row[3]}
    if is_listed:
        assert named == {uid: set(films) for uid, films in lost.items()}, "not as they are lost"
    else:
        assert named == {}
    assert {rows[uid][0] for uid in gone} <= {"FAILED", "MISSING"}
    assert drafts == dict.fromkeys(set(studies) - gone, 1)
    assert requests == dict.fromkeys(set(studies) - gone, 1)
    expected = {
        film
        for uid, images in studies.items()
        for film in films_of(images)
        if film not in lost.get(uid, ()) and (is_listed or uid not in gone)
    }
    assert sorted(uid for (uid,) in instances) == sorted(expected)

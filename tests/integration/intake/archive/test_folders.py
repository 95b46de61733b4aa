"""A folder of films becomes a campaign: walked, filed study by study, and whole after any kill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest
from pydicom import dcmread, dcmwrite
from sqlalchemy import func, select, text

from intake.archive.folder_files import check_folder
from records.database.campaign_tables import CampaignFile, CampaignStudy
from records.database.operation_tables import Refusal
from records.database.session import unit_of_work
from records.database.tables import Instance, Study
from records.errors import PartError
from records.operations import heartbeats
from records.states import CampaignKind, WalkState
from records.workflow import studies
from tests.support.campaigns import create, ends, get, tend_all
from tests.support.registered_studies import draft_all
from tests.support.stored_studies import PLANTED_NAME, phantom_images
from tests.support.waiting import eventually
from worker.campaigns import tend

STUDIES = 4


@pytest.fixture
def films(tmp_path):
    """A folder of phantoms: {study UID: paths}."""
    folder = tmp_path / "films"
    paths = {}
    for number in range(STUDIES):
        for at, image in enumerate(phantom_images(number)):
            path = folder / f"{number}" / f"{at}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            dcmwrite(path, image, enforce_file_format=True)
            paths.setdefault(str(image.StudyInstanceUID), []).append(path)
    return folder, paths


@pytest.fixture
def start(database, data_dir, setting, tmp_path, films):
    """`start(**environment)` runs `nightdraft retrieve`."""
    started = []

    def run(**environment: str) -> subprocess.Popen:
        with run.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "nightdraft", "retrieve"],
                stdout=log, stderr=log, env={**os.environ, **environment},
            )  # fmt: skip
        started.append(process)
        return process

    setting(campaign_folders=tmp_path, disk_stop_mb=0, disk_warn_mb=0, log_format="json")
    run.log = tmp_path / "retrieve.log"
    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(30)


def folder_campaign(folder, **changed):
    return create(CampaignKind.FOLDER, source={"folder": str(folder)}, **changed)


def count(table):
    with unit_of_work() as session:
        return session.scalar(select(func.count()).select_from(table))


def close_and_draft(campaign):
    with unit_of_work() as session:
        studies.close_quiet(session, 3600.0)
    draft_all()
    tend_all()
    return set(ends(campaign).values())


@pytest.mark.slow
def test_a_folder_is_drafted_and_its_files_stay(start, films):
    folder, paths = films
    before = {path: path.read_bytes() for path in folder.rglob("*.dcm")}
    (folder / "readme.txt").write_text("no film")
    campaign = folder_campaign(folder)
    tend()
    process = start()
    eventually(lambda: get(campaign).walk_state == WalkState.WALKED)
    assert get(campaign).walk_note == (
        f"{len(before) + 1} files, {len(before)} of them DICOM, 1 other files were left out"
    )
    eventually(lambda: set(ends(campaign).values()) == {("IN_WORK", "")})
    assert set(ends(campaign)) == set(paths)
    assert close_and_draft(campaign) == {("DRAFTED", "")}
    assert {path: path.read_bytes() for path in folder.rglob("*.dcm")} == before
    with unit_of_work() as session:
        row = session.scalars(select(CampaignStudy)).first()
        assert (row.missing, row.listed) == ([], len(paths[row.study_instance_uid]))
        assert row.size == sum(len(before[path]) for path in paths[row.study_instance_uid])
        assert set(session.scalars(select(Instance.calling_ae))) == {"FOLDER"}
        assert {beat.part for beat in heartbeats.running_parts(session)} == {"retrieve"}
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert PLANTED_NAME not in start.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("point", ["walk-batch", "pull-claimed", "after-fsync", "pull-fetched"])
def test_a_kill_at_any_point_loses_and_doubles_nothing(start, films, point, tmp_path):
    folder, paths = films
    campaign = folder_campaign(folder)
    tend()
    killed = start(NIGHTDRAFT_KILL_AT=point, NIGHTDRAFT_KILL_MARK=str(tmp_path / "killed"))
    assert killed.wait(60) == -signal.SIGKILL
    with unit_of_work() as session:  # the claims run out
        session.execute(text("UPDATE campaigns SET walk_claimed_at = '2020-01-01'"))
        session.execute(text("UPDATE campaign_studies SET claimed_at = '2020-01-01'"))
    tend()
    start()
    eventually(
        lambda: set(ends(campaign).values()) == {("IN_WORK", "")} and len(ends(campaign)) == STUDIES
    )
    assert close_and_draft(campaign) == {("DRAFTED", "")}
    assert count(Study) == STUDIES
    assert count(Instance) == count(CampaignFile) == sum(map(len, paths.values()))


@pytest.mark.slow
def test_what_cannot_be_taken_is_named_and_its_study_alone_pays(start, films):
    folder, paths = films
    first, second, *_ = paths
    changed = paths[first][0]
    image = dcmread(changed)
    image.SeriesInstanceUID = ""
    dcmwrite(changed, image, enforce_file_format=True)
    campaign = folder_campaign(folder)
    tend()
    gone = paths[second]
    process = start()
    eventually(lambda: get(campaign).walk_state == WalkState.WALKED)
    process.kill()
    process.wait(30)
    with unit_of_work() as session:
        session.execute(
            text(
                "UPDATE campaign_studies SET state = 'WAITING', follows = false, attempts = 0,"
                " claimed_at = NULL WHERE study_instance_uid = :uid"
            ),
            {"uid": second},
        )
        session.execute(text("UPDATE campaign_studies SET claimed_at = '2020-01-01'"))
    for path in gone:
        path.unlink()
    tend()
    start()
    eventually(lambda: ends(campaign)[second] == ("FAILED", "PULL_FAILED") or wake())
    row = row_of(first)
    assert row.missing == [str(image.SOPInstanceUID)]
    assert count(Refusal) == 1
    others = set(paths) - {first, second}
    assert {ends(campaign)[uid] for uid in others} == {("IN_WORK", "")}
    assert "gone or changed" in row_of(second).detail


def wake():
    """Let studies be fetched again at once; always False."""
    with unit_of_work() as session:
        session.execute(text("UPDATE campaign_studies SET not_before = NULL"))
    return False


def row_of(uid):
    with unit_of_work() as session:
        return session.scalars(
            select(CampaignStudy).where(CampaignStudy.study_instance_uid == uid)
        ).one()


@pytest.mark.slow
def test_a_full_disk_pauses_once_and_goes_on_by_itself(start, films, setting):
    folder, _ = films
    campaign = folder_campaign(folder)
    tend()
    process = start(NIGHTDRAFT_DISK_STOP_MB="999999999")
    eventually(lambda: get(campaign).stalled_reason != "")
    assert "DISK_STOP_MB" in get(campaign).stalled_reason
    assert set(ends(campaign).values()) == {("WAITING", "")}
    with unit_of_work() as session:
        assert set(session.scalars(select(CampaignStudy.attempts))) == {0}
    process.kill()
    process.wait(30)
    start()
    eventually(lambda: set(ends(campaign).values()) == {("IN_WORK", "")})
    assert get(campaign).stalled_reason == ""


@pytest.mark.slow
def test_a_folder_that_campaigns_may_not_read_fails_the_walk(
    start, tmp_path, setting, short_folder
):
    campaign = folder_campaign(short_folder())
    other = tmp_path / "nowhere"
    gone = folder_campaign(other, name="gone")
    tend()
    start()
    eventually(lambda: get(campaign).walk_state == WalkState.FAILED)
    assert "NIGHTDRAFT_CAMPAIGN_FOLDERS" in get(campaign).walk_note
    eventually(lambda: get(gone).walk_state == WalkState.FAILED)
    assert "cannot be read" in get(gone).walk_note


def test_it_does_not_start_without_a_source(database, data_dir):
    done = subprocess.run(
        [sys.executable, "-m", "nightdraft", "retrieve"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "set NIGHTDRAFT_PACS_FILE" in done.stderr


def test_a_link_out_of_the_allowed_folder_is_not_below_it(tmp_path):
    (tmp_path / "allowed").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "allowed" / "link").symlink_to(tmp_path / "other")
    allowed = [str(tmp_path / "allowed")]
    assert check_folder(str(tmp_path / "allowed"), allowed)
    for name in ("other", "allowed/link", "allowed/../other", "allowedx"):
        with pytest.raises(PartError, match="NIGHTDRAFT_CAMPAIGN_FOLDERS"):
            check_folder(str(tmp_path / name), allowed)


def test_the_same_folder_twice_brings_nothing_twice(start, films):
    folder, _ = films
    first = folder_campaign(folder, name="first")
    tend()
    start()
    eventually(
        lambda: set(ends(first).values()) == {("IN_WORK", "")} and len(ends(first)) == STUDIES
    )
    assert close_and_draft(first) == {("DRAFTED", "")}
    copy = folder.parent / "copy"
    shutil.copytree(folder, copy)
    second = folder_campaign(copy, name="second")
    tend()
    eventually(lambda: set(ends(second).values()) == {("SKIPPED", "ALREADY_DRAFTED")})
    assert count(Study) == STUDIES

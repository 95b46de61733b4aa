"""The part `retrieve` with a PACS, as a process: kills on either side lose and double nothing."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select, text

from intake.archive.running import make_sources
from records.campaigns.pacs_query import PacsQuery
from records.database.campaign_tables import Campaign, CampaignStudy
from records.database.operation_tables import Alarm
from records.database.session import unit_of_work
from records.database.tables import Instance
from records.errors import SettingsError
from records.operations import heartbeats
from records.settings import settings
from records.states import CampaignKind
from tests.support import campaigns
from tests.support.pacs import OURS, TITLE, OddPacs, film_uids, make_study
from tests.support.waiting import eventually
from worker.campaigns import tend

STUDIES = 12

PACS_FILE = """
[archive]
host = "127.0.0.1"
port = {port}
ae_title = "{title}"
calling_ae = "{ours}"
seconds = 10
retry_seconds = 1
studies_per_minute = 6000
associations = 2
"""


@pytest.fixture
def start(database, data_dir, setting, tmp_path):
    """`start(**environment)` runs `nightdraft retrieve` with the PACS `start.odd`."""
    started = []

    def run(**environment: str) -> subprocess.Popen:
        with run.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "nightdraft", "retrieve"],
                stdout=log, stderr=log, env={**os.environ, **environment},
            )  # fmt: skip
        started.append(process)
        return process

    images = [one for number in range(STUDIES) for one in make_study(number)]
    with OddPacs(images) as odd:
        run.odd = odd
        file = tmp_path / "pacs.toml"
        file.write_text(PACS_FILE.format(port=odd.port, title=TITLE, ours=OURS))
        setting(
            pacs_file=file, disk_stop_mb=0, disk_warn_mb=0, log_format="json",
            query_alarm_seconds=0,
        )  # fmt: skip
        run.log = tmp_path / "retrieve.log"
        yield run
        for process in started:
            if process.poll() is None:
                process.kill()
            process.wait(30)


def query_campaign():
    query = PacsQuery(dt.date(2025, 12, 1), dt.date(2026, 1, 31))
    campaign = campaigns.create(CampaignKind.QUERY, source=query.to_source(), pacs="archive")
    tend()
    return campaign


def rows():
    """The states of the rows, each with its missing images."""
    with unit_of_work() as session:
        return [(r.state, r.missing) for r in session.scalars(select(CampaignStudy))]


def here():
    with unit_of_work() as session:
        return sorted(session.scalars(select(Instance.sop_instance_uid)))


def all_fetched():
    return rows() == [("IN_WORK", [])] * STUDIES


def running_parts():
    with unit_of_work() as session:
        return {beat.part for beat in heartbeats.running_parts(session)}


@pytest.mark.slow
def test_a_pacs_is_walked_and_fetched_and_the_process_ends_in_order(start):
    process = start()
    eventually(lambda: running_parts() == {"retrieve"})
    query_campaign()
    eventually(all_fetched, 60)
    assert here() == sorted(film_uids(start.odd.images))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert running_parts() == set()
    log = start.log.read_text()
    assert "a study was fetched" in log
    # What the PACS said of patients is in no line.
    assert not [word for word in ("PHANTOM", "P-1", "A1", "1.2.826.77") if word in log]


@pytest.mark.slow
@pytest.mark.parametrize(
    "point", ["walk-batch", "pull-claimed", "after-fsync", "after-commit", "pull-fetched"]
)
def test_a_kill_loses_no_study_and_doubles_none(start, point, tmp_path):
    query_campaign()
    mark = tmp_path / "killed"
    killed = start(NIGHTDRAFT_KILL_AT=point, NIGHTDRAFT_KILL_MARK=str(mark))
    assert killed.wait(60) == -signal.SIGKILL
    with unit_of_work() as session:  # the claims of the process that died run out
        session.execute(text("UPDATE campaigns SET walk_claimed_at = NULL"))
        session.execute(
            text(
                "UPDATE campaign_studies SET claimed_at = claimed_at - interval '1 hour' "
                "WHERE state = 'PULLING'"
            )
        )
    tend()
    start()
    eventually(all_fetched, 60)
    assert here() == sorted(film_uids(start.odd.images))
    # What was acknowledged before the kill was not sent again: one study at most was under way
    # in each of the two threads.
    assert sum(start.odd.sent.values()) <= len(here()) + 2 * 2


@pytest.mark.slow
def test_a_pacs_that_goes_away_in_the_midst_has_one_alarm_and_everything_comes_later(start):
    start.odd.before_get = lambda count: start.odd.stop() if count == 5 else None
    query_campaign()
    start()
    eventually(lambda: _alarms() == [("PACS_AWAY", True)], 60)
    with unit_of_work() as session:
        assert "archive" in session.scalars(select(Campaign.stalled_reason)).one()
    assert {state for state, _ in rows()} <= {"WAITING", "PULLING", "IN_WORK"}
    start.odd.before_get = None
    with start.odd:
        eventually(all_fetched, 60)
        eventually(lambda: _alarms() == [("PACS_AWAY", False)])
    assert here() == sorted(film_uids(start.odd.images))


def _alarms():
    with unit_of_work() as session:
        return [(alarm.kind, alarm.closed_at is None) for alarm in session.scalars(select(Alarm))]


def test_a_wrong_file_of_pacss_is_named_at_the_start(database, data_dir, setting, tmp_path):
    file = tmp_path / "pacs.toml"
    file.write_text('[archive]\nhost = "x"\nae_title = "ARCHIVE"\nretrive = "c-get"\n')
    setting(pacs_file=file)
    done = subprocess.run(
        [sys.executable, "-m", "nightdraft", "retrieve"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "archive.retrive: is no key of a PACS: did you mean retrieve?" in done.stderr


def test_a_wrong_certificate_is_named(database, data_dir, setting, tmp_path: Path):
    file = tmp_path / "pacs.toml"
    file.write_text('[archive]\nhost = "x"\nae_title = "A"\ntls = true\nca_file = "/nowhere.pem"\n')
    setting(pacs_file=file)
    with pytest.raises(SettingsError, match="archive"):
        make_sources(settings(), None, None)

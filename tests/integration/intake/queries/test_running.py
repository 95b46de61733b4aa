"""The part `query` as a process: it asks, ends in order, and a kill loses and doubles nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update

from intake.queries.running import make_systems
from records.database.order_tables import Order, OrderChange, StudyOrder, StudyQuery
from records.database.report_tables import ReceivedReport
from records.database.session import unit_of_work
from records.errors import SettingsError
from records.operations import heartbeats
from records.orders import queries
from records.settings import settings
from records.states import QueryState
from tests.support.fhir_server import SYSTEM, FhirServer, make_patient, make_report
from tests.support.registered_studies import complete, new_instance
from tests.support.waiting import eventually
from tests.support.worklists import OddWorklist, make_entry


@pytest.fixture
def start(database, data_dir, setting, tmp_path):
    """`start(**environment)` runs `nightdraft query` on one study that waits for its order."""
    started = []

    def run(**environment: str) -> subprocess.Popen:
        with (tmp_path / "query.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "nightdraft", "query"],
                stdout=log, stderr=log, env={**os.environ, **environment},
            )  # fmt: skip
        started.append(process)
        return process

    with OddWorklist(answers=[make_entry()]) as worklist:
        setting(worklist_host="127.0.0.1", worklist_port=worklist.port, log_format="json")
        run.worklist = worklist
        run.log = tmp_path / "query.log"
        yield run
        for process in started:
            if process.poll() is None:
                process.kill()
            process.wait(30)


def open_query():
    study_ids = complete(new_instance())
    with unit_of_work() as session:
        queries.open_queries(session, study_ids, settings())


def state():
    with unit_of_work() as session:
        return session.scalar(select(StudyQuery.state))


def count(table):
    with unit_of_work() as session:
        return session.scalar(select(func.count()).select_from(table))


@pytest.mark.slow
def test_a_question_is_asked_and_the_process_ends_in_order(start):
    process = start()
    eventually(lambda: running_parts() == {"query"})
    open_query()
    eventually(lambda: state() == QueryState.ANSWERED)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert running_parts() == set()
    log = start.log.read_text()
    # What the worklist said of the patient is in no line.
    assert "other systems are asked" in log
    assert not [word for word in ("PHANTOM", "P-1", "Fever", "A1") if word in log]


def running_parts():
    with unit_of_work() as session:
        return {beat.part for beat in heartbeats.running_parts(session)}


@pytest.mark.slow
@pytest.mark.parametrize("point", ["worklist-answered", "worklist-kept"])
def test_a_kill_between_answer_and_commit_asks_again_and_keeps_one_order(start, point, tmp_path):
    open_query()
    mark = tmp_path / "killed"
    killed = start(NIGHTDRAFT_KILL_AT=point, NIGHTDRAFT_KILL_MARK=str(mark))
    assert killed.wait(60) == -signal.SIGKILL
    assert (state(), count(Order)) == (QueryState.WAITING, 0)
    with unit_of_work() as session:  # its claim runs out
        session.execute(update(StudyQuery).values(not_before=text("now()")))
    start()
    eventually(lambda: state() == QueryState.ANSWERED)
    assert [count(table) for table in (Order, OrderChange, StudyOrder)] == [1, 1, 1]
    assert len(start.worklist.asked) == 2


@pytest.mark.slow
def test_a_kill_between_reports_and_commit_asks_again_and_keeps_one(start, setting, tmp_path):
    with FhirServer() as server:
        server.put(make_patient(), make_report())
        setting(worklist_host="", reports_url=server.base, reports_patient_system=SYSTEM)
        open_query()
        mark = {"NIGHTDRAFT_KILL_AT": "reports-answered", "NIGHTDRAFT_KILL_MARK": f"{tmp_path}/k"}
        assert start(**mark).wait(60) == -signal.SIGKILL
        assert (state(), count(ReceivedReport)) == (QueryState.WAITING, 0)
        with unit_of_work() as session:
            session.execute(update(StudyQuery).values(not_before=text("now()")))
        start()
        eventually(lambda: state() == QueryState.ANSWERED)
        assert count(ReceivedReport) == 1


def test_it_does_not_start_without_anybody_to_ask(database, data_dir):
    done = subprocess.run(
        [sys.executable, "-m", "nightdraft", "query"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "there is nobody to ask: set NIGHTDRAFT_WORKLIST_HOST" in done.stderr


def test_a_wrong_certificate_is_named(database, data_dir, setting, tmp_path: Path):
    setting(worklist_host="x", worklist_tls=True, worklist_ca_file=tmp_path / "none.pem")
    with pytest.raises(SettingsError, match="WORKLIST_CA_FILE"):
        make_systems(settings())

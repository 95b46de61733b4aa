"""Leases while their work goes on, and a worker that hangs."""

from __future__ import annotations

import os
import threading

import pytest
from structlog.testing import capture_logs

from records.database.session import forget_engine, unit_of_work
from records.states import Stage
from records.workflow import attempts, leases
from tests.support.stored_studies import close_studies, lease_of, pass_lease_on, store_studies
from tests.support.waiting import eventually
from worker import tasks
from worker.lease_renewer import LeaseRenewer


@pytest.fixture
def lease(night):
    store_studies(1)
    close_studies()

    def claim(**chosen):
        night(**chosen)
        with unit_of_work() as session:
            return leases.claim(session, Stage.PREPARE, "w", 1, chosen["lease_seconds"])[0]

    return claim


def test_what_is_left_in_hand_is_given_back(lease):
    claimed = lease(lease_seconds=60)
    with LeaseRenewer() as renewer:
        renewer.add([claimed])
    assert lease_of(claimed.study_id) is None


def test_a_lease_that_passed_on_is_noticed(lease):
    claimed = lease(lease_seconds=1)
    with LeaseRenewer() as renewer:
        renewer.add([claimed])
        assert not renewer.is_lost(claimed)
        pass_lease_on(claimed.study_id)
        eventually(lambda: renewer.is_lost(claimed), 10)


def test_a_worker_that_hangs_ends_itself_and_keeps_nothing(lease):
    claimed = lease(lease_seconds=1, stuck_seconds=0.1)
    child = os.fork()
    if child == 0:
        forget_engine()
        with LeaseRenewer() as renewer:
            renewer.add([claimed])
            threading.Event().wait()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1

    def expired():
        with unit_of_work() as session:
            return len(attempts.expire_leases(session, 3, 0.0))

    assert eventually(expired, 10) == 1


def test_a_worker_whose_renewal_hangs_ends_itself(lease, database_proxy):
    """The watchdog waits for no lock and no connection."""
    claimed = lease(lease_seconds=1, stuck_seconds=3)
    child = os.fork()
    if child == 0:
        forget_engine()
        with LeaseRenewer() as renewer:
            renewer.add([claimed])
            database_proxy.swallow()
            with renewer.transaction():  # waits for the renewal, which waits for PostgreSQL
                threading.Event().wait()
    # The proxy is this process's: the child's copy of it has no threads, and swallows all.
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1


def test_a_part_that_is_down_is_one_line_and_a_pause(night, monkeypatch):
    monkeypatch.setattr(tasks, "paused_until", {})
    night(bundle="", sweep_seconds=60)
    with capture_logs() as lines:
        for _ in range(5):
            tasks.prepare("a request's id")
    alarm, line = lines
    assert (alarm["event"], alarm["alarm"]) == ("an alarm opens", "BUNDLE_UNUSABLE")
    assert "NIGHTDRAFT_BUNDLE is not set" in line["error"]

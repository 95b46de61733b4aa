"""Drafting: fencing, groups, poison, sick workers, and inputs that are not what they should be."""

from __future__ import annotations

import math
import threading
from dataclasses import replace

import pytest
from sqlalchemy import func, text

from model.errors import BundleError, DeviceError
from model.reporter import NullReporter
from records.blobs import Blobs
from records.bundles import stops
from records.database.draft_tables import DraftRequest, LiveLease
from records.database.session import unit_of_work
from records.database.tables import Study
from records.errors import NightdraftError, WorkerSick
from records.operations import alarms
from records.settings import settings
from records.states import (
    WARNING,
    EventKind,
    HoldReason,
    Priority,
    Purpose,
    RequestState,
    Stage,
    VisibleState,
)
from records.workflow import drafts, events, holds, leases, requests, worklist_rows
from tests.support.faulty_reporter import Reporter
from tests.support.stored_studies import (
    close_studies,
    lease_of,
    pass_lease_on,
    phantom_images,
    store_image,
    store_studies,
    visible_state,
)
from tests.support.waiting import eventually
from worker.circuit_breaker import CircuitBreaker
from worker.drafting import DeviceFailed, draft_ready
from worker.preparing import prepare_ready

DRAFTED, FAILED, PREPARED = VisibleState.DRAFTED, VisibleState.FAILED, VisibleState.PREPARED


@pytest.fixture(autouse=True)
def _night(night):
    night(max_attempts=3)


def prepare():
    return prepare_ready("p", 60, CircuitBreaker(Stage.PREPARE))


def draft(reporter=None, owner="d", breaker=None, **more):
    return draft_ready(
        reporter or Reporter(), owner, 60, breaker or CircuitBreaker(Stage.DRAFT), **more
    )


def prepared(*seeds, **more):
    ids = []
    for seed in seeds:  # one after the other, so that their order is known
        ids += store_studies(seed, **more)
        close_studies()
    assert prepare() == len(seeds)
    return ids


def request_of(study_id):
    with unit_of_work() as session:
        return session.get(DraftRequest, session.get(Study, study_id).request_id)


def key_of(study_id):
    return str(request_of(study_id).id)


def event_kinds(study_id):
    with unit_of_work() as session:
        return [event.kind for event in events.timeline(session, study_id)]


def test_a_draft_says_all_it_came_from():
    (study,) = prepared(1)
    assert draft() == 1
    with unit_of_work() as session:
        (saved,) = drafts.list_by_study(session, study)
    assert saved.text.startswith(WARNING)
    assert saved.model_name == "null"
    assert saved.notice.startswith("No model")
    assert saved.views[0]["position"] == "frontal"
    assert "ViewPosition" in saved.views[0]["why"]
    assert saved.views[0]["contradicted"] is False
    assert saved.indication_source
    assert saved.inputs_digest == request_of(study).inputs_digest


class ReporterWithTokens(NullReporter):
    """The null reporter with a token for each word, each of probability one quarter."""

    def draft(self, cases):
        for output in super().draft(cases):
            tokens = tuple(f"▁{token}" for token in output.text.split())
            logs = (math.log(0.25),) * len(tokens)
            yield replace(output, tokens=tokens, logprobs=logs, rerun="float32")


def test_a_draft_keeps_how_sure_the_model_was_and_what_was_run_again():
    (known,) = prepared(1)
    assert draft(ReporterWithTokens()) == 1
    (unknown,) = prepared(2)
    assert draft() == 1
    with unit_of_work() as session:
        (with_tokens,), (without,) = (
            drafts.list_by_study(session, study) for study in (known, unknown)
        )
    assert [(s["section"], s["confidence"], s["least"]) for s in with_tokens.sentences] == [
        ("findings", 0.25, 0.25),
        ("impression", 0.25, 0.25),
    ]
    assert with_tokens.sentences[0]["text"] == with_tokens.findings
    rerun = "Half precision gave values that are no numbers; this study was run again in float32."
    assert rerun in with_tokens.notes
    assert without.sentences is None
    assert rerun not in without.notes


def test_priority_goes_first_and_groups_are_as_large_as_the_model_takes():
    prepared(1, 2, 3, 4, 5)
    (stat,) = prepared(6, priority=Priority.STAT)
    reporter = Reporter()
    assert draft(reporter) == 6
    assert [len(batch) for batch in reporter.batches] == [4, 2]
    assert reporter.batches[0][0] == key_of(stat)


def test_a_stat_that_comes_while_others_are_drafted_takes_the_next_place():
    prepared(*range(1, 7))
    urgent = []

    def arrive(batch):
        if not urgent:
            urgent.extend(prepared(9, priority=Priority.STAT))

    reporter = Reporter(breaks=arrive, batch=2)
    assert draft(reporter) == 7
    assert key_of(urgent[0]) == reporter.batches[1][0]


def test_a_worker_that_lost_a_lease_saves_nothing_for_it_and_saves_the_rest_of_the_batch(night):
    night(lease_seconds=60)
    lost, valid = prepared(1, 2)

    def steal(batch):
        pass_lease_on(lost)

    assert draft(Reporter(breaks=steal)) == 1
    assert visible_state(valid) is DRAFTED
    assert visible_state(lost) is VisibleState.DRAFTING  # the other's
    with unit_of_work() as session:
        assert not drafts.list_by_study(session, lost)


def test_leases_are_renewed_while_the_model_works(night):
    night(lease_seconds=1)
    (study,) = prepared(1)

    def slow(batch):
        first = lease_of(study).expires_at
        # Three renewals make it later than a lease is long.
        eventually(lambda: (lease_of(study).expires_at - first).total_seconds() > 1)

    assert draft(Reporter(breaks=slow)) == 1
    assert visible_state(study) is DRAFTED


def test_poison_in_a_batch_fails_alone_and_the_others_are_drafted(night):
    night(max_attempts=2)
    good, bad, fine = prepared(1, 2, 3)
    poison = key_of(bad)
    reporter = Reporter(poison=lambda case: case.key == poison)
    assert draft(reporter) == 2
    assert (visible_state(good), visible_state(bad), visible_state(fine)) == (
        DRAFTED,
        FAILED,
        DRAFTED,
    )
    assert len(reporter.batches) == 2
    assert reporter.batches[1] == [poison]
    with unit_of_work() as session:
        assert worklist_rows.read_row(session, bad).reason == "MODEL_ERROR"


def test_a_study_that_breaks_its_batch_is_found_alone(night):
    night(max_attempts=1)
    good, bad, fine = prepared(1, 2, 3)
    poison = key_of(bad)

    def breaks(batch):
        return RuntimeError("secret") if poison in [case.key for case in batch] else None

    reporter = Reporter(breaks=breaks)
    assert draft(reporter) == 2
    assert (visible_state(good), visible_state(bad), visible_state(fine)) == (
        DRAFTED,
        FAILED,
        DRAFTED,
    )
    assert sorted(map(len, reporter.batches)) == [1, 1, 1, 3]
    with unit_of_work() as session:
        assert "secret" not in worklist_rows.read_row(session, bad).detail


def test_three_different_failing_in_a_row_stop_the_worker_with_all_forgiven():
    ids = prepared(1, 2, 3, 4)
    with pytest.raises(WorkerSick, match="3 different studies"):
        draft(Reporter(poison=lambda case: True))
    for study in ids:
        assert visible_state(study) is PREPARED
        assert request_of(study).attempts == 0
        assert lease_of(study) is None
    with unit_of_work() as session:
        (alarm,) = alarms.open_alarms(session, "draft")
        assert "3 different studies" in alarm.cause
    # Restarted, it claims nothing until a person has looked.
    assert draft() == 0
    with unit_of_work() as session:
        alarms.close_alarms(session, "draft")
    assert draft() == 4


def test_a_sick_machine_stops_alone_and_tries_one_study_after_a_while(night):
    night(trial_seconds=300)
    prepared(1, 2, 3, 4, 5)
    with pytest.raises(WorkerSick):
        draft(Reporter(poison=lambda case: True), owner="sick:1")

    def let_time_pass():
        with unit_of_work() as session:
            session.execute(
                text(
                    "UPDATE alarms SET opened_at = opened_at - interval '1 hour',"
                    " tried_at = tried_at - interval '1 hour'"
                )
            )

    def sick_alarms():
        with unit_of_work() as session:
            return [alarm.part for alarm in alarms.open_alarms(session, "draft")]

    assert sick_alarms() == ["draft@sick"]
    assert draft(Reporter(), owner="sick:2") == 0  # restarted
    let_time_pass()
    broken = Reporter(poison=lambda case: True)
    assert draft(broken, owner="sick:2") == 0
    assert [len(batch) for batch in broken.batches] == [1]  # the trial
    assert sick_alarms() == ["draft@sick"]
    tried, waiting = set(broken.batches[0]), Reporter(batch=1)
    assert draft(waiting, owner="well:1", is_stopping=lambda: bool(waiting.batches)) == 1
    let_time_pass()
    mended = Reporter(batch=1)
    assert draft(mended, owner="sick:3") == 3  # the trial, and then the others
    assert sick_alarms() == []
    assert tried.isdisjoint(mended.batches[0])


def test_one_failing_again_and_again_is_no_sick_worker():
    (bad,) = prepared(1)
    assert draft(Reporter(poison=lambda case: True)) == 0
    assert visible_state(bad) is FAILED
    with unit_of_work() as session:
        assert not alarms.open_alarms(session)


def test_a_streak_is_ended_by_a_success():
    breaker = CircuitBreaker(Stage.DRAFT)
    ids = prepared(1, 2, 3, 4, 5)
    bad = {key_of(study) for study in (ids[0], ids[1], ids[3], ids[4])}
    assert draft(Reporter(poison=lambda case: case.key in bad, batch=5), breaker=breaker) == 1
    with unit_of_work() as session:
        assert not alarms.open_alarms(session)


@pytest.mark.parametrize("error", [DeviceError("the GPU fell off"), BundleError("damaged")])
def test_a_part_that_fails_costs_no_attempt(error):
    ids = prepared(1, 2)
    with pytest.raises((DeviceFailed, BundleError)):
        draft(Reporter(breaks=lambda batch: error))
    for study in ids:
        row = request_of(study)
        assert (row.state, row.attempts) == (RequestState.PREPARED, 0)
        assert lease_of(study) is None
    assert draft() == 2


def test_one_study_that_the_device_cannot_take_does_not_stop_the_night(night):
    night(max_attempts=1)
    bad, good = prepared(1, 2)
    poison = key_of(bad)

    def breaks(batch):
        too_big = poison in [case.key for case in batch]
        return DeviceError("no memory for one case") if too_big else None

    with pytest.raises(DeviceFailed):
        draft(Reporter(breaks=breaks))
    assert draft(Reporter(breaks=breaks)) == 1  # started anew
    assert (visible_state(bad), visible_state(good)) == (FAILED, DRAFTED)


def test_an_error_on_the_way_gives_back_what_is_in_hand():
    (study,) = prepared(1)
    with pytest.raises(KeyboardInterrupt):
        draft(Reporter(breaks=lambda batch: KeyboardInterrupt()))  # type: ignore[arg-type,return-value]
    assert lease_of(study) is None
    assert event_kinds(study)[-1] == EventKind.LEASE_RELEASED


def test_a_stopping_worker_finishes_what_the_model_has_and_begins_nothing():
    ids = prepared(1, 2, 3, 4)
    reporter = Reporter(batch=2)
    assert draft(reporter, is_stopping=lambda: bool(reporter.batches)) == 2
    assert [visible_state(study) for study in ids] == [DRAFTED, DRAFTED, PREPARED, PREPARED]
    assert all(lease_of(study) is None for study in ids)


@pytest.mark.parametrize("damage", ["gone", "damaged", "another study's", "another bundle's"])
def test_inputs_that_are_not_what_they_should_be_are_prepared_again(damage):
    study, other_study = prepared(1, 2)
    blobs = Blobs(settings().data_dir)
    request, other_request = request_of(study), request_of(other_study)
    if damage == "gone":
        blobs.remove(request.prepared_blob)
    elif damage == "damaged":
        blobs.path(request.prepared_blob).write_bytes(b"PK" + bytes(100))
    elif damage == "another study's":
        blobs.path(request.prepared_blob).write_bytes(blobs.read(other_request.prepared_blob))
    else:
        with unit_of_work() as session:
            session.get(DraftRequest, request.id).preprocessing_digest = "older"
    assert draft() == 1
    assert visible_state(study) is VisibleState.WAITING
    assert EventKind.PREPARE_AGAIN in event_kinds(study)
    assert prepare() == 1
    assert draft() == 1
    assert (visible_state(study), request_of(study).attempts) == (DRAFTED, 0)


def test_workers_of_two_bundles_do_not_send_a_study_to_and_fro():
    (study,) = prepared(1)

    def older():
        with unit_of_work() as session:
            session.get(DraftRequest, request_of(study).id).preprocessing_digest = "older"

    older()
    assert draft() == 0
    assert prepare() == 1
    older()
    with pytest.raises(WorkerSick, match="same NIGHTDRAFT_BUNDLE"):
        draft()
    assert lease_of(study) is None


def test_the_same_inputs_lead_to_one_draft():
    (study,) = prepared(1)
    assert draft() == 1
    with unit_of_work() as session:
        row = session.get(DraftRequest, request_of(study).id)
        repeated_request = DraftRequest(study_id=study, revision=row.revision, priority=2)
        session.add(repeated_request)
    assert prepare() == 1
    assert draft() == 1
    with unit_of_work() as session:
        (saved_draft,) = drafts.list_by_study(session, study)
        assert session.get(DraftRequest, repeated_request.id).draft_id == saved_draft.id
        assert saved_draft.superseded_at is None


def frontal_and_lateral():
    return next(images for seed in range(1, 50) if len(images := phantom_images(seed)) == 2)


def test_late_images_supersede_the_draft():
    frontal, lateral = frontal_and_lateral()
    study = store_image(frontal)
    close_studies()
    prepare()
    assert draft() == 1
    assert store_image(lateral) == study
    close_studies()
    assert prepare() == 1
    assert draft() == 1
    with unit_of_work() as session:
        newest, older = drafts.list_by_study(session, study)
    assert (len(newest.views), len(older.views)) == (2, 1)
    assert newest.superseded_at is None
    assert older.superseded_at is not None


def test_a_late_image_closing_while_the_draft_is_saved_does_not_lock_both_out(monkeypatch):
    """The sweep holds the study and wants its request, the save holds the request."""
    frontal, lateral = frontal_and_lateral()
    study = store_image(frontal)
    close_studies()
    prepare()
    store_image(lateral)
    closing = threading.Thread(target=close_studies)
    append_event = events.append_event

    def append_late(session, *arguments, **options):
        if not closing.ident:
            closing.start()
            eventually(blocked)
        append_event(session, *arguments, **options)

    def blocked():
        with unit_of_work() as session:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            return session.execute(text(waiting)).scalar_one()

    with unit_of_work() as session:  # it was claimed before the late image came
        row = session.get(DraftRequest, session.get(Study, study).request_id)
        live = LiveLease(
            request_id=row.id,
            study_id=study,
            stage=Stage.DRAFT,
            owner="d",
            expires_at=func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 5),
        )
        session.add(live)
        session.flush()
    lease = leases.Lease(
        row.id, study, "d", live.claim, Stage.DRAFT, 1, Purpose.PRIMARY, False, None, "in", "pp", {}
    )
    monkeypatch.setattr(events, "append_event", append_late)
    with unit_of_work() as session:
        assert leases.lock_if_held(session, lease)
        assert requests.skip(session, lease, "test", "test")
    closing.join()
    assert visible_state(study) is VisibleState.WAITING  # the newer revision's request


def test_nothing_is_claimed_while_a_hold_is_open():
    (study,) = prepared(1)
    with unit_of_work() as session:
        holds.open_hold(session, study, HoldReason.CONFLICTING_BYTES, "test")
    assert draft() == 0
    assert visible_state(study) is VisibleState.HELD


def test_a_draft_that_the_database_refuses_takes_no_mate_along(night):
    night(max_attempts=1)
    bad, good = prepared(1, 2)
    poison = key_of(bad)

    class WithNull(Reporter):
        def write_batch(self, batch):
            from dataclasses import replace

            for output in super().write_batch(batch):
                yield replace(output, text="a\x00b") if output.key == poison else output

    assert draft(WithNull()) == 1
    assert (visible_state(bad), visible_state(good)) == (FAILED, DRAFTED)


def test_a_lost_database_is_reported_and_nothing_is_lost(night):
    (study,) = prepared(1)
    url = settings().database_url
    night(database_url="postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(NightdraftError, match="PostgreSQL does not answer"):
        draft()
    night(database_url=url)
    assert visible_state(study) is PREPARED


def test_a_stopped_bundle_drafts_nothing_and_what_waits_is_drafted_after_the_stop():
    (first,) = prepared(1)
    assert draft() == 1  # its bundle is known now
    (study,) = prepared(2)
    digest = Reporter().manifest.digest
    with unit_of_work() as session:
        stops.stop(session, digest, "Dr. Roe", "It invents findings.")
    for _ in range(2):
        assert draft() == 0
    assert visible_state(study) is PREPARED
    with unit_of_work() as session:
        assert [alarm.kind for alarm in alarms.open_alarms(session)] == ["MODEL_STOPPED"]
        stops.lift(session, digest, "Dr. Roe", "It was the display.")
    assert draft() == 1
    assert visible_state(study) is DRAFTED
    assert visible_state(first) is DRAFTED

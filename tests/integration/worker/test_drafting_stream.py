"""Drafting with a real model: 64 studies in its slots, one of them poison; groups, pace, time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs

from model.case import pack, unpack
from model.decoding import Serving
from model.inference.counters import EngineCounters
from model.reporter import NullReporter, Reporter
from records.blobs import Blobs
from records.database.draft_tables import DraftRequest
from records.database.session import unit_of_work
from records.database.tables import Study
from records.settings import settings
from records.states import Stage, VisibleState
from records.workflow import drafts, worklist_rows
from tests.support.stored_studies import close_studies, store_studies, visible_state
from worker import drafting
from worker.circuit_breaker import CircuitBreaker
from worker.drafting import draft_ready
from worker.pace import Pace
from worker.preparing import prepare_ready

DRAFTED, FAILED = VisibleState.DRAFTED, VisibleState.FAILED
STUDIES, BAD = 64, 31


@pytest.fixture(scope="module")
def reporter() -> Reporter:
    return Reporter.load("demo", "cpu", Serving(slots=16))


@pytest.fixture
def ids(night: Callable[..., None]) -> list[Any]:
    night(bundle="demo", max_attempts=2)
    studies = store_studies(*range(1, STUDIES + 1))
    close_studies()
    assert prepare_ready("p", 120, CircuitBreaker(Stage.PREPARE)) == STUDIES
    return studies


def request_of(study: Any) -> DraftRequest:
    with unit_of_work() as session:
        row = session.get(Study, study)
        assert row is not None
        request = session.get(DraftRequest, row.request_id)
        assert request is not None
        return request


def draft(reporter: Any, seconds: float = 60, **more: Any) -> int:
    return draft_ready(reporter, "d", seconds, CircuitBreaker(Stage.DRAFT), **more)


def group_sizes(lines: Sequence[Mapping[str, Any]]) -> list[int]:
    """How many drafts each transaction saved, as the log says."""
    return [line["count"] for line in lines if line["event"] == "drafts were saved"]


def other_shape(_: Any, request: DraftRequest) -> None:
    """The prepared image has another size than the network reads."""
    path = Blobs(settings().data_dir).path(request.prepared_blob or "")
    case = unpack(path.read_bytes())
    views = tuple(replace(view, pixels=np.zeros((8, 8), np.uint8)) for view in case.views)
    path.write_bytes(pack(replace(case, views=views)))


def breaks_reading(monkeypatch: pytest.MonkeyPatch, request: DraftRequest) -> None:
    """The network raises on its image, whatever else is in the batch."""
    from model.inference.model_runner import ModelRunner

    gather = ModelRunner.gather

    def gathered(self: ModelRunner, requests: Any) -> Any:
        if any(each.case.key == str(request.id) for each in requests):
            raise RuntimeError("the network cannot take this")
        return gather(self, requests)

    monkeypatch.setattr(ModelRunner, "gather", gathered)


def no_numbers(monkeypatch: pytest.MonkeyPatch, request: DraftRequest) -> None:
    """The pixels that the network gets are not numbers."""
    from model.inference.model_runner import ModelRunner

    gather = ModelRunner.gather

    def gathered(self: ModelRunner, requests: Any) -> Any:
        inputs = gather(self, requests)
        if any(each.case.key == str(request.id) for each in requests):
            return replace(inputs, pixels=torch.full_like(inputs.pixels, torch.nan))
        return inputs

    monkeypatch.setattr(ModelRunner, "gather", gathered)


@pytest.mark.parametrize("poison", [other_shape, breaks_reading, no_numbers])
def test_one_of_64_is_poison_and_63_are_drafted(
    poison: Callable[..., None],
    ids: list[Any],
    reporter: Reporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poison(monkeypatch, request_of(ids[BAD]))
    assert draft(reporter) == STUDIES - 1
    states = [visible_state(study) for study in ids]
    assert states[BAD] is FAILED
    assert [each for n, each in enumerate(states) if n != BAD] == [DRAFTED] * (STUDIES - 1)
    with unit_of_work() as session:
        failed = worklist_rows.read_row(session, ids[BAD])
        assert (failed.reason, bool(failed.detail)) == ("MODEL_ERROR", True)
        texts = {
            drafts.list_by_study(session, study)[0].text for n, study in enumerate(ids) if n != BAD
        }
    assert len(texts) > 10  # they are reports of their own images


def test_drafts_are_saved_in_groups_and_none_is_lost(
    ids: list[Any], reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafting, "SAVE_SECONDS", 3600.0)
    before = reporter.counters.copy()
    with capture_logs() as lines:
        assert draft(reporter) == STUDIES
    groups = group_sizes(lines)
    assert sum(groups) == STUDIES
    assert max(groups) == drafting.SAVE_COUNT
    assert len(groups) <= STUDIES / drafting.SAVE_COUNT + 1
    now = reporter.counters
    assert now.studies - before.studies == STUDIES
    assert 0.3 < now.occupancy(before) <= 1.0


def test_a_draft_does_not_wait_long_for_others(
    ids: list[Any], reporter: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a time to wait, each draft is saved as soon as it is written."""
    monkeypatch.setattr(drafting, "SAVE_SECONDS", 0.0)
    with capture_logs() as lines:
        assert draft(reporter) == STUDIES
    assert group_sizes(lines) == [1] * STUDIES


def test_when_time_is_up_what_is_in_the_slots_is_finished(
    ids: list[Any], reporter: Reporter
) -> None:
    """Drafts that were begun are finished, and the others are left for the next task."""
    first = draft(reporter, seconds=0.01)
    assert reporter.slots <= first < STUDIES
    assert first + draft(reporter) == STUDIES
    assert {visible_state(study) for study in ids} == {DRAFTED}
    assert all(request_of(study).attempts == 0 for study in ids)


def test_the_pace_is_of_the_time_between_two_calls(ids: list[Any], reporter: Reporter) -> None:
    seconds = [100.0]
    pace = Pace(clock=lambda: seconds[0])
    assert pace.facts() == {}
    pace.follow(reporter)
    before = reporter.counters.copy()
    draft(reporter)
    seconds[0] += 8.0
    facts = pace.facts()
    assert facts["slots"] == reporter.slots
    assert 0.3 < facts["occupancy"] <= 1
    assert facts["device"] == reporter.device_name
    computed = sum(
        getattr(reporter.counters, name) - getattr(before, name)
        for name in ("encode_seconds", "decode_seconds")
    )
    assert facts["busy"] == pytest.approx(min(1.0, computed / 8), abs=0.0001)
    assert facts["busy"] > 0
    assert facts["studies_per_second"] == STUDIES / 8
    tokens = reporter.counters.tokens - before.tokens
    assert facts["tokens_per_second"] == pytest.approx(tokens / 8, abs=0.01)
    assert facts["studies"] == before.studies + STUDIES
    assert facts["reruns"] == before.reruns
    seconds[0] += 5.0
    second_facts = pace.facts()
    assert (second_facts["studies_per_second"], second_facts["occupancy"]) == (0, 0)
    assert second_facts["busy"] == 0


def test_a_model_that_looks_at_nothing_has_a_pace_too() -> None:
    null = NullReporter()
    pace = Pace()
    pace.follow(null)
    null.counters = EngineCounters(studies=7)
    assert pace.facts()["studies"] == 7

"""Finals from elsewhere: a reported study is not drafted, and a worker compares draft and final."""

from itertools import product

import pytest
from sqlalchemy import select

from model.reporter import NullReporter
from records.database.draft_tables import Draft, DraftRequest
from records.database.report_tables import FinalComparison
from records.database.session import unit_of_work
from records.reviews.edit_distances import edit_distance
from records.states import EndReason, RequestState, Stage, VisibleState
from records.workflow.patients import Patient
from tests.support.outside_reports import receive
from tests.support.stored_studies import close_studies, phantom_images, store_image, visible_state
from worker import bells, final_comparisons, sweep, tasks
from worker.circuit_breaker import CircuitBreaker
from worker.drafting import draft_ready
from worker.final_comparisons import compare_finals
from worker.preparing import prepare_ready


@pytest.fixture(autouse=True)
def _night(night):
    night(max_attempts=3)


def draft():
    close_studies()
    prepare_ready("p", 60, CircuitBreaker(Stage.PREPARE))
    return draft_ready(NullReporter(), "d", 60, CircuitBreaker(Stage.DRAFT))


def send(film, **changed):
    values = {
        "patient": Patient(str(film.PatientID)),
        "accession_numbers": (str(film.AccessionNumber),),
        "findings": "Small left pleural effusion.",
        "impression": "This draft was not written by a model!",
    }
    return receive(**(values | changed))


def comparisons():
    with unit_of_work() as session:
        return session.scalars(select(FinalComparison)).all()


@pytest.fixture
def film():
    film = phantom_images(4)[0]
    film.AccessionNumber = "A4"
    return film


def test_a_study_whose_final_is_there_is_not_drafted_and_says_why(film):
    send(film)
    study = store_image(film)
    assert draft() == 0
    with unit_of_work() as session:
        request = session.scalars(select(DraftRequest)).one()
    assert (request.state, request.reason, request.detail) == (
        RequestState.CANCELLED,
        EndReason.REPORTED_ELSEWHERE,
        "a final report came by HL7",
    )
    assert visible_state(study) is VisibleState.CANCELLED


def test_the_distance_of_final_and_draft_is_computed_once(film, monkeypatch):
    store_image(film)
    assert draft() == 1
    send(film)
    rung = []
    monkeypatch.setattr(bells, "ring", lambda stage, ids: rung.extend(ids) or len(ids))
    sweep.sweep()
    (comparison,) = comparisons()
    assert rung == [comparison.study_id]
    tasks.prepare(str(comparison.study_id))
    (comparison,) = comparisons()
    with unit_of_work() as session:
        drafted = session.get_one(Draft, comparison.draft_id)
    assert comparison.distances["impression"] == [1, len(drafted.impression)]
    changed, longest = comparison.distances["findings"]
    assert 0 < changed <= longest == len(drafted.findings)
    assert len(comparison.observations) == 14
    assert comparison.observations["Pleural Effusion"] == ["blank", "present"]
    assert compare_finals() == 0


def test_a_text_that_cannot_be_compared_is_named_and_stops_nothing(film, monkeypatch):
    store_image(film)
    draft()
    send(film)

    def fail(*_):
        raise RecursionError("too deep: PHANTOM^ANNA")

    monkeypatch.setattr(final_comparisons, "compare_texts", fail)
    assert compare_finals() == 1
    (comparison,) = comparisons()
    assert list(comparison.distances) == ["error"]
    assert "ANNA" not in comparison.distances["error"]


def test_an_archive_is_drafted_although_it_is_reported_and_compared(film, night):
    night(draft_reported_studies=True)
    send(film)
    study = store_image(film)
    assert draft() == 1
    assert visible_state(study) is VisibleState.DRAFTED
    assert compare_finals() == 1


def test_the_edit_distance_is_levenshteins():
    def slow(first, second):
        if not (first and second):
            return len(first) + len(second)
        return min(
            slow(first[1:], second) + 1,
            slow(first, second[1:]) + 1,
            slow(first[1:], second[1:]) + (first[0] != second[0]),
        )

    texts = ["", "a", "b", "ab", "ba", "abba", "baab", "aabb", "kitten", "sitting"]
    for first, second in product(texts, texts):
        if len(first) + len(second) < 12:
            assert edit_distance(first, second) == slow(first, second), (first, second)
    assert edit_distance("kitten", "sitting") == 3

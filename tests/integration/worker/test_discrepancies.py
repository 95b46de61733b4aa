"""What a draft says and the final does not: found once, ranked, and closed when mentioned."""

import threading

import pytest
from sqlalchemy import select, text, update

from model.labels import RuleLabeller
from records.database.discrepancy_tables import Discrepancy, DiscrepancyRecheck
from records.database.draft_tables import Draft
from records.database.session import unit_of_work
from records.database.tables import Study
from records.reports import discrepancies as rows
from records.reports import finals, second_looks
from records.reports.receiving import receive_report
from records.reviews import signing
from records.states import DiscrepancySide, DiscrepancyState, ReportStatus
from tests.support.discrepant_studies import (
    CLEAR,
    NODULE,
    PNEUMOTHORAX,
    draft,
    found,
    patient,
    report,
    sentences,
    work,
)
from tests.support.outside_reports import new_report, receive
from tests.support.registered_studies import OTHER_PATIENT
from tests.support.waiting import eventually
from worker import bells, discrepancies, final_comparisons, sweep
from worker.discrepancies import certainty_of, find_discrepancies

OPEN, MENTIONED = DiscrepancyState.OPEN, DiscrepancyState.MENTIONED
MODEL = DiscrepancySide.MISS_OF_MODEL


@pytest.fixture(autouse=True)
def _archive(database, setting):
    setting(draft_reported_studies=True)


def later(number, findings, **changed):
    """A report of a later study of the patient of study `number`, which is not here."""
    values = {
        "patient": patient(number),
        "accession_numbers": (f"L{number}",),
        "report_number": f"L{number}",
        "performed_on": "20260301",
        "findings": findings,
        "impression": "",
        "text": findings,
    }
    return receive(**(values | changed)).report_id


def entry():
    with unit_of_work() as session:
        of_report = Discrepancy.side == DiscrepancySide.MISS_OF_REPORT
        return session.scalars(select(Discrepancy).where(of_report)).one()


def test_the_finding_that_the_report_does_not_have_is_found_with_its_certainty():
    study = draft(1, ("The heart is normal in size.", 0.9), (PNEUMOTHORAX, 0.8))
    report_id = report(1)
    work()
    only = entry()
    assert (only.study_id, only.report_id, only.observation) == (study, report_id, "Pneumothorax")
    assert (only.side, only.state, only.said) == ("MISS_OF_REPORT", OPEN, "absent")
    assert only.certainty == pytest.approx(0.8)


def test_the_other_side_is_the_list_of_the_models_errors():
    draft(1, ("The lungs are clear.", 0.9))
    report(1, f"{NODULE} Moderate left pleural effusion.")
    work()
    assert found() == []
    assert found(MODEL) == [("Lung Lesion", OPEN), ("Pleural Effusion", OPEN)]


@pytest.mark.parametrize(
    ("drafted", "reported", "missed"),
    [
        ("The lungs are clear.", "Mild pulmonary edema.", ["Edema"]),
        ("The heart is enlarged.", "The cardiac silhouette is enlarged.", []),
        ("There is a left basal opacity.", "Pneumonia in the left lower lobe.", []),
        ("There is consolidation in the left lower zone.", "Left basal opacity.", []),
        ("There may be a left pleural effusion.", "Left pleural effusion.", []),
        ("No pleural effusion.", "Left pleural effusion.", ["Pleural Effusion"]),
        ("No fracture.", "Possible rib fracture.", []),
        ("There is a right chest tube.", "An acute rib fracture is seen.", ["Fracture"]),
        (PNEUMOTHORAX, "No acute cardiopulmonary abnormality.", ["No Finding"]),
    ],
)
def test_the_model_errs_in_any_observation_that_it_does_not_name(drafted, reported, missed):
    draft(1, (drafted, 0.9))
    report(1, reported)
    work()
    assert found(MODEL) == [(name, OPEN) for name in missed]


@pytest.mark.parametrize(
    ("drafted", "reported"),
    [
        (PNEUMOTHORAX, "Possible left pneumothorax."),
        (PNEUMOTHORAX, "Left pneumothorax has increased."),
        ("There is consolidation in the left lower zone.", "Pneumonia in the left lower lobe."),
        ("There is consolidation in the left lower zone.", "Left basal opacity."),
        (NODULE, "An opacity projects over the right lung."),
        ("There may be a left pneumothorax.", CLEAR),
        ("No pneumothorax.", CLEAR),
        ("There is a small left pleural effusion.", CLEAR),
    ],
)
def test_what_the_report_names_or_the_draft_only_suspects_is_no_miss(drafted, reported):
    draft(1, (drafted, 0.9))
    report(1, reported)
    work()
    assert found() == []


def test_a_sentence_that_hedges_halves_the_certainty():
    sure = sentences((PNEUMOTHORAX, 0.6), ("Left apical pneumothorax.", 0.8))
    assert certainty_of("Pneumothorax", sure) == 0.8
    hedged = [*sure, *sentences(("Pneumothorax cannot be excluded.", 0.99))]
    assert certainty_of("Pneumothorax", hedged) == 0.4
    assert certainty_of("Pneumothorax", sure, {"Pneumothorax": 0.5}) == 0.4
    assert certainty_of("Pneumothorax", sure, {"Consolidation": 0.5}) == 0.8
    assert certainty_of("Pneumothorax", None, {"Pneumothorax": 0.5}) == 0.0
    texts = [PNEUMOTHORAX, CLEAR]
    one, error = find_discrepancies(*RuleLabeller().label(texts), None, None)
    assert (one.observation, one.certainty) == ("Pneumothorax", 0.0)
    assert (error.observation, error.certainty) == ("No Finding", 1.0)


@pytest.mark.parametrize(
    ("findings", "changed", "state"),
    [
        ("The left pneumothorax has resolved. Left pneumothorax.", {}, MENTIONED),
        ("Suspected pneumothorax.", {}, MENTIONED),
        (PNEUMOTHORAX, {"performed_on": ""}, MENTIONED),
        (PNEUMOTHORAX, {"performed_on": "20260101"}, MENTIONED),
        (PNEUMOTHORAX, {"performed_on": "20251231"}, OPEN),
        (PNEUMOTHORAX, {"status": ReportStatus.PRELIMINARY}, OPEN),
        (PNEUMOTHORAX, {"patient": OTHER_PATIENT}, OPEN),
        ("No pneumothorax.", {}, OPEN),
    ],
)
@pytest.mark.parametrize("comes_first", [True, False])
def test_a_later_report_that_mentions_it_closes_it(findings, changed, state, comes_first):
    draft(1, (PNEUMOTHORAX, 0.8))
    if comes_first:
        later(1, findings, **changed)
        report(1)
        work()
    else:
        report(1)
        work()
        assert found() == [("Pneumothorax", OPEN)]
        later(1, findings, **changed)
        work()
    assert found() == [("Pneumothorax", state)]


def test_it_opens_again_when_that_report_is_cancelled_and_ends_with_its_own():
    draft(1, (PNEUMOTHORAX, 0.8))
    report(1)
    by = later(1, PNEUMOTHORAX)
    work()
    assert (entry().state, entry().mentioned_by) == (MENTIONED, by)
    later(1, PNEUMOTHORAX, status=ReportStatus.CANCELLED)
    work()
    assert (entry().state, entry().mentioned_by) == (OPEN, None)
    report(1, status=ReportStatus.CANCELLED)
    work()
    assert entry().state == DiscrepancyState.WITHDRAWN


def test_a_correction_that_names_it_closes_it_and_ends_the_models_error():
    draft(1, (PNEUMOTHORAX, 0.8))
    report(1, NODULE)
    work()
    assert (found(), found(MODEL)) == ([("Pneumothorax", OPEN)], [("Lung Lesion", OPEN)])
    report(1, PNEUMOTHORAX, status=ReportStatus.CORRECTED)
    work()
    assert found() == [("Pneumothorax", MENTIONED)]
    assert found(MODEL) == [("Lung Lesion", DiscrepancyState.WITHDRAWN)]


def test_what_was_signed_here_of_a_later_study_counts_too():
    draft(1, (PNEUMOTHORAX, 0.8))
    report(1)
    work()
    study = draft(2, ("Pneumothorax on the left.", 0.9))
    with unit_of_work() as session:
        # The second study is of the first one's patient, two months later.
        session.execute(
            update(Study)
            .where(Study.id == study)
            .values(patient_id="P1", patient_name="PHANTOM^1", study_date="20260301")
        )
        signed = session.scalars(select(Draft.id).where(Draft.study_id == study)).one()
        signing.sign(session, signed, "reader", "Left pneumothorax.", "Pneumothorax.")
    work()
    assert found() == [("Pneumothorax", MENTIONED)]


def test_a_read_discrepancy_is_never_opened_again():
    draft(1, (PNEUMOTHORAX, 0.8))
    report(1)
    work()
    with unit_of_work() as session:
        second_looks.answer(session, entry().id, DiscrepancyState.DENIED)
    later(1, PNEUMOTHORAX)
    report(1, f"{CLEAR} Unchanged.", status=ReportStatus.CORRECTED)
    work()
    assert found() == [("Pneumothorax", DiscrepancyState.DENIED)]


def test_a_second_draft_of_the_study_asks_no_second_question():
    draft(1, (PNEUMOTHORAX, 0.5))
    report(1)
    work()
    first = entry()
    with unit_of_work() as session:
        old = session.scalars(select(Draft)).one()
        values = {
            column.name: getattr(old, column.name)
            for column in Draft.__table__.columns
            if column.name not in ("id", "created_at")
        }
        values |= {
            "purpose": "COMPARISON",
            "bundle_digest": "other",
            "sentences": sentences((PNEUMOTHORAX, 0.7)),
        }
        session.add(Draft(**values))
        session.flush()
        finals.note_comparisons(session, first.study_id, first.report_id)
    work()
    only = entry()
    assert only.id == first.id
    assert only.certainty == pytest.approx(0.7)
    assert only.draft_id != first.draft_id


def test_a_worker_that_dies_between_the_steps_leaves_nothing_undone_or_doubled(monkeypatch):
    draft(1, (PNEUMOTHORAX, 0.8), (NODULE, 0.6))
    report(1)

    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    for module, name in ((rows, "keep"), (rows, "begin_check"), (rows, "end_check")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, die)
            with pytest.raises(Killed):
                work()
    work()
    work()
    assert found() == [("Pneumothorax", OPEN), ("Lung Lesion", OPEN)]
    with unit_of_work() as session:
        counts = second_looks.read_counts(session)
    assert counts.numbers[DiscrepancySide.MISS_OF_REPORT][OPEN] == 2


def test_two_workers_check_each_discrepancy_once():
    for number in range(1, 9):
        draft(number, (PNEUMOTHORAX, 0.8))
        report(number)
    final_comparisons.compare_finals()
    counts = []
    threads = [
        threading.Thread(target=lambda: counts.append(discrepancies.check_waiting()))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 8
    assert found() == [("Pneumothorax", OPEN)] * 8


def is_waiting_for_a_lock():
    query = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    with unit_of_work() as session:
        return session.scalar(query) == 1


def test_a_report_that_is_being_committed_while_it_is_found_is_waited_for():
    """Neither of the two sees the other's row, and the mention counts all the same."""
    draft(1, (PNEUMOTHORAX, 0.8))
    report(1)
    values = {
        "patient": patient(1),
        "accession_numbers": ("L1",),
        "report_number": "L1",
        "performed_on": "20260301",
        "findings": PNEUMOTHORAX,
        "text": PNEUMOTHORAX,
    }
    with unit_of_work() as session:
        receive_report(session, new_report(**values))
        final_comparisons.compare_finals()
        assert found() == [("Pneumothorax", DiscrepancyState.UNCHECKED)]
        with unit_of_work() as other:
            assert other.scalars(select(DiscrepancyRecheck)).all() == []
        checking = threading.Thread(target=discrepancies.check_waiting)
        checking.start()
        eventually(is_waiting_for_a_lock)
    checking.join()
    assert found() == [("Pneumothorax", MENTIONED)]


def test_the_sweep_rings_for_a_check(monkeypatch, broker):
    study = draft(1, (PNEUMOTHORAX, 0.8))
    report(1)
    rung = []
    monkeypatch.setattr(bells, "ring", lambda stage, ids: rung.extend(ids) or len(ids))
    for step in (final_comparisons.compare_finals, discrepancies.check_waiting):
        rung.clear()
        sweep.sweep()
        assert rung == [study]
        step()
    rung.clear()
    sweep.sweep()
    assert rung == []
    later(1, PNEUMOTHORAX)
    sweep.sweep()
    assert rung == [study]

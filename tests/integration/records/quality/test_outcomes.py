"""Outcomes: written with the review, completed by a worker, and counted once."""

import datetime as dt
import importlib

import pytest
from sqlalchemy import text

from records import site_moves
from records.database.draft_tables import Draft
from records.database.session import engine, unit_of_work
from records.quality import figures
from records.quality.counts import Choice, Dimension
from records.retention import erasure
from records.reviews import readings, signing, working_texts
from records.states import AgeGroup, Device, ReadingArm, RejectReason, Role, Sex
from records.workflow.identifiers import PatientId
from tests.support.accounts import let_pass, make_account, run_sql
from tests.support.decided_drafts import (
    EFFUSION,
    FINDINGS,
    IMPRESSION,
    count,
    decide,
    draft,
    move_to_day,
    open_study,
    outcome_of,
    reader_of,
    reject,
    sign,
)
from tests.support.two_sites import NORTH_AE, make_north
from worker import outcomes as worker_outcomes

pytestmark = pytest.mark.usefixtures("database")

ALWAYS = Choice(dt.date(2000, 1, 1), dt.date(2100, 1, 1))


@pytest.fixture
def ada():
    return make_account("ada", Role.READER)


def read(choice=ALWAYS):
    with unit_of_work() as session:
        return figures.read(session, choice)


def read_by(dimension, choice=ALWAYS):
    with unit_of_work() as session:
        found = figures.read_breakdown(session, choice, dimension)
    return {value: each.decided for value, each in found.items()}


def test_the_row_is_written_with_the_review_and_goes_with_its_transaction(ada):
    draft_id = draft()

    def reject_and_fail():
        with unit_of_work() as session:
            signing.reject(session, draft_id, reader_of(ada), "", RejectReason.POOR_TEXT)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        reject_and_fail()
    assert run_sql("SELECT count(*) FROM draft_outcomes") == [(0,)]
    review_id = reject(draft_id, ada)
    outcome = outcome_of(review_id)
    assert (outcome.decision, outcome.bundle_digest, outcome.account_id) == (
        "REJECTED",
        "bundle-1",
        ada.id,
    )
    assert outcome.cells is None
    assert read().acceptance.decided == 0
    assert read().waiting == 1


def test_a_worker_completes_it_with_group_times_edits_and_observations(ada):
    draft_id = draft(position="AP", description="CHEST PORTABLE", sex="M", born="20200102")
    open_study(draft_id, ada)
    let_pass("readings", 90, "opened_at")
    review_id = sign(draft_id, ada, f"{FINDINGS} {EFFUSION}")
    count()
    outcome = outcome_of(review_id)
    assert (outcome.view, outcome.device, outcome.age_group, outcome.sex) == (
        "AP",
        Device.PORTABLE,
        AgeGroup.UNDER_18,
        Sex.M,
    )
    assert outcome.arm == ReadingArm.WITH_DRAFT
    assert 90 <= outcome.seconds < 600
    assert outcome.distances["findings"] == [len(EFFUSION) + 1, len(FINDINGS) + len(EFFUSION) + 1]
    assert outcome.observations["Pleural Effusion"] == ["blank", "present"]
    assert len(outcome.observations) == 14
    assert (outcome.unedited, outcome.small_edit) == (False, False)
    found = read()
    assert found.waiting == 0
    assert (found.acceptance.decided, found.acceptance.differing.part) == (1, 1)
    (effusion,) = [each for each in found.observations if each.observation == "Pleural Effusion"]
    assert (effusion.both, effusion.signed_only) == (0, 1)
    assert found.times[ReadingArm.WITH_DRAFT].median.number == 1


def test_a_report_without_the_draft_has_time_and_observations_and_no_acceptance(ada, setting):
    decide(ada)
    decide(ada, "differing")
    count()
    before, line = read(), run_sql("SELECT watched, differing FROM quality_days")
    setting(without_draft_share=1.0)
    draft_id = draft()
    open_study(draft_id, ada)
    let_pass("readings", 200, "opened_at")
    review_id = sign(draft_id, ada, EFFUSION, IMPRESSION)
    count()
    outcome = outcome_of(review_id)
    assert (outcome.arm, outcome.distances, outcome.unedited, outcome.small_edit) == (
        ReadingArm.WITHOUT_DRAFT,
        None,
        None,
        None,
    )
    after = read()
    assert (after.acceptance, after.edits) == (before.acceptance, before.edits)
    assert run_sql("SELECT watched, differing FROM quality_days") == line, "nothing drifts"
    assert (after.own_texts, after.asked) == (1, 0)
    assert set(after.times) == {ReadingArm.WITH_DRAFT, ReadingArm.WITHOUT_DRAFT}
    assert 180 < after.times[ReadingArm.WITHOUT_DRAFT].median.value < 260
    alone = read(ALWAYS.narrowed(arm=ReadingArm.WITHOUT_DRAFT))
    (effusion,) = [each for each in alone.observations if each.observation == "Pleural Effusion"]
    assert (effusion.signed_only, effusion.neither) == (1, 0)
    assert alone.acceptance.decided == 0
    assert read_by(Dimension.ARM) == {ReadingArm.WITH_DRAFT: 2, ReadingArm.WITHOUT_DRAFT: 0}


def test_who_asked_for_the_draft_stays_in_the_arm(ada, setting):
    setting(without_draft_share=1.0)
    for begins_again in (False, True):
        draft_id = draft()
        open_study(draft_id, ada)
        with unit_of_work() as session:
            row = session.get_one(Draft, draft_id)
            readings.note_films(session, row.study_id, ada.id)
            readings.show_draft(session, row, ada.id)
        if begins_again:
            with unit_of_work() as session:
                working_texts.discard(session, draft_id, 0, reader_of(ada))
        sign(draft_id, ada, *([] if begins_again else [EFFUSION]))
    count()
    found = read()
    assert list(found.times) == [ReadingArm.WITHOUT_DRAFT]
    assert found.times[ReadingArm.WITHOUT_DRAFT].median.number == 2
    assert (found.own_texts, found.asked) == (1, 2)
    # The one that began with the draft after all was made of it.
    assert (found.acceptance.decided, found.acceptance.unedited.part) == (1, 1)


def test_unedited_small_and_other_edits_and_rejections_are_counted_apart(ada):
    for how in ("unedited", "unedited", "small", "differing", "rejected"):
        decide(ada, how)
    count()
    found = read()
    acceptance = found.acceptance
    assert acceptance.decided == 5
    assert [each.part for each in (acceptance.unedited, acceptance.small_edit)] == [2, 1]
    assert (acceptance.either.part, acceptance.rejected.part) == (3, 1)
    assert (acceptance.differing.part, acceptance.differing.number) == (2, 5)
    assert found.reject_reasons == {RejectReason.FINDING_MISSED: 1}
    (in_findings, in_impression) = found.edits
    assert (in_findings.untouched.part, in_findings.untouched.number) == (2, 4)
    assert in_impression.untouched.part == 4


def test_parts_and_folded_numbers_say_the_same(ada):
    for how in ("unedited", "differing"):
        decide(ada, how)
    count(above=10_000)  # nothing is folded
    before = read()
    assert run_sql("SELECT count(*) FROM quality_counts") == [(0,)]
    count()
    assert run_sql("SELECT count(*) FROM quality_parts") == [(0,)]
    assert run_sql("SELECT count(*) FROM quality_counts") == [(1,)]
    assert read() == before
    decide(ada, "differing")
    count()
    assert run_sql("SELECT count(*) FROM quality_counts") == [(1,)]
    assert read().acceptance.decided == 3
    assert run_sql("SELECT watched, differing FROM quality_days") == [(3, 2)]


def test_groups_are_told_apart_and_can_be_chosen(ada):
    decide(ada, position="PA", sex="F")
    decide(ada, position="AP", sex="M", bundle="bundle-2")
    decide(ada, position="AP", sex="F", born="")
    count()
    assert read_by(Dimension.VIEW) == {"AP": 2, "PA": 1}
    assert read_by(Dimension.SEX) == {Sex.F: 2, Sex.M: 1}
    assert read_by(Dimension.MODEL) == {"bundle-1": 2, "bundle-2": 1}
    assert read_by(Dimension.DEVICE) == {Device.FIXED: 1, Device.UNKNOWN: 2}
    assert read_by(Dimension.AGE) == {AgeGroup.FROM_40: 2, AgeGroup.UNKNOWN: 1}
    assert read(ALWAYS.narrowed(view="AP", sex="F")).acceptance.decided == 1


def test_months_are_told_apart_at_both_ends_of_the_choice(ada):
    days = [dt.date(2026, 1, 31), dt.date(2026, 2, 1), dt.date(2026, 2, 28), dt.date(2026, 3, 1)]
    for day in days:
        review = decide(ada)
        count(above=10_000)
        move_to_day(day, [review])
    february = Choice(dt.date(2026, 2, 1), dt.date(2026, 2, 1))
    own = february.narrowed(account_id=ada.id)
    for _ in range(2):
        assert read(february).acceptance.decided == read(own).acceptance.decided == 2
        by_month = {dt.date(2026, month, 1): n for month, n in ((1, 1), (2, 2), (3, 1))}
        assert read_by(Dimension.MONTH) == by_month
        assert read_by(Dimension.MONTH, ALWAYS.narrowed(account_id=ada.id)) == by_month
        count()


def test_a_study_that_moves_takes_its_outcome_to_the_other_site(ada):
    north = make_north()
    review = decide(ada)
    decide(ada, calling_ae=NORTH_AE)
    count()
    assert read(ALWAYS.narrowed(site_id=north)).acceptance.decided == 1
    ((study_id,),) = run_sql("SELECT study_id FROM reviews WHERE id = :id", id=review)
    with unit_of_work() as session:
        site_moves.move_study(session, study_id, "north", "Dr. Roe", "it was sent there")
    assert read(ALWAYS.narrowed(site_id=north)).acceptance.decided == 2
    count()
    assert sorted(read_by(Dimension.SITE).items()) == [(north, 2)]


def test_an_erasure_takes_outcome_and_numbers_along(ada):
    review = decide(ada)
    decide(ada)
    count()
    ((patient_id,),) = run_sql(
        "SELECT patient_id FROM studies JOIN reviews ON study_id = studies.id"
        " WHERE reviews.id = :id",
        id=review,
    )
    with unit_of_work() as session:
        erasure.erase_patient(session, PatientId(patient_id), "asked for by letter 4711")
    assert read().acceptance.decided == 1
    count()
    assert read().acceptance.decided == 1
    assert run_sql("SELECT count(*) FROM draft_outcomes") == [(1,)]
    assert run_sql("SELECT sum(watched) FROM quality_days") == [(1,)]


def test_who_reads_first_has_a_time_of_its_own_until_the_draft(ada, setting):
    setting(read_first=True)
    draft_id = draft()
    open_study(draft_id, ada)
    let_pass("readings", 40, "opened_at")
    run_sql("UPDATE readings SET films_opened_at = now()")
    with unit_of_work() as session:
        readings.show_draft(session, session.get_one(Draft, draft_id), ada.id)
    let_pass("readings", 20, "opened_at", "draft_shown_at")
    sign(draft_id, ada)
    count()
    found = read()
    assert list(found.times) == [ReadingArm.READ_FIRST]
    assert 35 < found.to_draft.median.value < 50
    assert 50 < found.times[ReadingArm.READ_FIRST].median.value < 70


def test_a_text_that_cannot_be_read_stops_nothing_and_says_no_observation(ada, monkeypatch):
    review = decide(ada, "differing")

    def fail(_):
        raise RecursionError("too deep: PHANTOM^ANNA")

    monkeypatch.setattr(worker_outcomes, "label_sections", fail)
    count()
    assert outcome_of(review).observations == {}
    found = read()
    assert (found.acceptance.decided, found.acceptance.differing.number) == (1, 0)
    assert found.observations[0].kappa.number == 0


def test_reports_that_were_signed_before_the_table_was_there_are_completed_alike(ada):
    decide(ada, "small")
    with engine().begin() as connection:
        connection.execute(text("DELETE FROM draft_outcomes"))
        migration = importlib.import_module("migrations.versions.0051_quality")
        connection.execute(text(migration.DECIDED_BEFORE))
    count()
    assert read().acceptance.small_edit.part == 1

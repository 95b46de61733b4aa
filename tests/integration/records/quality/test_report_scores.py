"""Scores of second readers: given once, by who had no part, and counted with the report."""

import datetime as dt

import pytest
from sqlalchemy.exc import DBAPIError

from records.database.session import unit_of_work
from records.errors import NotAllowed, NotFound
from records.quality import figures, report_scores
from records.quality.counts import Choice
from records.retention import erasure
from records.reviews import lookup, signing
from records.reviews.readers import Reader
from records.states import PeerScore, Role
from records.workflow import events
from records.workflow.identifiers import PatientId
from tests.support.accounts import make_account, run_sql
from tests.support.decided_drafts import count, decide, reader_of

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def ada():
    return make_account("ada", Role.READER)


@pytest.fixture
def roe():
    return make_account("roe", Role.READER)


@pytest.fixture
def report(ada):
    return decide(ada)


def score(report, reader, given=PeerScore.CONCUR):
    with unit_of_work() as session:
        return report_scores.score(session, report, given, reader)


def state(report, reader):
    with unit_of_work() as session:
        ((study_id,),) = run_sql("SELECT study_id FROM reviews WHERE id = :id", id=report)
        return report_scores.read_state(session, lookup.find_signed(session, study_id), reader)


def test_a_second_reader_scores_a_report_once(report, roe):
    reader = reader_of(roe)
    assert state(report, reader) == report_scores.ScoringState(True, None)
    first = score(report, reader, PeerScore.MISSED_B)
    assert score(report, reader, PeerScore.MISSED_B) == first
    with pytest.raises(NotAllowed, match="never changed"):
        score(report, reader, PeerScore.CONCUR)
    assert state(report, reader) == report_scores.ScoringState(False, PeerScore.MISSED_B)
    assert run_sql("SELECT score FROM report_scores") == [("2b",)]


def test_the_timeline_says_who_scored_and_not_what(report, roe):
    score(report, reader_of(roe), PeerScore.EXPECTED_B)
    with unit_of_work() as session:
        ((study_id,),) = run_sql("SELECT study_id FROM reviews")
        last = events.timeline(session, study_id)[-1]
    assert (last.kind, last.detail, last.reason) == ("SCORED", "by roe", None)


def test_who_had_a_part_in_the_report_does_not_score_it(report, ada, roe):
    with pytest.raises(NotAllowed, match="did not write or sign"):
        score(report, reader_of(ada))
    assert not state(report, reader_of(ada)).may_score
    with unit_of_work() as session:
        signing.countersign(session, report, reader_of(roe))
    with pytest.raises(NotAllowed, match="did not write or sign"):
        score(report, reader_of(roe))
    assert run_sql("SELECT count(*) FROM report_scores") == [(0,)]


def test_who_may_not_sign_or_is_nobody_does_not_score(report, roe):
    for reader, why in (
        (Reader("roe", roe.id, may_sign=False), "may sign"),
        (Reader("somebody"), "logged in"),
    ):
        with pytest.raises(NotAllowed, match=why):
            score(report, reader)
        assert state(report, reader) == report_scores.ScoringState(False, None)


def test_only_a_signed_report_is_scored(ada, roe):
    with pytest.raises(NotAllowed, match="only a signed"):
        score(decide(ada, "rejected"), reader_of(roe))
    with pytest.raises(NotFound):
        score(roe.id, reader_of(roe))


def test_scores_are_counted_with_their_report(report, ada, roe):
    count()
    score(report, reader_of(roe), PeerScore.MISSED_B)
    score(report, reader_of(make_account("doe")), PeerScore.CONCUR)
    count()
    with unit_of_work() as session:
        always = Choice(dt.date(2000, 1, 1), dt.date(2100, 1, 1))
        for choice in (always, always.narrowed(account_id=ada.id)):
            found = figures.read(session, choice)
            assert found.acceptance.decided == 1
            assert found.peer_review.by_score[PeerScore.MISSED_B] == 1
            assert (found.peer_review.significant.part, found.peer_review.significant.number) == (
                1,
                2,
            )
        # It is a figure of who signed the report, and not of who scored it.
        own = figures.read(session, always.narrowed(account_id=roe.id))
    assert own.peer_review.significant.number == 0


@pytest.mark.parametrize(
    "change", ["UPDATE report_scores SET score = '1'", "DELETE FROM report_scores"]
)
def test_a_score_is_written_once_and_goes_with_an_erasure_alone(report, roe, change):
    score(report, reader_of(roe), PeerScore.MISSED_A)
    with pytest.raises(DBAPIError, match="written once"):
        run_sql(change)
    ((patient_id,),) = run_sql("SELECT patient_id FROM studies")
    with unit_of_work() as session:
        erasure.erase_patient(session, PatientId(patient_id), "asked for by letter 4711")
    assert run_sql("SELECT count(*) FROM report_scores") == [(0,)]

"""Readings: who reads first, and that nothing of a draft is shown before."""

import uuid

import pytest
from sqlalchemy import text

from records.database.draft_tables import Draft
from records.database.review_tables import Reading
from records.database.session import unit_of_work
from records.errors import NotAllowed
from records.reviews import readings, signing
from records.reviews.readers import Reader
from records.states import ReadingArm, ReadingEnd, Role
from tests.support.accounts import make_account
from tests.support.registered_studies import complete, draft_all, new_instance

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def draft_id():
    complete(new_instance(sop="1.2.3.1.1"))
    return draft_all()[0]


@pytest.fixture
def account_id():
    with unit_of_work():
        make_account("roe", Role.READER)
    with unit_of_work() as session:
        return session.scalar(text("SELECT id FROM accounts"))


def rows():
    with unit_of_work() as session:
        return session.query(Reading).order_by(Reading.opened_at).all()


def begin(draft_id, account_id):
    with unit_of_work() as session:
        return readings.begin(session, session.get_one(Draft, draft_id), account_id)


def hides(draft_id, account_id):
    with unit_of_work() as session:
        return readings.hides_draft(session, session.get_one(Draft, draft_id), account_id)


def show(draft_id, account_id):
    with unit_of_work() as session:
        return readings.show_draft(session, session.get_one(Draft, draft_id), account_id)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_arm_is_drawn_by_its_share_and_always_the_same(setting, share):
    setting(read_first_share=share)
    pairs = [(uuid.UUID(int=n), uuid.UUID(int=7 * n + 1)) for n in range(2000)]
    drawn = [readings.draw_arm(*pair) for pair in pairs]
    first = drawn.count(ReadingArm.READ_FIRST) / len(drawn)
    # Five standard deviations of a share of 2,000 draws.
    assert abs(first - share) <= 5 * (share * (1 - share) / 2000) ** 0.5
    assert [readings.draw_arm(*pair) for pair in pairs] == drawn


def test_one_draw_decides_between_the_three_arms(setting):
    pairs = [(uuid.UUID(int=n), uuid.UUID(int=7 * n + 1)) for n in range(2000)]

    def draw(**shares):
        setting(read_first=False, read_first_share=0.0, without_draft_share=0.0)
        setting(**shares)
        return [readings.draw_arm(*pair) for pair in pairs]

    alone = draw(without_draft_share=0.2)
    drawn = draw(without_draft_share=0.2, read_first_share=0.3)
    everybody = draw(without_draft_share=0.2, read_first_share=0.3, read_first=True)
    arms = ReadingArm
    for arm, share in ((arms.WITHOUT_DRAFT, 0.2), (arms.READ_FIRST, 0.3), (arms.WITH_DRAFT, 0.5)):
        # Five standard deviations of a share of 2,000 draws.
        assert abs(drawn.count(arm) / 2000 - share) <= 5 * (share * (1 - share) / 2000) ** 0.5
    is_without = [arm is arms.WITHOUT_DRAFT for arm in drawn]
    assert [arm is arms.WITHOUT_DRAFT for arm in alone] == is_without
    assert [arm is arms.WITHOUT_DRAFT for arm in everybody] == is_without
    assert arms.READ_FIRST not in alone
    assert arms.WITH_DRAFT not in everybody


def test_a_reading_is_one_row_however_often_the_page_is_opened(draft_id, account_id):
    first = begin(draft_id, account_id)
    assert begin(draft_id, account_id).id == first.id
    assert (first.arm, first.draft_shown_at is not None) == (ReadingArm.WITH_DRAFT, True)
    assert not hides(draft_id, account_id)
    with unit_of_work() as session:
        session.execute(text("UPDATE readings SET opened_at = opened_at - interval '13 hours'"))
    assert begin(draft_id, account_id).id != first.id
    assert [row.end for row in rows()] == [ReadingEnd.LEFT, None]


def test_the_draft_is_shown_after_the_films_and_when_it_is_asked_for(draft_id, account_id, setting):
    setting(read_first=True)
    assert hides(draft_id, account_id), "also before the page was ever opened"
    reading = begin(draft_id, account_id)
    assert (reading.arm, reading.draft_shown_at) == (ReadingArm.READ_FIRST, None)
    with pytest.raises(NotAllowed, match="films first"):
        show(draft_id, account_id)
    assert hides(draft_id, account_id)
    with unit_of_work() as session:
        readings.note_films(session, reading.study_id, account_id)
    assert hides(draft_id, account_id), "the films alone show no draft"
    shown = show(draft_id, account_id)
    assert shown.opened_at <= shown.films_opened_at <= shown.draft_shown_at
    assert not hides(draft_id, account_id)
    assert show(draft_id, account_id).draft_shown_at == shown.draft_shown_at
    assert not hides(draft_id, None), "nobody is drawn where nobody is logged in"


def test_a_study_whose_films_were_removed_can_be_shown(draft_id, account_id, setting):
    setting(read_first=True)
    with unit_of_work() as session:
        session.execute(text("UPDATE instances SET bytes_removed_at = now()"))
    assert show(draft_id, account_id).films_opened_at is None


def test_a_reading_keeps_its_arm_where_the_setting_changes(draft_id, account_id, setting):
    setting(read_first=True)
    begin(draft_id, account_id)
    setting(read_first=False)
    assert begin(draft_id, account_id).arm == ReadingArm.READ_FIRST
    assert hides(draft_id, account_id)


def test_a_signature_ends_the_readers_own_reading(draft_id, account_id):
    reading = begin(draft_id, account_id)
    with unit_of_work() as session:
        signing.reject(session, draft_id, Reader("Doe"), "not mine")
    assert [row.end for row in rows()] == [None]
    with unit_of_work() as session:
        signing.reject(session, draft_id, Reader("Roe", account_id), "mine")
    (ended,) = rows()
    assert (ended.end, ended.id) == (ReadingEnd.REJECTED, reading.id)
    assert ended.ended_at >= ended.opened_at

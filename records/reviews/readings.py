"""When a reader opened a study with a draft, when its films, and when the draft was shown.

Where a reader reads first (NIGHTDRAFT_READ_FIRST, NIGHTDRAFT_READ_FIRST_SHARE), or is drawn to
write without the draft (NIGHTDRAFT_WITHOUT_DRAFT_SHARE), nothing of the draft is shown before the
films were opened and the reader asked for it.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping

from sqlalchemy import exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from records.database.account_tables import EmergencyAccess
from records.database.draft_tables import Draft
from records.database.review_tables import Reading, Review
from records.database.tables import Instance, Study
from records.errors import NotAllowed
from records.settings import settings
from records.states import InstanceState, ReadingArm, ReadingEnd, ReviewDecision

LEFT_AFTER_HOURS = 12
"""A reading that was opened so long ago is LEFT when its reader opens the study again."""


def draw_arm(account_id: uuid.UUID, study_id: uuid.UUID) -> ReadingArm:
    """What a reader sees first of a study: the same however often it is asked.

    It is drawn from both ids, so that nobody can choose it, and opening a page again changes
    nothing. One draw decides between the three: first comes the share without a draft.
    """
    config = settings()
    drawn = hashlib.sha256(account_id.bytes + study_id.bytes).digest()
    place = int.from_bytes(drawn[:8]) / 2**64
    if place < config.without_draft_share:
        return ReadingArm.WITHOUT_DRAFT
    reads_first = place < config.without_draft_share + config.read_first_share
    return ReadingArm.READ_FIRST if config.read_first or reads_first else ReadingArm.WITH_DRAFT


def find(session: Session, draft_id: uuid.UUID, account_id: uuid.UUID) -> Reading | None:
    """The reading of a draft that a reader has under way."""
    return session.scalar(
        select(Reading).where(
            Reading.draft_id == draft_id,
            Reading.account_id == account_id,
            Reading.ended_at.is_(None),
        )
    )


def begin(session: Session, draft: Draft, account_id: uuid.UUID) -> Reading:
    """The reading that a reader has under way; a new one where there is none.

    A reading keeps the arm with which it began, also where the settings change meanwhile. Nobody
    writes without a draft who has been shown one of the study: a later reading shows it at once.
    """
    now = func.clock_timestamp()
    session.execute(
        update(Reading)
        .where(
            Reading.draft_id == draft.id,
            Reading.account_id == account_id,
            Reading.ended_at.is_(None),
            Reading.opened_at < now - func.make_interval(0, 0, 0, 0, LEFT_AFTER_HOURS),
        )
        .values(ended_at=now, end=ReadingEnd.LEFT)
    )
    arm = draw_arm(account_id, draft.study_id)
    session.execute(
        insert(Reading)
        .values(
            study_id=draft.study_id,
            draft_id=draft.id,
            account_id=account_id,
            arm=arm,
            draft_shown_at=now if _shows_at_once(session, draft, account_id, arm) else None,
        )
        .on_conflict_do_nothing()
    )
    reading = find(session, draft.id, account_id)
    assert reading is not None
    return reading


def _shows_at_once(session: Session, draft: Draft, account_id: uuid.UUID, arm: ReadingArm) -> bool:
    return arm is ReadingArm.WITH_DRAFT or (
        arm is ReadingArm.WITHOUT_DRAFT and _was_shown(session, draft.study_id, account_id)
    )


def begins_empty(session: Session, draft: Draft, account_id: uuid.UUID | None) -> bool:
    """Whether a text that this person begins has nothing of the draft in it.

    It stays so for the whole reading, also after the draft was shown: what was typed meanwhile, in
    whatever window, was typed on an empty page.
    """
    if account_id is None:
        return False
    reading = find(session, draft.id, account_id)
    arm = draw_arm(account_id, draft.study_id) if reading is None else reading.arm
    return arm == ReadingArm.WITHOUT_DRAFT


def has_seen(session: Session, draft: Draft, account_id: uuid.UUID | None) -> bool:
    """Whether a person has been shown a draft of the study, or could be shown it now."""
    if account_id is None or not hides_draft(session, draft, account_id):
        return True
    return _was_shown(session, draft.study_id, account_id)


def _was_shown(session: Session, study_id: uuid.UUID, account_id: uuid.UUID) -> bool:
    """Whether a person was shown a draft of a study in a reading, or in an emergency."""
    opened = aliased(Study)
    in_reading = exists().where(
        Reading.study_id == study_id,
        Reading.account_id == account_id,
        Reading.draft_shown_at.is_not(None),
    )
    in_emergency = exists().where(
        EmergencyAccess.account_id == account_id,
        EmergencyAccess.study_id == opened.id,
        opened.patient_id == Study.patient_id,
    )
    return bool(session.scalar(select(or_(in_reading, in_emergency)).where(Study.id == study_id)))


def hides_draft(session: Session, draft: Draft, account_id: uuid.UUID | None) -> bool:
    """Whether a draft must not be shown to a person yet; what is signed is no draft any more."""
    if account_id is None:
        return False
    return bool(list_hidden(session, {draft.id: draft.study_id}, account_id))


def list_hidden(
    session: Session, drafted: Mapping[uuid.UUID, uuid.UUID], account_id: uuid.UUID
) -> set[uuid.UUID]:
    """The drafts that must not be shown to a person yet.

    Args:
        session: the caller's transaction.
        drafted: the study of each draft.
        account_id: the person's.
    """
    if not drafted:
        return set()
    shown = {
        row.draft_id: row.draft_shown_at
        for row in session.execute(
            select(Reading.draft_id, Reading.draft_shown_at).where(
                Reading.draft_id.in_(drafted),
                Reading.account_id == account_id,
                Reading.ended_at.is_(None),
            )
        )
    }
    hidden = {
        draft_id
        for draft_id, study_id in drafted.items()
        if (
            shown[draft_id] is None
            if draft_id in shown
            else draw_arm(account_id, study_id) is not ReadingArm.WITH_DRAFT
        )
    }
    if not hidden:
        return hidden
    return hidden - set(
        session.scalars(
            select(Review.draft_id).where(
                Review.draft_id.in_(hidden), Review.decision == ReviewDecision.SIGNED
            )
        )
    )


def note_films(session: Session, study_id: uuid.UUID, account_id: uuid.UUID) -> None:
    """Note that a film of a study was given to a reader who has a reading of it under way."""
    session.execute(
        update(Reading)
        .where(
            Reading.study_id == study_id,
            Reading.account_id == account_id,
            Reading.ended_at.is_(None),
            Reading.films_opened_at.is_(None),
        )
        .values(films_opened_at=func.clock_timestamp())
    )


def show_draft(session: Session, draft: Draft, account_id: uuid.UUID) -> Reading:
    """Show the draft from now on, because the reader has read the films and asks for it.

    Raises:
        NotAllowed: the films were not opened, and there are some that can be.
    """
    reading = begin(session, draft, account_id)
    if reading.draft_shown_at is not None:
        return reading
    if reading.films_opened_at is None and _has_films(session, draft.study_id):
        raise NotAllowed("read the films first: the draft is shown after they were opened")
    reading.draft_shown_at = func.clock_timestamp()
    session.flush()
    session.refresh(reading)
    return reading


def end(
    session: Session, draft_id: uuid.UUID, account_id: uuid.UUID | None, how: ReadingEnd
) -> None:
    """End the reading of a draft that a reader has under way."""
    if account_id is not None:
        session.execute(
            update(Reading)
            .where(
                Reading.draft_id == draft_id,
                Reading.account_id == account_id,
                Reading.ended_at.is_(None),
            )
            .values(ended_at=func.clock_timestamp(), end=how)
        )


def _has_films(session: Session, study_id: uuid.UUID) -> bool:
    return bool(
        session.scalar(
            select(
                exists().where(
                    Instance.study_id == study_id,
                    Instance.state == InstanceState.KEPT,
                    Instance.bytes_removed_at.is_(None),
                )
            )
        )
    )

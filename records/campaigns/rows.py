"""The studies of a campaign: added in batches, counted as they change, listed, tried again.

`follow_marks` brings the rows up to date with what became of their studies. It is the only one that
moves a row which is in the pipeline.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import InstrumentedAttribute, Session

from records.audit.looks import note_look
from records.database.campaign_tables import (
    Campaign,
    CampaignFile,
    CampaignMark,
    CampaignStudy,
    CampaignTally,
)
from records.database.session import interval
from records.database.tables import DraftRequest, WorklistEntry
from records.errors import NotAllowed, NotFound
from records.states import (
    CAMPAIGN_ENDED,
    CAMPAIGN_MOVING,
    CAMPAIGN_UNDER_WAY,
    CampaignState,
    CampaignStudyState,
    RequestState,
    WalkState,
)
from records.workflow import requests

ADD_AT_ONCE = 1000
"""Rows of one INSERT."""

FOLD_ABOVE = 2000
"""So many parts of kept numbers are worth folding."""

_FOLD_AFTER_DAYS = 8
"""The pace of older quarters of an hour is not asked for; their numbers are kept as one."""

RETRIED = (CampaignStudyState.FAILED, CampaignStudyState.MISSING, CampaignStudyState.SKIPPED)
"""States whose studies a person may let be tried again."""


@dataclass(frozen=True, slots=True)
class NewStudy:
    """A study that a walk found; one of UID and accession number is given, or both.

    Attributes:
        study_instance_uid: (0020,000D).
        accession_number: (0008,0050).
        study_id: our own id, where the walk found the study here.
        size: bytes of its images, where the source says so.
        listed: how many images the source lists, where it says so.
    """

    study_instance_uid: str = ""
    accession_number: str = ""
    study_id: uuid.UUID | None = None
    size: int | None = None
    listed: int | None = None


def add_studies(session: Session, campaign_id: uuid.UUID, studies: Sequence[NewStudy]) -> int:
    """Add the studies that a walk found; one that the campaign has already is left as it is.

    Returns:
        How many were new.
    """
    added = 0
    for start in range(0, len(studies), ADD_AT_ONCE):
        values = [
            {
                "campaign_id": campaign_id,
                "study_instance_uid": study.study_instance_uid,
                "accession_number": study.accession_number,
                "study_id": study.study_id,
                "size": study.size,
                "listed": study.listed,
            }
            for study in studies[start : start + ADD_AT_ONCE]
        ]
        added += len(
            session.scalars(
                upsert(CampaignStudy)
                .values(values)
                .on_conflict_do_nothing()
                .returning(CampaignStudy.id)
            ).all()
        )
    return added


def add_files(
    session: Session, campaign_id: uuid.UUID, files: Mapping[str, Mapping[str, int]]
) -> int:
    """Add files that the walk of a folder found, each to the row of its study.

    Args:
        session: the caller's transaction.
        campaign_id: the campaign.
        files: by Study Instance UID, the size in bytes of each file by its path below the folder.

    Returns:
        How many studies were new.
    """
    new = add_studies(session, campaign_id, [NewStudy(study_instance_uid=uid) for uid in files])
    lines = session.execute(
        select(CampaignStudy.study_instance_uid, CampaignStudy.id).where(
            CampaignStudy.campaign_id == campaign_id,
            CampaignStudy.study_instance_uid.in_(list(files)),
            CampaignStudy.study_instance_uid != "",
        )
    )
    ids = {line[0]: line[1] for line in lines}
    values = [
        {"campaign_id": campaign_id, "campaign_study_id": ids[uid], "path": path}
        for uid, paths in files.items()
        for path in paths
    ]
    inserted = session.execute(
        upsert(CampaignFile)
        .values(values)
        .on_conflict_do_nothing()
        .returning(CampaignFile.campaign_study_id, CampaignFile.path)
    )
    added = {(row_id, path) for row_id, path in inserted}
    for uid, paths in files.items():
        fresh = [size for path, size in paths.items() if (ids[uid], path) in added]
        if fresh:
            session.execute(
                update(CampaignStudy)
                .where(CampaignStudy.campaign_id == campaign_id, CampaignStudy.id == ids[uid])
                .values(
                    size=func.coalesce(CampaignStudy.size, 0) + sum(fresh),
                    listed=func.coalesce(CampaignStudy.listed, 0) + len(fresh),
                )
                .execution_options(synchronize_session=False)
            )
    return new


def list_known_files(session: Session, campaign_id: uuid.UUID, paths: Sequence[str]) -> set[str]:
    """Those of the paths that the campaign has already; a walk that begins again skips them."""
    return set(
        session.scalars(
            select(CampaignFile.path).where(
                CampaignFile.campaign_id == campaign_id, CampaignFile.path.in_(paths)
            )
        )
    )


@dataclass(frozen=True, slots=True)
class Counts:
    """How many studies of a campaign are in each state, and in each state for each reason.

    Attributes:
        by_state: every state is a key.
        by_reason: only reasons that there are.
    """

    by_state: Mapping[CampaignStudyState, int]
    by_reason: Mapping[tuple[CampaignStudyState, str], int]

    @property
    def total(self) -> int:
        """All studies that were found."""
        return sum(self.by_state.values())

    @property
    def moving(self) -> int:
        """Studies that wait or are under way."""
        return sum(self.by_state[state] for state in CAMPAIGN_MOVING)


def read_counts(session: Session, campaign_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Counts]:
    """The kept numbers of campaigns; each campaign is a key."""
    lines = session.execute(
        select(
            CampaignTally.campaign_id,
            CampaignTally.state,
            CampaignTally.reason,
            func.sum(CampaignTally.number),
        )
        .where(CampaignTally.campaign_id.in_(campaign_ids))
        .group_by(CampaignTally.campaign_id, CampaignTally.state, CampaignTally.reason)
    )
    found: dict[uuid.UUID, dict[tuple[CampaignStudyState, str], int]] = {
        campaign_id: {} for campaign_id in campaign_ids
    }
    for campaign_id, state, reason, number in lines:
        if number:
            found[campaign_id][CampaignStudyState(state), reason] = int(number)
    return {
        campaign_id: Counts(
            {
                state: sum(n for (of, _), n in by_reason.items() if of == state)
                for state in CampaignStudyState
            },
            {key: n for key, n in by_reason.items() if key[1]},
        )
        for campaign_id, by_reason in found.items()
    }


def count_ended(
    session: Session, campaign_ids: Sequence[uuid.UUID], seconds: float
) -> dict[uuid.UUID, int]:
    """How many studies of campaigns came to an end in the last seconds, by quarters of an hour.

    Each campaign is a key.
    """
    ended = [state for state in CampaignStudyState if state not in CAMPAIGN_MOVING]
    lines = session.execute(
        select(CampaignTally.campaign_id, func.sum(CampaignTally.number))
        .where(
            CampaignTally.campaign_id.in_(campaign_ids),
            CampaignTally.quarter > func.clock_timestamp() - interval(seconds),
            CampaignTally.state.in_(ended),
        )
        .group_by(CampaignTally.campaign_id)
    )
    found = dict.fromkeys(campaign_ids, 0)
    for campaign_id, number in lines:
        found[campaign_id] = max(0, int(number))
    return found


def count_ended_since(session: Session, campaign_id: uuid.UUID, seconds: float) -> int:
    """How many studies of a campaign came to an end in the last seconds, by quarters of an hour."""
    return count_ended(session, [campaign_id], seconds)[campaign_id]


def count_waiting(session: Session) -> int:
    """How many studies wait in running campaigns, and are not yet given to the pipeline."""
    return _sum(
        session,
        Campaign.state == CampaignState.RUNNING,
        CampaignTally.state == CampaignStudyState.WAITING,
    ).get("", 0)


def count_missing(session: Session, begins_at: dt.datetime, ends_at: dt.datetime) -> dict[str, int]:
    """How many studies turned out to be missing in the quarters of a stretch of time, by reason.

    One that was missing and was tried again meanwhile does not count.
    """
    numbers = _sum(
        session,
        CampaignTally.quarter >= begins_at,
        CampaignTally.quarter < ends_at,
        CampaignTally.state == CampaignStudyState.MISSING,
        key=CampaignTally.reason,
    )
    return {reason: number for reason, number in sorted(numbers.items()) if number > 0}


def _sum(
    session: Session,
    *conditions: ColumnElement[bool],
    key: ColumnElement[str] | InstrumentedAttribute[str] | None = None,
) -> dict[str, int]:
    """Kept numbers of campaigns by a column; one number under "" where none is given."""
    name = literal("") if key is None else key
    lines = session.execute(
        select(name, func.sum(CampaignTally.number))
        .join(Campaign, Campaign.id == CampaignTally.campaign_id)
        .where(*conditions)
        .group_by(*([] if key is None else [key]))
    )
    return {str(of): int(number or 0) for of, number in lines}


def fold_tallies(session: Session, above: int = FOLD_ABOVE) -> int:
    """Make one row of the rows of each number and quarter, where there are more than `above`.

    Two calls at once do no harm: a row is deleted once, and only who deleted it adds its number.

    Returns:
        How many rows there were; 0 where nothing was folded.
    """
    rows = session.scalar(select(func.count()).select_from(CampaignTally)) or 0
    if rows <= above:
        return 0
    old = func.clock_timestamp() - interval(_FOLD_AFTER_DAYS * 86400)
    folded = (
        delete(CampaignTally)
        .returning(
            CampaignTally.campaign_id,
            CampaignTally.quarter,
            CampaignTally.state,
            CampaignTally.reason,
            CampaignTally.number,
        )
        .cte("folded")
    )
    quarter = func.greatest(folded.c.quarter, func.date_bin("15 minutes", old, text("'epoch'")))
    number = func.sum(folded.c.number)
    sums = (
        select(folded.c.campaign_id, quarter, folded.c.state, folded.c.reason, number)
        .group_by(folded.c.campaign_id, quarter, folded.c.state, folded.c.reason)
        .having(number != 0)
    )
    session.execute(
        insert(CampaignTally).from_select(
            ["campaign_id", "quarter", "state", "reason", "number"], sums.add_cte(folded)
        )
    )
    return rows


def list_studies(
    session: Session,
    campaign_id: uuid.UUID,
    limit: int,
    *,
    state: CampaignStudyState | None = None,
    reason: str | None = None,
    after: int = 0,
) -> Sequence[CampaignStudy]:
    """The studies of a campaign in the order in which they were found.

    Args:
        session: the caller's transaction.
        campaign_id: the campaign.
        limit: how many, at most.
        state: only those in this state.
        reason: only those with this reason; it needs a state.
        after: the id of the last one of the page before.
    """
    query = (
        select(CampaignStudy)
        .where(CampaignStudy.campaign_id == campaign_id, CampaignStudy.id > after)
        .order_by(CampaignStudy.id)
        .limit(limit)
    )
    if state is not None:
        query = query.where(CampaignStudy.state == state)
        if reason:
            query = query.where(CampaignStudy.reason == reason, CampaignStudy.reason != "")
    rows = session.scalars(query).all()
    # A study that is not here yet is named by its numbers alone.
    if any(row.study_id is None for row in rows):
        note_look(thing=f"campaign {campaign_id}")
    note_look(study_ids=[row.study_id for row in rows])
    return rows


def retry(
    session: Session,
    campaign_id: uuid.UUID,
    state: CampaignStudyState,
    reason: str,
    limit: int = 500,
) -> int:
    """Let studies that ended for a reason be tried again; call again while there are `limit`.

    Those that had come to the pipeline go back to it; the others wait in the campaign again.

    Raises:
        NotFound: no such campaign.
        NotAllowed: studies in that state are not tried again, or the campaign is cancelled.
    """
    if state not in RETRIED:
        raise NotAllowed(f"studies that are {state} are not tried again")
    campaign = session.get(Campaign, campaign_id, with_for_update=True, populate_existing=True)
    if campaign is None:
        raise NotFound("no campaign has that id")
    if campaign.state == CampaignState.CANCELLED:
        raise NotAllowed(f"the campaign {campaign.name!r} is cancelled")
    chosen = session.scalars(
        select(CampaignStudy)
        .where(
            CampaignStudy.campaign_id == campaign_id,
            CampaignStudy.state == state,
            CampaignStudy.reason == reason,
            CampaignStudy.reason != "",
        )
        .order_by(CampaignStudy.id)
        .limit(limit)
    ).all()
    following = [row for row in chosen if row.follows and row.study_id is not None]
    for row in following:
        _retry_request(session, row)
    for row in following:
        # It is in the pipeline again; the mark lets `follow_marks` look, whatever became of it.
        row.state, row.reason, row.detail = CampaignStudyState.IN_WORK, "", ""
        row.changed_at = func.clock_timestamp()
        session.add(CampaignMark(study_id=row.study_id))
    session.flush()
    in_pipeline = {row.id for row in following}
    waiting = [row.id for row in chosen if row.id not in in_pipeline]
    if waiting:
        session.execute(
            update(CampaignStudy)
            .where(CampaignStudy.campaign_id == campaign_id, CampaignStudy.id.in_(waiting))
            .values(
                state=CampaignStudyState.WAITING,
                reason="",
                detail="",
                attempts=0,
                not_before=None,
                missing=[],
                changed_at=func.clock_timestamp(),
            )
            .execution_options(synchronize_session=False)
        )
    if chosen and campaign.state in CAMPAIGN_ENDED:
        campaign.state, campaign.ended_at = CampaignState.RUNNING, None
    return len(chosen)


def _retry_request(session: Session, row: CampaignStudy) -> None:
    assert row.study_id is not None
    if row.request_id is None:
        # Somebody may have decided about the study meanwhile; then its row follows that.
        with suppress(NotAllowed):
            requests.retry(session, study_id=row.study_id)
        return
    session.execute(
        requests.move(RequestState.WAITING)
        .where(DraftRequest.id == row.request_id)
        .values(attempts=0, reason="", detail="", not_before=None, prepared_blob=None)
    )


def follow(
    session: Session, row: CampaignStudy, study_id: uuid.UUID, request_id: uuid.UUID | None = None
) -> None:
    """Let a row follow a study from now on; the caller has locked the study and the row.

    Args:
        session: the caller's transaction.
        row: the row.
        study_id: the study.
        request_id: the request of a comparison draft; None follows the study's newest primary one.
    """
    # Whoever changes the study's state waits here, or was waited for; so no change is missed.
    session.execute(
        select(WorklistEntry.study_id)
        .where(WorklistEntry.study_id == study_id)
        .with_for_update(key_share=True)
    )
    row.state, row.reason, row.detail = CampaignStudyState.IN_WORK, "", ""
    row.study_id, row.request_id, row.follows = study_id, request_id, True
    row.claimed_at = row.not_before = None
    session.add(CampaignMark(study_id=study_id))
    session.flush()


_BRING_UP_TO_DATE = text(
    """
    WITH seen AS (
        SELECT followed.campaign_id, followed.id,
            CASE
                WHEN entry.state = 'HELD' THEN 'HELD'
                WHEN followed.request_id IS NULL AND entry.state = 'RECEIVING' THEN 'IN_WORK'
                WHEN coalesce(request.state, 'WAITING') IN ('WAITING', 'PREPARED', 'SUPERSEDED')
                    THEN 'IN_WORK'
                ELSE request.state
            END AS state,
            CASE WHEN entry.state = 'HELD' THEN (
                SELECT holds.reason FROM holds
                WHERE holds.study_id = followed.study_id AND holds.decision IS NULL
                ORDER BY holds.opened_at, holds.id LIMIT 1
            ) END AS hold_reason,
            request.reason AS request_reason,
            request.detail AS request_detail
        FROM campaign_studies AS followed
        JOIN worklist_entries AS entry ON entry.study_id = followed.study_id
        JOIN studies ON studies.id = followed.study_id
        LEFT JOIN draft_requests AS request
            ON request.id = coalesce(followed.request_id, studies.request_id)
        WHERE followed.study_id = ANY(:study_ids) AND followed.follows
        FOR NO KEY UPDATE OF followed
    )
    UPDATE campaign_studies SET
        state = seen.state,
        reason = CASE
            WHEN seen.state = 'HELD' THEN coalesce(seen.hold_reason, '')
            WHEN seen.state = 'IN_WORK' THEN ''
            ELSE coalesce(seen.request_reason, '')
        END,
        detail = CASE
            WHEN seen.state IN ('HELD', 'IN_WORK') THEN '' ELSE coalesce(seen.request_detail, '')
        END,
        changed_at = clock_timestamp()
    FROM seen
    WHERE campaign_studies.campaign_id = seen.campaign_id AND campaign_studies.id = seen.id
        AND (campaign_studies.state <> seen.state OR seen.state NOT IN ('IN_WORK', 'DRAFTED'))
    RETURNING campaign_studies.id
    """
)


def follow_marks(session: Session, limit: int) -> int:
    """Bring the rows of studies up to date whose state has changed.

    Returns:
        How many marks were taken; call again, in another transaction, while there are `limit`.
    """
    oldest = (
        select(CampaignMark.id)
        .order_by(CampaignMark.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    marked = session.scalars(
        delete(CampaignMark)
        .where(CampaignMark.id.in_(oldest))
        .returning(CampaignMark.study_id)
        .execution_options(synchronize_session=False)
    ).all()
    if marked:
        # A statement of its own: it sees what was committed with the marks.
        session.execute(_BRING_UP_TO_DATE, {"study_ids": sorted(set(marked))})
    return len(marked)


def wake_due(session: Session, limit: int) -> int:
    """Let studies wait in their campaign again whose time has come.

    Returns:
        How many were woken; call again while there are `limit` of them.
    """
    due = (
        select(CampaignStudy.campaign_id, CampaignStudy.id)
        .where(
            CampaignStudy.state == CampaignStudyState.WAITING,
            CampaignStudy.not_before.is_not(None),
            CampaignStudy.not_before <= func.now(),
        )
        .order_by(CampaignStudy.not_before)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    return len(
        session.scalars(
            update(CampaignStudy)
            .where(
                tuple_(CampaignStudy.campaign_id, CampaignStudy.id).in_(
                    select(due.c.campaign_id, due.c.id)
                )
            )
            .values(not_before=None)
            .returning(CampaignStudy.id)
            .execution_options(synchronize_session=False)
        ).all()
    )


def count_under_way(session: Session, campaign_id: uuid.UUID, limit: int) -> int:
    """How many studies of a campaign are under way; counted up to `limit`."""
    under_way = (
        select(CampaignStudy.id)
        .where(
            CampaignStudy.campaign_id == campaign_id,
            CampaignStudy.state.in_([state.value for state in CAMPAIGN_UNDER_WAY]),
        )
        .limit(limit)
        .subquery()
    )
    return session.scalar(select(func.count()).select_from(under_way)) or 0


def end_done(session: Session) -> int:
    """End the running campaigns whose source is walked and of which nothing moves any more.

    Returns:
        How many ended.
    """
    moving = [
        exists().where(CampaignStudy.campaign_id == Campaign.id, CampaignStudy.state == state)
        for state in CAMPAIGN_MOVING
    ]
    now = func.clock_timestamp()
    return len(
        session.scalars(
            update(Campaign)
            .where(
                Campaign.state == CampaignState.RUNNING,
                Campaign.walk_state != WalkState.WALKING,
                *(~part for part in moving),
            )
            .values(
                state=CampaignState.DONE,
                is_open=False,
                ended_at=now,
                changed_at=now,
                stalled_reason="",
                stalled_since=None,
            )
            .returning(Campaign.id)
            .execution_options(synchronize_session=False)
        ).all()
    )

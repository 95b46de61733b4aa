"""The second look: lists of discrepancies, and the questions that a reader is asked blindly.

Who looks at the films is asked whether a finding is there, and is not told whether the draft or the
report says so. Each week has a budget of reads, and a question is read once. No reader's name is
kept, so nobody can be ranked.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import random
import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.audit.looks import note_look
from records.database.discrepancy_tables import IS_ASKED, Discrepancy, DiscrepancyTally
from records.database.draft_tables import Draft
from records.database.report_tables import ReceivedReport
from records.database.tables import Hold, Instance, Study
from records.errors import NotAllowed, NotFound
from records.settings import settings
from records.states import (
    SECOND_LOOK_FINDINGS,
    VERDICTS,
    DiscrepancySide,
    DiscrepancyState,
    InstanceState,
)
from records.workflow.showing import find_withheld, refuse_withheld
from records.workflow.site_scope import is_of_site, shows, visible_sites

OFFER_MINUTES = 15
"""So long a question that was asked is asked of nobody else."""

FOLD_ABOVE = 2_000
"""So many parts of the counts are worth folding."""

_BUDGET_LOCK = text("SELECT pg_advisory_xact_lock(1684361564)")
"""One read at a time is counted, so that two together do not exceed the budget."""


@dataclass(frozen=True, slots=True)
class ListedDiscrepancy:
    """A discrepancy and its study."""

    discrepancy: Discrepancy
    study: Study


@dataclass(frozen=True, slots=True)
class DiscrepancyPage:
    """Some discrepancies, the most certain first; `next` is the mark of the following page."""

    entries: Sequence[ListedDiscrepancy]
    next: str | None


@dataclass(frozen=True, slots=True)
class DiscrepancyRecord:
    """A discrepancy with both texts: not for who is asked blindly."""

    discrepancy: Discrepancy
    study: Study
    draft: Draft
    report: ReceivedReport


@dataclass(frozen=True, slots=True)
class BlindQuestion:
    """What a reader is asked: whether the films of a study show a finding.

    Attributes:
        id: our id of the discrepancy.
        observation: the finding that is asked about.
        study: the study.
        films: our ids of its films.
    """

    id: uuid.UUID
    observation: str
    study: Study
    films: Sequence[uuid.UUID]


@dataclass(frozen=True, slots=True)
class Budget:
    """The reads of a week; all sites share them.

    Attributes:
        reads: how many are allowed.
        used: how many were made, of studies of the sites that are shown.
        is_used_up: whether none is left.
        is_limited: whether only some sites are shown.
        begins, ends: the week, from Monday to Monday, by this machine's clock.
    """

    reads: int
    used: int
    is_used_up: bool
    is_limited: bool
    begins: dt.datetime
    ends: dt.datetime

    @property
    def left(self) -> int | None:
        """How many are left; None where that would tell how many other sites made."""
        if self.is_used_up:
            return 0
        return None if self.is_limited else self.reads - self.used


@dataclass(frozen=True, slots=True)
class SecondLookCounts:
    """What was counted since the first discrepancy was found.

    Attributes:
        numbers: by side and state, how many discrepancies there are.
    """

    numbers: dict[DiscrepancySide, dict[DiscrepancyState, int]]

    def reads(self, side: DiscrepancySide) -> int:
        """How many of a side were read."""
        return sum(self.numbers[side][verdict] for verdict in VERDICTS)

    @property
    def reads_per_confirmed(self) -> float | None:
        """Reads for each miss of a report that was confirmed; None where none was."""
        side = DiscrepancySide.MISS_OF_REPORT
        confirmed = self.numbers[side][DiscrepancyState.CONFIRMED]
        return self.reads(side) / confirmed if confirmed else None


@dataclass(frozen=True, slots=True)
class _RankMark:
    """The last row before a page of a ranked list."""

    certainty: float
    id: uuid.UUID

    def __str__(self) -> str:
        packed = struct.pack("<f", self.certainty) + self.id.bytes
        return base64.urlsafe_b64encode(packed).decode()

    @classmethod
    def parse(cls, mark: str) -> _RankMark:
        """Read a mark that an address carried.

        Raises:
            NotAllowed: it is none.
        """
        try:
            packed = base64.urlsafe_b64decode(mark.encode())
            (certainty,) = struct.unpack("<f", packed[:4])
            if not 0 <= certainty <= 1:
                raise ValueError
            return cls(certainty, uuid.UUID(bytes=packed[4:]))
        except (ValueError, binascii.Error, struct.error):
            raise NotAllowed("`after` is not the mark of a page") from None


def read_page(
    session: Session,
    side: DiscrepancySide = DiscrepancySide.MISS_OF_REPORT,
    state: DiscrepancyState = DiscrepancyState.OPEN,
    *,
    campaign_id: uuid.UUID | None = None,
    observation: str = "",
    after: str | None = None,
    limit: int = 50,
) -> DiscrepancyPage:
    """A page of the discrepancies of one side in one state, the most certain first.

    Args:
        session: the caller's transaction.
        side: who is silent: the report, or the model (the model's error list).
        state: how far they are.
        campaign_id: only those of drafts that this campaign asked for.
        observation: only those of this one of the 14 observations; "" is any.
        after: the `next` of the page before.
        limit: discrepancies on the page, at most.

    Raises:
        NotAllowed: `after` is not a mark that this function gave.
    """
    query = select(Discrepancy, Study).join(Study, Study.id == Discrepancy.study_id)
    query = query.where(
        Discrepancy.side == side, Discrepancy.state == state, is_of_site(Study.site_id)
    )
    if campaign_id is not None:
        query = query.where(Discrepancy.campaign_id == campaign_id)
    if observation:
        query = query.where(Discrepancy.observation == observation)
    if after is not None:
        mark = _RankMark.parse(after)
        query = query.where(
            tuple_(Discrepancy.certainty, Discrepancy.id) < tuple_(mark.certainty, mark.id)
        )
    rows = session.execute(
        query.order_by(Discrepancy.certainty.desc(), Discrepancy.id.desc()).limit(limit + 1)
    )
    entries = [ListedDiscrepancy(*row) for row in rows]
    read = entries[:limit]
    # They are left out here and not by the query, which so walks its index. A page may be shorter.
    withheld = find_withheld(session, [entry.discrepancy.draft_id for entry in read])
    shown = [entry for entry in read if entry.discrepancy.draft_id not in withheld]
    note_look(study_ids=[entry.study.id for entry in shown])
    if len(entries) <= limit:
        return DiscrepancyPage(shown, None)
    last = read[-1].discrepancy
    return DiscrepancyPage(shown, str(_RankMark(last.certainty, last.id)))


def read_record(session: Session, discrepancy_id: uuid.UUID) -> DiscrepancyRecord:
    """A discrepancy with both texts.

    Raises:
        NotFound: there is no such discrepancy.
        NotAllowed: its draft is shown to nobody.
    """
    discrepancy = session.get(Discrepancy, discrepancy_id)
    if discrepancy is None or not _is_shown(session, discrepancy):
        raise NotFound("there is no such discrepancy")
    refuse_withheld(session, discrepancy.draft_id)
    note_look(study_ids=[discrepancy.study_id])
    return DiscrepancyRecord(
        discrepancy,
        session.get_one(Study, discrepancy.study_id),
        session.get_one(Draft, discrepancy.draft_id),
        session.get_one(ReceivedReport, discrepancy.report_id),
    )


def read_budget(session: Session) -> Budget:
    """The budget of the present week."""
    now = session.scalars(select(func.clock_timestamp())).one().astimezone()
    monday = now.date() - dt.timedelta(days=now.weekday())
    begins, ends = (
        dt.datetime.combine(monday + dt.timedelta(days=days), dt.time()).astimezone()
        for days in (0, 7)
    )
    used, shown = session.execute(
        select(func.count(), func.count().filter(is_of_site(Discrepancy.site_id))).where(
            Discrepancy.read_at >= begins, Discrepancy.read_at < ends
        )
    ).one()
    reads = settings().second_look_reads
    is_limited = visible_sites() is not None
    return Budget(reads, shown, used >= reads, is_limited, begins, ends)


def read_counts(session: Session, campaign_id: uuid.UUID | None = None) -> SecondLookCounts:
    """How many discrepancies there are, by side and state; the numbers are kept, not counted.

    They are of the sites that are shown.

    Args:
        session: the caller's transaction.
        campaign_id: only those of drafts that this campaign asked for.
    """
    numbers = {side: dict.fromkeys(DiscrepancyState, 0) for side in DiscrepancySide}
    query = (
        select(DiscrepancyTally.side, DiscrepancyTally.state, func.sum(DiscrepancyTally.number))
        .where(is_of_site(DiscrepancyTally.site_id))
        .group_by(DiscrepancyTally.side, DiscrepancyTally.state)
    )
    if campaign_id is not None:
        query = query.where(DiscrepancyTally.campaign_id == campaign_id)
    for side, state, number in session.execute(query):
        numbers[DiscrepancySide(side)][DiscrepancyState(state)] = int(number)
    return SecondLookCounts(numbers)


def fold_counts(session: Session) -> None:
    """Make one row of the parts of each number, where there are many; as `tallies.fold`."""
    if (session.scalar(select(func.count()).select_from(DiscrepancyTally)) or 0) <= FOLD_ABOVE:
        return
    names = ("campaign_id", "side", "state", "site_id")
    columns = [getattr(DiscrepancyTally, name) for name in names]
    folded = delete(DiscrepancyTally).returning(*columns, DiscrepancyTally.number).cte("folded")
    keys = [folded.c[name] for name in names]
    sums = (
        select(*keys, func.sum(folded.c.number))
        .group_by(*keys)
        .having(func.sum(folded.c.number) != 0)
    )
    session.execute(insert(DiscrepancyTally).from_select([*names, "number"], sums.add_cte(folded)))


def ask_next(session: Session) -> BlindQuestion | None:
    """The next question of a second look; for some minutes nobody else is asked it.

    Most questions are of the report's misses, the most certain first. Some, by chance, are of what
    the report says and the draft does not: else a reader would know that the model says it.

    Returns:
        None where nothing is open.

    Raises:
        NotAllowed: the week's budget is used up.
    """
    _refuse_beyond_budget(read_budget(session))
    sides = [DiscrepancySide.MISS_OF_REPORT, DiscrepancySide.MISS_OF_MODEL]
    # Chance only mixes questions here; nothing secret depends on it.
    if random.random() < settings().second_look_controls:
        sides.reverse()
    for side in sides if settings().second_look_controls else sides[:1]:
        discrepancy = session.scalar(
            select(Discrepancy)
            .where(
                Discrepancy.side == side,
                Discrepancy.state == DiscrepancyState.OPEN,
                # The errors of the model are listed for more findings than a draft alone is listed
                # for. A question about one of those would tell who says it.
                IS_ASKED,
                *_of_shown_study(),
                or_(
                    Discrepancy.offered_until.is_(None),
                    Discrepancy.offered_until < func.clock_timestamp(),
                ),
                # Until a person has decided, it is not certain whose films these are.
                ~exists().where(Hold.study_id == Discrepancy.study_id, Hold.decision.is_(None)),
                # There is nothing to look at where retention removed a film's file.
                ~exists().where(
                    Instance.study_id == Discrepancy.study_id,
                    Instance.state == InstanceState.KEPT,
                    Instance.bytes_removed_at.is_not(None),
                ),
            )
            .order_by(Discrepancy.certainty.desc(), Discrepancy.id.desc())
            .limit(1)
            .with_for_update(skip_locked=True, of=Discrepancy)
        )
        if discrepancy is not None:
            discrepancy.offered_until = session.scalars(
                select(func.clock_timestamp() + dt.timedelta(minutes=OFFER_MINUTES))
            ).one()
            session.flush()
            return _question(session, discrepancy)
    return None


def read_question(session: Session, discrepancy_id: uuid.UUID) -> BlindQuestion:
    """A question that was asked, once more.

    Raises:
        NotFound: there is no such question, or it is not open any more.
    """
    discrepancy = session.get(Discrepancy, discrepancy_id)
    if discrepancy is None or not _is_question(discrepancy) or not _is_shown(session, discrepancy):
        raise NotFound("there is no such question, or it is answered already")
    return _question(session, discrepancy)


def answer(session: Session, discrepancy_id: uuid.UUID, verdict: DiscrepancyState) -> Budget:
    """Keep what a reader saw on the films. It counts as one read, and it is kept once.

    Args:
        session: the caller's transaction.
        discrepancy_id: our id of the question.
        verdict: CONFIRMED (the finding is there), DENIED, or UNCLEAR (the films do not tell).

    Returns:
        The week's budget after it.

    Raises:
        NotFound: there is no such question.
        NotAllowed: it was read before, or is not open any more, or the week's budget is used up.
    """
    if verdict not in VERDICTS:
        raise NotAllowed(f"a second look ends with one of {', '.join(VERDICTS)}")
    session.execute(_BUDGET_LOCK)
    _refuse_beyond_budget(read_budget(session))
    read = session.scalar(
        update(Discrepancy)
        .where(
            Discrepancy.id == discrepancy_id,
            Discrepancy.state.in_(_ANSWERABLE),
            IS_ASKED,
            *_of_shown_study(),
        )
        .values(state=verdict, read_at=func.clock_timestamp(), offered_until=None)
        .returning(Discrepancy.id)
    )
    if read is None:
        discrepancy = session.get(Discrepancy, discrepancy_id)
        if (
            discrepancy is None
            or discrepancy.observation not in SECOND_LOOK_FINDINGS
            or not _is_shown(session, discrepancy)
        ):
            raise NotFound("there is no such question")
        if discrepancy.state in VERDICTS:
            raise NotAllowed("this question was answered before, and a read is counted once")
        raise NotAllowed("this question is not open any more, so no answer of it is counted")
    return read_budget(session)


_ANSWERABLE = (DiscrepancyState.OPEN, DiscrepancyState.UNCHECKED)


def _of_shown_study() -> list[ColumnElement[bool]]:
    """The condition that a discrepancy is of a study that is shown; none where all are."""
    if visible_sites() is None:
        return []
    return [exists().where(Study.id == Discrepancy.study_id, is_of_site(Study.site_id))]


def _is_shown(session: Session, discrepancy: Discrepancy) -> bool:
    return shows(session.get_one(Study, discrepancy.study_id).site_id)


def _is_question(discrepancy: Discrepancy) -> bool:
    return discrepancy.state in _ANSWERABLE and discrepancy.observation in SECOND_LOOK_FINDINGS


def _refuse_beyond_budget(budget: Budget) -> None:
    if budget.is_used_up:
        raise NotAllowed(
            f"this week's budget of {budget.reads} reads is used up: the next week begins on "
            f"{budget.ends:%Y-%m-%d}"
        )


def _question(session: Session, discrepancy: Discrepancy) -> BlindQuestion:
    note_look(study_ids=[discrepancy.study_id])
    films = session.scalars(
        select(Instance.id)
        .where(Instance.study_id == discrepancy.study_id, Instance.state == InstanceState.KEPT)
        .order_by(Instance.received_at, Instance.id)
    ).all()
    return BlindQuestion(
        discrepancy.id,
        discrepancy.observation,
        session.get_one(Study, discrepancy.study_id),
        films,
    )

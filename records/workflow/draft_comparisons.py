"""Two drafts of one study by two bundles, compared: noted as drafts are saved, listed and counted.

A worker computes what each draft says of the 14 observations, and how far the words are apart. The
table of two bundles, or of a campaign, is kept as it grows, so nobody counts rows. Each number is
of the site that the study had when it was compared; tables are of the sites that are shown.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session, aliased

from records.audit.looks import note_look
from records.database.campaign_tables import Campaign, CampaignStudy
from records.database.discrepancy_tables import DraftComparison, DraftComparisonTally
from records.database.draft_tables import Draft
from records.database.tables import Study
from records.errors import NotAllowed, NotFound
from records.states import READ_FIRST_SENTENCE, WITHHELD_SENTENCES, Agreement, Purpose, Withheld
from records.workflow.showing import find_withheld
from records.workflow.site_scope import is_of_site, shows

FOLD_ABOVE = 2_000
"""So many parts of the counts are worth folding: 57 numbers of some pairs of bundles."""


@dataclass(frozen=True, slots=True)
class ComparedDrafts:
    """What a worker found out of two drafts.

    Attributes:
        comparison_id: our id of the comparison.
        observations: {observation: [first, second]}, the labels of both; empty where a text could
            not be read.
        distances: by section, characters to change and characters of the longer text.
        agreements: by observation, which of the two says that it is present.
    """

    comparison_id: int
    observations: dict[str, list[str]]
    distances: dict[str, list[int]]
    agreements: dict[str, Agreement]


@dataclass(frozen=True, slots=True)
class ComparisonOf:
    """Whose comparisons are read: those of two bundles, or of a campaign.

    Attributes:
        first_bundle, second_bundle: digests of bundles; "" for a campaign's.
        campaign_id: the campaign that asked for the second drafts; None for those of two bundles.
    """

    first_bundle: str = ""
    second_bundle: str = ""
    campaign_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class ComparisonTable:
    """How often which of two drafts says that an observation is present.

    Attributes:
        compared: how many pairs of drafts were compared.
        numbers: by observation, the pairs by agreement.
    """

    compared: int
    numbers: dict[str, dict[Agreement, int]]


@dataclass(frozen=True, slots=True)
class ListedComparison:
    """A comparison and its study.

    Attributes:
        is_withheld: whether one of the drafts is not shown, and so what they say.
    """

    comparison: DraftComparison
    study: Study
    is_withheld: bool = False


@dataclass(frozen=True, slots=True)
class ComparisonRecord:
    """A comparison with its study and its two drafts.

    Attributes:
        withheld: those of the two that are shown to nobody, by their ids, each with why.
        unread: those that who asks must not see yet, because he or she reads the films first.
    """

    comparison: DraftComparison
    study: Study
    first: Draft
    second: Draft
    withheld: Mapping[uuid.UUID, Withheld]
    unread: frozenset[uuid.UUID] = frozenset()

    def is_shown(self, draft: Draft) -> bool:
        """Whether who asks may see one of the two."""
        return draft.id not in self.withheld and draft.id not in self.unread

    @property
    def shows_both(self) -> bool:
        """Whether who asks may see both, and so what they say."""
        return self.is_shown(self.first) and self.is_shown(self.second)

    def text_of(self, draft: Draft) -> str:
        """The text of one of the two, or why it is not shown."""
        withheld = self.withheld.get(draft.id)
        if withheld is not None:
            return WITHHELD_SENTENCES[withheld]
        return draft.text if self.is_shown(draft) else READ_FIRST_SENTENCE


@dataclass(frozen=True, slots=True)
class ComparisonPage:
    """Some comparisons, those first that differ most; `next` is the mark of the next page."""

    entries: Sequence[ListedComparison]
    next: str | None


def note(session: Session, draft_id: uuid.UUID) -> None:
    """Let a draft that was just saved be compared with the latest one by another bundle.

    Both are of the same films: of one revision of the study.

    Args:
        session: the transaction that saves it.
        draft_id: our id of the draft.
    """
    new, earlier = aliased(Draft), aliased(Draft)
    latest = (
        select(earlier.id, earlier.bundle_digest)
        .where(
            earlier.study_id == new.study_id,
            earlier.revision == new.revision,  # else it would be films that are compared
            earlier.bundle_digest != new.bundle_digest,
            earlier.id != new.id,
        )
        .order_by(earlier.created_at.desc(), earlier.id.desc())
        .limit(1)
        .lateral()
    )
    row = session.execute(
        select(
            new.study_id, latest.c.id, latest.c.bundle_digest, new.bundle_digest, campaign_of(new)
        )
        .select_from(new)
        .join(latest, latest.c.id.is_not(None))
        .where(new.id == draft_id)
    ).one_or_none()
    if row is None:
        return
    study_id, first_id, first_bundle, second_bundle, campaign = row
    session.execute(
        upsert(DraftComparison)
        .values(
            study_id=study_id,
            first_draft_id=first_id,
            second_draft_id=draft_id,
            first_bundle=first_bundle,
            second_bundle=second_bundle,
            campaign_id=campaign,
        )
        .on_conflict_do_nothing()
    )


def campaign_of(draft: type[Draft]) -> ScalarSelect[uuid.UUID]:
    """The campaign that asked for a draft, for a query that has the draft; NULL where none did.

    Args:
        draft: the table of drafts, or an alias of it.
    """
    return (
        select(CampaignStudy.campaign_id)
        .join(Campaign, Campaign.id == CampaignStudy.campaign_id)
        .where(
            CampaignStudy.study_id == draft.study_id,
            CampaignStudy.follows,
            # A row without a request follows the study's own.
            case(
                (draft.purpose == Purpose.PRIMARY, CampaignStudy.request_id.is_(None)),
                else_=CampaignStudy.request_id == draft.request_id,
            ),
            or_(Campaign.bundle.is_(None), Campaign.bundle == draft.bundle_digest),
        )
        .order_by(Campaign.created_at.desc(), Campaign.id.desc())
        .limit(1)
        .correlate(draft)
        .scalar_subquery()
    )


def find_waiting(session: Session) -> uuid.UUID | None:
    """A study with a comparison that no worker has made yet; None where there is none."""
    return session.scalar(
        select(DraftComparison.study_id)
        .where(DraftComparison.observations.is_(None))
        .order_by(DraftComparison.id)
        .limit(1)
    )


def claim(session: Session, limit: int) -> Sequence[tuple[int, Draft, Draft]]:
    """Lock comparisons that are to be made until the caller's commit.

    Returns:
        Their ids, and the two drafts of each.
    """
    waiting = session.scalars(
        select(DraftComparison)
        .where(DraftComparison.observations.is_(None))
        .order_by(DraftComparison.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    return [
        (
            row.id,
            session.get_one(Draft, row.first_draft_id),
            session.get_one(Draft, row.second_draft_id),
        )
        for row in waiting
    ]


def keep(session: Session, compared: Sequence[ComparedDrafts]) -> None:
    """Keep comparisons and count them, in the transaction that claimed them."""
    counted: Counter[tuple[Any, ...]] = Counter()
    for each in compared:
        changed = sum(changes for changes, _ in each.distances.values())
        longest = sum(length for _, length in each.distances.values())
        differing = sum(
            agreement in (Agreement.FIRST, Agreement.SECOND)
            for agreement in each.agreements.values()
        )
        key = session.execute(
            update(DraftComparison)
            .where(DraftComparison.id == each.comparison_id)
            .values(
                observations=each.observations,
                distances=each.distances,
                differing=differing,
                changed=changed / longest if longest else 0.0,
                compared_at=func.clock_timestamp(),
            )
            .returning(
                DraftComparison.campaign_id,
                DraftComparison.first_bundle,
                DraftComparison.second_bundle,
                select(Study.site_id)
                .where(Study.id == DraftComparison.study_id)
                .correlate(DraftComparison)
                .scalar_subquery(),
            )
        ).one()
        if each.agreements:
            counted[(*key, "", "")] += 1
        for observation, agreement in each.agreements.items():
            counted[(*key, observation, agreement.value)] += 1
    names = ("campaign_id", "first_bundle", "second_bundle", "site_id", "observation", "outcome")
    if counted:
        session.execute(
            insert(DraftComparisonTally),
            [
                {**dict(zip(names, key, strict=True)), "number": number}
                for key, number in counted.items()
            ],
        )


def read_table(session: Session, of: ComparisonOf) -> ComparisonTable:
    """How often which of two drafts says that an observation is present."""
    rows = session.execute(
        select(
            DraftComparisonTally.observation,
            DraftComparisonTally.outcome,
            func.sum(DraftComparisonTally.number),
        )
        .where(*_tallies_of(of), is_of_site(DraftComparisonTally.site_id))
        .group_by(DraftComparisonTally.observation, DraftComparisonTally.outcome)
    )
    compared = 0
    numbers: dict[str, dict[Agreement, int]] = {}
    for observation, outcome, number in rows:
        if not observation:
            compared = int(number)
            continue
        row = numbers.setdefault(observation, dict.fromkeys(Agreement, 0))
        row[Agreement(outcome)] = int(number)
    return ComparisonTable(compared, numbers)


def list_pairs(session: Session) -> list[tuple[str, str, int]]:
    """The pairs of bundles whose drafts were compared, each with how many comparisons."""
    rows = session.execute(
        select(
            DraftComparisonTally.first_bundle,
            DraftComparisonTally.second_bundle,
            func.sum(DraftComparisonTally.number),
        )
        .where(DraftComparisonTally.observation == "", is_of_site(DraftComparisonTally.site_id))
        .group_by(DraftComparisonTally.first_bundle, DraftComparisonTally.second_bundle)
        .order_by(func.sum(DraftComparisonTally.number).desc())
    )
    return [(first, second, int(number)) for first, second, number in rows]


def fold(session: Session) -> None:
    """Make one row of the parts of each number, where there are many; as `tallies.fold`."""
    if (session.scalar(select(func.count()).select_from(DraftComparisonTally)) or 0) <= FOLD_ABOVE:
        return
    names = ("campaign_id", "first_bundle", "second_bundle", "observation", "outcome", "site_id")
    columns = [getattr(DraftComparisonTally, name) for name in names]
    folded = (
        delete(DraftComparisonTally).returning(*columns, DraftComparisonTally.number).cte("folded")
    )
    keys = [folded.c[name] for name in names]
    sums = select(*keys, func.sum(folded.c.number)).group_by(*keys)
    session.execute(
        insert(DraftComparisonTally).from_select([*names, "number"], sums.add_cte(folded))
    )


def read_page(
    session: Session, of: ComparisonOf, *, after: str | None = None, limit: int = 50
) -> ComparisonPage:
    """A page of comparisons, those first that differ in most observations, then in most words.

    Args:
        session: the caller's transaction.
        of: whose comparisons.
        after: the `next` of the page before.
        limit: comparisons on the page, at most.

    Raises:
        NotAllowed: `after` is not a mark that this function gave.
    """
    order = (DraftComparison.differing, DraftComparison.changed, DraftComparison.id)
    query = (
        select(DraftComparison, Study)
        .join(Study, Study.id == DraftComparison.study_id)
        .where(*_rows_of(of), is_of_site(Study.site_id))
    )
    if after is not None:
        last = session.get(DraftComparison, _parse_mark(after))
        if last is None:
            raise NotAllowed("`after` is not the mark of a page")
        query = query.where(
            tuple_(*order) < select(*order).where(DraftComparison.id == last.id).scalar_subquery()
        )
    rows = session.execute(query.order_by(*(column.desc() for column in order)).limit(limit + 1))
    pairs = [(row, study) for row, study in rows]
    withheld = find_withheld(
        session,
        [one for row, _ in pairs for one in (row.first_draft_id, row.second_draft_id)],
    )
    entries = [
        ListedComparison(
            row, study, row.first_draft_id in withheld or row.second_draft_id in withheld
        )
        for row, study in pairs
    ]
    shown = entries[:limit]
    note_look(study_ids=[entry.study.id for entry in shown])
    is_last = len(entries) <= limit
    return ComparisonPage(shown, None if is_last else str(shown[-1].comparison.id))


def read_record(session: Session, comparison_id: int) -> ComparisonRecord:
    """A comparison with its two drafts.

    Raises:
        NotFound: there is no such comparison.
    """
    is_id = 0 < comparison_id < 2**63
    comparison = session.get(DraftComparison, comparison_id) if is_id else None
    study = session.get_one(Study, comparison.study_id) if comparison is not None else None
    if comparison is None or study is None or not shows(study.site_id):
        raise NotFound("there is no such comparison of drafts")
    note_look(study_ids=[comparison.study_id])
    return ComparisonRecord(
        comparison,
        study,
        session.get_one(Draft, comparison.first_draft_id),
        session.get_one(Draft, comparison.second_draft_id),
        find_withheld(session, [comparison.first_draft_id, comparison.second_draft_id]),
    )


def _rows_of(of: ComparisonOf) -> list[ColumnElement[bool]]:
    is_compared = DraftComparison.observations.is_not(None)
    if of.campaign_id is not None:
        return [is_compared, DraftComparison.campaign_id == of.campaign_id]
    return [
        is_compared,
        DraftComparison.first_bundle == of.first_bundle,
        DraftComparison.second_bundle == of.second_bundle,
    ]


def _tallies_of(of: ComparisonOf) -> list[ColumnElement[bool]]:
    if of.campaign_id is not None:
        return [DraftComparisonTally.campaign_id == of.campaign_id]
    return [
        DraftComparisonTally.first_bundle == of.first_bundle,
        DraftComparisonTally.second_bundle == of.second_bundle,
    ]


def _parse_mark(mark: str) -> int:
    if not (mark.isascii() and mark.isdigit() and len(mark) < 19):
        raise NotAllowed("`after` is not the mark of a page")
    return int(mark)

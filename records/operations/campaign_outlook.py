"""What a campaign would do, as far as the rows tell: counts, bytes, disk, nights, what it skips.

REST and the pages ask no more than this. The command asks the PACS and walks the folder, too
(`nightdraft.campaign_dry_run`).
"""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from records.blobs import Blobs
from records.campaigns import campaigns, feeding, kept_images
from records.campaigns.adding import NewStudy
from records.campaigns.campaigns import NewCampaign, window_of
from records.database.campaign_tables import Campaign
from records.database.session import database_time, unit_of_work
from records.database.tables import Study
from records.operations.overview import drafts_per_minute
from records.pacs import find_pacs
from records.settings import Settings
from records.states import CampaignKind, CampaignReason
from records.workflow.identifiers import plain_key

AT_ONCE = 500
"""Studies that are looked at in one transaction."""


@dataclass(slots=True)
class DryRun:
    """What a campaign would do.

    Attributes:
        studies: how many it would have, each once.
        named_again: how many more lines of its list name one of them.
        to_draft: how many of them it would draft, as far as that is known now.
        not_drafted: how many it would not draft, by reason.
        by_modality: how many of a PACS's studies have each modality that was asked for; one that
            has two counts with both.
        by_day: how many of a PACS's studies are of each day, as 2026-01-31; "" is without a date.
        maybe_cut: the times of which the PACS may have left studies out, in words.
        bytes: of the images of those that it would draft, or of a folder's files. Of images at a
            PACS it is estimated, which a note says.
        bytes_needed: how much of that is not here yet; None where that is not known.
        bytes_free: on the disk of the data folder.
        drafts_per_minute: the present pace of the whole system.
        fetched_per_minute: how many studies its PACS may be asked for; None without a PACS.
        nights: in how many nights it would be done at the slower of the two; None where that is not
            known.
        done_at: and when.
        opens_at: when its window is open for the first time; None for never.
        is_whole: whether all of its studies were looked at; no time is promised where not.
        notes: what could not be known, and what is wrong with it, as sentences.
    """

    studies: int = 0
    named_again: int = 0
    to_draft: int = 0
    not_drafted: Counter[CampaignReason] = field(default_factory=Counter)
    by_modality: Counter[str] = field(default_factory=Counter)
    by_day: Counter[str] = field(default_factory=Counter)
    maybe_cut: list[str] = field(default_factory=list)
    bytes: int = 0
    bytes_needed: int | None = 0
    bytes_free: int = 0
    drafts_per_minute: float = 0.0
    fetched_per_minute: float | None = None
    nights: int | None = None
    done_at: dt.datetime | None = None
    opens_at: dt.datetime | None = None
    is_whole: bool = True
    notes: list[str] = field(default_factory=list)


def not_created(new: NewCampaign) -> Campaign:
    """The row of a campaign that is not created.

    Raises:
        NotAllowed: it could not be created.
    """
    with unit_of_work() as session:
        campaign = campaigns.get(session, campaigns.create(session, new))
        session.refresh(campaign)
        session.expunge(campaign)
        session.rollback()
    return campaign


def look_into_rows(
    new: NewCampaign, studies: Iterable[NewStudy], config: Settings, limit: int
) -> DryRun:
    """Find out what a campaign would do, without asking another system; nothing is written.

    Args:
        new: the campaign.
        studies: its list, where it is of kind LIST.
        config: names the disk, and the file of PACSs.
        limit: studies that are looked at, at most.

    Raises:
        NotAllowed: it could not be created.
        SettingsError: its PACS is not in the settings.
    """
    found = DryRun()
    campaign = not_created(new)
    if new.kind in (CampaignKind.QUERY, CampaignKind.FOLDER):
        found.is_whole = False
        found.notes.append(
            "Which studies there are is not known before the source is asked: "
            "`nightdraft campaign create` with --dry-run asks it."
        )
    elif new.pacs:
        count_listed(found, studies)
    else:
        every = drafted(campaign) if new.kind is CampaignKind.AGAIN else iter(studies)
        look_at_studies(found, campaign, itertools.islice(every, limit))
        if next(every, None) is not None:
            found.is_whole = False
            found.notes.append(
                f"Only the first {limit:,} studies were looked at: "
                "`nightdraft campaign create` with --dry-run looks at all."
            )
    estimate(found, campaign, config)
    return found


def drafted(campaign: Campaign) -> Iterator[NewStudy]:
    """The studies of a campaign of kind AGAIN, a part in a transaction."""
    after = None
    while True:
        with unit_of_work() as session:
            lines = feeding.list_drafted(session, campaign, AT_ONCE, after)
        yield from (study for _, study in lines)
        if len(lines) < AT_ONCE:
            return
        after = lines[-1][0]


def look_at_studies(
    found: DryRun,
    campaign: Campaign,
    studies: Iterator[NewStudy],
    progress: Callable[[int], object] = lambda _: None,
) -> None:
    """Look at studies that are here by the conditions by which a campaign feeds them."""
    lines = 0
    seen = Seen()
    while batch := list(itertools.islice(studies, AT_ONCE)):
        with unit_of_work() as session:
            for named in batch:
                ids = [named.study_id] if named.study_id else None
                here = ids or feeding.find_studies(
                    session, named.study_instance_uid, named.accession_number, campaign.site_id
                )
                # A study may be named by its UID in one line, and by its number in another.
                new = [study_id for study_id in here if seen.add(study_id)]
                if here:
                    found.named_again += not new
                elif seen.add(_name_of(named)):
                    found.not_drafted[CampaignReason.NOT_HERE] += 1
                else:
                    found.named_again += 1
                for study_id in new:
                    look_at(session, found, campaign, study_id)
        lines += len(batch)
        progress(lines)
    found.studies = seen.count


class Seen:
    """What was seen before. A hash of each is enough, and small for a million."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def add(self, one: Hashable) -> bool:
        """Whether it is new."""
        before = len(self._hashes)
        self._hashes.add(hash(one))
        return len(self._hashes) > before

    @property
    def count(self) -> int:
        """How many different ones there were."""
        return len(self._hashes)


def _name_of(named: NewStudy) -> tuple[str, str]:
    """What a line names a study by, as a campaign tells its rows apart."""
    uid = named.study_instance_uid
    return (uid, "") if uid else ("", plain_key(named.accession_number))


def count_listed(found: DryRun, studies: Iterable[NewStudy]) -> None:
    """Count the studies of a list whose images are at a PACS."""
    seen = Seen()
    for named in studies:
        found.named_again += not seen.add(_name_of(named))
    found.studies = found.to_draft = seen.count
    found.bytes_needed = None
    found.notes.append(
        "The PACS is not asked: which of them it has, and their size, is known once it is."
    )


def look_at(session: Session, found: DryRun, campaign: Campaign, study_id: uuid.UUID) -> bool:
    """Count a study that is here; returns whether the campaign would draft it."""
    study = session.get_one(Study, study_id)
    if not feeding.is_of_site(campaign, study):
        found.not_drafted[CampaignReason.NOT_HERE] += 1
        return False
    reason = feeding.why_skipped(session, campaign, study)
    if reason is not None:
        found.not_drafted[reason] += 1
        return False
    found.to_draft += 1
    found.bytes += kept_images.bytes_of(session, study_id)
    return True


def estimate(found: DryRun, campaign: Campaign, config: Settings) -> None:
    """Say whether there is room, when its window opens, and when it would be done."""
    found.bytes_free = Blobs(config.data_dir).free_mb() * 1_000_000
    if found.bytes_needed and found.bytes_needed > found.bytes_free:
        found.notes.append("The disk has not room for all of it at once.")
    window = window_of(campaign)
    with unit_of_work() as session:
        now = database_time(session)
        found.drafts_per_minute = drafts_per_minute(session)
    found.opens_at = window.next_opening(now)
    if found.opens_at is None:
        found.notes.append("Its window never opens.")
    pace = found.drafts_per_minute
    if campaign.pacs:
        rates = [find_pacs(config.pacs_file, campaign.pacs).studies_per_minute]
        if campaign.studies_per_minute:
            rates.append(campaign.studies_per_minute)
        found.fetched_per_minute = min(rates)
        pace = min(pace, *rates)
    if not found.is_whole:
        return
    if not pace:
        found.notes.append("Nothing was drafted lately, so no number of nights can be said.")
        return
    seconds = found.to_draft / pace * 60
    found.done_at = window.after_seconds(now, seconds)
    found.nights = window.nights_for(now, seconds)
    if found.done_at is None:
        found.notes.append("At the present pace it is not done within its dates.")

"""What a campaign would do, without creating it: counts, bytes, disk, nights, and what it skips."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from intake.archive.folder_files import check_folder
from intake.archive.folder_walk import walk_folder
from model.progress import ProgressCallback
from nightdraft.campaign_lists import WrongLines, check_list, read_list
from records.blobs import Blobs
from records.campaigns import campaigns, feeding
from records.campaigns.adding import NewStudy
from records.campaigns.campaigns import NewCampaign, window_of
from records.database.campaign_tables import Campaign
from records.database.session import database_time, unit_of_work
from records.database.tables import Instance, Study
from records.operations.overview import drafts_per_minute
from records.settings import Settings
from records.states import CampaignKind, CampaignReason

AT_ONCE = 500
"""Studies that are looked at in one transaction."""


@dataclass(slots=True)
class DryRun:
    """What a campaign would do.

    Attributes:
        studies: how many it would have; one that a list names twice counts twice. None: not known
            before its source is walked.
        to_draft: how many of them it would draft, as far as that is known now.
        not_drafted: how many it would not draft, by reason.
        bytes: of the images of those that it would draft, or of a folder's files.
        bytes_needed: how much of that is not here yet; None where that is not known.
        bytes_free: on the disk of the data folder.
        drafts_per_minute: the present pace of the whole system.
        nights: in how many nights it would be done at that pace; None where that is not known.
        done_at: and when.
        opens_at: when its window is open for the first time; None for never.
        notes: what could not be known, and what is wrong with it, as sentences.
    """

    studies: int | None = 0
    to_draft: int = 0
    not_drafted: Counter[CampaignReason] = field(default_factory=Counter)
    bytes: int = 0
    bytes_needed: int | None = 0
    bytes_free: int = 0
    drafts_per_minute: float = 0.0
    nights: int | None = None
    done_at: dt.datetime | None = None
    opens_at: dt.datetime | None = None
    notes: list[str] = field(default_factory=list)


def try_campaign(
    new: NewCampaign,
    config: Settings,
    file: Path | None = None,
    encoding: str = "utf-8-sig",
    progress: ProgressCallback = lambda *_: None,
) -> DryRun:
    """Find out what a campaign would do; nothing is written.

    Args:
        new: the campaign.
        config: names folders and the disk.
        file: its list, where it is of kind LIST.
        encoding: of the list.
        progress: is called with how many studies or files were looked at.

    Raises:
        NotAllowed: it could not be created, or its list has wrong lines.
        PartError: its folder cannot be read.
    """
    found = DryRun()
    with unit_of_work() as session:
        campaign = campaigns.get(session, campaigns.create(session, new))
        session.refresh(campaign)
        session.expunge(campaign)
        session.rollback()
    if new.kind is CampaignKind.QUERY:
        found.studies, found.bytes_needed = None, None
        found.notes.append("The PACS is not asked: how many studies it has is known once it is.")
    elif new.kind is CampaignKind.FOLDER:
        _try_folder(
            found, check_folder(str(new.source["folder"]), config.campaign_folders), progress
        )
    elif new.kind is CampaignKind.AGAIN:
        _try_studies(found, campaign, _drafted(campaign), None, progress)
    elif file is not None:
        total = check_list(file, encoding)
        if new.pacs:
            found.studies = found.to_draft = total
            found.bytes_needed = None
            found.notes.append(
                "The PACS is not asked: which of them it has, and their size, is known once it is."
            )
        else:
            listed = read_list(file, encoding, WrongLines())
            _try_studies(found, campaign, listed, total, progress)
    _estimate(found, campaign, config)
    return found


def _drafted(campaign: Campaign) -> Iterator[NewStudy]:
    """The studies of a campaign of kind AGAIN, a part in a transaction."""
    after = None
    while True:
        with unit_of_work() as session:
            lines = feeding.list_drafted(session, campaign, AT_ONCE, after)
        yield from (study for _, study in lines)
        if len(lines) < AT_ONCE:
            return
        after = lines[-1][0]


def _try_studies(
    found: DryRun,
    campaign: Campaign,
    studies: Iterator[NewStudy],
    total: int | None,
    progress: ProgressCallback,
) -> None:
    """Look at studies that are here by the conditions by which a campaign feeds them."""
    count = 0
    while batch := list(itertools.islice(studies, AT_ONCE)):
        with unit_of_work() as session:
            for named in batch:
                ids = [named.study_id] if named.study_id else None
                here = ids or feeding.find_studies(
                    session, named.study_instance_uid, named.accession_number
                )
                count += max(1, len(here))
                if not here:
                    found.not_drafted[CampaignReason.NOT_HERE] += 1
                _look_at(session, found, campaign, here)
        progress("studies", count, total)
    found.studies = count


def _look_at(session: Session, found: DryRun, campaign: Campaign, ids: Sequence[object]) -> None:
    for study_id in ids:
        study = session.get_one(Study, study_id)
        reason = feeding.why_skipped(session, campaign, study)
        if reason is not None:
            found.not_drafted[reason] += 1
            continue
        found.to_draft += 1
        found.bytes += int(
            session.scalar(select(func.sum(Instance.size)).where(Instance.study_id == study_id))
            or 0
        )


def _try_folder(found: DryRun, folder: Path, progress: ProgressCallback) -> None:
    """Walk a folder; which of its studies are here already is known once they are filed."""
    uids: set[int] = set()
    sentence = ""
    for batch in walk_folder(folder):
        # A hash of each is enough to count them, and small for a million.
        uids.update(map(hash, batch.studies))
        found.bytes = found.bytes_needed = batch.counts.bytes
        sentence = batch.counts.sentence()
        progress("files", batch.counts.files, None)
    found.studies = found.to_draft = len(uids)
    found.notes.append(f"{sentence}.")


def _estimate(found: DryRun, campaign: Campaign, config: Settings) -> None:
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
    if campaign.pacs and campaign.studies_per_minute and pace:
        pace = min(pace, campaign.studies_per_minute)
    if found.studies is None:
        return
    if not pace:
        found.notes.append("Nothing was drafted lately, so no number of nights can be said.")
        return
    seconds = found.to_draft / pace * 60
    found.done_at = window.after_seconds(now, seconds)
    found.nights = window.nights_for(now, seconds)
    if found.done_at is None:
        found.notes.append("At the present pace it is not done within its dates.")

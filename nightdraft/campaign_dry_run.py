"""What a campaign would do, without creating it: counts, bytes, disk, nights, and what it skips."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.orm import Session

from intake.archive.finder import make_finder
from intake.archive.folder_files import check_folder
from intake.archive.folder_walk import walk_folder
from intake.archive.listed import SLOW, ListedStudy
from intake.archive.survey import survey
from model.progress import ProgressCallback
from nightdraft.campaign_lists import WrongLines, check_list, read_list
from records.blobs import Blobs
from records.campaigns import campaigns, feeding, kept_images
from records.campaigns.adding import NewStudy
from records.campaigns.campaigns import NewCampaign, window_of
from records.campaigns.pacs_query import PacsQuery
from records.database.campaign_tables import Campaign
from records.database.session import database_time, unit_of_work
from records.database.tables import Study
from records.operations.overview import drafts_per_minute
from records.pacs import find_pacs
from records.reports.reading import count_named_by_finals
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
        PartError: its folder cannot be read, or its PACS does not answer.
        SettingsError: the PACS cannot be asked as its settings say.
    """
    found = DryRun()
    with unit_of_work() as session:
        campaign = campaigns.get(session, campaigns.create(session, new))
        session.refresh(campaign)
        session.expunge(campaign)
        session.rollback()
    if new.kind is CampaignKind.QUERY:
        _try_query(found, campaign, config, progress)
    elif new.kind is CampaignKind.FOLDER:
        _try_folder(
            found, check_folder(str(new.source["folder"]), config.campaign_folders), progress
        )
    elif new.kind is CampaignKind.AGAIN:
        _try_studies(found, campaign, _drafted(campaign), None, progress)
    elif file is not None:
        total = check_list(file, encoding)
        listed = read_list(file, encoding, WrongLines())
        if new.pacs:
            _count_listed(found, listed)
            found.bytes_needed = None
            found.notes.append(
                "The PACS is not asked: which of them it has, and their size, is known once it is."
            )
        else:
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
    lines = 0
    seen = _Seen()
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
                    _look_at(session, found, campaign, study_id)
        lines += len(batch)
        progress("studies", lines, total)
    found.studies = seen.count


class _Seen:
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


def _count_listed(found: DryRun, studies: Iterator[NewStudy]) -> None:
    """Count the studies of a list whose images are at a PACS."""
    seen = _Seen()
    for named in studies:
        found.named_again += not seen.add(_name_of(named))
    found.studies = found.to_draft = seen.count


def _look_at(session: Session, found: DryRun, campaign: Campaign, study_id: uuid.UUID) -> bool:
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


@dataclass(slots=True)
class _AtPacs:
    """What a PACS has that is not here.

    Attributes:
        studies: how many.
        images: how many images it lists of those of which it says so.
        without_number: of how many it does not say so.
        slow: how many are on media that it cannot reach at once.
        named_by_finals: how many a final report from elsewhere names.
    """

    studies: int = 0
    images: int = 0
    without_number: int = 0
    slow: int = 0
    named_by_finals: int = 0


def _try_query(
    found: DryRun, campaign: Campaign, config: Settings, progress: ProgressCallback
) -> None:
    """Ask the PACS for its studies, and hold them against those that are here."""
    pacs = find_pacs(config.pacs_file, campaign.pacs)
    query = PacsQuery.from_source(campaign.source)
    at_pacs = _AtPacs()
    without_date = _Seen()
    note = ""
    for part in survey(make_finder(pacs, config), query, pacs.answers_cut_at):
        # One with a date is in the answers to one day alone.
        studies = [
            study
            for study in part.studies
            if study.date or without_date.add(study.study_instance_uid)
        ]
        found.maybe_cut, note = list(part.cut), part.note
        for study in studies:
            found.by_day[_day_of(study)] += 1
            found.by_modality.update(_modalities_of(study, query, part.modality))
        for start in range(0, len(studies), AT_ONCE):
            with unit_of_work() as session:
                _hold_against(session, found, campaign, studies[start : start + AT_ONCE], at_pacs)
        found.studies += len(studies)
        progress("studies", found.studies, None)
    if note:
        found.notes.append(note)
    _describe_images(found, at_pacs)


def _day_of(study: ListedStudy) -> str:
    digits = study.date.strip().replace(".", "")
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}" if len(digits) == 8 else ""


def _modalities_of(study: ListedStudy, query: PacsQuery, asked: str) -> list[str]:
    """The modalities with which a study counts: those that were asked for."""
    named = {name.strip().upper() for name in study.modalities if name.strip()}
    wanted = set(query.modalities) or named
    return sorted(named & wanted) or [asked or "not said"]


def _hold_against(
    session: Session,
    found: DryRun,
    campaign: Campaign,
    studies: Sequence[ListedStudy],
    at_pacs: _AtPacs,
) -> None:
    """Look at studies of a PACS that are here, and count those that are not."""
    here = {
        uid: study_id
        for study_id, uid in feeding.find_by_uids(
            session, [study.study_instance_uid for study in studies]
        )
    }
    absent = []
    for study in studies:
        if study_id := here.get(study.study_instance_uid):
            _look_at(session, found, campaign, study_id)
        else:
            absent.append(study)
    found.to_draft += len(absent)
    at_pacs.studies += len(absent)
    at_pacs.images += sum(study.instances or 0 for study in absent)
    at_pacs.without_number += sum(study.instances is None for study in absent)
    at_pacs.slow += sum(study.availability in SLOW for study in absent)
    if campaign.skip_reported:
        names = [(study.study_instance_uid, study.accession_number) for study in absent]
        at_pacs.named_by_finals += count_named_by_finals(session, names)


def _describe_images(found: DryRun, at_pacs: _AtPacs) -> None:
    """Estimate the bytes of what is to be fetched, and say how; a PACS does not list them."""
    found.bytes_needed = 0
    if at_pacs.slow:
        found.notes.append(f"{_studies(at_pacs.slow)} on media that the PACS cannot reach at once.")
    if at_pacs.named_by_finals:
        found.notes.append(
            f"{_studies(at_pacs.named_by_finals)} not here, and a final report names it. Such a "
            "study is skipped once its images have come, if the report is of its patient."
        )
    if not at_pacs.studies:
        return
    with unit_of_work() as session:
        mean = kept_images.mean_bytes(session)
    counted = at_pacs.studies - at_pacs.without_number
    if mean is None or not counted:
        found.bytes_needed = None
        found.notes.append(
            "The bytes of the images are not known: "
            + ("no image is kept here." if mean is None else "the PACS does not say how many.")
        )
        return
    images = at_pacs.images + at_pacs.without_number * at_pacs.images / counted
    found.bytes_needed = round(images * mean)
    found.bytes += found.bytes_needed
    found.notes.append(
        f"The bytes are an estimate: {images:,.0f} images at the PACS, of "
        f"{mean / 1_000_000:,.2f} MB each, which is the mean of the images that are kept here."
    )


def _studies(number: int) -> str:
    return "1 study is" if number == 1 else f"{number:,} studies are"


def _try_folder(found: DryRun, folder: Path, progress: ProgressCallback) -> None:
    """Walk a folder; which of its studies are here already is known once they are filed."""
    seen = _Seen()
    sentence = ""
    for batch in walk_folder(folder):
        for uid in batch.studies:
            seen.add(uid)
        found.bytes = found.bytes_needed = batch.counts.bytes
        sentence = batch.counts.sentence()
        progress("files", batch.counts.files, None)
    found.studies = found.to_draft = seen.count
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
    if campaign.pacs:
        rates = [find_pacs(config.pacs_file, campaign.pacs).studies_per_minute]
        if campaign.studies_per_minute:
            rates.append(campaign.studies_per_minute)
        found.fetched_per_minute = min(rates)
        pace = min(pace, *rates)
    if not pace:
        found.notes.append("Nothing was drafted lately, so no number of nights can be said.")
        return
    seconds = found.to_draft / pace * 60
    found.done_at = window.after_seconds(now, seconds)
    found.nights = window.nights_for(now, seconds)
    if found.done_at is None:
        found.notes.append("At the present pace it is not done within its dates.")

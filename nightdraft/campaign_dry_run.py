"""What a campaign would do, without creating it: counts, bytes, disk, nights, and what it skips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from intake.archive.finder import make_finder
from intake.archive.folder_files import check_folder
from intake.archive.folder_walk import walk_folder
from intake.archive.listed import SLOW, ListedStudy
from intake.archive.survey import survey
from model.progress import ProgressCallback
from nightdraft.campaign_lists import WrongLines, check_list, read_list
from records.campaigns import feeding, kept_images
from records.campaigns.campaigns import NewCampaign
from records.campaigns.pacs_query import PacsQuery
from records.database.campaign_tables import Campaign
from records.database.session import unit_of_work
from records.operations.campaign_outlook import (
    AT_ONCE,
    DryRun,
    Seen,
    count_listed,
    drafted,
    estimate,
    look_at,
    look_at_studies,
    not_created,
)
from records.pacs import find_pacs
from records.reports.reading import count_named_by_finals
from records.settings import Settings
from records.states import CampaignKind


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
    campaign = not_created(new)
    if new.kind is CampaignKind.QUERY:
        _try_query(found, campaign, config, progress)
    elif new.kind is CampaignKind.FOLDER:
        _try_folder(
            found, check_folder(str(new.source["folder"]), config.campaign_folders), progress
        )
    elif new.kind is CampaignKind.AGAIN:
        look_at_studies(
            found, campaign, drafted(campaign), lambda done: progress("studies", done, None)
        )
    elif file is not None:
        total = check_list(file, encoding)
        listed = read_list(file, encoding, WrongLines())
        if new.pacs:
            count_listed(found, listed)
        else:
            look_at_studies(found, campaign, listed, lambda done: progress("studies", done, total))
    estimate(found, campaign, config)
    return found


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
    without_date = Seen()
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
            look_at(session, found, campaign, study_id)
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
    seen = Seen()
    sentence = ""
    for batch in walk_folder(folder):
        for uid in batch.studies:
            seen.add(uid)
        found.bytes = found.bytes_needed = batch.counts.bytes
        sentence = batch.counts.sentence()
        progress("files", batch.counts.files, None)
    found.studies = found.to_draft = seen.count
    found.notes.append(f"{sentence}.")

"""Adds the studies and files that the walk of a campaign's source found, in batches."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from records.database.campaign_tables import CampaignFile, CampaignStudy

ADD_AT_ONCE = 1000
"""Rows of one INSERT."""


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

"""One received object as rows: its study, its series, its instance."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.campaign_tables import Campaign, CampaignStudy
from records.database.site_tables import DEFAULT_SITE_ID
from records.database.tables import Instance, Series, Study
from records.states import (
    CampaignStudyState,
    Comparison,
    EventKind,
    InstanceState,
    Priority,
    SiteBasis,
)
from records.workflow import doubted_priorities, events, sites
from records.workflow.corrections import SHOWN_COLUMNS
from records.workflow.patients import Patient
from records.workflow.rejections import RejectionNote

_MAYBE_OF_ANOTHER = (
    InstanceState.CONFLICT,
    InstanceState.MISMATCH,
    InstanceState.UNCOMPARED,
)


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """One received object: what its header says, and where its bytes are kept."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    patient: Patient
    accession_number: str
    study_date: str
    study_description: str
    blob: str
    sha256: str
    size: int
    calling_ae: str
    priority: Priority
    # A more urgent one that its sender wants, of whom nothing says that it is who its AE title says
    doubted_priority: Priority | None = None
    is_radiograph: bool = True
    skip_reason: str = ""  # why it is not drafted from, where is_radiograph is false
    expected_instances: int | None = None  # (0020,1208), where the sender sent it
    rejects: RejectionNote | None = None  # where the object is a rejection note
    is_own: bool = False  # whether this system sent it, and it was routed back
    # (0008,0050) of the items of (0040,0275) that are not the study's own, as keys hold them.
    requested_accession_numbers: tuple[str, ...] = ()
    accession_number_issuer: str = ""  # (0008,0051)
    # Compares the object with the stored one of a key; None takes every difference for another
    # image.
    compare: Callable[[str], Comparison] | None = None

    @property
    def shown(self) -> dict[str, str]:
        """What the header says of patient and study, by column of `studies`."""
        patient = self.patient
        values = (
            patient.patient_id,
            patient.issuer,
            patient.name,
            patient.birth_date,
            patient.sex,
            self.accession_number,
            self.study_date,
            self.study_description,
            self.accession_number_issuer,
        )
        return dict(zip(SHOWN_COLUMNS, values, strict=True))

    @property
    def sent(self) -> dict[str, Any]:
        """What an object that is kept aside keeps of its header, by column of `studies`."""
        return self.shown | {"requested_accession_numbers": [*self.requested_accession_numbers]}


def lock_or_create_study(session: Session, arrived: ReceivedInstance) -> Study:
    """The study's row, locked; created where it is new."""
    known = (
        select(Study)
        .where(Study.study_instance_uid == arrived.study_instance_uid)
        .with_for_update(key_share=True)
    )
    study = session.scalar(known)
    if study is not None:
        return study
    site = _site_of_campaign(session, arrived.study_instance_uid)
    session.execute(
        insert(Study)
        .values(
            study_instance_uid=arrived.study_instance_uid,
            **arrived.sent,
            priority=arrived.priority,
            calling_ae=arrived.calling_ae,
            **sites.columns_for_caller(
                session,
                arrived.calling_ae,
                (site, SiteBasis.CAMPAIGN) if site else (DEFAULT_SITE_ID, SiteBasis.DEFAULT),
            ),
        )
        .on_conflict_do_nothing(index_elements=["study_instance_uid"])
    )
    return session.scalars(known).one()


def _site_of_campaign(session: Session, study_instance_uid: str) -> uuid.UUID | None:
    """The site of the campaign that is fetching a study; None where none of one site is."""
    return session.scalar(
        select(Campaign.site_id)
        .join(CampaignStudy, CampaignStudy.campaign_id == Campaign.id)
        .where(
            CampaignStudy.study_instance_uid == study_instance_uid,
            CampaignStudy.study_instance_uid != "",
            CampaignStudy.state == CampaignStudyState.PULLING,
        )
    )


def insert_instance(
    session: Session,
    study: Study,
    arrived: ReceivedInstance,
    state: InstanceState,
    reason: str = "",
) -> uuid.UUID | None:
    """Insert the instance's row; None where these bytes are kept aside already."""
    session.execute(
        insert(Series)
        .values(
            study_id=study.id,
            series_instance_uid=arrived.series_instance_uid,
            modality=arrived.modality,
        )
        .on_conflict_do_nothing()
    )
    series_id = session.scalar(
        select(Series.id).where(
            Series.study_id == study.id,
            Series.series_instance_uid == arrived.series_instance_uid,
        )
    )
    return session.scalar(
        insert(Instance)
        .values(
            study_id=study.id,
            series_id=series_id,
            sop_instance_uid=arrived.sop_instance_uid,
            sop_class_uid=arrived.sop_class_uid,
            transfer_syntax_uid=arrived.transfer_syntax_uid,
            state=state,
            reason=reason or arrived.skip_reason,
            blob=arrived.blob,
            sha256=arrived.sha256,
            size=arrived.size,
            revision=study.revision,
            calling_ae=arrived.calling_ae,
            sent=arrived.sent if state in _MAYBE_OF_ANOTHER else None,
        )
        .on_conflict_do_nothing(index_elements=["sop_instance_uid", "sha256", "study_id", "state"])
        .returning(Instance.id)
    )


def update_study(session: Session, study: Study, arrived: ReceivedInstance) -> None:
    """Update the study from the header of a new object."""
    study.last_received_at = func.clock_timestamp()
    if study.chosen_priority is None:
        doubted_priorities.believe(session, study, arrived.priority, arrived.calling_ae)
        study.priority = min(study.priority, arrived.priority)
    elif study.received_priority is not None and arrived.priority < study.received_priority:
        events.append_event(
            session,
            study.id,
            EventKind.PRIORITY_CHOSEN,
            f"a film wants {Priority(arrived.priority).name}: the priority that a person chose, "
            f"{Priority(study.priority).name}, stays",
        )
    if study.received_priority is not None:
        study.received_priority = min(study.received_priority, arrived.priority)
    numbers = [*study.requested_accession_numbers, *arrived.requested_accession_numbers]
    if len(distinct := list(dict.fromkeys(numbers))) > len(study.requested_accession_numbers):
        study.requested_accession_numbers = distinct
    if arrived.expected_instances:
        study.expected_instances = arrived.expected_instances
    # Only fields that the first object left blank are filled.
    for column, value in arrived.shown.items():
        if not getattr(study, column) and value:
            setattr(study, column, value)
    session.flush()
    if arrived.doubted_priority is not None:
        doubted_priorities.note(session, study, arrived.doubted_priority, arrived.calling_ae)

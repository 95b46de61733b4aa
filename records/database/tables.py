"""The tables of studies: what arrived, their holds, their timeline, their places in the worklist.

Times are from the database's clock. A text column that holds a vocabulary has a CHECK that is made
from the vocabulary. The classes of every other subject are in the modules `*_tables` beside this
one.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from records.database.base import Base, id_column, listed, vocabulary_check
from records.database.search_forms import (
    HAS_DIGRAPHS,
    HAS_IDEOGRAPHIC,
    HAS_PHONETIC,
    SEARCHED_ACCESSION_NUMBER,
    SEARCHED_DIGRAPHS,
    SEARCHED_IDEOGRAPHIC,
    SEARCHED_NAME,
    SEARCHED_PATIENT_ID,
    SEARCHED_PHONETIC,
    SEARCHED_WORDS,
)
from records.database.site_tables import DEFAULT_SITE_ID
from records.states import (
    ChangeOrigin,
    Damage,
    Decision,
    HoldReason,
    InstanceState,
    RejectionReason,
    SiteBasis,
    StudyState,
    TallyKind,
)


class Study(Base):
    """What arrived under one Study Instance UID, of one patient."""

    __tablename__ = "studies"
    __table_args__ = (
        vocabulary_check("state", StudyState),
        vocabulary_check("site_basis", SiteBasis),
        # The sweep looks for quiet studies every few seconds, among all of these. The time of the
        # last film is in no index: each film would write the study anew into all of them.
        Index(
            "ix_studies_receiving",
            "id",
            postgresql_where=text("state = 'RECEIVING'"),
        ),
        # The list of all studies.
        Index("ix_studies_priority", "priority", "first_received_at", "id"),
        # The same of one site.
        Index("ix_studies_site_id", "site_id", "priority", "first_received_at", "id"),
        Index("ix_studies_split", "split_from", postgresql_where=text("split_from IS NOT NULL")),
        # Every study begins without one: those would only be entries that die.
        Index(
            "ix_studies_request_id", "request_id", postgresql_where=text("request_id IS NOT NULL")
        ),
        # The search.
        Index("ix_studies_patient_name", text(SEARCHED_NAME)),
        Index(
            "ix_studies_name_digraphs", text(SEARCHED_DIGRAPHS), postgresql_where=text(HAS_DIGRAPHS)
        ),
        Index(
            "ix_studies_name_ideographic",
            text(SEARCHED_IDEOGRAPHIC),
            postgresql_where=text(HAS_IDEOGRAPHIC),
        ),
        Index(
            "ix_studies_name_phonetic",
            text(SEARCHED_PHONETIC),
            postgresql_where=text(HAS_PHONETIC),
        ),
        Index("ix_studies_patient_id", text(SEARCHED_PATIENT_ID)),
        Index("ix_studies_accession_number", text(SEARCHED_ACCESSION_NUMBER)),
        # Few studies have more accession numbers than one.
        Index(
            "ix_studies_requested_accession_numbers",
            "requested_accession_numbers",
            postgresql_using="gin",
            postgresql_with={"fastupdate": "off"},
            postgresql_where=text("requested_accession_numbers <> '{}'"),
        ),
        Index(
            "ix_studies_words",
            text(SEARCHED_WORDS),
            postgresql_using="gin",
            # Without the list of pending entries, which every search would walk.
            postgresql_with={"fastupdate": "off"},
        ),
    )

    id: Mapped[uuid.UUID] = id_column()
    study_instance_uid: Mapped[str] = mapped_column(unique=True)  # (0020,000D)
    patient_id: Mapped[str]  # (0010,0020)
    patient_id_issuer: Mapped[str]  # (0010,0021)
    patient_name: Mapped[str]  # (0010,0010)
    patient_birth_date: Mapped[str]  # (0010,0030), as sent
    patient_sex: Mapped[str]  # (0010,0040)
    accession_number: Mapped[str]  # (0008,0050)
    study_date: Mapped[str]  # (0008,0020), as sent
    study_description: Mapped[str]  # (0008,1030)
    # Accession numbers of (0040,0275) Request Attributes Sequence that are not the study's own, as
    # keys hold them: in capitals, without spaces around.
    requested_accession_numbers: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    accession_number_issuer: Mapped[str] = mapped_column(server_default="")  # (0008,0051)
    state: Mapped[str] = mapped_column(server_default=StudyState.RECEIVING)
    revision: Mapped[int] = mapped_column(server_default=text("1"))
    priority: Mapped[int] = mapped_column(SmallInteger)
    # The priority by films and calling AE alone; NULL where no order has changed `priority`.
    received_priority: Mapped[int | None] = mapped_column(SmallInteger)
    # The priority that a person chose: no film and no order changes it. NULL where nobody did.
    chosen_priority: Mapped[int | None] = mapped_column(SmallInteger)
    calling_ae: Mapped[str]
    expected_instances: Mapped[int | None]
    first_received_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    last_received_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    released: Mapped[bool] = mapped_column(server_default=text("false"))
    completed_at: Mapped[dt.datetime | None]
    # The study that a person split this one from; what else comes for its patient belongs here.
    split_from: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("studies.id"))
    # Whose people see it.
    site_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("sites.id"), server_default=text(f"'{DEFAULT_SITE_ID}'::uuid")
    )
    site_basis: Mapped[str] = mapped_column(server_default=SiteBasis.DEFAULT)
    # The newest primary request, so that a worklist needs no search for it. It may be named before
    # it is there: a study is closed and gets its request by one UPDATE.
    request_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("draft_requests.id", use_alter=True, deferrable=True, initially="DEFERRED")
    )


class Series(Base):
    """One series of a study."""

    __tablename__ = "series"

    id: Mapped[uuid.UUID] = id_column()
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"))
    series_instance_uid: Mapped[str]  # (0020,000E)
    modality: Mapped[str]  # (0008,0060)
    __table_args__ = (UniqueConstraint("study_id", "series_instance_uid"),)


class Instance(Base):
    """One received object; its bytes are a blob that is never changed, and that may be removed."""

    __tablename__ = "instances"
    __table_args__ = (
        vocabulary_check("state", InstanceState),
        # One object of a study counts under a UID; conflicts and mismatches are kept aside.
        Index(
            "uq_instances_standing",
            "sop_instance_uid",
            "study_id",
            unique=True,
            postgresql_where=text("state IN ('KEPT', 'SKIPPED')"),
        ),
        # The workers look for objects whose pixels are to be compared.
        Index(
            "ix_instances_uncompared",
            "received_at",
            postgresql_where=text("state = 'UNCOMPARED'"),
        ),
        # The same conflicting bytes twice are one conflict.
        UniqueConstraint("sop_instance_uid", "sha256", "study_id", "state"),
        vocabulary_check("damage", Damage),
        # The few whose file is damaged among millions that are whole.
        Index("ix_instances_damaged", "id", postgresql_where=text("damage IS NOT NULL")),
        # What is on disk, by arrival: retention and the scrub walk it, and the pace of the disk is
        # read from it.
        Index(
            "ix_instances_stored",
            "received_at",
            "id",
            postgresql_include=["study_id", "size"],
            postgresql_where=text("bytes_removed_at IS NULL"),
        ),
        # The few objects whose header is kept, for they may be another patient's.
        Index(
            "ix_instances_sent_patient_id",
            text("upper(sent ->> 'patient_id')"),
            postgresql_where=text("sent IS NOT NULL"),
        ),
        # What was removed lately.
        Index(
            "ix_instances_bytes_removed_at",
            "bytes_removed_at",
            postgresql_include=["received_at", "size"],
            postgresql_where=text("bytes_removed_at IS NOT NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = id_column()
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"), index=True)
    series_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("series.id"), index=True)
    sop_instance_uid: Mapped[str]  # (0008,0018)
    sop_class_uid: Mapped[str]  # (0008,0016)
    transfer_syntax_uid: Mapped[str]  # (0002,0010)
    state: Mapped[str]
    reason: Mapped[str] = mapped_column(server_default="")
    blob: Mapped[str] = mapped_column(unique=True)
    sha256: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    revision: Mapped[int]
    calling_ae: Mapped[str]
    received_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    damage: Mapped[str | None]  # what is wrong with the stored file; NULL where nothing is known
    # What its header says of patient and study (columns of `studies`), where it may be another's.
    sent: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    comparisons: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    # When a rule of retention removed its file; NULL while the file is here.
    bytes_removed_at: Mapped[dt.datetime | None]
    bytes_restored_at: Mapped[dt.datetime | None]  # when it came again after that


class StudyChange(Base):
    """An older value of a study's field that a newer object or a message replaced."""

    __tablename__ = "study_changes"
    __table_args__ = (vocabulary_check("origin", ChangeOrigin),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"), index=True)
    at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    calling_ae: Mapped[str]  # or the sender of a message, or of a PERSON the name
    origin: Mapped[str | None]  # by which interface a message came; NULL where a film brought it
    field: Mapped[str]  # a column of studies
    old_value: Mapped[str]
    new_value: Mapped[str]


class Rejection(Base):
    """One image that a rejection note names, whether or not the image is here.

    It stands until a person takes it back, or until the image comes again where the reason allows
    that; then `ended_at` is set.
    """

    __tablename__ = "rejections"
    __table_args__ = (
        vocabulary_check("reason", RejectionReason),
        CheckConstraint("(ended_at IS NULL) = (ended_by = '')", name="ended_whole"),
        # A note that comes twice rejects once.
        UniqueConstraint("study_instance_uid", "sop_instance_uid", "note_sop_instance_uid"),
    )

    id: Mapped[uuid.UUID] = id_column()
    study_instance_uid: Mapped[str]  # of the image, as the note gives it
    sop_instance_uid: Mapped[str]  # of the image
    note_sop_instance_uid: Mapped[str]  # (0008,0018) of the note
    reason: Mapped[str]
    patient: Mapped[dict[str, Any]]  # of the note, as sent: fields of `patients.Patient`
    calling_ae: Mapped[str]
    noted_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[dt.datetime | None]
    ended_by: Mapped[str] = mapped_column(server_default="")


class WorklistEntry(Base):
    """The place of a study in the lists of the worklist.

    Triggers on studies, requests and holds derive it again at the end of each transaction that
    changed one of them; nothing else writes it.
    """

    __tablename__ = "worklist_entries"
    __table_args__ = (
        # Each list by priority and arrival, and its oldest study. The long list, at which most
        # studies end, has an index of its own: it grows at its end and stays packed. In the other
        # one entries come and go, and vacuum takes whole pages back.
        Index(
            "ix_worklist_entries_state",
            "state",
            "priority",
            "arrived_at",
            "study_id",
            postgresql_where=text("state <> 'DRAFTED'"),
        ),
        Index(
            "ix_worklist_entries_drafted",
            "priority",
            "arrived_at",
            "study_id",
            postgresql_where=text("state = 'DRAFTED'"),
        ),
        # The same of one site.
        Index(
            "ix_worklist_entries_site_id",
            "site_id",
            "state",
            "priority",
            "arrived_at",
            "study_id",
            postgresql_where=text("state <> 'DRAFTED'"),
        ),
        Index(
            "ix_worklist_entries_site_id_drafted",
            "site_id",
            "priority",
            "arrived_at",
            "study_id",
            postgresql_where=text("state = 'DRAFTED'"),
        ),
    )

    study_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True
    )
    state: Mapped[str]  # the visible state, less what a lease says: see listed_state()
    priority: Mapped[int] = mapped_column(SmallInteger)  # the study's
    arrived_at: Mapped[dt.datetime]  # the study's first_received_at
    site_id: Mapped[uuid.UUID]  # the study's


class Tally(Base):
    """A part of a number that is kept, so that nobody counts rows; the number is the sum.

    Triggers add a row for each change, and the sweep folds the rows of a number into one. So no
    writer waits for another one.
    """

    __tablename__ = "tallies"
    __table_args__ = (vocabulary_check("kind", TallyKind),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]  # a listed state, a reason, a part or a bound; "" where there is one number
    site_id: Mapped[uuid.UUID | None]  # of studies, by listed state; NULL of all other numbers
    number: Mapped[int] = mapped_column(BigInteger)


class Hold(Base):
    """A question to a person; while one is open, nothing of the study is claimed."""

    __tablename__ = "holds"
    __table_args__ = (
        vocabulary_check("reason", HoldReason),
        CheckConstraint(
            f"decision IS NULL OR decision IN ({listed(Decision)})",
            name="decision_known",
        ),
        CheckConstraint("(decision IS NULL) = (decided_at IS NULL)", name="decided_whole"),
        Index(
            "uq_holds_open",
            "study_id",
            "reason",
            unique=True,
            postgresql_where=text("decision IS NULL"),
        ),
        Index("ix_holds_open", "opened_at", "id", postgresql_where=text("decision IS NULL")),
    )

    id: Mapped[uuid.UUID] = id_column()
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"), index=True)
    reason: Mapped[str]
    detail: Mapped[str]
    opened_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    decision: Mapped[str | None]
    decided_at: Mapped[dt.datetime | None]
    decided_by: Mapped[str] = mapped_column(server_default="")
    note: Mapped[str] = mapped_column(server_default="")


DONE_BY_SOMEBODY = text("actor_kind IS NOT NULL")


class Event(Base):
    """A line of a study's timeline. Append-only: triggers refuse changes; the trail seals it."""

    __tablename__ = "events"
    __table_args__ = (
        # A timeline is read from its newest line on.
        Index("ix_events_study_id", "study_id", "id"),
        # The sweep asks what became of a worker's last studies.
        Index("ix_events_work_ended", "worker", "id", postgresql_where=text("worker IS NOT NULL")),
        # The trail asks what people and programs did.
        Index("ix_events_done_at", "at", "id", postgresql_where=DONE_BY_SOMEBODY),
        Index("ix_events_actor", "actor_name", "at", "id", postgresql_where=DONE_BY_SOMEBODY),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"))
    request_id: Mapped[uuid.UUID | None]
    kind: Mapped[str]
    detail: Mapped[str]
    reason: Mapped[str | None]  # a FailReason, HoldReason or EndReason, or why it was skipped
    # stage@host of the worker whose work on a request ended so; NULL where it says nothing of one
    worker: Mapped[str | None]
    # Who did it, as in `audit_entries`; NULL where a part of the system did.
    actor_kind: Mapped[str | None]
    actor_name: Mapped[str | None]
    actor_id: Mapped[str | None]
    actor_address: Mapped[str | None]

"""The tables, one class each, and which rows the database refuses.

Times are from the database's clock. A text column that holds a vocabulary has a CHECK that is made
from the vocabulary. Orders, reports from elsewhere, campaigns, nights and accounts are in
`order_tables`, `report_tables`, `campaign_tables`, `night_tables` and `account_tables`; Delivery
comes with the work that needs it.
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
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from records.alarm_kinds import AlarmKind, Channel, MessageEvent
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
from records.states import (
    WARNING,
    ChangeOrigin,
    Damage,
    Decision,
    HoldReason,
    InstanceState,
    Purpose,
    RejectionReason,
    RequestState,
    ReviewDecision,
    SiteBasis,
    Stage,
    StudyState,
    TallyKind,
)

DEFAULT_SITE_ID = uuid.UUID("00000000-0000-7000-8000-000000000001")
"""Our id of the first site, `default`; the migrations make its row."""


class Site(Base):
    """A place whose studies only its own people see."""

    __tablename__ = "sites"
    __table_args__ = (CheckConstraint("code ~ '^[a-z0-9][a-z0-9-]{0,31}$'", name="code_is_plain"),)

    id: Mapped[uuid.UUID] = id_column()
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())


class SiteCaller(Base):
    """A calling AE title whose studies belong to a site other than the first one."""

    __tablename__ = "site_callers"

    calling_ae: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("sites.id"), index=True)


class SiteSender(Base):
    """A system whose orders, reports and messages belong to a site other than the first one."""

    __tablename__ = "site_senders"

    # As `plain_key` gives it: MSH-3 and MSH-4 as "RIS|NORTH", `meta.source`, an AE title, a name.
    sender: Mapped[str] = mapped_column(primary_key=True)
    site_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("sites.id"), index=True)


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


class BlobScrub(Base):
    """How far the scrub has come, which reads every stored instance again; a single row."""

    __tablename__ = "blob_scrub"
    __table_args__ = (CheckConstraint("id = 1", name="single_row"),)

    id: Mapped[int] = mapped_column(
        SmallInteger, primary_key=True, autoincrement=False, server_default=text("1")
    )
    # The last instance that this round has read; NULL at the beginning of a round.
    position: Mapped[uuid.UUID | None]
    round_read: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    round_ended_at: Mapped[dt.datetime | None]  # the end of the round before
    night: Mapped[dt.date | None]  # the night of the last reading, by the date of its beginning
    night_read: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    read_at: Mapped[dt.datetime | None]  # when something was last read


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


class DraftRequest(Base):
    """A draft that is to be made of one revision of a study."""

    __tablename__ = "draft_requests"
    __table_args__ = (
        vocabulary_check("state", RequestState),
        vocabulary_check("purpose", Purpose),
        CheckConstraint(
            "state NOT IN ('SKIPPED', 'FAILED', 'SUPERSEDED', 'CANCELLED') OR reason <> ''",
            name="end_has_reason",
        ),
        # One open primary request a study: the newest revision's.
        Index(
            "uq_draft_requests_open_primary",
            "study_id",
            unique=True,
            postgresql_where=text("purpose = 'PRIMARY' AND state IN ('WAITING', 'PREPARED')"),
        ),
        # The order of claims: priority, due time, arrival. All requests of one transaction have one
        # created_at; the id puts them in order too, so that no claim sorts them. The bundle comes
        # first: a worker walks the requests for its own and those for any, and no others.
        Index(
            "ix_draft_requests_claimable",
            "state",
            "bundle",
            "priority",
            "due_at",
            "created_at",
            "id",
            postgresql_where=text("claimable"),
        ),
        # What the sweep wakes when its time has come.
        Index(
            "ix_draft_requests_not_before",
            "not_before",
            postgresql_where=text("not_before IS NOT NULL AND state IN ('WAITING', 'PREPARED')"),
        ),
        # The few whose prepared input is still needed.
        Index(
            "ix_draft_requests_prepared",
            "inputs_digest",
            postgresql_where=text("state = 'PREPARED'"),
        ),
        # The few that wait for an order.
        Index(
            "ix_draft_requests_waits_for_order",
            "not_before",
            postgresql_where=text("waits_for_order"),
        ),
        # The few that failed or were skipped among millions that did not, by their reasons.
        Index(
            "ix_draft_requests_retriable",
            "state",
            "reason",
            postgresql_where=text("state IN ('FAILED', 'SKIPPED')"),
        ),
        # Every request begins without one: those would only be entries that die.
        Index(
            "ix_draft_requests_draft_id", "draft_id", postgresql_where=text("draft_id IS NOT NULL")
        ),
    )

    id: Mapped[uuid.UUID] = id_column()
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"), index=True)
    revision: Mapped[int]
    bundle: Mapped[str | None]  # a bundle's digest; NULL is whichever is served
    purpose: Mapped[str] = mapped_column(server_default=Purpose.PRIMARY)
    priority: Mapped[int] = mapped_column(SmallInteger)
    due_at: Mapped[dt.datetime | None]
    not_before: Mapped[dt.datetime | None]  # the sweep makes it NULL when it has passed
    # Whether `not_before` is there because the study has no order yet.
    waits_for_order: Mapped[bool] = mapped_column(server_default=false())
    # Whether it can be claimed: open, its study complete at this revision, no open hold, not_before
    # passed. Triggers keep it, whatever is written here. A lease is not a part of it.
    claimable: Mapped[bool] = mapped_column(server_default=text("false"))
    state: Mapped[str] = mapped_column(server_default=RequestState.WAITING)
    reason: Mapped[str] = mapped_column(server_default="")
    detail: Mapped[str] = mapped_column(server_default="")
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    suspect: Mapped[bool] = mapped_column(server_default=text("false"))
    # What preparing stored for drafting.
    prepared_blob: Mapped[str | None]
    inputs_digest: Mapped[str | None]
    preprocessing_digest: Mapped[str | None]
    provenance: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    draft_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("drafts.id", use_alter=True))
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    changed_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class LiveLease(Base):
    """Who works on a request now. The row goes when the work ends or the lease is taken back.

    A table of its own: a claim and a renewal rewrite no request, and there are never more rows than
    studies being worked on. So expiry reads them all, and no index moves when a lease is renewed.
    A transaction that locks a lease has locked its request before, except a renewal, which skips
    the leases that somebody else has locked. A trigger ends the lease with the request's state.
    """

    __tablename__ = "leases"
    __table_args__ = (vocabulary_check("stage", Stage),)

    request_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("draft_requests.id", ondelete="CASCADE"), primary_key=True
    )
    study_id: Mapped[uuid.UUID]  # the request's
    stage: Mapped[str]
    owner: Mapped[str]  # host:pid
    # Never given twice. Every write of a worker checks owner and claim (fencing).
    claim: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    alone: Mapped[bool] = mapped_column(server_default=text("false"))
    claimed_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    renewed_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())
    expires_at: Mapped[dt.datetime]


class Draft(Base):
    """What the model wrote, with all it was made from. Written once; a trigger refuses changes."""

    __tablename__ = "drafts"
    __table_args__ = (
        vocabulary_check("purpose", Purpose),
        CheckConstraint(f"starts_with(text, '{WARNING}')", name="begins_with_warning"),
        CheckConstraint("status = 'UNREVIEWED'", name="never_final"),
        # An effect happens once: a second bell finds the draft done.
        UniqueConstraint(
            "study_id",
            "inputs_digest",
            "bundle_digest",
            "settings_digest",
            "purpose",
            name="uq_drafts_effect",
        ),
        Index(
            "uq_drafts_current_primary",
            "study_id",
            unique=True,
            postgresql_where=text("purpose = 'PRIMARY' AND superseded_at IS NULL"),
        ),
        # The current drafts of a bundle: what a campaign drafts again.
        Index(
            "ix_drafts_bundle_digest",
            "bundle_digest",
            "id",
            postgresql_where=text("purpose = 'PRIMARY' AND superseded_at IS NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = id_column()
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"))
    request_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("draft_requests.id"), index=True)
    revision: Mapped[int]
    purpose: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="UNREVIEWED")
    text: Mapped[str]  # begins with WARNING
    findings: Mapped[str]
    impression: Mapped[str]
    model_name: Mapped[str]
    model_version: Mapped[str]
    bundle_digest: Mapped[str]
    settings_digest: Mapped[str]
    inputs_digest: Mapped[str]
    notice: Mapped[str]  # the bundle's notice ("knows drawn phantoms only")
    prompt: Mapped[str]
    indication: Mapped[str]
    indication_source: Mapped[str]
    # Every text that could have been the indication, best first, with where and when it came from
    # and whether it was taken (records.orders.indications.Candidate); NULL in drafts of earlier
    # versions.
    indications: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    views: Mapped[list[Any]]  # [{"sop_instance_uid", "position", "why"}]
    left_out: Mapped[list[Any]]  # [{"sop_instance_uid", "reason", "sentence"}]
    notes: Mapped[list[Any]]  # what a reader should know ("view position unknown")
    timings: Mapped[dict[str, Any]]  # seconds by stage
    tokens: Mapped[list[str]]
    token_logprobs: Mapped[list[float]]
    # [{"section", "text", "confidence", "least"}] of model.prompting.confidence; NULL where unknown
    sentences: Mapped[list[Any] | None] = mapped_column(JSONB(none_as_null=True))
    # The prior report that the prompt holds, word for word: {"report_id", "text", "performed_on",
    # "accession_number", "procedure"}; NULL where the prompt holds none.
    prior_report: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    # {observation: probability} of the finding head, and model.support.statements.Support; NULL
    # where the bundle has no finding head
    finding_scores: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    support: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    cut: Mapped[bool]  # the text reached the limit on new tokens
    device: Mapped[str]
    dtype: Mapped[str]
    # The present pace is read every few seconds.
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), index=True)
    superseded_at: Mapped[dt.datetime | None]


class Calibration(Base):
    """Thresholds for a bundle's finding scores, made from this site's signed reports.

    The newest one of a bundle is in use. Written once; a trigger refuses changes.
    """

    __tablename__ = "calibrations"
    __table_args__ = (Index("ix_calibrations_bundle_digest", "bundle_digest", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    bundle_digest: Mapped[str]
    content: Mapped[dict[str, Any]]  # model.support.calibration.Calibration
    made_by: Mapped[str]
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())


class Review(Base):
    """A reader's review of a draft: the report that was signed, or why there is none.

    Written once; a trigger refuses every change but that of `training_consent`.
    """

    __tablename__ = "reviews"
    __table_args__ = (
        vocabulary_check("decision", ReviewDecision),
        CheckConstraint(r"reader ~ '\S'", name="has_reader"),
        CheckConstraint(
            r"decision <> 'SIGNED' OR (findings || impression) ~ '\S'", name="signed_has_text"
        ),
        CheckConstraint(
            r"decision <> 'REJECTED' OR (note ~ '\S' AND findings = '' AND impression = ''"
            " AND NOT training_consent)",
            name="rejected_has_reason_alone",
        ),
        # A draft is signed once; who rejects it does not keep another from signing.
        Index(
            "uq_reviews_signed",
            "draft_id",
            unique=True,
            postgresql_where=text("decision = 'SIGNED'"),
        ),
        Index("ix_reviews_study_id", "study_id", "decided_at"),
    )

    id: Mapped[uuid.UUID] = id_column()
    study_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("studies.id"))
    draft_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("drafts.id"), index=True)
    decision: Mapped[str]
    reader: Mapped[str]
    findings: Mapped[str] = mapped_column(server_default="")  # as signed
    impression: Mapped[str] = mapped_column(server_default="")  # as signed
    note: Mapped[str] = mapped_column(server_default="")  # why it was rejected
    training_consent: Mapped[bool] = mapped_column(server_default=text("false"))
    decided_at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp())


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


class Refusal(Base):
    """What the listener refused: it belongs to no study of ours, and a page shows it.

    One row counts equal refusals of one caller and hour, so that nobody can fill the table.
    """

    __tablename__ = "refusals"
    __table_args__ = (
        Index(
            "uq_refusals_counted",
            "hour",
            "address",
            "calling_ae",
            "reason",
            "sop_class_uid",
            unique=True,
        ),
        # The list of the people of one site.
        Index("ix_refusals_site_id", "site_id", "at", "id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    # When it happened last.
    at: Mapped[dt.datetime] = mapped_column(server_default=func.clock_timestamp(), index=True)
    calling_ae: Mapped[str]
    sop_class_uid: Mapped[str]
    sop_instance_uid: Mapped[str]  # of the last one
    reason: Mapped[str]
    sentence: Mapped[str]
    address: Mapped[str] = mapped_column(server_default="")  # the sender's network address
    hour: Mapped[dt.datetime | None]  # NULL where the row is one refusal, from before they counted
    count: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    # That of the calling AE title, as of a study; the first site's where it is nobody's.
    site_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("sites.id"), server_default=text(f"'{DEFAULT_SITE_ID}'::uuid")
    )


class Alarm(Base):
    """What a person on call must see. While a worker's is open, it claims nothing but trials."""

    __tablename__ = "alarms"
    __table_args__ = (
        vocabulary_check("kind", AlarmKind),
        Index(
            "uq_alarms_open",
            "part",
            unique=True,
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index(
            "ix_alarms_trouble_id", "trouble_id", postgresql_where=text("trouble_id IS NOT NULL")
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    kind: Mapped[str]  # an AlarmKind
    part: Mapped[str]  # whose alarm it is, or stage@host of a worker that stopped itself
    cause: Mapped[str]  # what happened, in a sentence
    remedy: Mapped[str]  # what to do; empty in alarms from before there was a remedy
    opened_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    tried_at: Mapped[dt.datetime | None]  # when a stopped worker last tried a study
    closed_at: Mapped[dt.datetime | None]
    trouble_id: Mapped[int | None] = mapped_column(ForeignKey("troubles.id"))


class Trouble(Base):
    """Alarms that opened within a short time. A message says when it began, another one its end."""

    __tablename__ = "troubles"
    __table_args__ = (
        Index("ix_troubles_not_ended", "id", postgresql_where=text("ended_at IS NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    began_at: Mapped[dt.datetime]  # when its first alarm opened
    ended_at: Mapped[dt.datetime | None]  # when its last alarm closed


class AlarmMessage(Base):
    """A message about a trouble or a night, by one channel; each is there once, and sent once."""

    __tablename__ = "alarm_messages"
    __table_args__ = (
        vocabulary_check("event", MessageEvent),
        vocabulary_check("channel", Channel),
        CheckConstraint("(trouble_id IS NULL) <> (night IS NULL)", name="about_one"),
        Index("uq_alarm_messages_once", "trouble_id", "channel", "event", unique=True),
        Index(
            "uq_alarm_messages_night",
            "night",
            "channel",
            unique=True,
            postgresql_where=text("night IS NOT NULL"),
        ),
        Index(
            "ix_alarm_messages_due",
            "due_at",
            postgresql_where=text("sent_at IS NULL AND given_up_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    trouble_id: Mapped[int | None] = mapped_column(ForeignKey("troubles.id"))
    # The night of which it is the summary; NULL in a message about a trouble.
    night: Mapped[dt.date | None] = mapped_column(ForeignKey("night_summaries.night"))
    event: Mapped[str]  # a MessageEvent
    channel: Mapped[str]  # a Channel
    created_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    due_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())  # the next attempt
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    error: Mapped[str] = mapped_column(server_default="")  # of the last attempt
    sent_at: Mapped[dt.datetime | None]
    given_up_at: Mapped[dt.datetime | None]


class Caller(Base):
    """A calling AE title that sent films, and when it sent the last one."""

    __tablename__ = "callers"

    calling_ae: Mapped[str] = mapped_column(primary_key=True)
    last_film_at: Mapped[dt.datetime]


class Heartbeat(Base):
    """A process of the system: when it was last seen, and what it reports about itself."""

    __tablename__ = "heartbeats"

    part: Mapped[str] = mapped_column(
        primary_key=True
    )  # "listener", "sweep", "prepare", "draft", "query", "retrieve", "api"
    owner: Mapped[str] = mapped_column(primary_key=True)  # host:pid
    started_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[dt.datetime] = mapped_column(server_default=func.now(), index=True)
    facts: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    ended_at: Mapped[dt.datetime | None]  # when it ended, or was taken for dead
    died: Mapped[bool] = mapped_column(server_default=text("false"))  # it ended without a word

    @property
    def host(self) -> str:
        """The machine on which the process runs."""
        return self.owner.rpartition(":")[0] or self.owner


class Observation(Base):
    """What one process saw when it last looked at Redis, the disk or the bundle."""

    __tablename__ = "observations"

    name: Mapped[str] = mapped_column(primary_key=True)  # "redis", "disk", "bundle"
    observer: Mapped[str] = mapped_column(primary_key=True)  # host:pid
    looked_at: Mapped[dt.datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[dt.datetime | None]  # when it was last well
    is_well: Mapped[bool]
    is_warning: Mapped[bool] = mapped_column(server_default=text("false"))  # not for long
    sentence: Mapped[str] = mapped_column(server_default="")

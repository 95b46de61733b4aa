"""What REST takes and gives, as pydantic models; FastAPI makes the OpenAPI document of them.

The models are named after the rows they show: `Draft` here is what REST shows of a `tables.Draft`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, computed_field

from api.access.decider import name_decider
from api.related_schemas import HeldOrder, HeldReports, StudyOrder, StudyReport
from model.dicom.names import uid_name
from model.prompting.prompt import describe_given, read_prior
from records.alarm_kinds import AlarmKind, Channel, MessageEvent
from records.database import draft_tables, operation_tables, tables
from records.operations import overview
from records.operations.alarms import runbook_path
from records.operations.lights import LightState
from records.operations.overview import Workload, count_moving
from records.operations.troubles import AlarmHistory
from records.states import (
    HOLD_SENTENCES,
    REJECTION_SENTENCES,
    WARNING,
    ActorKind,
    Damage,
    Decision,
    HoldReason,
    InstanceState,
    Priority,
    RejectionReason,
    VisibleState,
)
from records.workflow.corrections import SHOWN_COLUMNS
from records.workflow.worklist import WorklistPage, WorklistRow

# PostgreSQL keeps no NUL, and nobody types the other control characters, C1 among them.
ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f]*$"
MANY_LINES = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"

SearchText = Annotated[str, StringConstraints(max_length=100, pattern=ONE_LINE)]
StudyUid = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z.-]{1,64}$")]
"""A Study Instance UID (0020,000D), or our own id of the study."""
EventMark = Annotated[int, Field(ge=1, lt=2**63)]
"""The id of a line of a timeline."""


Decider = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=100, pattern=ONE_LINE),
    AfterValidator(name_decider),
    Field(
        validate_default=True,
        description="Who decides. With an account it is the account: it may be left out, and "
        "nobody else is taken. With a token it may name the person for whom the program acts. "
        "Before the first account it must be given.",
    ),
]
"""Who decides, as it is kept; the default is ""."""


class Problem(BaseModel):
    """An error (RFC 9457). title: what happened. detail: what to do. instance: to what.

    request_id: as the header X-Request-ID; the log lines about the request carry it.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str


class _FromRow(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Patient(_FromRow):
    """Who the study is of, as sent."""

    patient_id: str
    name: str
    birth_date: str
    sex: str


class DraftSummary(_FromRow):
    """The current draft in short. It is not a report: nobody has reviewed it."""

    id: uuid.UUID
    warning: str = WARNING
    status: Literal["UNREVIEWED"] = "UNREVIEWED"
    model_name: str
    findings: str
    impression: str


class StudySummary(_FromRow):
    """One study of the worklist. detail and reason: why it was skipped or failed."""

    id: uuid.UUID
    study_instance_uid: str
    patient: Patient
    accession_number: str
    study_date: str
    study_description: str
    calling_ae: str
    priority: str
    revision: int
    state: VisibleState
    reason: str
    detail: str
    hold_reasons: list[str]
    films: int
    objects: int
    first_received_at: dt.datetime
    last_received_at: dt.datetime
    changed_at: dt.datetime | None
    draft: DraftSummary | None

    @classmethod
    def from_row(cls, row: WorklistRow) -> StudySummary:
        """The summary of a row of the worklist."""
        draft = None
        if row.draft_id is not None:
            draft = DraftSummary(
                id=row.draft_id,
                model_name=row.model_name,
                findings=row.findings,
                impression=row.impression,
            )
        patient = Patient(
            patient_id=row.patient_id,
            name=row.patient_name,
            birth_date=row.patient_birth_date,
            sex=row.patient_sex,
        )
        same_fields = {
            name: getattr(row, name)
            for name in cls.model_fields
            if name not in ("patient", "draft", "priority", "hold_reasons", "films", "objects")
        }
        return cls(
            **same_fields,
            patient=patient,
            draft=draft,
            films=row.image_count,
            objects=row.instance_count,
            priority=Priority(row.priority).name,
            hold_reasons=sorted(row.hold_reasons),
        )


class StudyPage(BaseModel):
    """Studies in the order of the worklist; `next` is the `after` of the following page.

    capped: the search found more studies than it gives; write more of the number or name.
    """

    studies: list[StudySummary]
    next: str | None
    capped: bool

    @classmethod
    def from_page(cls, page: WorklistPage) -> StudyPage:
        """The page of a worklist."""
        return cls(
            studies=[StudySummary.from_row(row) for row in page.rows],
            next=page.next,
            capped=page.matches is not None and page.matches.capped,
        )


class SentenceConfidence(_FromRow):
    """The probabilities that the model gave its own words; not how likely the sentence is true.

    confidence: their geometric mean over the sentence's word pieces. least: the smallest of them.
    """

    section: Literal["findings", "impression"]
    text: str
    confidence: float
    least: float


class SupportedStatement(BaseModel):
    """A finding that a sentence names, and whether the image model supports it."""

    section: Literal["findings", "impression"]
    sentence: str
    observation: str
    verdict: Literal["supported", "not supported", "undecided", "not assessed"]
    score: float | None


class OmittedFinding(BaseModel):
    """A finding that the image model sees and the draft does not name, or denies."""

    observation: str
    is_denied: bool
    score: float


class ImageSupport(BaseModel):
    """What the image model says of a draft, by thresholds that allow a share of errors.

    undecided_share: of the observations that can be assessed. studies: from which the thresholds
    were made; error_rate: the share of present findings that are called not supported, and of
    absent ones that are called present.
    """

    statements: list[SupportedStatement]
    omissions: list[OmittedFinding]
    undecided_share: float | None
    studies: int
    error_rate: float


def sent_indication(draft: draft_tables.Draft) -> str:
    """The indication as it was sent; "" where none was."""
    return "" if draft.indication_source == "none" else draft.indication


class Draft(_FromRow):
    """A draft with all it came from. `text` begins with the warning line.

    sentences: those of findings and impression in their order, with their probabilities; null where
    these are not known. indication: as it was sent. indication_given: as the model got it, "" where
    it got none; indication_note says how the two differ. indications: every text that could have
    been it, with where and when it came from and whether it was taken; null in drafts of earlier
    versions. prior_report: the prior report in the prompt, word for word, and where it is from;
    null where the prompt has none. support: what the image model says of the
    findings that the draft names and of those that it does not; null where the bundle has no
    finding head.
    """

    id: uuid.UUID
    status: Literal["UNREVIEWED"]
    current: bool
    revision: int
    purpose: str
    text: str
    findings: str
    impression: str
    model_name: str
    model_version: str
    bundle_digest: str
    settings_digest: str
    inputs_digest: str
    notice: str
    prompt: str
    indication: str
    indication_source: str
    indication_given: str
    indications: list[Any] | None
    prior_report: dict[str, Any] | None
    indication_note: str
    views: list[Any]
    left_out: list[Any]
    notes: list[Any]
    timings: dict[str, Any]
    tokens: list[str]
    token_logprobs: list[float]
    sentences: list[SentenceConfidence] | None
    finding_scores: dict[str, float] | None
    support: ImageSupport | None
    cut: bool
    device: str
    dtype: str
    created_at: dt.datetime
    superseded_at: dt.datetime | None

    @classmethod
    def from_row(cls, draft: draft_tables.Draft) -> Draft:
        """The draft of a row. The current one is primary and not superseded."""
        own = {
            "current": draft.purpose == "PRIMARY" and draft.superseded_at is None,
            "indication_given": read_prior(draft.prompt, "indication"),
            "indication_note": describe_given(draft.prompt, "indication", sent_indication(draft)),
        }
        same_fields = {name: getattr(draft, name) for name in cls.model_fields if name not in own}
        return cls(**same_fields, **own)


class HeldFilm(BaseModel):
    """A film of a hold: whose it is, where it is, when it came and from where.

    image: the path of its picture; null where it does not count in a study.
    """

    instance: uuid.UUID
    study: uuid.UUID
    sop_instance_uid: str
    patient: Patient
    accession_number: str
    study_date: str
    study_description: str
    state: InstanceState
    calling_ae: str
    received_at: dt.datetime
    image: str | None

    @classmethod
    def from_rows(cls, instance: tables.Instance, study: tables.Study) -> HeldFilm:
        """The film of a row, as its own header names the patient where that was kept."""
        sent = instance.sent or {name: getattr(study, name) for name in SHOWN_COLUMNS}
        is_kept = instance.state == InstanceState.KEPT and instance.bytes_removed_at is None
        return cls(
            instance=instance.id,
            study=study.id,
            sop_instance_uid=instance.sop_instance_uid,
            patient=Patient(
                patient_id=sent["patient_id"],
                name=sent["patient_name"],
                birth_date=sent["patient_birth_date"],
                sex=sent["patient_sex"],
            ),
            accession_number=sent["accession_number"],
            study_date=sent["study_date"],
            study_description=sent["study_description"],
            state=InstanceState(instance.state),
            calling_ae=instance.calling_ae,
            received_at=instance.received_at,
            image=f"/studies/{study.id}/views/{instance.id}.jpg" if is_kept else None,
        )


class HoldSides(BaseModel):
    """The two films of a hold: the one kept aside, and the one that counts, which may be none."""

    aside: HeldFilm
    standing: HeldFilm | None


class OpenHold(BaseModel):
    """A hold that nobody has decided, with both sides. decisions: what may be decided.

    sides: of a hold about films. orders: of a hold about orders for another patient.
    reports: of a hold about finals that differ.
    """

    id: uuid.UUID
    study: uuid.UUID
    patient: Patient
    reason: HoldReason
    sentence: str
    detail: str
    opened_at: dt.datetime
    decisions: dict[Decision, str]
    sides: list[HoldSides]
    orders: list[HeldOrder]
    reports: list[HeldReports]


class BulkDecisionRequest(BaseModel):
    """A person's decision on many holds. holds: those that the person looked at."""

    decision: Decision
    by: Decider = ""
    note: Annotated[str, StringConstraints(max_length=1000, pattern=MANY_LINES)] = ""
    holds: list[uuid.UUID] = Field(min_length=1, max_length=200)


class NotDecided(BaseModel):
    """A study whose holds stay open, and why."""

    study: uuid.UUID
    why: str


class BulkDecisionResult(BaseModel):
    """How many holds were closed, and what stays open."""

    decided: int
    not_decided: list[NotDecided]


class StudyChange(_FromRow):
    """An older value of a study's field, and the newer one that is shown."""

    at: dt.datetime
    calling_ae: str
    field: str
    old_value: str
    new_value: str


class Hold(_FromRow):
    """A question that a person must decide, and the decision."""

    id: uuid.UUID
    reason: HoldReason
    sentence: str
    detail: str
    opened_at: dt.datetime
    decision: Decision | None
    decided_at: dt.datetime | None
    decided_by: str
    note: str

    @classmethod
    def from_row(cls, hold: tables.Hold) -> Hold:
        """The hold of a row, with its reason in a sentence."""
        same_fields = {name: getattr(hold, name) for name in cls.model_fields if name != "sentence"}
        return cls(**same_fields, sentence=HOLD_SENTENCES[HoldReason(hold.reason)])


class Instance(_FromRow):
    """A received object. image: the path of its picture, for images that may be drafted from.

    sop_class, transfer_syntax: the names of the two UIDs. modality: (0008,0060), as `DX`.
    damage: what is wrong with its stored file; null where nothing is known.
    bytes_removed_at: when retention removed its file, since when there is no picture; else null.
    """

    id: uuid.UUID
    sop_instance_uid: str
    sop_class_uid: str
    sop_class: str
    transfer_syntax_uid: str
    transfer_syntax: str
    modality: str
    state: InstanceState
    reason: str
    sha256: str
    size: int
    revision: int
    calling_ae: str
    received_at: dt.datetime
    damage: Damage | None
    bytes_removed_at: dt.datetime | None
    image: str | None

    @classmethod
    def from_row(cls, instance: tables.Instance, modality: str) -> Instance:
        """The instance of a row. One kept aside has no picture: it may be another patient's."""
        is_kept = instance.state == InstanceState.KEPT and instance.bytes_removed_at is None
        own = {
            "sop_class": uid_name(instance.sop_class_uid),
            "transfer_syntax": uid_name(instance.transfer_syntax_uid),
            "modality": modality,
            "image": f"/studies/{instance.study_id}/views/{instance.id}.jpg" if is_kept else None,
        }
        same_fields = {
            name: getattr(instance, name) for name in cls.model_fields if name not in own
        }
        return cls(**same_fields, **own)


class Rejection(_FromRow):
    """An image that a rejection note names; it may not be here yet.

    sentence: the reason for a person. ended_at: when a person took the rejection back, or the image
    came again after its retention period; null while it stands.
    """

    sop_instance_uid: str
    note_sop_instance_uid: str
    reason: RejectionReason
    sentence: str
    calling_ae: str
    noted_at: dt.datetime
    ended_at: dt.datetime | None
    ended_by: str

    @classmethod
    def from_row(cls, rejection: tables.Rejection) -> Rejection:
        """The rejection of a row, with its reason in a sentence."""
        same_fields = {
            name: getattr(rejection, name) for name in cls.model_fields if name != "sentence"
        }
        return cls(**same_fields, sentence=REJECTION_SENTENCES[RejectionReason(rejection.reason)])


class Event(_FromRow):
    """A line of a study's timeline. actor_kind and actor_name are null where a part did it."""

    at: dt.datetime
    kind: str
    detail: str
    request_id: uuid.UUID | None
    actor_kind: ActorKind | None
    actor_name: str | None

    @classmethod
    def from_row(cls, event: tables.Event) -> Event:
        """The event of a row."""
        return cls.model_validate(event)


class StudyDetail(BaseModel):
    """One study with everything that is known of it. drafts, orders, reports: newest first.

    waits_for_order_until: then it is drafted without an order; null where it does not wait.
    timeline: its newest lines, oldest of them first. earlier: the `before` of the lines before
    these; null where there are none.
    """

    study: StudySummary
    instances: list[Instance]
    drafts: list[Draft]
    holds: list[Hold]
    rejections: list[Rejection]
    changes: list[StudyChange]
    orders: list[StudyOrder]
    reports: list[StudyReport]
    waits_for_order_until: dt.datetime | None
    timeline: list[Event]
    earlier: int | None


class Counts(BaseModel):
    """How many studies are in each state, and how long the rest will take.

    The studies are those of the sites that the caller sees. to_do: studies that are neither ended
    nor held. per_minute: drafts at the present pace, of all sites. seconds_left: until all that is
    to do at all sites is drafted at that pace; null where nothing is drafted, and `stalled` says
    why in a sentence. waiting_since: arrival of the oldest study to do.
    """

    states: dict[VisibleState, int]
    total: int
    to_do: int
    per_minute: float
    seconds_left: float | None
    stalled: str
    waiting_since: dt.datetime | None

    @classmethod
    def from_workload(cls, workload: Workload) -> Counts:
        """The counts of an overview, with the pace in tenths and the time left in seconds."""
        pace = workload.pace
        return cls(
            states=dict(workload.shown),
            total=sum(workload.shown.values()),
            to_do=count_moving(workload.shown),
            per_minute=round(pace.per_minute, 1),
            seconds_left=None if pace.seconds_left is None else round(pace.seconds_left),
            stalled=pace.stalled,
            waiting_since=workload.oldest_waiting,
        )


class Refusal(_FromRow):
    """An object or association that was refused. sop_class: the name of the class."""

    at: dt.datetime
    calling_ae: str
    sop_class_uid: str
    sop_instance_uid: str
    reason: str
    sentence: str
    address: str
    count: int

    @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
    @property
    def sop_class(self) -> str:
        """The name of the class; its UID where it has none."""
        return uid_name(self.sop_class_uid)


class Part(_FromRow):
    """A running process of the system. owner: host and process."""

    part: str
    owner: str
    started_at: dt.datetime
    seen_at: dt.datetime
    facts: dict[str, Any]

    @classmethod
    def from_row(cls, heartbeat: operation_tables.Heartbeat) -> Part:
        """The part that wrote a heartbeat."""
        return cls.model_validate(heartbeat)


class Alarm(_FromRow):
    """Something that a person on call must see: what happened, and what to do.

    kind: a heading of the runbook, to which `runbook` leads. remedy is empty in alarms that were
    opened by a version that had none.
    """

    kind: AlarmKind
    part: str
    cause: str
    remedy: str
    opened_at: dt.datetime

    @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
    @property
    def runbook(self) -> str:
        """The path of the page and heading that says more."""
        return runbook_path(self.kind)


class AlarmMessage(_FromRow):
    """A message about the start or the end of an alarm's trouble.

    error: of the last attempt that failed. due_at: the next attempt, where it was not sent.
    """

    event: MessageEvent
    channel: Channel
    attempts: int
    error: str
    due_at: dt.datetime
    sent_at: dt.datetime | None
    given_up_at: dt.datetime | None


class PastAlarm(Alarm):
    """An alarm, open or closed, and the messages about it. trouble_id: what it is grouped by."""

    closed_at: dt.datetime | None
    trouble_id: int | None
    messages: list[AlarmMessage] = []

    @classmethod
    def from_history(cls, entry: AlarmHistory) -> PastAlarm:
        """The alarm of a history."""
        alarm = cls.model_validate(entry.alarm)
        alarm.messages = [AlarmMessage.model_validate(message) for message in entry.messages]
        return alarm


class Light(_FromRow):
    """One part of the system, Redis, database, disk or bundle, and how it does.

    word: the state, as it follows the name. seen_at: when it was last well; null where it never was
    seen. runbook: the path of the page and heading that says what to do.
    """

    name: str
    state: LightState
    word: str
    sentence: str
    seen_at: dt.datetime | None
    runbook: str


class Parts(BaseModel):
    """The parts that were seen lately, those that should have been, open alarms, and all lights."""

    parts: list[Part]
    missing: list[str]
    alarms: list[Alarm]
    lights: list[Light]

    @classmethod
    def from_overview(cls, parts: overview.Parts) -> Parts:
        """The parts of an overview."""
        return cls(
            parts=[Part.from_row(heartbeat) for heartbeat in parts.running],
            missing=list(parts.missing),
            alarms=[Alarm.model_validate(alarm) for alarm in parts.alarms],
            lights=[Light.model_validate(light) for light in parts.lights],
        )


class ReadinessCheck(BaseModel):
    """One thing that must work. warning: it works, but not for long."""

    name: str
    ok: bool
    warning: bool = False
    sentence: str


class Readiness(BaseModel):
    """Whether studies can be received, drafted and read. missing: the checks that failed."""

    ready: bool
    missing: list[str]
    checks: list[ReadinessCheck]


class WithdrawalRequest(BaseModel):
    """A person withdraws a draft. draft: the one that was looked at; null takes the current one."""

    by: Decider = ""
    reason: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=1000, pattern=ONE_LINE),
    ]
    draft: uuid.UUID | None = None


class SiteMoveRequest(BaseModel):
    """A person moves a study to another site. site: its code. because: the timeline keeps it."""

    by: Decider = ""
    site: Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=ONE_LINE)]
    because: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=1000, pattern=ONE_LINE),
    ]


class ReinstatementRequest(BaseModel):
    """A person takes the rejections of a study's films back."""

    by: Decider = ""
    note: Annotated[str, StringConstraints(max_length=1000, pattern=ONE_LINE)] = ""


class DecisionRequest(BaseModel):
    """A person's decision on a study's open holds.

    holds: the ids of the open holds that the person saw; where others are open by now, nothing is
    decided.
    """

    decision: Decision
    by: Decider = ""
    note: Annotated[str, StringConstraints(max_length=1000, pattern=MANY_LINES)] = ""
    holds: list[uuid.UUID] = Field(min_length=1, max_length=20)

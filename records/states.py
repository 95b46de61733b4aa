"""The states, their transitions and the reasons, as data.

The comment beside a state says what it means to a person, and TRANSITIONS says where it may go.
Only `records.workflow.requests` moves a request along TRANSITIONS.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

WARNING = (
    "AI-GENERATED DRAFT - NOT REVIEWED BY A RADIOLOGIST - "
    "NOT FOR CLINICAL USE UNTIL REVIEWED AND SIGNED"
)
"""The first line of every output. The database refuses a draft that does not begin with it."""


class StudyState(StrEnum):
    """What is known of a study's arrival."""

    RECEIVING = "RECEIVING"  # images may still come; its quiet period runs
    COMPLETE = "COMPLETE"  # quiet, released, or all images are there


class InstanceState(StrEnum):
    """What became of one received object."""

    KEPT = "KEPT"  # an image that may be drafted from
    SKIPPED = "SKIPPED"  # kept on disk, of a class that is not drafted from
    CONFLICT = "CONFLICT"  # other bytes under a SOP instance UID that is known; a person decides
    MISMATCH = "MISMATCH"  # the study's UID, but another patient; a person decides
    UNCOMPARED = "UNCOMPARED"  # another encoding of a known object; a worker compares the pixels
    REPLACED = "REPLACED"  # a newer object under its UID took its place
    MOVED = "MOVED"  # a person decided that it belongs to another study
    REJECTED = "REJECTED"  # an IHE IOCM rejection note names it; kept on disk, never drafted from


class RejectionReason(StrEnum):
    """Why a rejection note rejects images: its document title, of scheme DCM (PS3.16 CID 7011).

    The actor and what it means are those of the IHE profile Imaging Object Change Management.
    """

    QUALITY = "113001"
    PATIENT_SAFETY = "113037"
    WORKLIST_ENTRY = "113038"
    RETENTION_EXPIRED = "113039"


OWN_OUTPUT = "Nightdraft sent it, and it was routed back."
"""The reason of an object that is our own: it says nothing of its study."""


REJECTION_SENTENCES: dict[RejectionReason, str] = {
    RejectionReason.QUALITY: "It was rejected for quality reasons.",
    RejectionReason.PATIENT_SAFETY: "It was rejected for patient safety reasons.",
    RejectionReason.WORKLIST_ENTRY: (
        "It was rejected because it was made for a wrong worklist entry."
    ),
    RejectionReason.RETENTION_EXPIRED: "It was rejected because its retention period is over.",
}
"""Each reason in one sentence for a person; "it" is the film."""


class Damage(StrEnum):
    """What is wrong with the stored file of an instance; the device's next send replaces it."""

    GONE = "GONE"  # there is no file
    CHANGED = "CHANGED"  # it is not what was received, or the disk cannot read it


DAMAGE_SENTENCES: dict[Damage, str] = {
    Damage.GONE: "The file of a film is gone from the data folder: send the film again.",
    Damage.CHANGED: "The file of a film is not what was received any more: send the film again.",
}


BYTES_REMOVED_SENTENCE = (
    "The film's file was removed here, as the rules of retention say. Fetch the study again from "
    "the PACS, as a campaign does, or send the film again."
)
"""What a person is told of a film without bytes."""


STANDING = (InstanceState.KEPT, InstanceState.SKIPPED)
"""The states of an object that counts under its UID; a study has one of each UID at most."""


class Comparison(StrEnum):
    """How an object differs from the one that counts under its UID, as `model.dicom.comparison`."""

    SAME = "SAME"  # in no value that is compared
    SHOWN = "SHOWN"  # in what is only shown: whose image it is
    DESCRIBED = "DESCRIBED"  # in patient, order or study, from which a draft is made
    OTHER = "OTHER"  # another image
    UNDECIDED = "UNDECIDED"  # the pixels would have to be decoded


class NameSpelling(StrEnum):
    """Which other spellings of a name are taken for the same person, all else being equal."""

    EXACT = "exact"
    SIMILAR = "similar"
    ANY = "any"


class Purpose(StrEnum):
    """Why a draft is made."""

    PRIMARY = "PRIMARY"  # the draft that a reader is shown
    COMPARISON = "COMPARISON"  # another model's draft beside it


class RequestState(StrEnum):
    """How far a draft request is. "Being worked on" is a live lease, not a state."""

    WAITING = "WAITING"  # to be prepared
    PREPARED = "PREPARED"  # its model inputs are on disk, to be drafted
    DRAFTED = "DRAFTED"  # a draft is there
    SKIPPED = "SKIPPED"  # not for this model, with the reason
    FAILED = "FAILED"  # attempts used up, with the reason; can be retried
    SUPERSEDED = "SUPERSEDED"  # late images made a newer request
    CANCELLED = "CANCELLED"  # a person decided against it; a person can take that back


OPEN = (RequestState.WAITING, RequestState.PREPARED)
"""The states in which something is still to be done."""

TRANSITIONS: dict[RequestState, frozenset[RequestState]] = {
    RequestState.WAITING: frozenset(
        {
            RequestState.PREPARED,
            RequestState.DRAFTED,  # the same inputs were drafted before: an effect happens once
            RequestState.SKIPPED,
            RequestState.FAILED,
            RequestState.SUPERSEDED,
            RequestState.CANCELLED,
        }
    ),
    RequestState.PREPARED: frozenset(
        {
            RequestState.DRAFTED,
            RequestState.WAITING,  # the prepared input is gone or of another preprocessing
            RequestState.SKIPPED,
            RequestState.FAILED,
            RequestState.SUPERSEDED,
            RequestState.CANCELLED,
        }
    ),
    RequestState.DRAFTED: frozenset({RequestState.CANCELLED}),  # its draft is withdrawn
    RequestState.SKIPPED: frozenset({RequestState.WAITING, RequestState.CANCELLED}),
    RequestState.FAILED: frozenset({RequestState.WAITING, RequestState.CANCELLED}),
    RequestState.SUPERSEDED: frozenset(),
    RequestState.CANCELLED: frozenset({RequestState.WAITING}),  # a person thought again
}


class Priority(IntEnum):
    """How soon. The smaller number is claimed first."""

    STAT = 0
    URGENT = 1
    ROUTINE = 2
    BACKLOG = 3


class Stage(StrEnum):
    """A stage of work, its queue, and the request state that it claims."""

    PREPARE = "prepare"
    DRAFT = "draft"

    @property
    def claims(self) -> RequestState:
        """The state of the requests that this stage works on."""
        return RequestState.WAITING if self is Stage.PREPARE else RequestState.PREPARED


class HoldReason(StrEnum):
    """Why a person must decide before a study is drafted."""

    PATIENT_MISMATCH = "PATIENT_MISMATCH"
    CONFLICTING_BYTES = "CONFLICTING_BYTES"
    MOVED_HERE = "MOVED_HERE"
    MOVED_AWAY = "MOVED_AWAY"
    CHEST_UNKNOWN = "CHEST_UNKNOWN"
    VIEW_UNKNOWN = "VIEW_UNKNOWN"
    AGE_UNKNOWN = "AGE_UNKNOWN"
    SPECIES_UNKNOWN = "SPECIES_UNKNOWN"
    REJECTION_UNCLEAR = "REJECTION_UNCLEAR"
    SIGNED_REJECTED = "SIGNED_REJECTED"
    IMAGE_EMPTY = "IMAGE_EMPTY"
    ORDER_MISMATCH = "ORDER_MISMATCH"
    FINALS_DIFFER = "FINALS_DIFFER"


HOLD_SENTENCES: dict[HoldReason, str] = {
    HoldReason.PATIENT_MISMATCH: (
        "Images of the same study UID came under another patient. "
        "Proceeding drafts from the patient's images that came first only."
    ),
    HoldReason.CONFLICTING_BYTES: (
        "Another image came under a UID that is known. "
        "Proceeding drafts from the image that came first."
    ),
    HoldReason.MOVED_HERE: (
        "A film came that is already filed in another study. Proceeding leaves it there."
    ),
    HoldReason.MOVED_AWAY: (
        "A film of this study came again under another study. Proceeding leaves it here."
    ),
    HoldReason.CHEST_UNKNOWN: (
        "Nothing in the headers says whether this is a chest film. Proceeding takes it for one."
    ),
    HoldReason.VIEW_UNKNOWN: (
        "Nothing in the headers says whether the view is frontal or lateral. "
        "Proceeding drafts it and says so on the draft."
    ),
    HoldReason.AGE_UNKNOWN: (
        "The headers do not give the patient's age or contradict themselves on it, and the model "
        "is for adults. Proceeding takes the patient for an adult."
    ),
    HoldReason.SPECIES_UNKNOWN: (
        "Something in the headers is only usual for animals. Proceeding takes the patient for a "
        "human."
    ),
    HoldReason.IMAGE_EMPTY: (
        "A film shows nothing: it is black, white or of one grey in every window. "
        "Proceeding drafts from it and says so on the draft."
    ),
    HoldReason.REJECTION_UNCLEAR: (
        "A rejection note names films of this study, but it came under another patient or could "
        "not be read whole. Proceeding leaves the films that still count in the study."
    ),
    HoldReason.SIGNED_REJECTED: (
        "Films of this study were rejected after its report was signed. "
        "Proceeding leaves the signed report and its draft as they are."
    ),
    HoldReason.ORDER_MISMATCH: (
        "An order with this study's accession number is for another patient. "
        "Proceeding drafts without that order."
    ),
    HoldReason.FINALS_DIFFER: (
        "Final reports of this study differ: two from elsewhere, or one from elsewhere and the one "
        "that was signed here. Proceeding leaves all of them as they are."
    ),
}


class Decision(StrEnum):
    """What a person decided about a hold."""

    PROCEED = "PROCEED"  # go on with what came first, or in spite of what is unknown
    CANCEL = "CANCEL"  # no draft
    TAKE_NEW = "TAKE_NEW"  # what came later counts, and takes the place of what came first
    KEEP_BOTH = "KEEP_BOTH"  # the film counts in both studies
    SPLIT = "SPLIT"  # what came later becomes a study of its own


HOLD_DECISIONS: dict[HoldReason, tuple[Decision, ...]] = {
    HoldReason.PATIENT_MISMATCH: (Decision.TAKE_NEW, Decision.SPLIT),
    HoldReason.CONFLICTING_BYTES: (Decision.TAKE_NEW, Decision.SPLIT),
    HoldReason.MOVED_HERE: (Decision.TAKE_NEW, Decision.KEEP_BOTH),
    HoldReason.MOVED_AWAY: (Decision.TAKE_NEW, Decision.KEEP_BOTH),
    HoldReason.REJECTION_UNCLEAR: (Decision.TAKE_NEW,),
    HoldReason.ORDER_MISMATCH: (Decision.TAKE_NEW,),
}
"""What a person may decide about a hold besides PROCEED and CANCEL, which every hold has."""

DECISION_LABELS: dict[tuple[HoldReason, Decision], str] = {
    (HoldReason.PATIENT_MISMATCH, Decision.PROCEED): "Keep the old: draft from the first patient's",
    (HoldReason.PATIENT_MISMATCH, Decision.TAKE_NEW): "Take the new: all are of the newer patient",
    (HoldReason.PATIENT_MISMATCH, Decision.SPLIT): "Split: a study for each patient",
    (HoldReason.CONFLICTING_BYTES, Decision.PROCEED): "Keep the old film",
    (HoldReason.CONFLICTING_BYTES, Decision.TAKE_NEW): "Take the new film",
    (HoldReason.CONFLICTING_BYTES, Decision.SPLIT): "Split: the new film is a study of its own",
    (HoldReason.MOVED_HERE, Decision.PROCEED): "Keep the old: it stays in the other study",
    (HoldReason.MOVED_HERE, Decision.TAKE_NEW): "Take it here, and withdraw it there",
    (HoldReason.MOVED_HERE, Decision.KEEP_BOTH): "Keep both: it counts in both studies",
    (HoldReason.MOVED_AWAY, Decision.PROCEED): "Keep the old: it stays here",
    (HoldReason.MOVED_AWAY, Decision.TAKE_NEW): "Give it to the other study",
    (HoldReason.MOVED_AWAY, Decision.KEEP_BOTH): "Keep both: it counts in both studies",
    (HoldReason.REJECTION_UNCLEAR, Decision.PROCEED): "Keep the films, and ignore the note",
    (HoldReason.REJECTION_UNCLEAR, Decision.TAKE_NEW): "Apply the note: its films do not count",
    (HoldReason.ORDER_MISMATCH, Decision.PROCEED): "Leave the order out: it is another patient's",
    (HoldReason.ORDER_MISMATCH, Decision.TAKE_NEW): "Use the order: it is this patient's",
    (HoldReason.SIGNED_REJECTED, Decision.PROCEED): "Leave the signed report and its draft",
    (HoldReason.FINALS_DIFFER, Decision.PROCEED): "Leave the reports as they are",
}
"""The words on a decision's button, for the holds that are about images, orders and reports.

What cancelling does depends on the study: `hold_decisions.label_decisions` says it.
"""


class ReviewDecision(StrEnum):
    """How a reader's review of a draft ended."""

    SIGNED = "SIGNED"  # the review holds the report, as corrected
    REJECTED = "REJECTED"  # nothing of the draft could be used, with the reason


class FailReason(StrEnum):
    """Why a request FAILED; preparing and drafting add no others."""

    UNREADABLE = "UNREADABLE"  # the images' pixels cannot be read
    DAMAGED = "DAMAGED"  # a stored file is gone or changed; it goes on when that is sent again
    REMOVED = "REMOVED"  # retention removed a film's file; it goes on when that is sent again
    WORKER_DIED = "WORKER_DIED"  # the worker died on it, alone, each time
    MODEL_ERROR = "MODEL_ERROR"  # the model failed on it
    UNEXPECTED = "UNEXPECTED"  # an error that nobody foresaw; the log has its place


class EndReason(StrEnum):
    """Why a request was SUPERSEDED or CANCELLED."""

    LATE_IMAGES = "LATE_IMAGES"  # SUPERSEDED: images came after the study was complete
    DECIDED = "DECIDED"  # CANCELLED: a person decided against a draft
    WITHDRAWN = "WITHDRAWN"  # CANCELLED: a person withdrew the draft
    IMAGE_REJECTED = "IMAGE_REJECTED"  # SUPERSEDED: a film was rejected or taken back
    CORRECTED = "CORRECTED"  # SUPERSEDED: patient, order or study were corrected
    FILMS_DECIDED = "FILMS_DECIDED"  # SUPERSEDED: a person decided which films count
    ORDER_CHANGED = "ORDER_CHANGED"  # SUPERSEDED: an order came, changed or was cancelled
    REPORTED_ELSEWHERE = "REPORTED_ELSEWHERE"  # CANCELLED: a final report came from elsewhere
    PRIOR_REPORT = "PRIOR_REPORT"  # SUPERSEDED: a report of an earlier study came or changed


class VisibleState(StrEnum):
    """What a person is shown: derived from study, request, lease and holds in `worklist` alone."""

    RECEIVING = "RECEIVING"  # images are still coming
    HELD = "HELD"  # a person must decide
    WAITING = "WAITING"  # waits to be prepared
    PREPARING = "PREPARING"  # a prepare worker has it
    PREPARED = "PREPARED"  # waits for the model
    DRAFTING = "DRAFTING"  # the model has it
    DRAFTED = "DRAFTED"  # a draft can be read
    SKIPPED = "SKIPPED"  # not for this model
    FAILED = "FAILED"  # attempts used up
    CANCELLED = "CANCELLED"  # a person decided against a draft, or it is reported elsewhere


class CampaignKind(StrEnum):
    """Where the studies of a campaign are from."""

    AGAIN = "AGAIN"  # those that one bundle drafted, to be drafted by another
    LIST = "LIST"  # a list of accession numbers or Study Instance UIDs
    FOLDER = "FOLDER"  # DICOM files below a folder
    QUERY = "QUERY"  # what a PACS lists for a span of dates


class CampaignState(StrEnum):
    """How far a campaign is. Whether its window is open is not a state."""

    RUNNING = "RUNNING"  # it gives studies to the pipeline while its window is open
    PAUSED = "PAUSED"  # a person stopped it; a person resumes it
    CANCELLED = "CANCELLED"  # a person ended it
    DONE = "DONE"  # its source is walked to the end, and nothing of it waits


CAMPAIGN_ENDED = (CampaignState.CANCELLED, CampaignState.DONE)


class WalkState(StrEnum):
    """How far a campaign's source was walked; the walk makes a row for each study."""

    WALKING = "WALKING"
    WALKED = "WALKED"
    FAILED = "FAILED"  # the source cannot be walked; what was found before is still drafted


class CampaignStudyState(StrEnum):
    """What became of one study of a campaign."""

    WAITING = "WAITING"  # in the campaign: nothing of it is in the pipeline
    PULLING = "PULLING"  # its images are being fetched
    IN_WORK = "IN_WORK"  # it is received, prepared or drafted
    HELD = "HELD"  # a person must decide
    DRAFTED = "DRAFTED"
    SKIPPED = "SKIPPED"  # not drafted, with the reason
    FAILED = "FAILED"  # attempts used up
    MISSING = "MISSING"  # its images could not be had
    CANCELLED = "CANCELLED"  # a person decided against a draft, or it is reported elsewhere


CAMPAIGN_UNDER_WAY = (CampaignStudyState.PULLING, CampaignStudyState.IN_WORK)
"""States of studies that a campaign has given to the pipeline and that move by themselves."""

CAMPAIGN_MOVING = (CampaignStudyState.WAITING, *CAMPAIGN_UNDER_WAY)
"""States that lead on by themselves; a campaign is done when no study is in one of them."""


class CampaignReason(StrEnum):
    """Why a campaign itself ended a study's row, before there was a draft request."""

    ALREADY_DRAFTED = "ALREADY_DRAFTED"
    ALREADY_FINAL = "ALREADY_FINAL"
    ALREADY_LISTED = "ALREADY_LISTED"
    NOT_HERE = "NOT_HERE"
    NOT_AT_PACS = "NOT_AT_PACS"
    OFFLINE = "OFFLINE"
    IMAGES_MISSING = "IMAGES_MISSING"
    NO_IMAGES = "NO_IMAGES"
    PULL_FAILED = "PULL_FAILED"
    UNREADABLE = "UNREADABLE"
    BYTES_REMOVED = "BYTES_REMOVED"


CAMPAIGN_REASON_SENTENCES: dict[CampaignReason, str] = {
    CampaignReason.ALREADY_DRAFTED: "The study has a draft already.",
    CampaignReason.ALREADY_FINAL: "The study has a final report already.",
    CampaignReason.ALREADY_LISTED: (
        "The campaign has the study of this accession number under its study UID."
    ),
    CampaignReason.NOT_HERE: (
        "The study is not here, and the campaign names no PACS to fetch it from."
    ),
    CampaignReason.NOT_AT_PACS: "The PACS does not know the study.",
    CampaignReason.OFFLINE: "The PACS has the study offline: its media must be mounted there.",
    CampaignReason.IMAGES_MISSING: (
        "Images that the PACS lists did not come, although they were asked for again."
    ),
    CampaignReason.NO_IMAGES: "The PACS lists no image of the study that could be drafted from.",
    CampaignReason.PULL_FAILED: "The images could not be fetched, in several attempts.",
    CampaignReason.UNREADABLE: "The files of the study cannot be read.",
    CampaignReason.BYTES_REMOVED: (
        "The films of the study were removed here, as the rules of retention say, and the campaign "
        "names no PACS to fetch them from again."
    ),
}
"""Each reason in one sentence for a person."""


class TallyKind(StrEnum):
    """What is counted as it happens, so that a number is read and no rows are counted."""

    STUDIES = "STUDIES"  # studies that are there, by listed state
    DRAFTS = "DRAFTS"  # drafts that were ever saved
    REFUSALS = "REFUSALS"  # what was ever refused, by reason
    HOLDS = "HOLDS"  # holds that were ever opened, by reason
    OPEN_HOLDS = "OPEN_HOLDS"  # holds that are open, by reason
    FAILURES = "FAILURES"  # requests that ever FAILED, by reason
    DEATHS = "DEATHS"  # processes that ended without a word, by part
    DRAFT_SECONDS = "DRAFT_SECONDS"  # first drafts, by the bound of the time since the first film
    DRAFT_SECONDS_SUM = "DRAFT_SECONDS_SUM"  # the sum of these times, in seconds
    MESSAGES = "MESSAGES"  # messages of other systems that were ever received, by outcome


class WorkKind(StrEnum):
    """What is counted by quarters of an hour; each is the kind of an event, too."""

    PREPARED = "PREPARED"
    DRAFTED = "DRAFTED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"


ENDED = (
    VisibleState.DRAFTED,
    VisibleState.SKIPPED,
    VisibleState.FAILED,
    VisibleState.CANCELLED,
)


class ActorKind(StrEnum):
    """Who can do something."""

    ACCOUNT = "ACCOUNT"
    PROGRAM = "PROGRAM"
    COMMAND = "COMMAND"
    PART = "PART"
    NOBODY = "NOBODY"


class Role(StrEnum):
    """What a person or a program is to this system; `records.accounts.roles` says what each may."""

    READER = "READER"
    TRAINEE = "TRAINEE"  # a reader who will edit drafts and does not sign
    LEAD = "LEAD"  # a lead reader
    ADMINISTRATOR = "ADMINISTRATOR"  # settings and parts, no patients
    AUDITOR = "AUDITOR"  # the trail, nothing else
    SERVICE = "SERVICE"  # programs; no person has it


class Permission(StrEnum):
    """What somebody may do. A page or a call needs one of these."""

    READ_STUDIES = "READ_STUDIES"  # studies with drafts, holds, orders and reports
    SEE_IMAGES = "SEE_IMAGES"
    DECIDE_HOLDS = "DECIDE_HOLDS"
    CHANGE_WORK = "CHANGE_WORK"  # release, draft again, withdraw, let rejected films count again
    ANSWER_SECOND_LOOKS = "ANSWER_SECOND_LOOKS"
    READ_MESSAGES = "READ_MESSAGES"  # messages of other systems that were refused
    SETTLE_MESSAGES = "SETTLE_MESSAGES"
    READ_CAMPAIGNS = "READ_CAMPAIGNS"  # what is in campaigns, patients among it
    MANAGE_CAMPAIGNS = "MANAGE_CAMPAIGNS"
    SEND_ORDERS = "SEND_ORDERS"  # orders and resources of other systems, and their own ones again
    READ_OPERATIONS = "READ_OPERATIONS"  # parts, alarms, nights and counts; no patients
    READ_PROBES = "READ_PROBES"  # /readyz and /metrics
    MANAGE_SETTINGS = "MANAGE_SETTINGS"
    MANAGE_ACCOUNTS = "MANAGE_ACCOUNTS"
    READ_TRAIL = "READ_TRAIL"
    OPEN_EMERGENCIES = "OPEN_EMERGENCIES"  # see a patient of another site, for a reason


class AuditAction(StrEnum):
    """What an entry of the trail is about."""

    VIEW = "VIEW"  # patients were shown to somebody
    EXPORT = "EXPORT"  # what names patients was written to a file, or given to a program
    CHANGE = "CHANGE"  # something of a patient was changed, and no event of a study says so
    LOGIN = "LOGIN"  # somebody logged in, or tried to
    LOGOUT = "LOGOUT"
    EMERGENCY = "EMERGENCY"  # somebody took rights for an emergency, with a reason
    REFUSED = "REFUSED"  # somebody asked for what he or she has no right to
    ACCOUNT = "ACCOUNT"  # an account or token was made, changed, locked or ended
    ROLE = "ROLE"  # rights or sites of somebody were changed
    SETTING = "SETTING"  # a part started with other settings, or a site's members or rules changed
    TRAIL = "TRAIL"  # the trail itself was read, verified or exported
    ERASURE = "ERASURE"  # a patient was erased
    REMOVAL = "REMOVAL"  # what was kept long enough was removed
    BACKUP = "BACKUP"  # a backup was made, or the records were restored from one


class AuditOutcome(StrEnum):
    """How it ended; in brackets the EventOutcomeIndicator of DICOM PS3.15, A.5.2.1."""

    SUCCESS = "SUCCESS"  # (0)
    REFUSED = "REFUSED"  # (4): a wrong password, a right that is not there
    FAILED = "FAILED"  # (8): a fault of the system


class EventKind(StrEnum):
    """What a line of a study's timeline is about."""

    ARRIVED = "ARRIVED"
    REPEATED = "REPEATED"
    DAMAGED = "DAMAGED"
    HEALED = "HEALED"
    BYTES_REMOVED = "BYTES_REMOVED"
    BYTES_RESTORED = "BYTES_RESTORED"
    RECOVERED = "RECOVERED"
    CONFLICT = "CONFLICT"
    COMPLETE = "COMPLETE"
    RELEASED = "RELEASED"
    LATE = "LATE"
    REQUESTED = "REQUESTED"
    CLAIMED = "CLAIMED"
    PREPARED = "PREPARED"
    DRAFTED = "DRAFTED"
    SKIPPED = "SKIPPED"
    ATTEMPT_FAILED = "ATTEMPT_FAILED"
    FAILED = "FAILED"
    LEASE_RELEASED = "LEASE_RELEASED"
    LEASE_EXPIRED = "LEASE_EXPIRED"
    FORGIVEN = "FORGIVEN"
    RETRIED = "RETRIED"
    PREPARE_AGAIN = "PREPARE_AGAIN"
    SUPERSEDED = "SUPERSEDED"
    CANCELLED = "CANCELLED"
    HELD = "HELD"
    DECIDED = "DECIDED"
    SIGNED = "SIGNED"
    REJECTED = "REJECTED"
    CONSENT = "CONSENT"
    IMAGE_REJECTED = "IMAGE_REJECTED"
    REINSTATED = "REINSTATED"
    UPDATED = "UPDATED"
    WITHDRAWN = "WITHDRAWN"
    ORDER = "ORDER"
    REPORT_RECEIVED = "REPORT_RECEIVED"
    PATIENT_CHANGED = "PATIENT_CHANGED"
    SITE = "SITE"
    PRIORITY = "PRIORITY"  # a sender wanted a more urgent one: doubted, or counted later


WORK_SUCCEEDED = (EventKind.PREPARED, EventKind.DRAFTED, EventKind.SKIPPED)
"""Events that end a worker's work on a request and show that the worker is well."""


class Origin(StrEnum):
    """By which interface an order or a report came."""

    HL7 = "HL7"  # HL7 v2 over MLLP
    FHIR = "FHIR"
    WORKLIST = "WORKLIST"  # a DICOM modality worklist that was asked
    DICOM = "DICOM"  # a structured report that came by C-STORE
    REST = "REST"
    FILE = "FILE"  # a file that a person imported


class ChangeOrigin(StrEnum):
    """What changed an order or a study: a message, by its interface; a person; an order's study."""

    HL7 = Origin.HL7.value
    FHIR = Origin.FHIR.value
    WORKLIST = Origin.WORKLIST.value
    DICOM = Origin.DICOM.value
    REST = Origin.REST.value
    FILE = Origin.FILE.value
    PERSON = "PERSON"  # who moved a study to another site, or took a merge of patients back
    STUDY = "STUDY"  # an order of no known site took that of its study


class OrderStatus(StrEnum):
    """What is known of an order."""

    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"  # the placer or filler says that it is done; its texts still count
    CANCELLED = "CANCELLED"  # its texts do not count any more


class OrderTextSource(StrEnum):
    """What an order says about why an examination was requested, and in which of its fields.

    In brackets: the HL7 v2 field, the element of FHIR's ServiceRequest, the DICOM attribute.
    """

    REASON = "order_reason"  # (OBR-31, reasonCode, (0040,1002))
    REASON_CODE = "order_reason_code"  # (the code of OBR-31 where it has no text, -, (0040,100A))
    CLINICAL_INFORMATION = "order_clinical_information"  # (OBR-13, supportingInfo, -)
    NOTE = "order_note"  # (NTE-3, note, (0040,1400))
    DIAGNOSIS = "order_diagnosis"  # (DG1-3 and DG1-4, reasonReference to a Condition, (0008,1080))


class MatchState(StrEnum):
    """Whether an order counts for a study."""

    MATCHED = "MATCHED"  # accession number or study UID, and patient, are equal
    MISMATCH = "MISMATCH"  # the accession number is equal and the patient is another; it is a hold
    ACCEPTED = "ACCEPTED"  # a person decided that it is the study's order
    REFUSED = "REFUSED"  # a person decided that it is not
    # It is another site's order of another patient: accession numbers are unique by issuer alone.
    OTHER_SITE = "OTHER_SITE"


class SiteBasis(StrEnum):
    """Why a study belongs to its site."""

    DEFAULT = "DEFAULT"  # nothing says whose it is: it belongs to the first site
    CALLER = "CALLER"  # the calling AE title that first sent it
    ORDER = "ORDER"  # its order
    REPORT = "REPORT"  # a report about it
    CAMPAIGN = "CAMPAIGN"  # the campaign that fetched it
    PERSON = "PERSON"  # a person moved it there


class OrderChangeKind(StrEnum):
    """What happened to an order."""

    PLACED = "PLACED"
    CHANGED = "CHANGED"
    CANCELLED = "CANCELLED"
    REINSTATED = "REINSTATED"  # it was cancelled and counts again
    PATIENT_CORRECTED = "PATIENT_CORRECTED"
    PATIENT_MERGED = "PATIENT_MERGED"
    PATIENT_SEPARATED = "PATIENT_SEPARATED"  # a person took a merge back
    MOVED = "MOVED"  # a visit was moved to another patient
    OUTDATED = "OUTDATED"  # an older message came after a newer one, and changed nothing


class ReportStatus(StrEnum):
    """How far a report from elsewhere is (HL7 table 0123, OBX-11, FHIR DiagnosticReport.status)."""

    PRELIMINARY = "PRELIMINARY"
    FINAL = "FINAL"
    CORRECTED = "CORRECTED"  # a final that took the place of another one
    CANCELLED = "CANCELLED"


FINAL_STATUSES = (ReportStatus.FINAL, ReportStatus.CORRECTED)
"""The states of a report that a physician answers for."""


class MessageOutcome(StrEnum):
    """What became of a message that was received."""

    ACCEPTED = "ACCEPTED"  # its effect is committed
    IGNORED = "IGNORED"  # it was read and is about nothing that is kept here
    REFUSED = "REFUSED"  # it could not be used; a person can look at it
    TEST = "TEST"  # MSH-11 says training or debugging: it was read, and had no effect


class QueryKind(StrEnum):
    """What another system is asked about a study."""

    WORKLIST = "WORKLIST"  # the order, by C-FIND at a modality worklist
    REPORTS = "REPORTS"  # the patient's earlier reports, at a FHIR server


class QueryState(StrEnum):
    """How far a question to another system is."""

    WAITING = "WAITING"  # to be asked, or to be asked again
    ANSWERED = "ANSWERED"
    GIVEN_UP = "GIVEN_UP"  # asked as often as the settings say, without an answer


class RetentionWalkRule(StrEnum):
    """What is walked over to find what is to be removed."""

    INSTANCES = "INSTANCES"
    PREPARED = "PREPARED"  # prepared inputs of drafts
    STRAY_PREPARED = "STRAY_PREPARED"  # prepared inputs of which no draft was made


class SiteRule(StrEnum):
    """Rules of retention that a site may have otherwise than the settings say."""

    SIGNED = "SIGNED"  # films, from the signature
    DRAFTED = "DRAFTED"  # films, from the draft
    UNDRAFTED = "UNDRAFTED"  # films of studies that were skipped or cancelled, from the arrival
    PREPARED = "PREPARED"  # prepared inputs, from the draft


class DiscrepancySide(StrEnum):
    """Whose silence a discrepancy of draft and final report is."""

    MISS_OF_REPORT = "MISS_OF_REPORT"  # the draft says it, the report and later ones do not
    MISS_OF_MODEL = "MISS_OF_MODEL"  # the report says it, and the draft does not


class DiscrepancyState(StrEnum):
    """How far a discrepancy of draft and final report is."""

    UNCHECKED = "UNCHECKED"  # a worker is to look at the patient's other reports
    OPEN = "OPEN"  # it can be read
    MENTIONED = "MENTIONED"  # a report of the patient mentions it after all
    WITHDRAWN = "WITHDRAWN"  # no final report stands that it could be held against
    CONFIRMED = "CONFIRMED"  # who looked at the films says that the finding is there
    DENIED = "DENIED"  # ... that it is not there
    UNCLEAR = "UNCLEAR"  # ... that the films do not tell


VERDICTS = (DiscrepancyState.CONFIRMED, DiscrepancyState.DENIED, DiscrepancyState.UNCLEAR)
"""What a second look at the films can end with."""

SECOND_LOOK_FINDINGS = ("Pneumothorax", "Lung Lesion", "Consolidation")
"""Observations that a reader is asked about, and that a draft alone may say. What a report alone
says is listed for all 14."""


class ErrorCount(StrEnum):
    """What is counted of an observation in the comparisons of drafts with final reports."""

    COMPARED = "COMPARED"  # drafts; of no observation
    SAID = "SAID"  # the report says that it is present
    MISSED = "MISSED"  # and the draft does not name it


class Agreement(StrEnum):
    """Which of two drafts says that an observation is present."""

    BOTH = "BOTH"
    FIRST = "FIRST"
    SECOND = "SECOND"
    NEITHER = "NEITHER"

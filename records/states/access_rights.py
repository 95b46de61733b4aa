"""Who can do something, what each may do, and what the trail says of it."""

from __future__ import annotations

from enum import StrEnum


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
    EDIT_REPORTS = "EDIT_REPORTS"  # write the text of a report, and send it to who may sign
    SIGN_REPORTS = "SIGN_REPORTS"  # sign, reject, countersign, add to what was signed
    READ_MESSAGES = "READ_MESSAGES"  # messages of other systems that were refused
    SETTLE_MESSAGES = "SETTLE_MESSAGES"
    READ_CAMPAIGNS = "READ_CAMPAIGNS"  # what is in campaigns, patients among it
    MANAGE_CAMPAIGNS = "MANAGE_CAMPAIGNS"
    MANAGE_MODELS = "MANAGE_MODELS"  # stop and recall models, propose and agree on modes
    MANAGE_STYLES = "MANAGE_STYLES"  # the report style of a site
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

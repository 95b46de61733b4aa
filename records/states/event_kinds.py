"""What a line of a timeline is about, and what is counted."""

from __future__ import annotations

from enum import StrEnum


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
    EDITED = "EDITED"  # a reader began to write
    SENT_ON = "SENT_ON"  # a working text went to somebody else
    DISCARDED = "DISCARDED"  # a working text was given up for the draft
    SIGNED = "SIGNED"
    REJECTED = "REJECTED"
    ADDENDUM = "ADDENDUM"
    COUNTERSIGNED = "COUNTERSIGNED"
    SCORED = "SCORED"  # a second reader scored the report; the score is in no timeline
    CONSENT = "CONSENT"
    IMAGE_REJECTED = "IMAGE_REJECTED"
    REINSTATED = "REINSTATED"
    UPDATED = "UPDATED"
    WITHDRAWN = "WITHDRAWN"
    ORDER = "ORDER"
    REPORT_RECEIVED = "REPORT_RECEIVED"
    PATIENT_CHANGED = "PATIENT_CHANGED"
    SITE = "SITE"
    PRIORITY_CHOSEN = "PRIORITY_CHOSEN"  # a person chose one, or something wanted a more urgent one
    PRIORITY = "PRIORITY"  # a sender wanted a more urgent one: doubted, or counted later


WORK_SUCCEEDED = (EventKind.PREPARED, EventKind.DRAFTED, EventKind.SKIPPED)
"""Events that end a worker's work on a request and show that the worker is well."""

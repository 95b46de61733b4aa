"""How far a draft request is, where it may go, why it ended, and what a person sees of it."""

from __future__ import annotations

from enum import IntEnum, StrEnum

WARNING = (
    "AI-GENERATED DRAFT - NOT REVIEWED BY A RADIOLOGIST - "
    "NOT FOR CLINICAL USE UNTIL REVIEWED AND SIGNED"
)
"""The first line of every output. The database refuses a draft that does not begin with it."""


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


ENDED = (
    VisibleState.DRAFTED,
    VisibleState.SKIPPED,
    VisibleState.FAILED,
    VisibleState.CANCELLED,
)

"""What REST gives of drafts."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any, Literal

from pydantic import BaseModel

from api.schemas import FromRow
from model.prompting.prompt import describe_given, read_prior
from records.database import draft_tables
from records.states import Withheld


class SentenceConfidence(FromRow):
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


class Draft(FromRow):
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


class WithheldDraft(FromRow):
    """A draft that is shown to nobody: which one it is, and why."""

    id: uuid.UUID
    model_name: str
    model_version: str
    bundle_digest: str
    created_at: dt.datetime
    why: Withheld

    @classmethod
    def from_row(cls, draft: draft_tables.Draft, why: Withheld) -> WithheldDraft:
        """The draft of a row."""
        fields = {name: getattr(draft, name) for name in cls.model_fields if name != "why"}
        return cls(**fields, why=why)

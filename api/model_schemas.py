"""What REST gives of models: bundles, stops, recalled drafts, modes of sites and proposals."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Any

from pydantic import BaseModel, StringConstraints

from api.schemas import ONE_LINE, Decider, FromRow
from records.bundles import recall
from records.bundles.known import KnownBundle
from records.bundles.modes import ListedProposal
from records.database.site_tables import Site
from records.states import DraftUse, ProposalState, SiteMode

Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=1000, pattern=ONE_LINE),
]
Digest = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=ONE_LINE)]
"""The digest of a bundle, or six characters or more of its beginning."""


class StopRequest(BaseModel):
    """A person stops a model, or lifts its stop. reason: the trail keeps it; name no patient."""

    by: Decider = ""
    reason: Reason


class ProposalRequest(BaseModel):
    """A person proposes a mode and a model for a site. site: its code."""

    site: Annotated[str, StringConstraints(min_length=1, max_length=32, pattern=ONE_LINE)]
    model: Digest
    mode: SiteMode
    reason: Reason


class ProposalDecision(BaseModel):
    """A second person consents or refuses; a refusal has a note."""

    note: Annotated[
        str, StringConstraints(strip_whitespace=True, max_length=1000, pattern=ONE_LINE)
    ] = ""


class Stop(FromRow):
    """A stop. The fields of its end are "" and null while it holds."""

    stopped_by: str
    stopped_at: dt.datetime
    reason: str
    lifted_by: str
    lifted_at: dt.datetime | None
    lift_reason: str


class Model(BaseModel):
    """A bundle. stop: the stop that holds; null where its drafts may be shown.

    cleared: no model that comes with this software is cleared by an authority as a medical device.
    manifest: what it declares, as intended use, training and scores; null where only drafts name
    it. drafting: the running parts that have it.
    """

    digest: str
    name: str
    version: str
    cleared: bool = False
    manifest: dict[str, Any] | None
    card: str
    first_seen_at: dt.datetime
    last_started_at: dt.datetime | None
    drafting: list[str]
    stop: Stop | None
    earlier_stops: list[Stop]

    @classmethod
    def from_known(cls, known: KnownBundle) -> Model:
        """The model of `records`."""
        bundle = known.bundle
        return cls(
            digest=bundle.digest,
            name=bundle.name,
            version=bundle.version,
            manifest=bundle.manifest,
            card=bundle.card,
            first_seen_at=bundle.first_seen_at,
            last_started_at=bundle.last_started_at,
            drafting=list(known.parts),
            stop=Stop.model_validate(known.stop) if known.stop else None,
            earlier_stops=[Stop.model_validate(stop) for stop in known.earlier_stops],
        )


class SiteModeEntry(BaseModel):
    """The mode of a site, by its code."""

    site: str
    name: str
    mode: SiteMode

    @classmethod
    def from_site(cls, site: Site) -> SiteModeEntry:
        """The mode of a row."""
        return cls(site=site.code, name=site.name, mode=SiteMode(site.mode))


class Proposal(BaseModel):
    """A proposed mode and model of a site. acceptance: the figures when it was proposed."""

    id: uuid.UUID
    site: str
    mode: SiteMode
    model: str
    reason: str
    acceptance: dict[str, Any]
    proposed_by: str
    proposed_at: dt.datetime
    state: ProposalState
    decided_by: str
    decided_at: dt.datetime | None
    note: str

    @classmethod
    def from_listed(cls, listed: ListedProposal) -> Proposal:
        """The proposal of its rows."""
        row = listed.proposal
        fields = {
            name: getattr(row, name) for name in cls.model_fields if name not in ("site", "model")
        }
        return cls(**fields, site=listed.site.code, model=row.bundle_digest)


class Models(BaseModel):
    """All models, the modes of the sites that are shown, and their newest proposals."""

    models: list[Model]
    sites: list[SiteModeEntry]
    proposals: list[Proposal]


class RecalledDraft(BaseModel):
    """A draft of a recalled model.

    signed_by: who signed the report of its study; "" where nobody did. draft_use: what that report
    has of the draft; of WITHOUT_DRAFT nothing. may_be_trained_on: whether that report may be
    trained on. rejected: how many readers rejected it.
    """

    draft: uuid.UUID
    study: uuid.UUID
    study_instance_uid: str
    patient_id: str
    accession_number: str
    study_date: str
    site: str
    purpose: str
    drafted_at: dt.datetime
    superseded_at: dt.datetime | None
    signed_by: str
    signed_at: dt.datetime | None
    draft_use: DraftUse | None
    may_be_trained_on: bool
    rejected: int

    @classmethod
    def from_draft(cls, draft: recall.RecalledDraft) -> RecalledDraft:
        """The draft of `records`."""
        signed = draft.signed
        return cls(
            draft=draft.draft_id,
            study=draft.study.id,
            study_instance_uid=draft.study.study_instance_uid,
            patient_id=draft.study.patient_id,
            accession_number=draft.study.accession_number,
            study_date=draft.study.study_date,
            site=draft.site_code,
            purpose=draft.purpose,
            drafted_at=draft.created_at,
            superseded_at=draft.superseded_at,
            signed_by=signed.reader if signed else "",
            signed_at=signed.decided_at if signed else None,
            draft_use=DraftUse(signed.draft_use) if signed else None,
            may_be_trained_on=bool(signed and signed.training_consent),
            rejected=sum(one.decision == "REJECTED" for one in draft.reviews),
        )


class RecalledDrafts(BaseModel):
    """Drafts of a model, newest first; `next` is the `after` of the following page."""

    model: str
    drafts: list[RecalledDraft]
    next: str | None

    @classmethod
    def from_page(cls, digest: str, page: recall.RecallPage) -> RecalledDrafts:
        """The page of a list."""
        return cls(
            model=digest,
            drafts=[RecalledDraft.from_draft(draft) for draft in page.drafts],
            next=page.next,
        )

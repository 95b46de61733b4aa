"""The mode of a site, and the bundles that two persons agreed on for it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from records.actors import current_actor
from records.audit import trail
from records.bundles import known
from records.bundles.acceptance import measure
from records.database.bundle_tables import Bundle, ModeProposal
from records.database.site_tables import Site
from records.errors import NotAllowed, NotFound
from records.states import ActorKind, AuditAction, ProposalState, SiteMode
from records.workflow import sites
from records.workflow.site_scope import is_of_site, shows

_PROPOSALS_SHOWN = 100


@dataclass(frozen=True, slots=True)
class ListedProposal:
    """A proposal with its site and its bundle."""

    proposal: ModeProposal
    site: Site
    bundle: Bundle


def list_sites(session: Session) -> Sequence[Site]:
    """The sites that are shown, by their codes."""
    return session.scalars(select(Site).where(is_of_site(Site.id)).order_by(Site.code)).all()


def list_proposals(session: Session) -> list[ListedProposal]:
    """The newest proposals of the sites that are shown, open ones first."""
    rows = session.execute(
        select(ModeProposal, Site, Bundle)
        .join(Site, Site.id == ModeProposal.site_id)
        .join(Bundle, Bundle.digest == ModeProposal.bundle_digest)
        .where(is_of_site(ModeProposal.site_id))
        .order_by(
            (ModeProposal.state == ProposalState.OPEN).desc(), ModeProposal.proposed_at.desc()
        )
        .limit(_PROPOSALS_SHOWN)
    )
    return [ListedProposal(*row) for row in rows]


def propose(
    session: Session, site_code: str, digest: str, mode: SiteMode, reason: str
) -> ModeProposal:
    """Propose a mode with a bundle for a site, with the figures of an acceptance run.

    Args:
        session: the caller's transaction; the proposer is the account of `current_actor()`.
        site_code: the site.
        digest: the bundle, or enough of its digest's beginning.
        mode: what the site's mode is to be.
        reason: why.

    Raises:
        NotFound: there is no such site or bundle.
        NotAllowed: no account proposes it, no reason is given, or the site has an open proposal.
    """
    person_id, name = _person()
    if not reason.strip():
        raise NotAllowed("a change is proposed for a reason: say it")
    site = _lock_site(session, site_code)
    bundle = known.get(session, digest)
    if session.scalar(
        select(ModeProposal.id).where(
            ModeProposal.site_id == site.id, ModeProposal.state == ProposalState.OPEN
        )
    ):
        raise NotAllowed("this site has an open proposal: decide about that one first")
    proposal = ModeProposal(
        site_id=site.id,
        mode=mode,
        bundle_digest=bundle.digest,
        reason=reason.strip(),
        acceptance=asdict(measure(session, site.id, bundle.digest)),
        proposer_id=person_id,
        proposed_by=name,
    )
    session.add(proposal)
    session.flush()
    _note(session, site, proposal, f"proposed, because: {proposal.reason}")
    return proposal


def decide(
    session: Session, proposal_id: uuid.UUID, *, consents: bool, note: str = ""
) -> ModeProposal:
    """Consent to a proposal, which is in force then, or refuse it.

    Args:
        session: the caller's transaction; the person is the account of `current_actor()`.
        proposal_id: our id of it.
        consents: whether the person consents.
        note: why; a refusal needs it.

    Raises:
        NotFound: there is no such proposal.
        NotAllowed: the person proposed it, it is decided already, or a refusal has no reason.
    """
    found = session.get(ModeProposal, proposal_id)
    if found is None or not shows(found.site_id):
        raise NotFound("there is no such proposal")
    person_id, name = _person()
    site = session.get_one(Site, found.site_id, with_for_update=True, populate_existing=True)
    proposal = session.get_one(
        ModeProposal, proposal_id, with_for_update=True, populate_existing=True
    )
    if proposal.state != ProposalState.OPEN:
        raise NotAllowed("this proposal is decided already")
    if consents and proposal.proposer_id == person_id:
        raise NotAllowed("a second person consents: you proposed this yourself")
    if not consents and not note.strip():
        raise NotAllowed("a proposal is refused for a reason: say it")
    now = session.scalars(select(func.clock_timestamp())).one()
    proposal.state = ProposalState.IN_FORCE if consents else ProposalState.REFUSED
    # Who proposed something can take it back; the table allows nobody to consent to his or her own.
    proposal.decider_id = person_id if person_id != proposal.proposer_id else None
    proposal.decided_by, proposal.note = name, note.strip()
    proposal.decided_at = now
    if consents:
        site.mode = proposal.mode
    session.flush()
    _note(session, site, proposal, "in force" if consents else f"refused, because: {note.strip()}")
    return proposal


def _person() -> tuple[str, str]:
    """Our id and the name of the account in whose name this is done."""
    actor = current_actor()
    if actor.kind is not ActorKind.ACCOUNT:
        raise NotAllowed(
            "a person with an account proposes and decides this: log in on the page Models"
        )
    return actor.id, actor.name


def _lock_site(session: Session, code: str) -> Site:
    site = sites.get(session, code)
    if not shows(site.id):
        raise NotFound(f"there is no site {code!r}: `nightdraft site list` lists them")
    session.refresh(site, with_for_update=True)
    return site


def _note(session: Session, site: Site, proposal: ModeProposal, what: str) -> None:
    trail.record(
        session,
        AuditAction.SETTING,
        detail=f"site {site.code}: mode {proposal.mode} with model "
        f"{proposal.bundle_digest[:12]} {what}",
    )

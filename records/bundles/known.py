"""Which bundles are known here: those that workers started with, and those that drafts name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.bundle_tables import Bundle, BundleStop
from records.database.operation_tables import Heartbeat
from records.errors import NotAllowed, NotFound

_LEAST_PREFIX = 6
"""Characters of a digest that are enough to name a bundle, where they name one alone."""


@dataclass(frozen=True, slots=True)
class KnownBundle:
    """A bundle with what was done with it.

    Attributes:
        bundle: its row.
        stop: the stop that holds; None where it is not stopped.
        earlier_stops: those that were lifted, newest first.
        parts: the running parts that draft or prepare with it, as `draft@gpu-3`.
    """

    bundle: Bundle
    stop: BundleStop | None
    earlier_stops: Sequence[BundleStop]
    parts: Sequence[str]

    @property
    def use(self) -> Mapping[str, Any]:
        """The intended use of its manifest; {} where only its drafts are known."""
        use: Mapping[str, Any] = (self.bundle.manifest or {}).get("intended_use") or {}
        return use


def note(
    session: Session,
    digest: str,
    name: str,
    version: str,
    manifest: Mapping[str, Any] | None = None,
    card: str = "",
) -> None:
    """Keep that a bundle is here.

    Args:
        session: the caller's transaction.
        digest: SHA-256 of its manifest, in hex.
        name: as its manifest says.
        version: as its manifest says.
        manifest: what it declares, of a worker that starts with it; None of a draft.
        card: its model card, as Markdown.
    """
    row = insert(Bundle).values(digest=digest, name=name, version=version)
    if manifest is None:
        session.execute(row.on_conflict_do_nothing())
        return
    values = {"manifest": dict(manifest), "card": card, "last_started_at": func.clock_timestamp()}
    session.execute(
        row.values(**values).on_conflict_do_update(index_elements=["digest"], set_=values)
    )


def get(session: Session, digest: str) -> Bundle:
    """The bundle of a digest, or of the beginning of one.

    Raises:
        NotFound: no bundle has it.
        NotAllowed: several bundles begin like this.
    """
    found = session.scalars(
        select(Bundle).where(
            Bundle.digest.startswith(digest, autoescape=True)
            if len(digest) >= _LEAST_PREFIX
            else Bundle.digest == digest
        )
    ).all()
    exact = [bundle for bundle in found if bundle.digest == digest]
    if len(exact or found) > 1:
        raise NotAllowed("several models begin with these characters: give more of the digest")
    if not found:
        raise NotFound("no model has that digest: `nightdraft model list` lists them")
    return (exact or list(found))[0]


def list_known(session: Session) -> list[KnownBundle]:
    """All bundles, those first with which a worker started last."""
    stops: dict[str, list[BundleStop]] = {}
    for stop in session.scalars(select(BundleStop).order_by(BundleStop.id.desc())):
        stops.setdefault(stop.bundle_digest, []).append(stop)
    parts: dict[str, set[str]] = {}
    for beat in session.scalars(select(Heartbeat).where(Heartbeat.ended_at.is_(None))):
        digest = beat.facts.get("bundle")
        if digest:
            parts.setdefault(digest, set()).add(f"{beat.part}@{beat.host}")
    bundles = session.scalars(
        select(Bundle).order_by(
            Bundle.last_started_at.desc().nulls_last(), Bundle.first_seen_at.desc(), Bundle.digest
        )
    )
    known = []
    for bundle in bundles:
        own = stops.get(bundle.digest, [])
        known.append(
            KnownBundle(
                bundle,
                next((stop for stop in own if stop.lifted_at is None), None),
                [stop for stop in own if stop.lifted_at is not None],
                sorted(parts.get(bundle.digest, ())),
            )
        )
    return known

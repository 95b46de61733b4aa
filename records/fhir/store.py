"""The resources that were sent here: found by id and by identifier, and kept as they last were."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ARRAY, Text, cast, func, select, text
from sqlalchemy.orm import Session

from records.audit.looks import note_look
from records.database.fhir_tables import FhirResource
from records.fhir.elements import Identifier, Json, ResourceError, read_identifiers
from records.workflow.site_scope import is_visible, shows, visible_sites

_NAMESPACE = uuid.UUID("0f2d4f3e-6c0e-5b8c-9a2e-6f5a6d1d7c11")
"""Of the ids that resources get here."""

_ORDER_TYPES = frozenset(("PLAC", "FILL"))


def find(session: Session, kind: str, id_: str, *, to_write: bool = False) -> FhirResource | None:
    """The resource of a type with an id here; None where there is none that is shown.

    Args:
        session: the caller's transaction.
        kind: the type.
        id_: the id.
        to_write: whether the row is locked until the end of the transaction.

    Raises:
        ResourceError: it is to be written, and belongs to a site that the caller does not see.
    """
    row = session.get(FhirResource, (kind, id_), with_for_update=to_write or None)
    if row is None or shows(row.site_id):
        return row
    if to_write:
        raise ResourceError(
            "the address belongs to another site: choose another id", kind, "conflict"
        )
    return None


def find_by_keys(
    session: Session, kind: str, keys: Iterable[str], *, to_write: bool = False
) -> Sequence[FhirResource]:
    """The resources of a type that have one of these identifiers, by id. As `find`."""
    wanted = sorted(set(keys))
    if not wanted:
        return []
    # Without a limit: for one the planner would rather walk all resources of the type by their id.
    query = (
        select(FhirResource)
        .where(
            FhirResource.resource_type == kind,
            FhirResource.identifiers.op("&&")(cast(wanted, ARRAY(Text))),
            is_visible(FhirResource.site_id),
        )
        .order_by(FhirResource.id)
    )
    return session.scalars(query.with_for_update() if to_write else query).all()


def lock(session: Session, keys: Iterable[str]) -> None:
    """Wait until no other transaction writes resources with these addresses or identifiers."""
    numbers = {
        int.from_bytes(uuid.uuid5(_NAMESPACE, key).bytes[:8], "big", signed=True) for key in keys
    }
    for number in sorted(numbers):
        session.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})


def save(
    session: Session,
    row: FhirResource | None,
    address: tuple[str, str],
    content: Json,
    fhir_version: str,
    order_id: uuid.UUID | None,
    site_id: uuid.UUID,
) -> tuple[FhirResource, bool]:
    """Keep a resource as it was sent, with a new version where it differs from the one before.

    Args:
        session: the caller's transaction, which has locked the address.
        row: the resource as it was; None where it is new.
        address: its type and id.
        content: the resource.
        fhir_version: by which models it was checked.
        order_id: the order that it made.
        site_id: the site of its sender; one that is known keeps its site.

    Returns:
        The row, and whether it differs from before.
    """
    kept = stored_form(content, address[1])
    if row is None:
        row = FhirResource(
            resource_type=address[0],
            id=address[1],
            fhir_version=fhir_version,
            identifiers=all_keys(content),
            content=kept,
            order_id=order_id,
            site_id=site_id,
        )
        session.add(row)
    else:
        row.order_id = order_id or row.order_id
        if row.content == kept:
            return row, False
        row.content = kept
        row.identifiers = all_keys(content)
        row.fhir_version = fhir_version
        row.version += 1
        row.updated_at = func.clock_timestamp()
    session.flush()
    session.refresh(row)
    return row, True


def stored_form(content: Json, id_: str) -> dict[str, Any]:
    """A resource as it is kept: with its id here, without the versions of its sender."""
    kept = copy.deepcopy(dict(content)) | {"id": id_}
    meta = {k: v for k, v in kept.pop("meta", {}).items() if k not in ("versionId", "lastUpdated")}
    return kept | ({"meta": meta} if meta else {})


def served_form(row: FhirResource) -> dict[str, Any]:
    """A resource as it is served: with our version and the time of its last change."""
    note_look(thing=f"{row.resource_type}/{row.id}")
    meta = row.content.get("meta", {}) | {
        "versionId": str(row.version),
        "lastUpdated": row.updated_at.isoformat(timespec="milliseconds"),
    }
    head = {"resourceType": row.resource_type, "id": row.id, "meta": meta}
    return head | {name: value for name, value in row.content.items() if name not in head}


def make_id(kind: str, keys: Sequence[str]) -> str:
    """The id of a new resource: of its identifiers, or a new one where it has none.

    What a program of one site sends has ids of its own: another site may know the same identifiers.
    """
    if not keys:
        return str(uuid.uuid4())
    own = " ".join(map(str, visible_sites() or ()))
    return str(uuid.uuid5(_NAMESPACE, f"{own}{kind} {min(keys)}"))


def sender_of(content: Json) -> str:
    """Who sent a resource: `meta.source`, without the message that it names; else FHIR."""
    source = (content.get("meta") or {}).get("source") or ""
    return str(source).partition("#")[0] or "FHIR"


def all_keys(content: Json) -> list[str]:
    """The keys of all identifiers of a resource."""
    return sorted({_key(entry, content) for entry in read_identifiers(content)})


def identifying_keys(content: Json) -> list[str]:
    """The keys of the identifiers by which a resource that is created is known again.

    An accession number may be of several orders, and an order's number of several reports. So they
    count only where a resource has nothing else. What orders and reports refer to is known by
    identifiers with a system alone.
    """
    entries = read_identifiers(content)
    if content["resourceType"] == "DiagnosticReport":
        groups = (
            [entry for entry in entries if not entry.types & (_ORDER_TYPES | {"ACSN"})],
            [entry for entry in entries if "FILL" in entry.types],
            entries,
        )
    elif content["resourceType"] == "ServiceRequest":
        groups = ([entry for entry in entries if "ACSN" not in entry.types], entries, [])
    else:
        groups = ([entry for entry in entries if entry.system], [], [])
    best = next(filter(None, groups), [])
    return sorted({_key(entry, content) for entry in best})


def search_key(token: str) -> str:
    """The key of a search's `system|value`."""
    system, _, value = token.rpartition("|")
    return f"{system}|{value}"


def _key(entry: Identifier, content: Json) -> str:
    if entry.system:
        return f"{entry.system}|{entry.value}"
    # Without a system, it is only known to its sender.
    kinds = ",".join(sorted(entry.types))
    return f"{sender_of(content)} {kinds}|{entry.value}"

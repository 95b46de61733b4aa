"""Taking resources in: one, or a transaction of several, all or none.

A resource is kept as it was sent, so that references lead to it. A ServiceRequest makes, changes or
cancels an order, and a DiagnosticReport a report from elsewhere; both in the same transaction.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy.orm import Session

from records.audit.looks import note_look
from records.database.fhir_tables import FhirResource
from records.errors import MessageError, NotFound
from records.fhir import patients, store
from records.fhir.diagnostic_reports import read_diagnostic_report
from records.fhir.elements import Json, ResourceError, items
from records.fhir.references import ReadingRules, read_patient, read_subject
from records.fhir.service_requests import read_service_request
from records.fhir.versions import FhirVersion
from records.orders import receiving as orders
from records.orders.receiving import OrderOutcome
from records.reports import receiving as reports
from records.reports.receiving import ReportOutcome
from records.settings import settings
from records.states import Origin
from records.workflow.sites import site_of_sender

REFERENCED_TYPES = (
    "Patient",
    "Practitioner",
    "PractitionerRole",
    "Organization",
    "Location",
    "Encounter",
    "Condition",
    "Observation",
    "ImagingStudy",
)
"""What orders and reports refer to, and what is read of it; in the order of a transaction."""

TYPES = (*REFERENCED_TYPES, "ServiceRequest", "DiagnosticReport")
"""The types of resources that are taken in, in the order in which a transaction takes them in."""

ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
"""An id (R4, data types)."""


class WriteOutcome(StrEnum):
    """What was done with a resource."""

    CREATED = "CREATED"
    UPDATED = "UPDATED"
    UNCHANGED = "UNCHANGED"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A resource that came, checked by `versions.check`.

    Attributes:
        resource: the resource.
        version: by which models it was checked.
        id: where it is to be; "" where it gets an id here.
        if_match: the version that it is to replace; None where that is not said.
        if_none_exist: `identifier=system|value`: it is only created where none has that.
        at: the path within a bundle, before the resource's own.
    """

    resource: Mapping[str, Any]
    version: FhirVersion
    id: str = ""
    if_match: int | None = None
    if_none_exist: str = ""
    at: str = ""

    @property
    def kind(self) -> str:
        """The type of the resource."""
        return str(self.resource["resourceType"])


@dataclass(frozen=True, slots=True)
class Written:
    """A resource as it is kept now, and what was done."""

    row: FhirResource
    outcome: WriteOutcome


@dataclass(slots=True)
class _Placed:
    """A resource with its place: the row that it replaces, or the id that it gets."""

    incoming: Incoming
    row: FhirResource | None
    id: str
    content: dict[str, Any] = field(default_factory=dict)
    is_kept: bool = False  # If-None-Exist found one: that stays as it is

    @property
    def address(self) -> str:
        return f"{self.incoming.kind}/{self.id}"


def reading_rules() -> ReadingRules:
    """How resources are read by the settings, without anything that references lead to."""
    return ReadingRules(dict(settings().fhir_issuers), tuple(settings().fhir_accession_systems))


def read(session: Session, kind: str, id_: str) -> FhirResource:
    """A resource as it was sent, for a program or a person.

    Raises:
        NotFound: there is none.
    """
    row = store.find(session, kind, id_) if ID.fullmatch(id_) else None
    if row is None:
        raise NotFound(f"there is no {kind} with this id")
    rules = reading_rules()
    rules = ReadingRules(
        rules.issuers, rules.accession_systems, lambda name: _find(session, {}, name)
    )
    try:
        if kind == "Patient":
            subject = read_patient(row.content, rules)
        else:
            subject = read_subject(row.content, rules)
    except ResourceError:  # it leads to nobody who is known here
        return row
    note_look(patients=[subject.patient])
    return row


def receive(session: Session, incoming: Incoming, base: str) -> Written:
    """Take in one resource. The same one again changes nothing.

    Args:
        session: the caller's transaction.
        incoming: the resource.
        base: our own address; references that begin with it are ours.

    Raises:
        ResourceError: it cannot be used, or is not the version that it should replace.
    """
    return receive_all(session, [incoming], {}, base)[0]


def receive_all(
    session: Session, incoming: Sequence[Incoming], full_urls: Mapping[str, int], base: str
) -> list[Written]:
    """Take in resources that belong together.

    Args:
        session: the caller's transaction, which ends without effect after an error.
        incoming: the resources, each once.
        full_urls: the addresses by which they refer to each other -> their places in the list.
        base: our own address.

    Returns:
        What was done with each, in the same order.

    Raises:
        ResourceError: one cannot be used.
    """
    store.lock(session, [key for entry in incoming for key in _locks(entry)])
    placed = [_place(session, entry) for entry in incoming]
    _refuse_twins(placed)
    addresses = {url: placed[number].address for url, number in full_urls.items()}
    for entry in placed:
        entry.content = _with_addresses(entry.incoming.resource, addresses, base)
        _refuse_loose_ends(entry)
    rules = reading_rules()
    known = {entry.address: entry.content for entry in placed}
    rules = ReadingRules(
        rules.issuers, rules.accession_systems, lambda name: _find(session, known, name)
    )
    written: dict[str, Written] = {}
    for entry in sorted(placed, key=lambda entry: TYPES.index(entry.incoming.kind)):
        try:
            written[entry.address] = _write(session, entry, rules, known)
        except ResourceError as error:
            raise error.under(entry.incoming.at) if entry.incoming.at else error from None
        except MessageError as error:
            at = entry.incoming.at or entry.incoming.kind
            raise ResourceError(str(error), at, "business-rule") from None
    return [written[entry.address] for entry in placed]


def _locks(entry: Incoming) -> list[str]:
    """What no other transaction may write meanwhile."""
    keys = [f"{entry.kind} {key}" for key in store.identifying_keys(entry.resource)]
    return [f"{entry.kind}/{entry.id}"] if entry.id else keys


def _place(session: Session, entry: Incoming) -> _Placed:
    if entry.id:
        row = store.find(session, entry.kind, entry.id, to_write=True)
        if entry.if_match is not None and (row is None or row.version != entry.if_match):
            raise ResourceError(
                "the version that should be replaced is not the one that is here",
                entry.at or entry.kind,
                "conflict",
            )
        return _Placed(entry, row, entry.id)
    if entry.if_none_exist:
        matches = store.find_by_keys(session, entry.kind, [_condition(entry)])
        _refuse_several(entry, matches)
        if matches:
            return _Placed(entry, matches[0], matches[0].id, is_kept=True)
    keys = store.identifying_keys(entry.resource)
    if not keys and entry.kind in ("ServiceRequest", "DiagnosticReport"):
        raise ResourceError(
            "the resource has no identifier by which it is known again: give one, or PUT it",
            f"{entry.at or entry.kind}.identifier",
            "business-rule",
        )
    matches = store.find_by_keys(session, entry.kind, keys, to_write=True)
    _refuse_several(entry, matches)
    if matches:
        return _Placed(entry, matches[0], matches[0].id)
    return _Placed(entry, None, store.make_id(entry.kind, keys))


def _condition(entry: Incoming) -> str:
    name, _, token = entry.if_none_exist.partition("=")
    if name != "identifier" or "|" not in token or "&" in token:
        raise ResourceError(
            "If-None-Exist is read as identifier=system|value alone",
            entry.at or entry.kind,
            "not-supported",
        )
    return store.search_key(token)


def _refuse_several(entry: Incoming, matches: Sequence[FhirResource]) -> None:
    if len(matches) > 1:
        raise ResourceError(
            "the identifiers are of several resources that are here",
            f"{entry.at or entry.kind}.identifier",
            "duplicate",
        )


def _refuse_twins(placed: Sequence[_Placed]) -> None:
    seen = set()
    for entry in placed:
        if entry.address in seen:
            raise ResourceError(
                "two entries are one resource: they have its id or an identifier in common",
                entry.incoming.at or entry.incoming.kind,
                "duplicate",
            )
        seen.add(entry.address)


def _write(
    session: Session, entry: _Placed, rules: ReadingRules, known: Mapping[str, Json]
) -> Written:
    if entry.is_kept and entry.row is not None:
        return Written(entry.row, WriteOutcome.UNCHANGED)
    order_id = entry.row.order_id if entry.row is not None else None
    sender = store.sender_of(entry.content)
    is_outdated = False
    if entry.incoming.kind == "ServiceRequest":
        order_id, is_outdated = _write_order(session, entry, rules, sender, known)
    elif entry.incoming.kind == "DiagnosticReport":
        report = read_diagnostic_report(entry.content, rules, sender, entry.address)
        if report is not None:
            result = reports.receive_report(session, report)
            is_outdated = result.outcome is ReportOutcome.OUTDATED
    elif entry.incoming.kind == "Patient":
        before = entry.row.content if entry.row is not None else {}
        patients.apply_changes(session, before, entry.content, rules, sender)
    if is_outdated and entry.row is not None:
        return Written(entry.row, WriteOutcome.UNCHANGED)
    row, is_changed = store.save(
        session,
        entry.row,
        (entry.incoming.kind, entry.id),
        entry.content,
        entry.incoming.version,
        order_id,
        site_of_sender(session, sender),
    )
    if entry.row is None:
        return Written(row, WriteOutcome.CREATED)
    return Written(row, WriteOutcome.UPDATED if is_changed else WriteOutcome.UNCHANGED)


def _write_order(
    session: Session,
    entry: _Placed,
    rules: ReadingRules,
    sender: str,
    known: Mapping[str, Json],
) -> tuple[uuid.UUID | None, bool]:
    """Place, change or cancel the order of a ServiceRequest: our id, and whether it is outdated."""
    studies = [
        resource
        for resource in known.values()
        if resource["resourceType"] == "ImagingStudy"
        and any(one.get("reference") == entry.address for one in items(resource.get("basedOn")))
    ]
    received = read_service_request(entry.content, rules, sender, studies)
    known_order = entry.row.order_id if entry.row is not None else None
    if received is None:
        if known_order is not None:  # it was an order, and is none any more
            orders.cancel_order(session, known_order, Origin.FHIR, sender)
        return known_order, False
    result = orders.receive_order(session, received, identity=f"FHIR|resource|{entry.address}")
    return result.order_id, result.outcome is OrderOutcome.OUTDATED


def _find(session: Session, known: Mapping[str, Json], name: str) -> Json | None:
    """What a reference leads to: in the same transaction, or sent before."""
    if name in known:
        return known[name]
    kind, _, id_ = name.partition("/")
    if kind in TYPES and ID.fullmatch(id_):
        row = store.find(session, kind, id_)
        return None if row is None else row.content
    kind, _, condition = name.partition("?identifier=")
    if kind not in TYPES or "|" not in condition:
        return None
    key = store.search_key(condition)
    here = [
        resource
        for resource in known.values()
        if resource["resourceType"] == kind and key in store.all_keys(resource)
    ]
    matches = [*here, *(row.content for row in store.find_by_keys(session, kind, [key]))]
    if matches:
        return matches[0]
    if kind != "Patient":
        return None
    # The identifier is all that must be known of a patient.
    system, _, value = condition.rpartition("|")
    return {"resourceType": "Patient", "identifier": [{"system": system, "value": value}]}


def _refuse_loose_ends(entry: _Placed) -> None:
    for name in _references(entry.content):
        if name.startswith("urn:"):
            raise ResourceError(
                "a reference names an entry of a transaction, and there is none with that fullUrl",
                entry.incoming.at or entry.incoming.kind,
                "not-found",
            )


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for entry in value.values():
            yield from _references(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _references(entry)


def _with_addresses(value: Any, addresses: Mapping[str, str], base: str) -> Any:
    """A resource whose references name addresses here, where they named entries or our base."""
    if isinstance(value, Mapping):
        changed = {k: _with_addresses(entry, addresses, base) for k, entry in value.items()}
        reference = changed.get("reference")
        if isinstance(reference, str):
            changed["reference"] = addresses.get(reference) or _relative(reference, base)
        return changed
    if isinstance(value, list):
        return [_with_addresses(entry, addresses, base) for entry in value]
    return value


def _relative(reference: str, base: str) -> str:
    """A reference without our base; a proxy before us may have another scheme."""
    own, given = base.partition("://")[2], reference.partition("://")[2]
    return given.removeprefix(own) if given.startswith(own) else reference

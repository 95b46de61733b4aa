"""A ServiceRequest as an order (FHIR R4B and R5, ServiceRequest)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from records.fhir.elements import (
    Identifier,
    Json,
    ResourceError,
    clean,
    codes,
    concept_text,
    first,
    items,
    read_identifiers,
    read_time,
    read_uid,
    text,
)
from records.fhir.references import ReadingRules, read_subject
from records.orders.order import OrderAction, OrderText, ReceivedOrder
from records.section_codes import OTHER, section_of
from records.states import OrderTextSource, Origin, Priority

Value = TypeVar("Value")

ACTIONS = {
    "active": OrderAction.PLACE,
    "on-hold": OrderAction.PLACE,  # it waits, and its reason is true all the same
    "unknown": OrderAction.PLACE,
    "completed": OrderAction.COMPLETE,
    "ended": OrderAction.COMPLETE,
    "revoked": OrderAction.CANCEL,
    "entered-in-error": OrderAction.CANCEL,
    "draft": None,
}
"""What is done with an order, by ServiceRequest.status; None: it is no order yet."""

INTENTS = {
    **dict.fromkeys(
        ("order", "original-order", "reflex-order", "filler-order", "instance-order", "directive"),
        True,
    ),
    **dict.fromkeys(("proposal", "plan", "option"), False),
}
"""Whether a ServiceRequest is an order, by its intent."""

PRIORITIES = {
    "stat": Priority.STAT,
    "asap": Priority.URGENT,
    "urgent": Priority.URGENT,
    "routine": Priority.ROUTINE,
}


def read_service_request(
    resource: Json,
    rules: ReadingRules,
    sender: str,
    imaging_studies: Iterable[Json] = (),
) -> ReceivedOrder | None:
    """The order that a ServiceRequest makes.

    Args:
        resource: the resource, checked by `versions.check`.
        rules: how it is read, and where references lead.
        sender: who sent it.
        imaging_studies: ImagingStudy resources that are based on it.

    Returns:
        The order; None for what is no order: a draft, a plan, and one that says not to perform it.

    Raises:
        ResourceError: its status, intent or priority is not known, or its subject not to be found.
    """
    action = _look_up(resource, "status", ACTIONS)
    is_order = _look_up(resource, "intent", INTENTS)
    if not (action and is_order) or resource.get("doNotPerform") is True:
        return None
    subject = read_subject(resource, rules)
    numbers = read_identifiers(resource) + [
        entry for entry in read_identifiers(resource, "requisition") if rules.is_accession(entry)
    ]
    studies = [*imaging_studies, *_imaging_studies(resource, rules)]
    numbers += [entry for study in studies for entry in read_identifiers(study)]
    accessions = [entry for entry in numbers if rules.is_accession(entry)]
    priority = resource.get("priority")
    return ReceivedOrder(
        origin=Origin.FHIR,
        sender=sender,
        action=action,
        patient=subject.patient,
        other_patient_ids=subject.other_ids,
        placer_order_number=_number(_placer(resource, rules), rules),
        filler_order_number=_number(_of_type(read_identifiers(resource), "FILL"), rules),
        accession_numbers=_unique(entry.value for entry in accessions),
        accession_number_issuer=rules.accession_issuer(accessions[0]) if accessions else "",
        study_instance_uids=_unique(map(read_uid, numbers)),
        visit_number=_visit_number(resource, rules),
        texts=tuple(dict.fromkeys(read_texts(resource, rules))),
        procedure=clean(_procedure(resource)),
        priority=None if priority is None else _look_up(resource, "priority", PRIORITIES),
        scheduled_at=read_time(_occurrence(resource)),
        site=_site(resource, rules),
        sent_at=read_time(first(resource.get("meta")).get("lastUpdated")),
    )


def read_texts(resource: Json, rules: ReadingRules) -> Iterator[OrderText]:
    """What a ServiceRequest says about why, in the order of its elements."""
    for concept in items(resource.get("reasonCode")):  # R4
        yield from _reason(concept)
    for reason in items(resource.get("reason")):  # R5: a CodeableReference
        yield from _reason(first(reason.get("concept")))
        yield from _referenced(first(reason.get("reference")), resource, rules)
    for reference in items(resource.get("reasonReference")):  # R4
        yield from _referenced(reference, resource, rules)
    for entry in items(resource.get("supportingInfo")):
        reference = first(entry.get("reference")) or entry  # R5: a CodeableReference
        words = (
            concept_text(first(entry.get("concept"))),
            _describe(reference, resource, rules),
        )
        yield from _text(OrderTextSource.CLINICAL_INFORMATION, ": ".join(filter(None, words)))
    for note in items(resource.get("note")):
        yield from _text(OrderTextSource.NOTE, text(note.get("text")))


def _reason(concept: Json) -> Iterator[OrderText]:
    if words := concept_text(concept):
        yield from _text(OrderTextSource.REASON, words)
    elif names := codes(concept):
        yield from _text(OrderTextSource.REASON_CODE, ", ".join(sorted(names)))


def _referenced(reference: Json, resource: Json, rules: ReadingRules) -> Iterator[OrderText]:
    found = rules.resolve(reference, resource) or {}
    is_observed = found.get("resourceType") in ("Observation", "DiagnosticReport")
    source = OrderTextSource.CLINICAL_INFORMATION if is_observed else OrderTextSource.DIAGNOSIS
    yield from _text(source, _describe(reference, resource, rules))


def _describe(reference: Json, resource: Json, rules: ReadingRules) -> str:
    """What the resource that a reference points to says in words, else what the reference shows.

    Reports and their texts are not read here: whether one may be shown to the model is decided
    when a study is prepared, for it may be the report of that very study, or our own draft.
    """
    found = rules.resolve(reference, resource) or {}
    kind = text(found.get("resourceType"))
    if kind == "ImagingStudy":
        return ""  # it says which films, and not why
    if kind in _REPORTS or kind == "ServiceRequest" or _is_report_text(found):
        return text(reference.get("display"))
    value = first(found.get("valueCodeableConcept"))
    quantity = first(found.get("valueQuantity"))
    words = (
        concept_text(first(found.get("code"))),
        text(found.get("valueString"))
        or concept_text(value)
        or " ".join(filter(None, (str(quantity.get("value", "")), text(quantity.get("unit"))))),
    )
    return ": ".join(filter(None, words)) or text(reference.get("display"))


_REPORTS = ("DiagnosticReport", "DocumentReference", "Composition")


def _is_report_text(found: Json) -> bool:
    """Whether an Observation is a text of a report on images."""
    if found.get("resourceType") != "Observation":
        return False
    is_imaging = any("imaging" in codes(category) for category in items(found.get("category")))
    return is_imaging or bool(
        {section_of((code,), "") for code in codes(first(found.get("code")))}
        & {"findings", "impression", OTHER}
    )


def _text(source: OrderTextSource, written: str) -> Iterator[OrderText]:
    if words := clean(written):
        yield OrderText(source, words)


def _procedure(resource: Json) -> str:
    code = first(resource.get("code"))
    concept = first(code.get("concept")) or code  # R5: a CodeableReference
    return concept_text(concept) or ", ".join(sorted(codes(concept)))


def _occurrence(resource: Json) -> object:
    return (
        resource.get("occurrenceDateTime")
        or first(resource.get("occurrencePeriod")).get("start")
        or next(iter(first(resource.get("occurrenceTiming")).get("event") or ()), None)
    )


def _site(resource: Json, rules: ReadingRules) -> str:
    for element in ("locationReference", "location"):  # R4; R5: a CodeableReference
        for entry in items(resource.get(element)):
            reference = first(entry.get("reference")) or entry
            found = rules.resolve(reference, resource) or {}
            name = text(found.get("name")) or text(reference.get("display"))
            if name := name or concept_text(first(entry.get("concept"))):
                return name
    return concept_text(first(resource.get("locationCode")))


def _visit_number(resource: Json, rules: ReadingRules) -> str:
    reference = first(resource.get("encounter"))
    encounter = rules.resolve(reference, resource) or {}
    identifiers = read_identifiers(encounter) or read_identifiers(reference)
    best = _of_type(identifiers, "VN") or next(iter(identifiers), None)
    return best.value if best else ""


def _placer(resource: Json, rules: ReadingRules) -> Identifier | None:
    """The placer's number; an identifier without a type is the requester's own."""
    identifiers = read_identifiers(resource)
    untyped = (
        entry
        for entry in identifiers
        if not (entry.types or rules.is_accession(entry) or read_uid(entry))
    )
    return _of_type(identifiers, "PLAC") or next(untyped, None)


def _imaging_studies(resource: Json, rules: ReadingRules) -> Iterator[Json]:
    """The ImagingStudy resources that a request contains or names as supporting information."""
    for entry in items(resource.get("contained")):
        if entry.get("resourceType") == "ImagingStudy":
            yield entry
    for entry in items(resource.get("supportingInfo")):
        reference = first(entry.get("reference")) or entry
        found = rules.resolve(reference, resource) or {}
        is_contained = text(reference.get("reference")).startswith("#")
        if found.get("resourceType") == "ImagingStudy" and not is_contained:
            yield found


def _of_type(identifiers: Iterable[Identifier], code: str) -> Identifier | None:
    return next((entry for entry in identifiers if code in entry.types), None)


def _number(identifier: Identifier | None, rules: ReadingRules) -> str:
    return rules.number(identifier) if identifier else ""


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, values)))


def _look_up(resource: Json, element: str, table: Mapping[str, Value]) -> Value:
    """The value of a code in a table; the models do not check codes of required value sets."""
    code = text(resource.get(element))
    if code not in table:
        raise ResourceError(
            f"the {element} is none of {', '.join(table)}",
            f"ServiceRequest.{element}",
            "code-invalid",
        )
    return table[code]

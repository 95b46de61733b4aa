"""A transaction Bundle: what its entries ask for, and how they refer to each other (R4, http)."""

from __future__ import annotations

import re

from records.fhir.elements import Json, ResourceError, first, items, text
from records.fhir.receiving import ID, TYPES, Incoming
from records.fhir.versions import FhirVersion

MAX_ENTRIES = 1000
"""Entries of a transaction. It is one transaction of the database, which locks what it changes."""


def read_transaction(bundle: Json, version: FhirVersion) -> tuple[list[Incoming], dict[str, int]]:
    """The resources of a transaction.

    Args:
        bundle: the Bundle, checked by `versions.check`.
        version: by which models.

    Returns:
        The resources in their order, and the addresses by which they refer to each other with their
        places.

    Raises:
        ResourceError: it is no transaction, is too long, or asks for what is not served.
    """
    if bundle.get("resourceType") != "Bundle" or bundle.get("type") != "transaction":
        raise ResourceError(
            "only a Bundle of the type transaction is taken here; a resource is sent to its type, "
            "as /fhir/ServiceRequest",
            "Bundle.type",
            "not-supported",
        )
    entries = items(bundle.get("entry"))
    if len(entries) > MAX_ENTRIES:
        raise ResourceError(
            f"a transaction has {MAX_ENTRIES} entries at most", "Bundle.entry", "too-costly"
        )
    incoming = [_read_entry(entry, number, version) for number, entry in enumerate(entries)]
    full_urls: dict[str, int] = {}
    for number, entry in enumerate(entries):
        url = text(entry.get("fullUrl"))
        if url and url in full_urls:
            raise ResourceError(
                "two entries have one fullUrl", f"Bundle.entry[{number}].fullUrl", "duplicate"
            )
        if url:
            full_urls[url] = number
    # A relative reference may name an entry that is given its id here.
    for number, entry in enumerate(entries):
        resource = first(entry.get("resource"))
        if incoming[number].id == "" and text(resource.get("id")):
            full_urls.setdefault(f"{resource['resourceType']}/{resource['id']}", number)
    return incoming, full_urls


def _read_entry(entry: Json, number: int, version: FhirVersion) -> Incoming:
    at = f"Bundle.entry[{number}]"
    request, resource = first(entry.get("request")), first(entry.get("resource"))
    method, url = text(request.get("method")), text(request.get("url"))
    if method not in ("POST", "PUT"):
        raise ResourceError(
            "only POST and PUT are taken in a transaction", f"{at}.request.method", "not-supported"
        )
    kind, _, id_ = url.partition("/")
    if not resource or resource.get("resourceType") != kind:
        raise ResourceError(
            "the entry has no resource of the type that its url names; a PUT names an id, too, as "
            "ServiceRequest/17",
            f"{at}.request.url",
            "invalid",
        )
    if kind not in TYPES:
        raise ResourceError(
            f"{kind} is not taken here; taken are {', '.join(TYPES)}",
            f"{at}.resource",
            "not-supported",
        )
    is_put = method == "PUT"
    if bool(id_) != is_put or (is_put and (not ID.fullmatch(id_) or resource.get("id") != id_)):
        raise ResourceError(
            "a PUT names the id of its resource, as ServiceRequest/17, and a POST none",
            f"{at}.request.url",
            "invalid",
        )
    return Incoming(
        resource,
        version,
        id_,
        read_etag(text(request.get("ifMatch")), f"{at}.request.ifMatch"),
        text(request.get("ifNoneExist")),
        f"{at}.resource",
    )


def read_etag(tag: str, at: str) -> int | None:
    """The version that an ETag names, as `W/"3"`; None for no tag.

    Raises:
        ResourceError: it is no ETag that was given here.
    """
    if not tag:
        return None
    match = re.fullmatch(r'(?:W/)?"?(\d{1,9})"?', tag)
    if match is None:
        raise ResourceError("the ETag is none that was given here", at, "conflict")
    return int(match[1])

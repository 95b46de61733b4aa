"""How a row of the trail is written for its digest, which its seal is made of.

The seals cover two tables: the entries of the trail, and the timelines of studies.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import uuid
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, select

from records.database.audit_tables import AuditEntry
from records.database.tables import Event

FORM = 1
"""The form below. A column that comes later makes another form; seals keep the one they have."""


class Source(StrEnum):
    """The tables that are sealed."""

    ENTRIES = "audit_entries"
    EVENTS = "events"


TABLES: dict[Source, type[AuditEntry] | type[Event]] = {
    Source.ENTRIES: AuditEntry,
    Source.EVENTS: Event,
}

_COLUMNS: dict[Source, tuple[str, ...]] = {
    Source.ENTRIES: (
        "id",
        "at",
        "action",
        "outcome",
        "actor_kind",
        "actor_name",
        "actor_id",
        "actor_address",
        "study_ids",
        "patients",
        "detail",
    ),
    Source.EVENTS: (
        "id",
        "at",
        "study_id",
        "request_id",
        "kind",
        "detail",
        "reason",
        "worker",
        "actor_kind",
        "actor_name",
        "actor_id",
        "actor_address",
    ),
}


def select_rows(source: Source) -> Select[Any]:
    """The columns of a table that are sealed; the id is the first."""
    table = TABLES[source]
    return select(*(getattr(table, name) for name in _COLUMNS[source]))


def id_of(source: Source) -> ColumnElement[int]:
    """The id of a table."""
    column: ColumnElement[int] = TABLES[source].__table__.c.id
    return column


def row_digest(source: Source, row: Row[Any]) -> bytes:
    """SHA-256 of a row: of its table and columns as a list in JSON, in ASCII without spaces."""
    written = json.dumps([source, *map(_plain, row)], separators=(",", ":"))
    return hashlib.sha256(written.encode("ascii")).digest()


def _plain(value: object) -> object:
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat(timespec="microseconds")
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value


def write_spans(ids: Iterable[int]) -> str:
    """Ids, which are in order, as a seal writes them: `1-7,9-9`; "" for none."""
    spans: list[list[int]] = []
    for one in ids:
        if spans and one == spans[-1][1] + 1:
            spans[-1][1] = one
        else:
            spans.append([one, one])
    return ",".join(f"{first}-{last}" for first, last in spans)


def read_spans(written: str) -> list[tuple[int, int]]:
    """The spans that `write_spans` wrote, each as its first and its last id.

    What is written otherwise, by who changed a seal, gives none: the seal is wrong in any case.
    """
    matches = (re.fullmatch(r"(\d{1,18})-(\d{1,18})", span) for span in written.split(","))
    return [(int(match[1]), int(match[2])) for match in matches if match]

"""Finds studies by what a person types: a number, the beginning of a number or name, or words.

No query here walks the studies: each reads an index, and no more than MATCHES of its entries are
taken. What was typed is compared without regard to capital letters:

1. A whole patient id, accession number or Study Instance UID. Where one is equal, nothing else is
   shown.
2. The beginning of a patient id, of an accession number, or of a name, family name first; and whole
   words of these three, all of them, in any order.

A name is found as DICOM writes it and as a page prints it, with accents or without, and in each of
its groups (`records.database.search_forms`).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Select,
    Text,
    cast,
    collate,
    func,
    literal,
    literal_column,
    or_,
    select,
    union,
)
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.orm import Session

from records.database.search_forms import (
    HAS_DIGRAPHS,
    HAS_IDEOGRAPHIC,
    HAS_PHONETIC,
    SEARCHED_ACCESSION_NUMBER,
    SEARCHED_DIGRAPHS,
    SEARCHED_IDEOGRAPHIC,
    SEARCHED_NAME,
    SEARCHED_PATIENT_ID,
    SEARCHED_PHONETIC,
    SEARCHED_WORDS,
)
from records.database.tables import Study
from records.workflow.site_scope import is_visible

MATCHES = 500
"""Studies that a search finds, at most."""

_LAST_CHARACTER = "\U0010ffff"
"""Nothing sorts behind it."""


@dataclass(frozen=True, slots=True)
class Matches:
    """What a search found.

    Attributes:
        study_ids: our own ids, MATCHES at most, in no order.
        exact: a whole patient id, accession number or study UID is what was typed.
        capped: there are more studies than these.
    """

    study_ids: list[uuid.UUID]
    exact: bool
    capped: bool


def find_exactly(session: Session, typed: str) -> Sequence[Study]:
    """The studies with exactly this patient id, accession number or Study Instance UID, or our id.

    They are MATCHES + 1 at most, the newest first, of all sites that are shown.
    """
    with suppress(ValueError):  # a DICOM UID is no UUID
        ours = select(Study).where(Study.id == uuid.UUID(typed), is_visible(Study.site_id))
        if found := session.scalars(ours).all():
            return found
    newest = (Study.first_received_at.desc(), Study.id.desc())
    equal = select(Study).where(Study.id.in_(_equal(typed)))
    return session.scalars(equal.order_by(*newest).limit(MATCHES + 1)).all()


def find_studies(session: Session, typed: str) -> Matches:
    """The studies that what a person typed may mean; it is not blank."""
    equal = list(session.scalars(_equal(typed).limit(MATCHES + 1)))
    found = equal or list(session.scalars(_alike(session, typed).limit(MATCHES + 1)))
    return Matches(found[:MATCHES], exact=bool(equal), capped=len(found) > MATCHES)


def _equal(typed: str) -> Select[uuid.UUID]:
    return select(Study.id).where(
        or_(
            _searched(SEARCHED_PATIENT_ID) == _capitals(typed),
            _searched(SEARCHED_ACCESSION_NUMBER) == _capitals(typed),
            Study.study_instance_uid == typed,
        ),
        is_visible(Study.site_id),
    )


def _alike(session: Session, typed: str) -> Select[uuid.UUID]:
    plain, spelled = session.execute(
        select(func.search_form(typed, False), func.search_form(typed, True))
    ).one()
    beginnings = [
        _beginning(SEARCHED_PATIENT_ID, _capitals(typed)),
        _beginning(SEARCHED_ACCESSION_NUMBER, _capitals(typed)),
    ]
    if plain:
        joined = plain.replace(" ", "")
        beginnings += [
            _beginning(SEARCHED_NAME, _plain(plain)),
            _beginning(SEARCHED_DIGRAPHS, _plain(spelled), HAS_DIGRAPHS),
            _beginning(SEARCHED_IDEOGRAPHIC, _plain(joined), HAS_IDEOGRAPHIC),
            _beginning(SEARCHED_PHONETIC, _plain(joined), HAS_PHONETIC),
            _having(plain.split(), spelled.split()),
        ]
        if spelled != plain:  # Müller was typed, and the name is Mueller
            beginnings.append(_beginning(SEARCHED_NAME, _plain(spelled)))
    return select(union(*beginnings).subquery().c.id)


def _beginning(
    expression: str, typed: ColumnElement[str], is_indexed: str | None = None
) -> Select[Any]:
    """Studies with a text that begins so, in the order of its index.

    A range and not LIKE: of LIKE the planner expects few matches, and it would sort all of them.

    Args:
        expression: the text, as its index has it.
        typed: the beginning.
        is_indexed: which studies the index holds; None where it holds all.
    """
    searched = _searched(expression)
    hits = select(Study.id).where(
        searched >= typed, searched < typed + _LAST_CHARACTER, is_visible(Study.site_id)
    )
    if is_indexed is not None:
        hits = hits.where(literal_column(is_indexed, Boolean))
    hits = hits.order_by(searched).limit(MATCHES + 1)
    return select(hits.subquery().c.id)


def _having(plain: list[str], spelled: list[str]) -> Select[Any]:
    """Studies that have all of these words, each in one of its two spellings."""
    # No word holds a quote or a backslash.
    pairs = zip(plain, spelled, strict=True)
    query = " & ".join(f"('{word}' | '{other}')" for word, other in pairs)
    hits = (
        select(Study.id)
        .where(
            literal_column(SEARCHED_WORDS).op("@@")(cast(query, TSQUERY)), is_visible(Study.site_id)
        )
        .cte("having")
        # A limit inside would let the planner walk the studies, in the hope of many hits.
        .prefix_with("MATERIALIZED")
    )
    return select(hits.c.id).limit(MATCHES + 1)


def _plain(form: str) -> ColumnElement[str]:
    return collate(literal(form), "C")


def _capitals(typed: str) -> ColumnElement[str]:
    """As the indexes of ids and numbers have them: only a to z have capitals."""
    return func.upper(collate(literal(typed), "C"))


def _searched(expression: str) -> ColumnElement[str]:
    return literal_column(expression, Text)

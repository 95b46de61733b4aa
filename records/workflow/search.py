"""Finds studies by what a person types: a number, the beginning of a number or name, or words.

No query here walks the studies: each reads an index, and no more than MATCHES of its entries are
taken. What was typed is compared without regard to capital letters:

1. A whole patient id, accession number or Study Instance UID. Where one is equal, nothing else is
   shown.
2. The beginning of a patient id, of an accession number, or of a name as DICOM writes it, family
   name first; and whole words of these three, all of them, in any order.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
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

from records.database.tables import (
    SEARCH_SEPARATORS,
    SEARCHED_ACCESSION_NUMBER,
    SEARCHED_NAME,
    SEARCHED_PATIENT_ID,
    SEARCHED_WORDS,
    Study,
)

MATCHES = 500
"""Studies that a search finds, at most."""

# A backslash parts the values of a header and is in no word (PS3.5, 6.2).
_TO_SPACES = str.maketrans(dict.fromkeys(SEARCH_SEPARATORS + "\\", " "))

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


def find_studies(session: Session, typed: str) -> Matches:
    """The studies that what a person typed may mean; it is not blank."""
    equal = list(session.scalars(_equal(typed).limit(MATCHES + 1)))
    found = equal or list(session.scalars(_alike(typed).limit(MATCHES + 1)))
    return Matches(found[:MATCHES], exact=bool(equal), capped=len(found) > MATCHES)


def _equal(typed: str) -> Select[uuid.UUID]:
    return select(Study.id).where(
        or_(
            _searched(SEARCHED_PATIENT_ID) == _capitals(typed),
            _searched(SEARCHED_ACCESSION_NUMBER) == _capitals(typed),
            Study.study_instance_uid == typed,
        )
    )


def _alike(typed: str) -> Select[uuid.UUID]:
    words = typed.translate(_TO_SPACES).split()
    beginnings = [
        _beginning(_searched(SEARCHED_PATIENT_ID), _capitals(typed)),
        _beginning(_searched(SEARCHED_ACCESSION_NUMBER), _capitals(typed)),
    ]
    if words:
        beginnings.append(_beginning(_searched(SEARCHED_NAME), func.lower(" ".join(words))))
        beginnings.append(_having(words))
    return select(union(*beginnings).subquery().c.id)


def _beginning(searched: ColumnElement[str], typed: ColumnElement[str]) -> Select[Any]:
    """Studies with a text that begins so, in the order of its index.

    A range and not LIKE: of LIKE the planner expects few matches, and it would sort all of them.
    """
    hits = (
        select(Study.id)
        .where(searched >= typed, searched < typed + _LAST_CHARACTER)
        .order_by(searched)
        .limit(MATCHES + 1)
        .subquery()
    )
    return select(hits.c.id)


def _having(words: list[str]) -> Select[Any]:
    """Studies that have all of these words."""
    # No word holds a quote or a backslash.
    query = func.lower(" & ".join(f"'{word}'" for word in words))
    hits = (
        select(Study.id)
        .where(literal_column(SEARCHED_WORDS).op("@@")(cast(query, TSQUERY)))
        .cte("having")
        # A limit inside would let the planner walk the studies, in the hope of many hits.
        .prefix_with("MATERIALIZED")
    )
    return select(hits.c.id).limit(MATCHES + 1)


def _capitals(typed: str) -> ColumnElement[str]:
    """As the indexes of ids and numbers have them: only a to z have capitals."""
    return func.upper(collate(literal(typed), "C"))


def _searched(expression: str) -> ColumnElement[str]:
    return literal_column(expression, Text)

"""Which patients of other sites the present work may show, because of an emergency.

The web server sets it for each request (`records.accounts.emergencies` reads it). Parts and
commands, which are limited to no sites, have none.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

MARK = "emergency "
"""How an entry of the trail about an emergency begins, before the id of the access."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A patient of another site who may be seen.

    Attributes:
        access_id: the row that says who opened it and why.
        study_ids: the patient's studies of other sites than the person's own.
        study_id: the one by which it was opened.
        until: when it ends.
        reason: as the person typed it.
    """

    access_id: uuid.UUID
    study_ids: frozenset[uuid.UUID]
    study_id: uuid.UUID
    until: dt.datetime
    reason: str


_current: ContextVar[tuple[Grant, ...]] = ContextVar("_current", default=())


def current_grants() -> tuple[Grant, ...]:
    """What the present work may show besides the visible sites."""
    return _current.get()


@contextmanager
def granted(grants: Sequence[Grant]) -> Iterator[None]:
    """Let everything within the block show these patients, too."""
    token = _current.set(tuple(grants))
    try:
        yield
    finally:
        _current.reset(token)


def granted_studies() -> frozenset[uuid.UUID]:
    """The studies of all of these patients."""
    return frozenset().union(*(grant.study_ids for grant in _current.get()))


def grant_of(study_id: uuid.UUID) -> Grant | None:
    """By which grant a study is shown; None where it needs none."""
    return next((grant for grant in _current.get() if study_id in grant.study_ids), None)


def mark(access_ids: Collection[uuid.UUID], detail: str) -> str:
    """The detail of an entry of the trail about an emergency."""
    return f"{MARK}{' '.join(sorted(map(str, access_ids)))}: {detail}"

"""Ids that another system gave up for another one: who is the same person under two ids.

An alias is written by a merge (`records.patient_changes`). It never names an id that is itself
retired, so that one look is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.database.order_tables import PatientAlias
from records.workflow.identifiers import PatientId, plain_key
from records.workflow.patients import Patient


def find_alias(session: Session, given: PatientId) -> PatientAlias | None:
    """The alias of a retired id; None where it is not retired, or was given to two persons.

    A blank issuer does not contradict, on either side.
    """
    if not given.id.strip():
        return None
    aliases = session.scalars(
        select(PatientAlias).where(PatientAlias.retired_id == plain_key(given.id))
    ).all()
    issuer = plain_key(given.issuer)
    fitting = [
        row
        for row in aliases
        if not (issuer and row.retired_issuer) or row.retired_issuer == issuer
    ]
    survivors = {(plain_key(row.surviving_id), plain_key(row.surviving_issuer)) for row in fitting}
    return fitting[0] if len(survivors) == 1 else None


def resolve_id(session: Session, given: PatientId) -> PatientId:
    """The surviving id of a retired one; any other id comes back as it is."""
    alias = find_alias(session, given)
    return given if alias is None else PatientId(alias.surviving_id, alias.surviving_issuer)


def surviving_patient(alias: PatientAlias) -> Patient:
    """The patient that an alias stands for, as the merge named him."""
    return Patient(
        alias.surviving_id,
        alias.surviving_issuer,
        alias.surviving_name,
        alias.surviving_birth_date,
        alias.surviving_sex,
    )


def resolve_columns(session: Session, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The columns of orders or reports; what came under a retired id is the surviving patient's.

    Any other columns come back as they are.
    """
    ids = {plain_key(columns["patient_id"]) for columns in rows} - {""}
    retired = set(
        session.scalars(select(PatientAlias.retired_id).where(PatientAlias.retired_id.in_(ids)))
    )
    return [
        _resolve(session, columns) if plain_key(columns["patient_id"]) in retired else columns
        for columns in rows
    ]


def _resolve(session: Session, columns: dict[str, Any]) -> dict[str, Any]:
    alias = find_alias(session, PatientId(columns["patient_id"], columns["patient_id_issuer"]))
    if alias is None:
        return columns
    shown = surviving_patient(alias).columns()
    words = {name: value for name, value in shown.items() if value}
    return {**columns, **words, "patient_id_issuer": alias.surviving_issuer}


def list_ids(session: Session, given: PatientId) -> list[PatientId]:
    """All ids of a person as far as merges say: the surviving one first, then those retired.

    What is found under one of them (a prior report, an order) is the same person's.
    """
    surviving = resolve_id(session, given)
    rows = session.scalars(
        select(PatientAlias)
        .where(PatientAlias.surviving_id == surviving.id)
        .order_by(PatientAlias.retired_id, PatientAlias.retired_issuer)
    ).all()
    retired = [
        PatientId(row.retired_id, row.retired_issuer)
        for row in rows
        if not PatientId(row.surviving_id, row.surviving_issuer).contradicts(surviving)
    ]
    return [surviving, *retired]


def are_same_person(session: Session, given: PatientId, others: Sequence[PatientId]) -> bool:
    """Whether an id is one of a person's, by itself or by a merge."""
    if any(not given.contradicts(other) for other in others):
        return True
    surviving = resolve_id(session, given)
    return any(not surviving.contradicts(resolve_id(session, other)) for other in others)

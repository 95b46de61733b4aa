"""Which orders count for which study: by accession number or study UID, and by patient.

Another study UID with the right accession number is usual: modalities make UIDs of their own. So an
order's study UID alone never excludes a study.

Accession numbers are unique by their issuer alone. So an order and a study that are known to be of
different sites and share nothing but a number without an issuer are two examinations, unless the
patient is the same one: then a person decides. Nothing is ever matched over a border between sites.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterable, Sequence

from sqlalchemy import and_, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.order_tables import Order, OrderChange, OrderKey, StudyOrder
from records.database.site_tables import DEFAULT_SITE_ID
from records.database.tables import Study
from records.states import ChangeOrigin, EventKind, HoldReason, MatchState, OrderChangeKind
from records.workflow import events, holds, study_sites
from records.workflow.identifiers import KeyKind, make_keys, patient_ids, plain_key
from records.workflow.patients import Patient
from records.workflow.study_lookup import find_study_ids, is_of_patient, study_keys

COUNTING = (MatchState.MATCHED, MatchState.ACCEPTED)
"""The states of an order that is the study's: a draft is made from its texts while it is not
cancelled."""

_LOCK_CLASS = 12
_LOCK_BUCKETS = 1024
"""Locks of keys: so many, at most, that an import of many orders does not fill the lock table."""

_HOLD = text(
    "SELECT pg_advisory_xact_lock_shared(:lock_class, bucket)"
    " FROM unnest(CAST(:buckets AS integer[])) AS bucket"
)
_WAIT = text("SELECT wait_for_locks(:lock_class, CAST(:buckets AS integer[]))")


def order_patient(order: Order) -> Patient:
    """The patient of an order."""
    return Patient(
        order.patient_id,
        order.patient_id_issuer,
        order.patient_name,
        order.patient_birth_date,
        order.patient_sex,
    )


def is_for_patient(session: Session, order: Order, study: Study) -> bool:
    """Whether an order may be for the patient of a study; see `study_lookup.is_of_patient`."""
    return is_of_patient(session, study, order_patient(order), patient_ids(order))


def order_keys(order: Order) -> set[tuple[str, str]]:
    """The keys by which an order's studies are found."""
    return make_keys(accession=order.accession_numbers, study=order.study_instance_uids)


def shared_key(order: Order, study: Study) -> KeyKind | None:
    """By which kind of key an order and a study belong together; None where they do not.

    The same accession number of two issuers that are both given and differ is two numbers.
    """
    shared = order_keys(order) & study_keys(study)
    issuers = plain_key(order.accession_number_issuer), plain_key(study.accession_number_issuer)
    if all(issuers) and issuers[0] != issuers[1]:
        shared = {key for key in shared if key[0] != KeyKind.ACCESSION}
    kinds = {kind for kind, _ in shared}
    return next((kind for kind in (KeyKind.ACCESSION, KeyKind.STUDY) if kind in kinds), None)


def has_unique_key(order: Order, study: Study) -> bool:
    """Whether an order and a study share a key that is unique in the world.

    It is a study UID, or an accession number of which both give the same issuer.
    """
    issuers = {plain_key(order.accession_number_issuer), plain_key(study.accession_number_issuer)}
    kinds = {kind for kind, _ in order_keys(order) & study_keys(study)}
    return KeyKind.STUDY in kinds or (
        KeyKind.ACCESSION in kinds and len(issuers) == 1 and issuers != {""}
    )


def hold_keys(session: Session, keys: Iterable[tuple[str, str]]) -> None:
    """Say, until the transaction ends, that orders with these keys are being committed.

    Who takes orders in calls it before he looks for studies; see `wait_for_keys`.
    """
    session.execute(_HOLD, {"lock_class": _LOCK_CLASS, "buckets": _buckets(keys)})


def wait_for_keys(session: Session, keys: Iterable[tuple[str, str]]) -> None:
    """Wait until no order with one of these keys is being committed that has looked for studies.

    An order that begins later finds the study, which is committed, and waits for the study's lock.
    Nothing may be locked yet in this transaction. Each key's lock is given back at once, so that
    nobody ever waits for who waits here.
    """
    session.execute(_WAIT, {"lock_class": _LOCK_CLASS, "buckets": _buckets(keys)})


def _buckets(keys: Iterable[tuple[str, str]]) -> list[int]:
    return sorted({zlib.crc32("|".join(key).encode()) % _LOCK_BUCKETS for key in keys})


def find_orders(session: Session, study: Study) -> Sequence[Order]:
    """The orders with one of the study's keys, newest first, whoever the patient is.

    Orders that were matched with the study before are among them.
    """
    keys = sorted(study_keys(study))
    by_key = select(OrderKey.order_id).where(
        or_(*(and_(OrderKey.kind == kind, OrderKey.value == value) for kind, value in keys))
    )
    matched = select(StudyOrder.order_id).where(StudyOrder.study_id == study.id)
    return session.scalars(
        select(Order)
        .where(Order.id.in_(by_key.union(matched)))
        .order_by(Order.changed_at.desc(), Order.id.desc())
    ).all()


def may_have_orders(session: Session, studies: Sequence[Study]) -> set[uuid.UUID]:
    """Those of the studies, by our ids, for which `match_study` may find an order.

    An order has one of their keys, or was matched with them before. Many studies of a site without
    orders cost three queries together.
    """
    found = set(
        session.scalars(
            select(StudyOrder.study_id).where(
                StudyOrder.study_id.in_([study.id for study in studies])
            )
        )
    )
    keys = {study.id: study_keys(study) for study in studies}
    for kind in (KeyKind.ACCESSION, KeyKind.STUDY):
        values = {value for of_study in keys.values() for key, value in of_study if key == kind}
        known = {
            (kind.value, value)
            for value in session.scalars(
                select(OrderKey.value).where(OrderKey.kind == kind, OrderKey.value.in_(values))
            )
        }
        found |= {study_id for study_id, of_study in keys.items() if of_study & known}
    return found


def find_studies(session: Session, order: Order) -> list[uuid.UUID]:
    """Our ids of the studies with one of the order's keys, or matched before, in order of id."""
    matched = session.scalars(select(StudyOrder.study_id).where(StudyOrder.order_id == order.id))
    by_key = find_study_ids(session, order.accession_numbers, order.study_instance_uids)
    return sorted({*by_key, *matched})


def orders_with_studies(session: Session, orders: Sequence[Order]) -> list[Order]:
    """Those of the orders that may have studies; most come before their images and have none."""
    matched = set(
        session.scalars(
            select(StudyOrder.order_id).where(
                StudyOrder.order_id.in_([order.id for order in orders])
            )
        )
    )
    keyed = find_study_ids(
        session,
        [number for order in orders for number in order.accession_numbers],
        [uid for order in orders for uid in order.study_instance_uids],
    )
    return list(orders) if keyed else [order for order in orders if order.id in matched]


def match(
    session: Session, study: Study, order: Order, by_patient: bool = False
) -> MatchState | None:
    """Keep whether an order counts for a study.

    An order with the study's accession number that is for another patient opens a hold, and so does
    one of another site, unless nothing but a number without an issuer points to the study: then the
    timeline says so, and the order does not count. What a person decided stays, but for an order
    that was refused and now names the study's patient. A match whose key is no longer shared ends,
    as after a correction of the accession number. Where one of the two is known to be of a site,
    the other one belongs to it, too.

    Args:
        session: the caller's transaction.
        study: the study, locked.
        order: an order with one of the study's keys, or one that was matched with it before.
        by_patient: a worklist gave it for the study's patient and date; they share no key.

    Returns:
        The state that is kept; None where the two have nothing to do with each other.
    """
    known = session.get(StudyOrder, (study.id, order.id), populate_existing=True)
    key = shared_key(order, study)
    if known is not None and known.state == MatchState.ACCEPTED:
        return MatchState.ACCEPTED
    is_theirs = is_for_patient(session, order, study)
    if (
        key is None
        and is_theirs
        and (by_patient or (known and known.matched_by == KeyKind.PATIENT))
    ):
        key = KeyKind.PATIENT
    if key is None:
        if known is not None:
            session.execute(
                delete(StudyOrder).where(
                    StudyOrder.study_id == study.id, StudyOrder.order_id == order.id
                )
            )
            session.expunge(known)
            events.append_event(
                session, study.id, EventKind.ORDER, f"no longer its order: by {order.origin}"
            )
        return None
    is_foreign = study_sites.are_of_two_sites(study, order.site_id)
    if known is not None and known.state == MatchState.REFUSED and (is_foreign or not is_theirs):
        return MatchState.REFUSED
    if is_foreign and not is_theirs and not has_unique_key(order, study):
        state = MatchState.OTHER_SITE
    elif is_foreign or not is_theirs:
        state = MatchState.MISMATCH
    else:
        state = MatchState.MATCHED
        _share_site(session, study, order)
    if known is not None and known.state == state:
        return state
    session.execute(
        insert(StudyOrder)
        .values(study_id=study.id, order_id=order.id, state=state, matched_by=key)
        .on_conflict_do_update(
            index_elements=["study_id", "order_id"],
            set_={"state": state, "matched_by": key, "matched_at": func.clock_timestamp()},
        )
    )
    if state is MatchState.MISMATCH:
        detail = f"by {order.origin} from {order.sender}"
        if is_foreign:
            detail += ", which is of another site"
        holds.open_hold(session, study.id, HoldReason.ORDER_MISMATCH, detail)
    words = state.lower().replace("_", " ")
    events.append_event(session, study.id, EventKind.ORDER, f"{words}: order by {order.origin}")
    return state


def _share_site(session: Session, study: Study, order: Order) -> None:
    """Let an order and its study belong to one site; the order's history says what it got."""
    if not study_sites.share_site(session, study, order):
        return
    session.execute(
        insert(OrderChange).values(
            order_id=order.id,
            kind=OrderChangeKind.CHANGED,
            origin=ChangeOrigin.STUDY,
            sender=study.study_instance_uid,
            old_values={"site_id": str(DEFAULT_SITE_ID)},
            new_values={"site_id": str(study.site_id)},
        )
    )


def matched_orders(session: Session, study_id: uuid.UUID) -> Sequence[Order]:
    """The orders that are the study's, newest first, cancelled ones among them."""
    return session.scalars(
        select(Order)
        .join(StudyOrder, StudyOrder.order_id == Order.id)
        .where(StudyOrder.study_id == study_id, StudyOrder.state.in_(COUNTING))
        .order_by(Order.changed_at.desc(), Order.id.desc())
    ).all()


def match_study(session: Session, study: Study) -> list[Order]:
    """Match all orders with a study's keys; the caller has locked the study.

    The sweep calls it for a study that is complete. Preparing calls it again after `wait_for_keys`:
    an order that was being committed while the sweep looked is found then.

    Returns:
        The orders that are the study's; see `matched_orders`.
    """
    orders = [
        order for order in find_orders(session, study) if match(session, study, order) in COUNTING
    ]
    close_settled_hold(session, study)
    return orders


def list_mismatches(session: Session, study_id: uuid.UUID) -> Sequence[Order]:
    """The orders that an open ORDER_MISMATCH hold of the study is about, newest first."""
    return session.scalars(
        select(Order)
        .join(StudyOrder, StudyOrder.order_id == Order.id)
        .where(StudyOrder.study_id == study_id, StudyOrder.state == MatchState.MISMATCH)
        .order_by(Order.changed_at.desc(), Order.id.desc())
    ).all()


def decide_mismatches(session: Session, study: Study, by: str, *, is_accepted: bool) -> None:
    """Keep what a person decided about the orders of an ORDER_MISMATCH hold.

    It holds for later messages about the same orders, too, and nobody is asked again. The caller
    lets the orders take effect.

    Args:
        session: the caller's transaction.
        study: the study, locked.
        by: who decided.
        is_accepted: whether the orders are the study's, or another patient's.
    """
    session.execute(
        update(StudyOrder)
        .where(StudyOrder.study_id == study.id, StudyOrder.state == MatchState.MISMATCH)
        .values(
            state=MatchState.ACCEPTED if is_accepted else MatchState.REFUSED,
            decided_by=by,
            matched_at=func.clock_timestamp(),
        )
        .execution_options(synchronize_session=False)
    )


def close_settled_hold(session: Session, study: Study) -> None:
    """Close the study's ORDER_MISMATCH hold where no order is left that it is about."""
    hold = holds.find_open(session, study.id, HoldReason.ORDER_MISMATCH)
    if hold is not None and not list_mismatches(session, study.id):
        holds.settle(session, hold, "the order or the study was corrected")

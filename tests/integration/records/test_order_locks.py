"""Orders, films, merges and workers at once: none waits for another for ever, and none is lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from sqlalchemy import func, select

from records.database.order_tables import Order, StudyOrder
from records.database.session import unit_of_work
from records.database.tables import Study
from records.orders import effects
from records.orders.receiving import receive_orders
from records.patient_changes import correct_patient, merge_patients
from records.states import MatchState, Origin, Stage
from records.workflow import leases, registrations, studies
from records.workflow.identifiers import PatientId
from records.workflow.patients import Patient
from tests.support.ordered_studies import new_order
from tests.support.registered_studies import new_instance

SECONDS = 4.0
STUDIES = 6

Action = Callable[[random.Random], None]


def _run_at_once(*actions: Action) -> tuple[list[BaseException], list[int]]:
    """Do each action again and again in a thread of its own; returns errors, and how often."""
    deadline = time.monotonic() + SECONDS
    problems: list[BaseException] = []
    counts = [0] * len(actions)

    def repeat(place: int) -> None:
        chance = random.Random(place)
        try:
            while time.monotonic() < deadline and not problems:
                actions[place](chance)
                counts[place] += 1
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=repeat, args=(place,)) for place in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS + 60)
    return problems, counts


def _take_orders(chance: random.Random) -> None:
    numbers = chance.sample(range(STUDIES), 3)
    orders = [
        new_order(
            placer_order_number=str(number),
            accession_numbers=(f"A{number}", f"A{(number + 1) % STUDIES}"),
            site=str(chance.random()),
        )
        for number in numbers
    ]
    with unit_of_work() as session:
        receive_orders(session, orders)


def _file_film(chance: random.Random) -> None:
    number = chance.randrange(STUDIES)
    film = new_instance(f"1.{number}", accession_number=f"A{number}")
    with unit_of_work() as session:
        registrations.register_instance(session, film)


def _sweep(chance: random.Random) -> None:
    with unit_of_work() as session:
        effects.take_up_closed(session, studies.close_quiet(session, 0.0))


def _prepare(chance: random.Random) -> None:
    with unit_of_work() as session:
        claimed = leases.claim(session, Stage.PREPARE, "w", 1, 60)
    for lease in claimed:
        with unit_of_work() as session:
            effects.take_up_for_preparing(session, lease.study_id)
        with unit_of_work() as session:
            leases.release(session, [lease], "tried")


def _change_patient(chance: random.Random) -> None:
    named = Patient("P-1", "", f"PHANTOM^{chance.choice('ABC')}")
    with unit_of_work() as session:
        ids = [PatientId("P-1")]
        if chance.random() < 0.5:
            correct_patient(session, Origin.HL7, "ADT", ids, named, None)
        else:
            merge_patients(session, Origin.HL7, "ADT", named, ids, [PatientId("P-9")], None)


def test_no_deadlock_and_each_order_is_matched(database):
    problems, counts = _run_at_once(
        _take_orders, _take_orders, _file_film, _sweep, _prepare, _change_patient
    )
    assert not problems, problems[0]
    assert all(counts), counts
    _sweep(random.Random())
    with unit_of_work() as session:
        orders = session.scalars(select(Order)).all()
        filed = {row.accession_number: row.id for row in session.scalars(select(Study))}
        matched = {
            tuple(row) for row in session.execute(select(StudyOrder.order_id, StudyOrder.study_id))
        }
        wrong = session.scalar(
            select(func.count())
            .select_from(StudyOrder)
            .where(StudyOrder.state != MatchState.MATCHED)
        )
    expected = {
        (order.id, filed[number])
        for order in orders
        for number in order.accession_numbers
        if number in filed
    }
    assert (matched, wrong) == (expected, 0)

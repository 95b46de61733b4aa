"""Which orders count for which study, and that none is missed that is being committed."""

import threading

from sqlalchemy import event, select, text

from records.database.order_tables import StudyOrder
from records.database.session import engine, unit_of_work
from records.database.tables import Hold, Study
from records.orders import effects, matching
from records.orders.receiving import receive_order
from records.states import Decision, MatchState
from records.workflow import registrations, studies
from records.workflow.patients import Patient
from tests.support.ordered_studies import close, complete, new_order, receive
from tests.support.registered_studies import OTHER_PATIENT, new_instance, register
from tests.support.waiting import eventually


def states():
    with unit_of_work() as session:
        return sorted(session.scalars(select(StudyOrder.state)))


def test_the_sweep_matches_a_study_with_the_order_that_came_before_it(database):
    order_id = receive(accession_numbers=("A7",)).order_id
    (study_id,) = complete(new_instance(accession_number=" a7 "))
    with unit_of_work() as session:
        (order,) = effects.counting_orders(session, study_id)
        row = session.get(StudyOrder, (study_id, order_id))
        assert (order.id, row.matched_by) == (order_id, "ACCESSION")


def test_another_study_uid_with_the_right_accession_number_is_matched(database):
    receive(study_instance_uids=("9.9.9",))
    complete(new_instance("1.2.3"))
    assert states() == [MatchState.MATCHED]
    # And the study UID alone is enough where the modality sends no accession number.
    receive(placer_order_number="78", accession_numbers=(), study_instance_uids=("4.5.6",))
    complete(new_instance("4.5.6", accession_number=""))
    assert states() == [MatchState.MATCHED, MatchState.MATCHED]


def test_accession_numbers_of_request_attributes_are_matched_too(database):
    receive(placer_order_number="1", accession_numbers=("B2",))
    (study_id,) = complete(new_instance(requested_accession_numbers=("B1", "B2")))
    assert states() == [MatchState.MATCHED]
    assert receive(placer_order_number="2", accession_numbers=("b1",)).study_ids == (study_id,)


def test_two_issuers_of_one_accession_number_are_two_numbers(database):
    complete(new_instance(accession_number_issuer="NORTH"))
    assert receive(accession_number_issuer="SOUTH").study_ids == ()
    # Not even for another patient, whose number is equal by chance.
    receive(placer_order_number="2", patient=OTHER_PATIENT, accession_number_issuer="SOUTH")
    assert states() == []
    for number, issuer in (("3", "north "), ("4", "")):
        assert receive(placer_order_number=number, accession_number_issuer=issuer).study_ids
    assert states() == [MatchState.MATCHED, MatchState.MATCHED]


def test_the_same_id_of_another_issuer_is_another_patient(database):
    patient = Patient("P-1", "NORTH", "PHANTOM^ONE")
    complete(new_instance(patient=patient))
    receive(patient=Patient("P-1", "SOUTH", "PHANTOM^ONE"))
    assert states() == [MatchState.MISMATCH]
    receive(placer_order_number="2", patient=Patient(" p-1", "", "PHANTOM^ONE"))
    assert states() == [MatchState.MATCHED, MatchState.MISMATCH]


def test_a_mismatch_that_is_corrected_asks_nobody_any_more(database):
    (study_id,) = complete(new_instance())
    receive(patient=OTHER_PATIENT)
    with unit_of_work() as session:
        assert len(matching.list_mismatches(session, study_id)) == 1
    assert receive().study_ids == (study_id,)
    with unit_of_work() as session:
        (hold,) = session.scalars(select(Hold))
        assert (hold.decision, hold.decided_by) == (Decision.PROCEED, "Nightdraft")
    # An order whose accession number was wrong leaves the study.
    assert receive(accession_numbers=("OTHER",)).study_ids == ()
    assert states() == []


def test_no_order_is_missed_that_is_being_committed(database):
    """The order looks for studies before the study is there, and commits after the sweep."""
    registered, committed = threading.Event(), threading.Event()
    problems = []

    def take_order():
        try:
            with unit_of_work() as session:
                assert receive_order(session, new_order()).study_ids == ()
                registered.set()
                assert committed.wait(30)
        except BaseException as error:
            problems.append(error)

    order = threading.Thread(target=take_order)
    order.start()
    assert registered.wait(30)
    (study_id,) = {done.study_id for done in register(new_instance())}
    assert close() == [study_id]
    assert states() == []  # the sweep does not wait for it

    found = []

    def take_up():
        try:
            with unit_of_work() as session:
                effects.take_up_for_preparing(session, study_id)
                found.extend(order.id for order in effects.counting_orders(session, study_id))
        except BaseException as error:
            problems.append(error)

    preparing = threading.Thread(target=take_up)
    preparing.start()
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

    def is_waiting():
        with unit_of_work() as session:
            return session.scalar(waiting) == 1

    eventually(is_waiting)
    committed.set()
    for thread in (order, preparing):
        thread.join(30)
    assert not problems
    assert len(found) == 1
    assert states() == [MatchState.MATCHED]


def test_who_waits_for_keys_holds_none_of_them_afterwards(database):
    keys = {("ACCESSION", "A1"), ("STUDY", "1.2")}
    mine = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    )
    with unit_of_work() as session:
        matching.wait_for_keys(session, keys)
        assert session.scalar(mine) == 0
        matching.hold_keys(session, keys)
        assert session.scalar(mine) == 2


def test_studies_without_orders_are_closed_with_as_many_statements_as_one(database):
    register(*(new_instance(f"1.{n}", accession_number=f"A{n}") for n in range(13)))
    statements = []

    def note(*event_arguments):
        statements.append(event_arguments[2])

    counts = []
    event.listen(engine(), "before_cursor_execute", note)
    try:
        for limit in (1, 12):
            statements.clear()
            with unit_of_work() as session:
                closed = studies.close_quiet(session, 0.0, limit)
                assert len(closed) == limit
                before = len(statements)
                effects.take_up_closed(session, closed)
            counts.append(len(statements) - before)
    finally:
        event.remove(engine(), "before_cursor_execute", note)
    assert counts[0] == counts[1]


def test_of_many_studies_each_is_closed_with_its_own_orders(database):
    for number in (2, 5):
        receive(placer_order_number=f"P{number}", accession_numbers=(f"A{number}",))
    study_ids = complete(*(new_instance(f"1.{n}", accession_number=f"A{n}") for n in range(8)))
    with unit_of_work() as session:
        matched = {
            n: [order.placer_order_number for order in effects.counting_orders(session, study_id)]
            for n, study_id in enumerate(study_ids)
        }
    assert matched == {n: [f"P{n}"] if n in (2, 5) else [] for n in range(8)}


def test_a_study_that_is_being_filed_is_found_by_the_sweep(database):
    """The other way round: the film is committed after the order looked for studies."""
    filed, looked = threading.Event(), threading.Event()
    problems = []

    def file_film():
        try:
            with unit_of_work() as session:
                registrations.register_instance(session, new_instance())
                filed.set()
                assert looked.wait(30)
        except BaseException as error:
            problems.append(error)

    film = threading.Thread(target=file_film)
    film.start()
    assert filed.wait(30)
    assert receive().study_ids == ()
    looked.set()
    film.join(30)
    assert not problems
    assert len(close()) == 1
    assert states() == [MatchState.MATCHED]
    with unit_of_work() as session:
        assert session.scalar(select(Study.state)) == "COMPLETE"

"""What arrived: repeats, conflicts, strangers, late images, and when a study is complete."""

import threading
import uuid

import pytest
from sqlalchemy import text

from records.database.session import unit_of_work
from records.errors import NightdraftError, NotAllowed, NotFound
from records.states import EventKind, HoldReason, InstanceState, Priority, VisibleState
from records.workflow import events, holds, registrations, studies, worklist_rows
from records.workflow.patients import Patient, same_patient
from records.workflow.registrations import Outcome
from tests.support.registered_studies import (
    OTHER_PATIENT,
    PATIENT,
    claim,
    complete,
    draft_all,
    new_instance,
    register,
)

pytestmark = pytest.mark.usefixtures("database")


def row_of(study_id):
    with unit_of_work() as session:
        return worklist_rows.read_row(session, study_id)


def test_the_same_bytes_again_change_nothing():
    first, repeated = register(new_instance(sop="1.2.3.4"), new_instance(sop="1.2.3.4"))
    assert (first.outcome, repeated.outcome) == (Outcome.KEPT, Outcome.REPEATED)
    assert row_of(first.study_id).instance_count == 1


def test_other_bytes_under_a_known_uid_are_kept_and_open_a_hold():
    (study_id,) = complete(
        new_instance(sop="1.2.3.4", content="a"), new_instance(sop="1.2.3.4", content="b")
    )
    row = row_of(study_id)
    assert (row.state, row.hold_reasons) == (VisibleState.HELD, (HoldReason.CONFLICTING_BYTES,))
    assert (row.image_count, row.instance_count) == (1, 2)
    assert claim() == []


def test_the_same_conflict_again_is_one_conflict():
    first, second = (
        new_instance(sop="1.2.3.4", content="b"),
        new_instance(sop="1.2.3.4", content="b"),
    )
    outcomes = [
        r.outcome for r in register(new_instance(sop="1.2.3.4", content="a"), first, second)
    ]
    assert outcomes == [Outcome.KEPT, Outcome.CONFLICT, Outcome.REPEATED]


def test_a_known_image_under_another_study_is_a_conflict_there():
    register(new_instance("1.2.3", sop="9.9"))
    (copy,) = register(new_instance("4.5.6", sop="9.9"))
    assert copy.outcome is Outcome.CONFLICT
    assert row_of(copy.study_id).state is VisibleState.HELD


def test_another_patient_under_a_known_study_is_never_merged():
    registered, mismatch = register(
        new_instance(patient=PATIENT), new_instance(patient=OTHER_PATIENT)
    )
    assert mismatch.outcome is Outcome.MISMATCH
    row = row_of(registered.study_id)
    assert (row.patient_id, row.image_count, row.state) == ("P-1", 1, VisibleState.HELD)
    with unit_of_work() as session:
        mismatched = studies.list_instances(session, registered.study_id, InstanceState.MISMATCH)
        assert len(mismatched) == 1


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (PATIENT, PATIENT, True),
        (PATIENT, Patient("P-1", "", "Phantom One^^^", "19700101", "f"), True),
        (PATIENT, Patient("P-1", "HOSPITAL", "PHANTOM^ONE", "", ""), True),
        (PATIENT, Patient("P-2", "", "PHANTOM^ONE", "19700101", "F"), False),
        (PATIENT, Patient("P-1", "", "PHANTOM^TWO", "19700101", "F"), False),
        (PATIENT, Patient("P-1", "", "PHANTOM^ONE", "19700102", "F"), False),
        (PATIENT, Patient("", "", "PHANTOM^ONE", "", ""), True),
        (PATIENT, Patient("", "", "", "", ""), False),
        (Patient("7", "A"), Patient("7", "B"), False),
        (Patient("", "", "SMITH^A"), Patient("", "", "JONES^A"), False),
        (Patient(), Patient(), True),
        (PATIENT, Patient("P-1", "", "PHANTOM^ONE", "1970.01.01", "Female"), True),
        (PATIENT, Patient("P-1", "", "PHANTOM^ONE", "19700101", "U"), True),
        (PATIENT, Patient("P-1", "", "PHANTOM^ONE", "19700101", "O"), False),
        # One group of the name is equal; wide, half-wide and composed letters are too.
        (
            Patient("7", name="YAMADA^TAROU=山田^太郎=やまだ^たろう"),
            Patient("7", name="山田^太郎"),
            True,
        ),
        (Patient("7", name="ヤマダ^タロウ"), Patient("7", name="ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎"), True),
        (Patient("7", name="MU\u0308LLER^J"), Patient("7", name="MÜLLER^J"), True),
        (Patient("7", name="YAMADA^TAROU=山田^太郎"), Patient("7", name="山田^次郎"), False),
    ],
)
def test_who_is_taken_for_the_same_person(first, second, expected):
    assert same_patient(first, second) is expected
    assert same_patient(second, first) is expected


def test_fields_that_came_blank_are_filled_by_later_images():
    (first, _) = register(
        new_instance(patient=Patient("P-1"), accession_number=""), new_instance(patient=PATIENT)
    )
    row = row_of(first.study_id)
    assert (row.patient_name, row.accession_number) == ("PHANTOM^ONE", "A1")


def test_the_more_urgent_image_makes_the_study_urgent():
    (first, _) = register(new_instance(), new_instance(priority=Priority.STAT))
    assert row_of(first.study_id).priority is Priority.STAT


def test_a_study_waits_for_its_quiet_period():
    (registered,) = register(new_instance())
    with unit_of_work() as session:
        assert studies.close_quiet(session, 60.0) == []
        assert studies.close_quiet(session, 0.0) == [registered.study_id]
    assert row_of(registered.study_id).state is VisibleState.WAITING


class VersionsWritten:
    """How many new versions of rows a session has written since: all, and those in no index."""

    def __init__(self, session, table):
        self._session, self._table = session, table
        self._before = self._count()  # the server counts what this connection did before, too

    def _count(self):
        return self._session.execute(
            text(
                "SELECT pg_stat_get_xact_tuples_updated(oid), "
                "pg_stat_get_xact_tuples_hot_updated(oid) FROM pg_class WHERE relname = :name"
            ),
            {"name": self._table},
        ).one()

    def read(self):
        return tuple(now - before for now, before in zip(self._count(), self._before, strict=True))


def test_a_study_is_closed_and_gets_its_request_by_one_update():
    register(new_instance())
    with unit_of_work() as session:
        of_studies, of_requests = (
            VersionsWritten(session, table) for table in ("studies", "draft_requests")
        )
        (study_id,) = studies.close_quiet(session, 0.0)
        assert of_studies.read() == (1, 0)
        # The request saw that its study is complete: it needs no second version to be claimable.
        assert of_requests.read() == (0, 0)
    (lease,) = claim()
    assert lease.study_id == study_id


def test_one_more_film_writes_no_new_entry_into_the_indexes_of_studies():
    register(new_instance())
    with unit_of_work() as session:
        written = VersionsWritten(session, "studies")
        registrations.register_instance(session, new_instance())
        assert written.read() == (1, 1)


def test_a_study_names_no_request_that_is_not_there():
    (registered,) = register(new_instance())
    refused = pytest.raises(NightdraftError, match="fk_studies_request_id_draft_requests")
    with refused, unit_of_work() as session:
        session.execute(
            text("UPDATE studies SET request_id = :request WHERE id = :study"),
            {"request": uuid.uuid4(), "study": registered.study_id},
        )


def test_release_ends_the_quiet_period():
    (registered,) = register(new_instance("1.2.3"))
    with unit_of_work() as session:
        studies.release(session, "1.2.3")
    with unit_of_work() as session:
        assert studies.release(session, "1.2.3") == registered.study_id  # again: nothing happens
        assert studies.close_quiet(session, 3600.0) == [registered.study_id]
        with pytest.raises(NotAllowed, match="this study is complete"):
            studies.release(session, "1.2.3")


def test_the_full_count_ends_the_quiet_period():
    register(new_instance(expected_instances=2))
    with unit_of_work() as session:
        assert studies.close_quiet(session, 3600.0) == []
    (registered,) = register(new_instance())
    with unit_of_work() as session:
        assert studies.close_quiet(session, 3600.0) == [registered.study_id]


def test_a_late_image_makes_a_new_revision_whose_draft_supersedes():
    (study_id,) = complete(new_instance())
    (old,) = draft_all()
    register(new_instance())
    assert row_of(study_id).state is VisibleState.RECEIVING
    complete(new_instance())
    (new,) = draft_all()
    row = row_of(study_id)
    assert (row.revision, row.draft_id) == (2, new)
    assert old != new


def test_a_late_image_before_drafting_supersedes_the_open_request():
    complete(new_instance())
    (stale,) = claim()
    register(new_instance())
    with unit_of_work() as session:
        studies.close_quiet(session, 0.0)
    (fresh,) = claim()
    assert (stale.revision, fresh.revision) == (1, 2)


def test_an_object_that_is_no_radiograph_makes_no_revision():
    (study_id,) = complete(new_instance())
    draft_all()
    register(new_instance(is_radiograph=False, skip_reason="NOT_A_FILM"))
    row = row_of(study_id)
    assert (row.revision, row.state, row.instance_count) == (1, VisibleState.DRAFTED, 2)


def test_many_associations_may_bring_one_study():
    arrivals = [new_instance("7.7", sop=f"7.7.{n % 10}") for n in range(40)]
    errors = []

    def register_all(instances):
        try:
            for instance in instances:
                register(instance)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=register_all, args=(arrivals[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with unit_of_work() as session:
        assert len(studies.list_instances(session, studies.get_by_uid(session, "7.7").id)) == 10


def test_a_study_is_found_by_its_uid_and_by_our_id():
    (registered,) = register(new_instance("1.2.3"))
    with unit_of_work() as session:
        assert studies.get_by_uid(session, "1.2.3").id == registered.study_id
        assert studies.get_by_uid(session, str(registered.study_id)).id == registered.study_id
        with pytest.raises(NotFound, match="no study"):
            studies.get_by_uid(session, "9.9.9")


def test_the_timeline_lists_what_happened():
    (study_id,) = complete(
        new_instance(content="a", sop="1.1"), new_instance(content="b", sop="1.1")
    )
    with unit_of_work() as session:
        kinds = [event.kind for event in events.timeline(session, study_id)]
        assert len(holds.list_by_study(session, study_id)) == 1
    assert kinds == [
        EventKind.ARRIVED,
        EventKind.HELD,
        EventKind.CONFLICT,
        EventKind.COMPLETE,
        EventKind.REQUESTED,
    ]

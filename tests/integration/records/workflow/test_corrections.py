"""Objects that come again under their UID: the same, corrected, another, moved."""

import pytest
from sqlalchemy import event, text

from records import hold_decisions
from records.database.session import engine, unit_of_work
from records.states import (
    Comparison,
    Decision,
    EventKind,
    HoldReason,
    InstanceState,
    NameSpelling,
    VisibleState,
)
from records.workflow import (
    corrections,
    events,
    film_decisions,
    holds,
    pixel_comparisons,
    rejections,
    studies,
    worklist_rows,
)
from records.workflow.patients import Patient, may_be_corrected, spelled_otherwise
from records.workflow.registrations import Outcome
from tests.support.registered_studies import (
    OTHER_PATIENT,
    claim,
    complete,
    draft_all,
    new_instance,
    register,
)

FILM = "1.2.3.1.1"
KEPT, CONFLICT = InstanceState.KEPT, InstanceState.CONFLICT
RENAMED = Patient("P-1", "", "PHANTOM^ONE^MIDDLE", "19700101", "F")

pytestmark = pytest.mark.usefixtures("database")


def again(comparison, content="encoded otherwise", sop=FILM, **changed):
    """The film once more, whose comparison with the stored one has this result."""
    return new_instance(sop=sop, content=content, compare=lambda _: comparison, **changed)


def film(sop=FILM, study="1.2.3", **changed):
    return new_instance(study, sop=sop, content=sop, **changed)


def row_of(study_id):
    with unit_of_work() as session:
        return worklist_rows.read_row(session, study_id)


def states_of(study_id):
    with unit_of_work() as session:
        rows = studies.list_instances(session, study_id)
    return [(row.sop_instance_uid, row.state) for row in rows]


def decide(study_id, decision, **more):
    with unit_of_work() as session:
        return hold_decisions.decide(session, study_id, decision, "Dr. Roe", **more)


def study_of(uid):
    with unit_of_work() as session:
        return studies.get_by_uid(session, uid).id


def changes_of(study_id):
    with unit_of_work() as session:
        rows = corrections.list_changes(session, study_id)
    return [(row.field, row.old_value, row.new_value) for row in rows]


def test_the_same_values_are_a_repeat():
    (study_id,) = complete(film())
    (repeated,) = register(again(Comparison.SAME))
    assert repeated.outcome is Outcome.REPEATED
    assert (row_of(study_id).state, row_of(study_id).instance_count) == (VisibleState.WAITING, 1)


def test_newer_words_about_an_image_are_shown_and_the_older_are_kept():
    (study_id,) = complete(film())
    (draft,) = draft_all()
    (updated,) = register(again(Comparison.SHOWN, patient=RENAMED, accession_number="A2"))
    assert updated.outcome is Outcome.UPDATED
    row = row_of(study_id)
    assert (row.patient_name, row.accession_number) == ("PHANTOM^ONE^MIDDLE", "A2")
    assert (row.state, row.draft_id, row.revision) == (VisibleState.DRAFTED, draft, 1)
    assert changes_of(study_id) == [
        ("patient_name", "PHANTOM^ONE", "PHANTOM^ONE^MIDDLE"),
        ("accession_number", "A1", "A2"),
    ]
    with unit_of_work() as session:
        (line,) = [e for e in events.timeline(session, study_id) if e.kind == EventKind.UPDATED]
    assert "PHANTOM" not in line.detail
    # The older bytes once more are known and change nothing.
    (repeated,) = register(film())
    assert repeated.outcome is Outcome.REPEATED
    assert row_of(study_id).patient_name == "PHANTOM^ONE^MIDDLE"


def test_a_corrected_order_is_drafted_again():
    (study_id,) = complete(film())
    draft_all()
    register(again(Comparison.DESCRIBED, study_description="CHEST PA"))
    row = row_of(study_id)
    assert (row.revision, row.draft_id, row.state) == (2, None, VisibleState.RECEIVING)
    assert (row.image_count, row.hold_reasons) == (1, ())


def test_another_patient_id_is_no_correction():
    (study_id,) = complete(film())
    register(again(Comparison.SHOWN, patient=Patient("P-2", "", "PHANTOM^ONE", "19700101", "F")))
    assert row_of(study_id).hold_reasons == (HoldReason.PATIENT_MISMATCH,)


def test_pixels_in_two_encodings_are_compared_later():
    for comparison, state in (
        (Comparison.SAME, None),
        (Comparison.DESCRIBED, KEPT),
        (Comparison.OTHER, CONFLICT),
    ):
        study = f"1.2.{comparison.value.encode().hex()[:4]}{len(comparison)}"
        (study_id,) = complete(film(f"{study}.1", study))
        other = new_instance(
            study, sop=f"{study}.1", content="packed", compare=lambda _: Comparison.UNDECIDED
        )
        first, second = register(other, other)
        assert (first.outcome, second.outcome) == (Outcome.UNCOMPARED, Outcome.REPEATED)
        assert row_of(study_id).state is VisibleState.WAITING  # nobody is asked yet
        with unit_of_work() as session:
            claimed = pixel_comparisons.claim_uncompared(session, 3)
            superfluous = pixel_comparisons.settle_comparison(session, claimed.id, comparison)
        assert (superfluous == other.blob) == (state is None)
        assert [s for _, s in states_of(study_id)][1:] == ([state] if state else [])
        held = row_of(study_id).hold_reasons
        assert held == ((HoldReason.CONFLICTING_BYTES,) if state is CONFLICT else ())


def test_a_comparison_that_never_ends_asks_a_person():
    (study_id,) = complete(film())
    register(again(Comparison.UNDECIDED))
    for _ in range(3):
        with unit_of_work() as session:
            assert pixel_comparisons.claim_uncompared(session, 3) is not None
    with unit_of_work() as session:
        assert pixel_comparisons.claim_uncompared(session, 3) is None
    assert row_of(study_id).hold_reasons == (HoldReason.CONFLICTING_BYTES,)


def test_what_is_never_drafted_from_opens_no_hold():
    other = {"is_radiograph": False, "skip_reason": "A report."}
    (study_id,) = complete(
        film(),
        new_instance(sop="5.5", content="a", **other),
        new_instance(sop="5.5", content="b", **other),
        new_instance(sop="5.6", patient=OTHER_PATIENT, **other),
        new_instance(sop=FILM, content="c", **other),
    )
    register(new_instance("7.7", sop="5.5", content="d", **other))
    assert (row_of(study_id).state, row_of(study_id).hold_reasons) == (VisibleState.WAITING, ())
    assert len(states_of(study_id)) == 5


def test_a_film_names_the_patient_of_a_study_that_had_none():
    report = new_instance(sop="5.5", patient=OTHER_PATIENT, is_radiograph=False, skip_reason="x")
    (study_id,) = complete(report, film())
    assert (row_of(study_id).patient_id, row_of(study_id).hold_reasons) == ("P-1", ())


def test_another_spelling_is_taken_by_setting(setting):
    other = Patient("P-1", "", "FANTOM^ONE", "19700101", "F")
    cases = [
        (NameSpelling.SIMILAR, RENAMED, True),
        (NameSpelling.SIMILAR, other, False),
        (NameSpelling.ANY, other, True),
        (NameSpelling.EXACT, RENAMED, False),
    ]
    for number, (spelling, patient, taken) in enumerate(cases):
        setting(name_spelling=spelling.value)
        study = f"1.2.{number}"
        (study_id,) = complete(
            film(f"{study}.1", study), film(f"{study}.2", study, patient=patient)
        )
        row = row_of(study_id)
        assert row.image_count == 1 + taken
        assert row.patient_name == (patient.name if taken else "PHANTOM^ONE")
        assert bool(row.hold_reasons) is not taken


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("DOE^JANE^M", "DOE^JANE", True),
        ("DOE^JANE^MARY", "DOE^JANE^M", True),
        ("DOE^JANE", "Dr. Jane Doe", True),
        ("MÜLLER^JÜRGEN", "MUELLER^JUERGEN", True),
        ("MÜLLER^JÜRGEN", "MULLER^J", True),
        ("GARCÍA LÓPEZ^ANA", "GARCIA^ANA", True),
        ("DOE^JANE", "DOE^JANA", False),
        ("DOE^JANE", "SMITH^JANE", False),
        ("DOE^JANE", "D^J", False),
        ("DOE^JANE", "", False),
    ],
)
def test_which_spellings_are_similar(first, second, expected):
    pair = [Patient("P", "H", name, "19700101", "F") for name in (first, second)]
    assert spelled_otherwise(*pair, NameSpelling.SIMILAR) is expected
    assert spelled_otherwise(*reversed(pair), NameSpelling.SIMILAR) is expected


@pytest.mark.parametrize(
    "other",
    [
        Patient("P2", "H", "DOE^JANE", "19700101", "F"),
        Patient("P", "K", "DOE^JANE", "19700101", "F"),
        Patient("P", "H", "DOE^JANE", "19700102", "F"),
        Patient("P", "H", "DOE^JANE", "", "F"),
        Patient("P", "H", "DOE^JANE", "19700101", "M"),
        Patient("", "H", "DOE^JANE", "19700101", "F"),
    ],
)
def test_a_spelling_is_taken_only_with_all_else_equal(other):
    one = Patient("P", "H", "DOE^JANE^M", "19700101", "F")
    for allowed in NameSpelling:
        assert not spelled_otherwise(one, other, allowed)


def test_what_may_be_a_correction_of_one_object():
    one = Patient("P", "H", "DOE^JANE", "19700101", "F")
    assert may_be_corrected(one, Patient("P", "H", "SMITH^JANE", "19700101", "F"))
    assert may_be_corrected(one, Patient("P", "", "DOE^JANE", "19700111", ""))
    assert not may_be_corrected(one, Patient("P", "H", "SMITH^JANE", "19710101", "F"))
    assert not may_be_corrected(one, Patient("P2", "H", "DOE^JANE", "19700101", "F"))
    assert not may_be_corrected(one, Patient("", "", "SMITH^JANE", "", ""))


def moved_film(number):
    """A film that was drafted under the wrong patient and came under the right one."""
    uid = f"8.{number}.1"
    (wrong,) = complete(film(uid, f"8.{number}", patient=OTHER_PATIENT))
    draft_all()
    (right,) = complete(film(uid, f"9.{number}"))
    assert row_of(wrong).hold_reasons == (HoldReason.MOVED_AWAY,)
    assert row_of(right).hold_reasons == (HoldReason.MOVED_HERE,)
    assert row_of(wrong).state is VisibleState.HELD
    return wrong, right, uid


def test_a_moved_film_is_taken_where_it_came_and_withdrawn_where_it_was():
    for by_study in (0, 1):  # a person may decide on either study
        wrong, right, uid = moved_film(by_study)
        with unit_of_work() as session:
            (side,) = film_decisions.list_sides(session, right, HoldReason.MOVED_HERE)
            (other,) = film_decisions.list_sides(session, wrong, HoldReason.MOVED_AWAY)
            assert side.aside.id == other.aside.id
            assert side.standing.study_id == wrong
            assert side.aside.sent["patient_id"] == "P-1"
        assert decide((wrong, right)[by_study], Decision.TAKE_NEW) == 1
        assert states_of(wrong) == [(uid, InstanceState.MOVED)]
        assert states_of(right) == [(uid, KEPT)]
        assert row_of(wrong).hold_reasons == row_of(right).hold_reasons == ()
        assert row_of(wrong).draft_id is None
        with unit_of_work() as session:
            studies.close_quiet(session, 0.0)
        assert {lease.study_id for lease in claim()} == {wrong, right}


def test_a_moved_film_is_kept_where_it_was_or_in_both():
    for decision, expected in ((Decision.PROCEED, CONFLICT), (Decision.KEEP_BOTH, KEPT)):
        number = len(decision)
        wrong, right, uid = moved_film(number)
        draft = row_of(wrong).draft_id
        decide(right, decision)
        assert states_of(wrong) == [(uid, KEPT)]
        assert states_of(right) == [(uid, expected)]
        assert row_of(wrong).hold_reasons == row_of(right).hold_reasons == ()
        assert row_of(wrong).draft_id == draft
        # The same film once more asks nobody again.
        register(film(uid, f"9.{number}"))
        assert row_of(right).hold_reasons == ()


def test_the_new_film_of_two_is_taken():
    (study_id,) = complete(film(), new_instance(sop=FILM, content="b"))
    decide(study_id, Decision.TAKE_NEW)
    assert set(states_of(study_id)) == {(FILM, InstanceState.REPLACED), (FILM, KEPT)}
    with unit_of_work() as session:
        studies.close_quiet(session, 0.0)
    assert [lease.revision for lease in claim()] == [2]


def test_two_patients_of_one_study_are_split():
    (study_id,) = complete(film(), film("1.2.3.1.2", patient=OTHER_PATIENT))
    decide(study_id, Decision.SPLIT)
    assert states_of(study_id) == [(FILM, KEPT)]
    late = register(film("1.2.3.1.3", patient=OTHER_PATIENT))[0]
    assert late.outcome is Outcome.KEPT
    split = row_of(late.study_id)
    assert (split.patient_id, split.image_count, split.hold_reasons) == ("P-2", 2, ())
    assert split.study_instance_uid.startswith("2.25.")
    assert row_of(study_id).patient_id == "P-1"
    with unit_of_work() as session:
        studies.close_quiet(session, 0.0)
    assert {lease.study_id for lease in claim()} == {study_id, late.study_id}


def test_two_patients_of_one_study_are_one_person_after_all():
    (study_id,) = complete(film(), film("1.2.3.1.2", patient=OTHER_PATIENT))
    decide(study_id, Decision.TAKE_NEW)
    row = row_of(study_id)
    assert (row.patient_id, row.image_count, row.revision) == ("P-2", 2, 2)
    assert ("patient_id", "P-1", "P-2") in changes_of(study_id)


def test_a_decision_closes_only_the_holds_that_it_solves():
    (study_id,) = complete(film(), new_instance(sop=FILM, content="b"))
    with unit_of_work() as session:
        holds.open_hold(session, study_id, HoldReason.CHEST_UNKNOWN, "a question")
    assert decide(study_id, Decision.TAKE_NEW) == 1
    assert row_of(study_id).hold_reasons == (HoldReason.CHEST_UNKNOWN,)
    assert decide(study_id, Decision.PROCEED) == 1
    assert row_of(study_id).hold_reasons == ()


# Without triggers: the lists that they keep of these rows are not asked for here.
MANY_ROWS = """
SET LOCAL session_replication_role = replica;
INSERT INTO studies (study_instance_uid, patient_id, patient_id_issuer, patient_name,
    patient_birth_date, patient_sex, accession_number, study_date, study_description, priority,
    calling_ae, state)
SELECT '9.' || n, 'P', '', 'N', '', '', '', '', '', 2, 'CR1', 'COMPLETE'
FROM generate_series(1, 5000) n;
INSERT INTO series (study_id, series_instance_uid, modality) SELECT id, '1', 'DX' FROM studies
    WHERE study_instance_uid LIKE '9.%';
INSERT INTO instances (study_id, series_id, sop_instance_uid, sop_class_uid, transfer_syntax_uid,
    state, blob, sha256, size, revision, calling_ae)
SELECT study_id, id, '8.' || id, 'c', 't', 'KEPT', 'b' || id, 's', 1, 1, 'CR1' FROM series
    WHERE series_instance_uid = '1';
INSERT INTO holds (study_id, reason, detail, decision, decided_at)
SELECT id, 'CHEST_UNKNOWN', '', 'PROCEED', now() FROM studies;
INSERT INTO study_changes (study_id, calling_ae, field, old_value, new_value)
SELECT id, 'CR1', 'patient_name', 'A', 'B' FROM studies;
INSERT INTO rejections (study_instance_uid, sop_instance_uid, note_sop_instance_uid, reason,
    patient, calling_ae)
SELECT '9.' || n, '7.' || n, '6', '113001', '{}', 'CR1' FROM generate_series(1, 5000) n;
INSERT INTO patient_aliases (retired_id, retired_issuer, surviving_id, surviving_issuer,
    surviving_name, surviving_birth_date, surviving_sex, origin, sender)
SELECT 'OLD' || n, '', 'NEW' || n, '', '', '', '', 'HL7', 'ADT' FROM generate_series(1, 5000) n;
"""


def test_no_query_about_films_and_holds_walks_a_table():
    """EXPLAIN: each of them has its index, whatever else the tables hold."""
    (held,) = complete(film("3.3", "3"), new_instance("3", sop="3.3", content="other"))
    (other,) = complete(film("2.2", "2"))
    register(film("2.2", "4", patient=OTHER_PATIENT))
    with unit_of_work() as session:
        session.execute(text(MANY_ROWS))
    with (
        engine().connect() as connection,
        connection.execution_options(isolation_level="AUTOCOMMIT"),
    ):
        connection.execute(text("ANALYZE"))
    statements = []

    def keep(_connection, cursor, statement, parameters, _context, _executemany):
        statements.append(cursor.mogrify(statement, parameters).decode())

    event.listen(engine(), "before_cursor_execute", keep)
    try:
        with unit_of_work() as session:
            holds.list_open(session)
            holds.list_open(session, HoldReason.CHEST_UNKNOWN)
            pixel_comparisons.list_uncompared(session, 10)
            pixel_comparisons.claim_uncompared(session, 3)
            for study_id, reason in (
                (held, HoldReason.CONFLICTING_BYTES),
                (other, HoldReason.MOVED_AWAY),
            ):
                assert film_decisions.list_sides(session, study_id, reason)
            corrections.list_changes(session, held)
            rejections.list_by_study(session, "3")
        register(film("3.4", "3", patient=Patient("P-9", "", "AN^OTHER", "19000101", "M")))
    finally:
        event.remove(engine(), "before_cursor_execute", keep)
    # Of callers there are a few dozen, and reading them all is faster than their index.
    queries = [
        s
        for s in statements
        if s.lstrip().startswith("SELECT") and "\nFROM " in s and "FROM site_callers" not in s
    ]
    assert len(queries) > 12
    with engine().connect() as connection:
        for query in queries:
            plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {query}").scalars())
            assert "Seq Scan" not in plan, f"{query}\n{plan}"

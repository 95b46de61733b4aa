"""Filters, orders and both directions of the worklist, against a list that is made in memory."""

import random

import pytest

from records.database.session import unit_of_work
from records.errors import NotAllowed
from records.states import HoldReason, Priority, VisibleState
from records.workflow import worklist, worklist_places
from records.workflow.patients import Patient
from records.workflow.worklist_filters import AgeGroup, ListOrder, ReviewStage, WorklistFilter
from records.worklist import row_details
from records.worklist.ages import age_at
from tests.support.accounts import run_sql
from tests.support.seeded_studies import StudySeeder


@pytest.fixture
def seeder(database, data_dir):
    return StudySeeder(data_dir)


def walk(limit, **options):
    """All pages forward, and all pages back from the last one."""
    pages, marks = [], {}
    with unit_of_work() as session:
        while True:
            page = worklist.read_page(session, limit=limit, **marks, **options)
            pages.append([row.id for row in page.rows])
            if page.next is None:
                break
            marks = {"after": page.next}
        back = [pages[-1]]
        while page.previous is not None:
            page = worklist.read_page(session, limit=limit, before=page.previous, **options)
            back.insert(0, [row.id for row in page.rows])
    return pages, back


@pytest.fixture
def many(seeder):
    """23 studies of all priorities, recent and old, some at the same moment."""
    chance = random.Random(4)
    ids = [seeder.receive(n, Priority(chance.randrange(4))) for n in range(1, 24)]
    for number, id_ in enumerate(ids):
        run_sql(
            "UPDATE studies SET first_received_at = now() - make_interval(hours => :h)"
            " WHERE id = :id",
            h=number // 2 * 6,
            id=id_,
        )
    found = run_sql("SELECT id, priority, first_received_at FROM studies")
    return {id_: (priority, at) for id_, priority, at in found}


@pytest.mark.parametrize("limit", [1, 4, 50])
@pytest.mark.parametrize("order", list(ListOrder))
def test_pages_are_the_same_in_both_directions(many, order, limit):
    pages, back = walk(limit, order=order)
    flat = [id_ for page in pages for id_ in page]
    assert sorted(flat) == sorted(many)
    assert len(flat) == len(set(flat))
    times = [many[id_][1] for id_ in flat]
    if order is ListOrder.NEWEST:
        assert times == sorted(times, reverse=True)
    elif order is ListOrder.OLDEST:
        assert times == sorted(times)
    else:
        since = run_sql("SELECT now() - interval '24 hours'")[0][0]
        keys = [
            (many[id_][0] if many[id_][1] >= since else 4, -many[id_][1].timestamp())
            for id_ in flat
        ]
        assert keys == sorted(keys)
    assert [id_ for page in back for id_ in page] == flat


@pytest.mark.parametrize("order", list(ListOrder))
def test_the_neighbours_are_those_of_the_list(many, order):
    with unit_of_work() as session:
        flat = [row.id for row in worklist.read_page(session, limit=50, order=order).rows]
        for forward, ids in ((True, flat), (False, flat[::-1])):
            for here, there in zip(ids, [*ids[1:], None], strict=True):
                found = worklist.find_neighbour(session, here, forward=forward, order=order)
                assert found == there


def test_a_study_that_left_the_list_still_has_neighbours(seeder):
    first, second, third = seeder.complete(1, 2, 3)
    seeder.fail(second)
    with unit_of_work() as session:
        found = worklist.find_neighbour(
            session, second, forward=True, state=VisibleState.WAITING, order=ListOrder.OLDEST
        )
        assert found == third
        back = worklist.find_neighbour(
            session, second, forward=False, state=VisibleState.WAITING, order=ListOrder.OLDEST
        )
        assert back == first


def ids_of(**values):
    with unit_of_work() as session:
        page = worklist.read_page(session, chosen=WorklistFilter(**values))
    return {row.id for row in page.rows}


def test_each_filter_shows_what_it_says(seeder):
    child = seeder.receive(
        1,
        patient=Patient("C", "", "CHILD^A", "20150101", "M"),
        study_date="20260101",
        study_description="Thorax pa/lat 100%",
        modality="XX",
    )
    old = seeder.receive(
        2,
        Priority.STAT,
        patient=Patient("O", "", "OLD^B", "19600102", "f "),
        study_date="20250102",
    )
    unknown = seeder.receive(3, patient=Patient("U", "", "X^Y", "196001", "O"))
    held, other = seeder.complete(4, 5)
    seeder.hold(held)
    assert ids_of(age=AgeGroup.CHILD) == {child}
    assert old in ids_of(age=AgeGroup.OLD)
    assert unknown in ids_of(age=AgeGroup.UNKNOWN)
    assert unknown not in ids_of(age=AgeGroup.OLD)
    assert ids_of(sex="-") == {unknown}
    assert old in ids_of(sex="F")
    assert child not in ids_of(sex="F")
    assert ids_of(modality="XX") == {child}
    assert ids_of(procedure="100%") == {child}
    assert ids_of(procedure="THORAX PA") == {child}
    assert ids_of(procedure="1_0%") == set()
    assert ids_of(priority=Priority.STAT) == {old}
    assert ids_of(hold_reason=HoldReason.CHEST_UNKNOWN) == {held}
    assert ids_of(hold_reason=HoldReason.VIEW_UNKNOWN) == set()
    assert ids_of(age=AgeGroup.CHILD, sex="F") == set()
    assert other in ids_of(review=ReviewStage.OPEN)
    times = dict(run_sql("SELECT id, first_received_at FROM studies"))
    assert ids_of(until=times[old]) == {child}
    assert ids_of(since=times[held]) == {held, other}


def test_priors_and_texts_in_work_are_found(seeder):
    prior = {
        "report_id": "x",
        "text": "Clear.",
        "performed_on": "",
        "accession_number": "",
        "procedure": "",
    }
    with_prior, without = seeder.draft_study(1, prior_report=prior), seeder.draft_study(2)
    assert ids_of(has_prior=True) == {with_prior}
    assert ids_of(has_prior=False) == {without}
    (draft,) = run_sql("SELECT id FROM drafts WHERE study_id = :id", id=without)[0]
    run_sql(
        "INSERT INTO working_texts (draft_id, study_id, version, findings, impression, saved_by)"
        " VALUES (:draft, :study, 1, 'a', 'b', 'Dr. Ada')",
        draft=draft,
        study=without,
    )
    assert ids_of(review=ReviewStage.EDITED) == {without}
    assert ids_of(review=ReviewStage.OPEN) == {with_prior}
    with unit_of_work() as session:
        rows = worklist.read_page(session).rows
        told = row_details.describe(session, rows)
    assert told[without].review == "edited by Dr. Ada"
    assert told[with_prior].has_prior
    assert told[with_prior].modalities
    assert told[with_prior].age


def test_a_page_looks_at_so_many_studies_and_says_where_it_ended(seeder, monkeypatch):
    monkeypatch.setattr(worklist_places, "LOOKED_AT", 4)
    monkeypatch.setattr(worklist_places, "_LOOKED_AT_ONCE", 2)
    ids = [seeder.receive(n) for n in range(1, 8)]
    run_sql("UPDATE studies SET study_description = 'WANTED' WHERE id = :id", id=ids[0])
    run_sql("UPDATE studies SET study_description = '' WHERE id <> :id", id=ids[0])
    chosen = WorklistFilter(procedure="wanted")
    with unit_of_work() as session:
        first = worklist.read_page(session, chosen=chosen)
        assert (first.rows, first.looked_at) == ([], 4)
        second = worklist.read_page(session, chosen=chosen, after=first.next)
        assert [row.id for row in second.rows] == [ids[0]]
        assert (second.next, second.looked_at) == (None, 3)
        back = worklist.read_page(session, chosen=chosen, before=second.previous)
        assert (back.rows, back.looked_at) == ([], 4)
        found = worklist.find_neighbour(session, ids[6], forward=True, chosen=chosen)
        assert found == ids[0]


def test_two_marks_are_refused(database):
    with unit_of_work() as session, pytest.raises(NotAllowed):
        worklist.read_page(session, after="a", before="b")


@pytest.mark.parametrize(
    ("born", "done", "age"),
    [
        ("19600102", "20250101", "64 y"),
        ("19600102", "20250102", "65 y"),
        ("20250115", "20250714", "5 mo"),
        ("20250115", "20250120", "5 d"),
        ("20250115", "20250114", ""),
        ("", "20250101", ""),
        ("1960", "20250101", ""),
        ("20259999", "20260101", ""),
    ],
)
def test_ages_at_the_date_of_the_study(born, done, age):
    assert age_at(born, done) == age

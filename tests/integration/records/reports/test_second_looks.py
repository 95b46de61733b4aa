"""The second look: ranked lists, a budget a week, blind questions, and a read that counts once."""

import datetime as dt
import threading
import uuid

import pytest
from sqlalchemy import func, select, text, update

from nightdraft.bench.growth_fill import fill
from records.database.discrepancy_tables import Discrepancy, DiscrepancyTally
from records.database.operation_tables import Alarm
from records.database.report_tables import FinalComparison
from records.database.session import engine, unit_of_work
from records.database.site_tables import DEFAULT_SITE_ID
from records.database.tables import Event, Hold
from records.errors import NotAllowed, NotFound
from records.operations import refusals
from records.reports import discrepancies, model_errors, second_looks
from records.states import WARNING, DiscrepancySide, DiscrepancyState, HoldReason
from records.workflow import discrepancy_rechecks, holds, site_scope, sites
from tests.support.accounts import run_sql
from tests.support.discrepant_studies import CLEAR, NODULE, PNEUMOTHORAX, draft, report, work
from tests.support.query_plans import explained, nodes
from tests.support.two_sites import make_site

CONFIRMED, DENIED, UNCLEAR, OPEN = (
    DiscrepancyState.CONFIRMED,
    DiscrepancyState.DENIED,
    DiscrepancyState.UNCLEAR,
    DiscrepancyState.OPEN,
)
REPORT, MODEL = DiscrepancySide.MISS_OF_REPORT, DiscrepancySide.MISS_OF_MODEL


@pytest.fixture
def archive(database, setting):
    """Three misses of the report, of certainty 0.5, 0.9 and 0.7, and an error of the model."""
    setting(draft_reported_studies=True, second_look_controls=0)
    for number, sure in ((1, 0.5), (2, 0.9), (3, 0.7)):
        draft(number, (PNEUMOTHORAX, sure))
        report(number)
    draft(4, (CLEAR, 0.9))
    report(4, NODULE)
    work()


def ask():
    with unit_of_work() as session:
        question = second_looks.ask_next(session)
        return question and (question.study.patient_id, question.id)


def answer(discrepancy_id, verdict=CONFIRMED):
    with unit_of_work() as session:
        return second_looks.answer(session, discrepancy_id, verdict)


def counts():
    with unit_of_work() as session:
        return second_looks.read_counts(session)


def test_the_most_certain_comes_first_page_by_page(archive):
    with unit_of_work() as session:
        listed, mark = [], None
        while True:
            page = second_looks.read_page(session, after=mark, limit=2)
            listed += [entry.study.patient_id for entry in page.entries]
            mark = page.next
            if mark is None:
                break
        assert listed == ["P2", "P3", "P1"]
        errors = second_looks.read_page(session, MODEL)
        found = [entry.discrepancy.observation for entry in errors.entries]
        assert sorted(found) == ["Lung Lesion", *["No Finding"] * 3]
        errors = second_looks.read_page(session, MODEL, observation="Lung Lesion")
        assert [entry.study.patient_id for entry in errors.entries] == ["P4"]
        for wrong in ("x", "AAAA", str(uuid.uuid4())):
            with pytest.raises(NotAllowed, match="mark"):
                second_looks.read_page(session, after=wrong)


def test_questions_come_by_rank_and_nobody_else_is_asked_the_same(archive):
    asked = [ask() for _ in range(4)]
    assert [question and question[0] for question in asked] == ["P2", "P3", "P1", None]
    with unit_of_work() as session:
        past = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)
        session.execute(update(Discrepancy).values(offered_until=past))
    assert ask() == asked[0]


def test_some_questions_are_of_what_only_the_report_says(archive, setting):
    setting(second_look_controls=1)
    assert ask()[0] == "P4"
    assert ask()[0] == "P2"  # no further one of that side is there


def test_what_only_the_report_can_say_is_no_question(archive):
    with unit_of_work() as session:
        page = second_looks.read_page(session, MODEL, observation="No Finding")
    error = page.entries[0].discrepancy.id
    with pytest.raises(NotFound), unit_of_work() as session:
        second_looks.read_question(session, error)
    with pytest.raises(NotFound):
        answer(error)


def test_a_study_that_a_person_must_decide_about_is_not_asked_about(archive):
    with unit_of_work() as session:
        study = second_looks.read_page(session).entries[0].study.id
        holds.open_hold(session, study, HoldReason.PATIENT_MISMATCH, "another name")
    assert ask()[0] == "P3"


def test_a_read_counts_once_and_tells_how_many_a_confirmed_miss_takes(archive):
    assert counts().reads_per_confirmed is None
    ids = [ask()[1] for _ in range(3)]
    assert answer(ids[0]).used == 1
    with pytest.raises(NotAllowed, match="counted once"):
        answer(ids[0], DENIED)
    answer(ids[1], DENIED)
    assert answer(ids[2], UNCLEAR).used == 3
    kept = counts()
    assert kept.reads_per_confirmed == 3
    assert kept.reads(REPORT) == 3
    assert kept.numbers[REPORT] | kept.numbers[MODEL] == {
        **dict.fromkeys(DiscrepancyState, 0),
        OPEN: 4,
    }
    with pytest.raises(NotFound):
        answer(uuid.uuid4())
    with pytest.raises(NotAllowed, match="ends with one of"):
        answer(ids[0], OPEN)


def test_the_budget_of_a_week_ends_the_questions_and_the_next_week_has_its_own(archive, setting):
    setting(second_look_reads=1)
    first, second = ask()[1], ask()[1]
    assert answer(first).left == 0
    for refused in (ask, lambda: answer(second)):
        with pytest.raises(NotAllowed, match="budget of 1 reads is used up"):
            refused()
    with unit_of_work() as session:
        week = dt.timedelta(days=7)
        session.execute(update(Discrepancy).values(read_at=Discrepancy.read_at - week))
        budget = second_looks.read_budget(session)
    assert (budget.used, budget.begins.weekday(), budget.begins.hour) == (0, 0, 0)
    assert answer(second).used == 1


def test_two_readers_at_once_do_not_exceed_the_budget(archive, setting):
    setting(second_look_reads=1)
    outcomes = []

    def read(discrepancy_id):
        try:
            outcomes.append(answer(discrepancy_id).used)
        except NotAllowed as error:
            outcomes.append(str(error).partition(" of ")[0])

    with unit_of_work() as session:
        ids = session.scalars(select(Discrepancy.id).where(Discrepancy.side == REPORT)).all()
    threads = [threading.Thread(target=read, args=(each,)) for each in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes, key=str) == [1, "this week's budget", "this week's budget"]


def test_counts_are_folded_and_stay_the_same(archive, monkeypatch):
    before = counts()
    with unit_of_work() as session:
        monkeypatch.setattr(second_looks, "FOLD_ABOVE", 1)
        second_looks.fold_counts(session)
        assert session.scalar(select(func.count()).select_from(DiscrepancyTally)) == 2
    assert counts() == before


def test_a_second_look_makes_no_alarm_no_event_no_hold_and_keeps_no_name(archive):
    with unit_of_work() as session:
        events = session.scalar(select(func.count()).select_from(Event))
    answer(ask()[1])
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == events
        assert session.scalars(select(Alarm)).all() == []
        assert session.scalars(select(Hold)).all() == []
        assert refusals.list_refusals(session) == []
    names = {column.name for column in Discrepancy.__table__.columns}
    assert names & {"reader", "read_by", "author", "by", "radiologist"} == set()


def move(number, site):
    run_sql("UPDATE studies SET site_id = :s WHERE patient_id = :p", s=site, p=f"P{number}")


def test_nobody_is_shown_or_asked_what_is_of_another_site(archive):
    north, south = make_site("north"), make_site("south")
    for number, site in ((1, south), (2, north), (3, south)):
        move(number, site)
    with unit_of_work() as session:
        ids = {each.study.patient_id: each.discrepancy.id for each in page_of(session)}
    with site_scope.limited_to([south]):
        with unit_of_work() as session:
            assert [each.study.patient_id for each in page_of(session)] == ["P3", "P1"]
            for ask_for in (second_looks.read_record, second_looks.read_question):
                with pytest.raises(NotFound):
                    ask_for(session, ids["P2"])
        with pytest.raises(NotFound):
            answer(ids["P2"])
        assert [question and question[0] for question in (ask(), ask(), ask())] == [
            "P3",
            "P1",
            None,
        ]
        assert answer(ids["P1"]).used == 1
    with site_scope.limited_to([]), unit_of_work() as session:
        assert page_of(session) == []
        assert second_looks.ask_next(session) is None


def numbers_of(*sites_shown):
    """How many misses of reports are open and confirmed, and the reads of the week."""
    with site_scope.limited_to(sites_shown or None), unit_of_work() as session:
        numbers = second_looks.read_counts(session).numbers[REPORT]
        budget = second_looks.read_budget(session)
        return numbers[OPEN], numbers[CONFIRMED], budget.used, budget.left


def test_counts_and_reads_are_of_ones_own_sites_and_follow_a_study(archive, setting, monkeypatch):
    setting(second_look_reads=2)
    monkeypatch.setattr(second_looks, "FOLD_ABOVE", 0)
    north, south = make_site("north"), make_site("south")
    for number, site in ((1, south), (2, north), (3, south)):
        move(number, site)
    assert numbers_of() == (3, 0, 0, 2)
    assert numbers_of(south) == (2, 0, 0, None)
    answer(ask()[1])  # P2, of north
    assert numbers_of() == (2, 1, 1, 1)
    assert numbers_of(north) == (0, 1, 1, None)
    assert numbers_of(south) == (2, 0, 0, None)
    move(2, south)
    with unit_of_work() as session:
        second_looks.fold_counts(session)
    assert numbers_of(north) == (0, 0, 0, None)
    assert numbers_of(south) == (2, 1, 1, None)
    answer(ask()[1])
    # That all is used up is told to everybody, and not by whom.
    assert numbers_of(north) == (0, 0, 0, 0)
    assert numbers_of(south, north) == numbers_of(south) == (1, 2, 2, 0)


def limited(ask_for, sites_shown):
    def ask_limited():
        with site_scope.limited_to(sites_shown):
            ask_for()

    return ask_limited


def page_of(session):
    return list(second_looks.read_page(session).entries)


MANY = """
INSERT INTO received_reports (identity, origin, sender, status, placer_order_number,
    filler_order_number, accession_numbers, accession_number_issuer, study_instance_uid,
    patient_id, patient_id_issuer, other_patient_ids, patient_name, patient_birth_date,
    patient_sex, procedure, modality, body_region, performed_on, findings, impression, text, author)
VALUES ('HL7|RIS|report|1', 'HL7', 'RIS', 'FINAL', '', '', '{}', '', '', 'P', '', '[]', '', '', '',
    '', '', '', '', '', '', 'Clear.', '');

INSERT INTO discrepancies (side, study_id, draft_id, report_id, campaign_id, observation, certainty,
    said, state, site_id, read_at)
SELECT CASE WHEN n % 3 = 0 THEN 'MISS_OF_MODEL' ELSE 'MISS_OF_REPORT' END, drafts.study_id,
    drafts.id, (SELECT id FROM received_reports),
    CASE WHEN n % 2 = 0 THEN '00000000-0000-0000-0000-00000000000a'::uuid END,
    (ARRAY['Pneumothorax', 'Lung Lesion', 'Pneumothorax', 'Consolidation', 'finding 5',
    'Lung Lesion'] || ARRAY(SELECT 'finding ' || m FROM generate_series(7, 15) m))[n],
    random(), 'blank',
    CASE WHEN n % 3 = 1 AND n < 8 THEN 'DENIED' ELSE 'OPEN' END,
    (SELECT id FROM sites),
    CASE WHEN n % 3 = 1 AND n < 8 THEN now() - make_interval(mins => n) END
FROM drafts CROSS JOIN generate_series(1, 15) n;

INSERT INTO discrepancies (side, study_id, draft_id, report_id, observation, certainty, said,
    site_id)
SELECT 'MISS_OF_REPORT', study_id, draft_id, report_id, 'new', 0.5, 'blank', site_id
FROM discrepancies LIMIT 20;

INSERT INTO final_comparisons (study_id, draft_id, report_id, distances, observations, counted)
SELECT study_id, id, (SELECT id FROM received_reports), '{}', '{}',
    '{"campaign": null, "said": [], "missed": []}' FROM drafts;

INSERT INTO model_error_tallies (campaign_id, observation, counted, site_id, number)
SELECT gen_random_uuid(), 'Edema', 'SAID', sites.id, n FROM sites, generate_series(1, 3000) n;
"""


LARGE = ("discrepancies", "studies", "drafts", "final_comparisons", "model_error_tallies")


def test_every_question_reads_an_index(database, data_dir, setting):
    setting(second_look_reads=100_000, second_look_controls=1)
    with unit_of_work() as session:
        fill(session, 3_000, WARNING)
        for statement in MANY.strip().split(";\n"):
            session.execute(text(statement))
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))
    with unit_of_work() as session:
        first = second_looks.read_page(session)
        study = first.entries[0].study
        of_campaign = {"campaign_id": uuid.UUID(int=10)}
        one = second_looks.read_page(session, observation="Lung Lesion").entries[0].discrepancy.id
        comparison = session.scalar(select(func.max(FinalComparison.id)))
        unchecked = discrepancies.list_unchecked(session, 1)[0]
        asked = {
            "page": lambda: second_looks.read_page(session),
            "next page": lambda: second_looks.read_page(session, after=first.next),
            "errors": lambda: second_looks.read_page(session, MODEL),
            "no such": lambda: second_looks.read_page(session, MODEL, CONFIRMED),
            "observation": lambda: second_looks.read_page(session, observation="finding 7"),
            "of a campaign": lambda: second_looks.read_page(session, **of_campaign),
            "next of a campaign": lambda: second_looks.read_page(
                session, after=first.next, **of_campaign
            ),
            "campaign's observation": lambda: second_looks.read_page(
                session, MODEL, observation="finding 12", **of_campaign
            ),
            "campaign's counts": lambda: second_looks.read_counts(session, uuid.UUID(int=10)),
            "campaign's errors": lambda: model_errors.read_table(session, uuid.UUID(int=10)),
            "count errors": lambda: model_errors.count(session, comparison, ["Edema"], []),
            "record": lambda: second_looks.read_record(session, one),
            "ask": lambda: second_looks.ask_next(session),
            "question": lambda: second_looks.read_question(session, one),
            "budget": lambda: second_looks.read_budget(session),
            "answer": lambda: second_looks.answer(session, one, DENIED),
            "unchecked": lambda: discrepancies.list_unchecked(session, 200),
            "waiting": lambda: discrepancies.find_waiting_check(session),
            "note": lambda: discrepancy_rechecks.note_studies(session, [study.id]),
            "take up": lambda: discrepancies.take_up_rechecks(session, 10),
            "check": lambda: discrepancies.begin_check(session, *unchecked),
        }
        north = sites.create(session, "north").id
        of_sites = ("page", "next page", "errors", "observation", "of a campaign", "ask")
        asked |= {
            f"{name}, of {len(shown)} sites": limited(asked[name], shown)
            for name in of_sites
            for shown in ([DEFAULT_SITE_ID], [north], [DEFAULT_SITE_ID, north])
        }
        walked = {}
        for name, question in asked.items():
            with explained() as plans:
                question()
            assert plans, name
            for _, plan in plans:
                for node in nodes(plan):
                    is_large = node.get("Relation Name") in LARGE
                    if is_large and node["Node Type"].endswith("Seq Scan"):
                        walked[name] = node["Relation Name"]
                    if node["Node Type"] == "Sort" and node["Plan Rows"] > 2_000:
                        walked[name] = "sort"
        assert walked == {}

"""Two drafts of one study by two bundles: compared once, counted, and listed by how they differ."""

import pytest
from sqlalchemy import func, select, text

from model.labels import OBSERVATIONS
from nightdraft.bench.growth_fill import fill
from records.database.discrepancy_tables import DraftComparison, DraftComparisonTally
from records.database.draft_tables import Draft
from records.database.session import engine, unit_of_work
from records.database.site_tables import DEFAULT_SITE_ID
from records.errors import NotAllowed, NotFound
from records.states import WARNING, Agreement, CampaignKind, Purpose, Stage
from records.workflow import draft_comparisons, site_scope, sites
from records.workflow.draft_comparisons import ComparisonOf
from tests.support.accounts import run_sql
from tests.support.campaigns import create, tend_all
from tests.support.discrepant_studies import CLEAR, NODULE, PNEUMOTHORAX, draft, draft_again
from tests.support.query_plans import explained, nodes
from tests.support.registered_studies import claim, prepare, save
from tests.support.two_sites import make_site
from worker import bells, sweep
from worker import draft_comparisons as comparing

PAIR = ComparisonOf("bundle", "B")


@pytest.fixture
def again(database):
    """Three studies that two bundles drafted: alike, differing in one finding, and in two."""
    for number, first, second in (
        (1, CLEAR, CLEAR),
        (2, PNEUMOTHORAX, CLEAR),
        (3, NODULE, PNEUMOTHORAX),
    ):
        draft_again(draft(number, (first, 0.9)), second)


def read_table(of=PAIR):
    with unit_of_work() as session:
        return draft_comparisons.read_table(session, of)


def test_a_table_says_for_each_observation_which_draft_has_it(again):
    assert comparing.compare_drafts() == 3
    assert comparing.compare_drafts() == 0
    table = read_table()
    assert table.compared == 3
    assert sorted(table.numbers) == sorted(OBSERVATIONS)
    assert table.numbers["Pneumothorax"] == {
        Agreement.BOTH: 0, Agreement.FIRST: 1, Agreement.SECOND: 1, Agreement.NEITHER: 1,
    }  # fmt: skip
    assert table.numbers["Lung Lesion"][Agreement.FIRST] == 1
    assert table.numbers["No Finding"] == {
        Agreement.BOTH: 1, Agreement.FIRST: 0, Agreement.SECOND: 1, Agreement.NEITHER: 1,
    }  # fmt: skip
    assert {sum(row.values()) for row in table.numbers.values()} == {3}
    with unit_of_work() as session:
        assert draft_comparisons.list_pairs(session) == [("bundle", "B", 3)]


def test_those_that_differ_most_come_first_page_by_page(again):
    comparing.compare_drafts()
    with unit_of_work() as session:
        listed, mark = [], None
        while True:
            page = draft_comparisons.read_page(session, PAIR, after=mark, limit=2)
            listed += [(e.study.patient_id, e.comparison.differing) for e in page.entries]
            mark = page.next
            if mark is None:
                break
        assert [patient for patient, _ in listed] == ["P3", "P2", "P1"]
        assert [number for _, number in listed] == [2, 2, 0]
        first = draft_comparisons.read_page(session, PAIR).entries[0].comparison
        record = draft_comparisons.read_record(session, first.id)
        comparison = record.comparison
        assert (record.first.findings, record.second.findings) == (NODULE, PNEUMOTHORAX)
        assert comparison.observations["Lung Lesion"] == ["present", "blank"]
        assert 0 < comparison.changed <= 1
        assert comparison.distances["impression"] == [0, 0]
        for wrong in ("x", "9" * 30, "999999"):
            with pytest.raises(NotAllowed):
                draft_comparisons.read_page(session, PAIR, after=wrong)
        for missing in (999_999, 2**70, -1):
            with pytest.raises(NotFound):
                draft_comparisons.read_record(session, missing)


def test_the_latest_draft_by_another_bundle_is_compared_and_none_by_the_same(database):
    study = draft(1, (CLEAR, 0.9))
    draft_again(study, CLEAR, "B")
    draft_again(study, NODULE, "C")
    comparing.compare_drafts()
    with unit_of_work() as session:
        pairs = session.execute(
            select(DraftComparison.first_bundle, DraftComparison.second_bundle).order_by(
                DraftComparison.id
            )
        ).all()
    assert [tuple(pair) for pair in pairs] == [("bundle", "B"), ("B", "C")]


@pytest.mark.parametrize("purpose", Purpose)
def test_a_campaign_that_drafts_again_has_its_own_table_and_list(database, purpose):
    draft_again(draft(1, (CLEAR, 0.9)), NODULE)
    draft(2, (CLEAR, 0.9), bundle_digest="old")
    campaign = create(
        CampaignKind.AGAIN, source={"from_bundle": "old"}, bundle="newer", purpose=purpose
    )
    tend_all()
    for lease in claim(Stage.PREPARE, limit=100, bundle="newer"):
        prepare(lease)
    for lease in claim(Stage.DRAFT, limit=100, bundle="newer"):
        draft_id = save(lease, bundle_digest="newer", findings=NODULE, impression="")
        with unit_of_work() as session:
            draft_comparisons.note(session, draft_id)
    comparing.compare_drafts()
    own = ComparisonOf(campaign_id=campaign)
    assert (read_table().compared, read_table(own).compared) == (1, 1)
    assert read_table(own).numbers["Lung Lesion"][Agreement.SECOND] == 1
    with unit_of_work() as session:
        (entry,) = draft_comparisons.read_page(session, own).entries
        assert entry.study.patient_id == "P2"
        assert entry.comparison.first_bundle == "old"


def test_a_worker_that_dies_counts_nothing_twice(again, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(draft_comparisons, "keep", die)
        with pytest.raises(Killed):
            comparing.compare_drafts()
    assert comparing.compare_drafts() == 3
    assert read_table().compared == 3


def test_a_text_that_cannot_be_read_is_no_part_of_the_table(again, monkeypatch):
    def fail(*_):
        raise RecursionError("too deep: PHANTOM^ANNA")

    monkeypatch.setattr(comparing, "compare_texts", fail)
    assert comparing.compare_drafts() == 3
    assert read_table().compared == 0
    assert comparing.compare_drafts() == 0


def test_counts_are_folded_and_stay_the_same(again, monkeypatch):
    monkeypatch.setattr(comparing, "AT_ONCE", 1)
    while comparing.compare_drafts():
        pass
    before = read_table()
    monkeypatch.setattr(draft_comparisons, "FOLD_ABOVE", 1)
    with unit_of_work() as session:
        rows = session.scalar(select(func.count()).select_from(DraftComparisonTally))
        draft_comparisons.fold(session)
        folded = session.scalar(select(func.count()).select_from(DraftComparisonTally))
    assert folded < rows
    assert read_table() == before


def test_the_sweep_rings_for_a_comparison(again, monkeypatch, broker):
    rung = []
    monkeypatch.setattr(bells, "ring", lambda stage, ids: rung.extend(ids) or len(ids))
    sweep.sweep()
    assert len(rung) == 1
    comparing.compare_drafts()
    rung.clear()
    sweep.sweep()
    assert rung == []


MANY = """
INSERT INTO draft_comparisons (study_id, first_draft_id, second_draft_id, first_bundle,
    second_bundle, campaign_id, observations, differing, changed)
SELECT study_id, id, id, CASE WHEN random() < 0.5 THEN 'bundle' ELSE 'other' END, 'B',
    CASE WHEN random() < 0.5 THEN '00000000-0000-0000-0000-000000000001'::uuid END,
    CASE WHEN random() < 0.99 THEN '{}'::jsonb END, (random() * 5)::int, random()
FROM drafts CROSS JOIN LATERAL (SELECT id AS other FROM drafts LIMIT 1) x
"""


def page_of_sites(session, of, shown):
    with site_scope.limited_to(shown):
        return draft_comparisons.read_page(session, of)


def test_nobody_sees_a_comparison_of_another_site(again):
    comparing.compare_drafts()
    south = make_site("south")
    run_sql("UPDATE studies SET site_id = :south WHERE patient_id <> 'P3'", south=south)
    with unit_of_work() as session:
        ids = {
            each.study.patient_id: each.comparison.id
            for each in draft_comparisons.read_page(session, PAIR).entries
        }
        listed = page_of_sites(session, PAIR, [south]).entries
        assert [each.study.patient_id for each in listed] == ["P2", "P1"]
        with site_scope.limited_to([south]):
            assert draft_comparisons.read_record(session, ids["P1"]).study.patient_id == "P1"
            with pytest.raises(NotFound):
                draft_comparisons.read_record(session, ids["P3"])


def test_a_table_is_of_the_sites_that_the_studies_had_when_they_were_compared(again, monkeypatch):
    south = make_site("south")
    run_sql("UPDATE studies SET site_id = :south WHERE patient_id <> 'P3'", south=south)
    comparing.compare_drafts()
    run_sql("UPDATE studies SET site_id = :south", south=south)
    monkeypatch.setattr(draft_comparisons, "FOLD_ABOVE", 0)
    for _ in range(2):
        assert read_table().compared == 3
        for shown, number, pneumothorax in (([south], 2, 1), ([DEFAULT_SITE_ID], 1, 0), ([], 0, 0)):
            with site_scope.limited_to(shown), unit_of_work() as session:
                table = draft_comparisons.read_table(session, PAIR)
                assert table.compared == number
                row = table.numbers.get("Pneumothorax", dict.fromkeys(Agreement, 0))
                assert row[Agreement.FIRST] == pneumothorax
                pairs = [("bundle", "B", number)] if number else []
                assert draft_comparisons.list_pairs(session) == pairs
        with unit_of_work() as session:
            draft_comparisons.fold(session)


def test_every_question_reads_an_index(database, data_dir):
    with unit_of_work() as session:
        fill(session, 8_000, WARNING)
        session.execute(text(MANY))
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))
    with unit_of_work() as session:
        campaign = ComparisonOf(
            campaign_id=session.scalars(
                select(DraftComparison.campaign_id).where(DraftComparison.campaign_id.is_not(None))
            ).first()
        )
        new = session.scalars(select(Draft.id).limit(1)).one()
        marks = {
            of: draft_comparisons.read_page(session, of, limit=1).next for of in (PAIR, campaign)
        }
        asked = {
            **{
                ("page", of, mark): lambda of=of, mark=mark: draft_comparisons.read_page(
                    session, of, after=mark
                )
                for of in marks
                for mark in (None, marks[of])
            },
            "waiting": lambda: draft_comparisons.find_waiting(session),
            "claim": lambda: draft_comparisons.claim(session, 10),
            "note": lambda: draft_comparisons.note(session, new),
        }
        north = sites.create(session, "north").id
        asked |= {
            ("page", of, len(shown)): lambda of=of, shown=shown: page_of_sites(session, of, shown)
            for of in marks
            for shown in ([DEFAULT_SITE_ID], [north, DEFAULT_SITE_ID])
        }
        walked = {}
        for name, question in asked.items():
            with explained() as plans:
                question()
            assert plans, name
            for _, plan in plans:
                for node in nodes(plan):
                    is_large = node.get("Relation Name") in ("draft_comparisons", "drafts")
                    if is_large and node["Node Type"].endswith("Seq Scan"):
                        walked[name] = node["Relation Name"]
                    if node["Node Type"] == "Sort" and node["Plan Rows"] > 500:
                        walked[name] = "sort"
        assert walked == {}

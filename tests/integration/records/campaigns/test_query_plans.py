"""Every query of campaigns finds its rows by an index, among many rows of several campaigns."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from records.campaigns import (
    adding,
    campaigns,
    counting,
    feeding,
    following,
    kept_images,
    progress,
    pulling,
    retrying,
    rows,
)
from records.campaigns.adding import NewStudy
from records.database.campaign_tables import CampaignMark, CampaignStudy
from records.database.session import engine, unit_of_work
from records.reports.reading import count_named_by_finals
from records.states import (
    CampaignKind,
    CampaignReason,
    CampaignState,
    CampaignStudyState,
    WalkState,
)
from records.workflow import site_scope, sites, studies
from tests.support.campaigns import closed_now, create, of_uids
from tests.support.query_plans import explained, nodes
from tests.support.registered_studies import complete, draft_all, new_instance, register
from worker.campaigns import tend

STUDIES = 6000
"""Rows of each campaign."""

FEW = 1500
"""Rows that may be sorted: those of a page, of a batch, or of one campaign's kept numbers."""

GROWING = ("campaign_studies", "campaign_files", "studies", "drafts", "draft_requests")

FILL = """
INSERT INTO campaign_studies (campaign_id, study_instance_uid, state, reason, not_before)
SELECT :campaign, '2.25.' || n::text,
    CASE WHEN n % 100 = 0 THEN 'MISSING' WHEN n % 101 = 0 THEN 'FAILED' WHEN n % 3 = 0
    THEN 'DRAFTED' ELSE 'WAITING' END,
    CASE WHEN n % 200 = 0 THEN 'OFFLINE' WHEN n % 100 = 0 THEN 'NOT_AT_PACS'
    WHEN n % 101 = 0 THEN 'UNREADABLE' ELSE '' END,
    CASE WHEN n % 7 = 0 AND n % 100 <> 0 AND n % 101 <> 0 AND n % 3 <> 0
    THEN now() + make_interval(hours => n) END
FROM generate_series(1, :studies) AS n
"""

FILES = """
INSERT INTO campaign_files (campaign_id, campaign_study_id, path)
SELECT campaign_id, id, 'films/' || id || '.dcm' FROM campaign_studies
WHERE campaign_id = :campaign
"""


@pytest.fixture
def filled(database):
    """Four campaigns: of a PACS, of a folder, of studies here, and one whose window is closed."""
    complete(*(new_instance(f"1.{n}", accession_number=f"A{n}") for n in range(60)))
    draft_all()
    for number in range(20):
        register(new_instance(f"2.{number}"))
    made = {
        "pacs": create(name="pacs", pacs="archive"),
        "folder": create(CampaignKind.FOLDER, name="folder"),
        "here": create(name="here"),
        "closed": create(name="closed", pacs="archive", window=closed_now()),
        "again": create(
            CampaignKind.AGAIN, name="again", source={"from_bundle": "bundle"}, bundle="newer"
        ),
    }
    with unit_of_work() as session:
        for name in ("pacs", "folder", "here", "closed"):
            values = {"campaign": made[name], "studies": STUDIES}
            session.execute(text(FILL), values)
            campaigns.save_walk(session, made[name], None, WalkState.WALKED)
        session.execute(text(FILES), {"campaign": made["folder"]})
        adding.add_studies(session, made["here"], of_uids(*(f"1.{n}" for n in range(60))))
        session.execute(
            text("UPDATE campaigns SET is_open = true WHERE name <> 'closed'"),
        )
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))
    return made


def faults(plan):
    """What in a plan would grow with the campaigns."""
    for node in nodes(plan):
        if node["Node Type"].endswith("Seq Scan") and node["Relation Name"] in GROWING[:2]:
            yield f"walks {node['Relation Name']}"
        if node["Node Type"].endswith("Sort") and node["Plan Rows"] > FEW:
            yield f"sorts {node['Plan Rows']} rows"
        if "Bitmap Heap" in node["Node Type"] and node["Plan Rows"] > FEW:
            yield f"reads {node['Plan Rows']} rows of {node['Relation Name']}"


def plan_faults(run):
    """Faults of all that is asked while `run` runs in a transaction of its own."""
    with unit_of_work() as session, explained() as plans:
        run(session)
    assert plans
    return [
        f"{fault}: {' '.join(statement.split())[:400]}"
        for statement, plan in plans
        for fault in faults(plan)
    ]


PULLED = (CampaignKind.LIST, CampaignKind.QUERY)


def pull(session, made):
    claimed = pulling.claim(session, "archive", 1000, PULLED)
    assert claimed is not None
    return claimed


def queries(made):
    """Each query by what it does."""
    state = CampaignStudyState

    def listed(**wanted):
        return lambda s: rows.list_studies(s, made["pacs"], 50, **wanted)

    def limited(ask):
        def ask_for_site(session):
            site = sites.create(session, "north").id
            session.execute(text("UPDATE campaigns SET site_id = :site"), {"site": site})
            with site_scope.limited_to([site]):
                ask(session)
            session.rollback()  # the others are asked of campaigns of every site

        return ask_for_site

    def resolve(session):
        pulling.resolve(session, pull(session, made), ["2.25.900001", "2.25.900002"])

    def fail(session):
        pulling.fail(session, pull(session, made), state.MISSING, CampaignReason.OFFLINE)

    def list_files(session):
        claimed = pulling.claim(session, "", 1000, [CampaignKind.FOLDER])
        assert len(pulling.list_files(session, claimed)) == 1

    def follow(session):
        row = session.scalars(
            text("SELECT id FROM campaign_studies WHERE study_instance_uid = '1.7'")
        ).one()
        found = feeding.find_studies(session, "1.7", "")[0]
        following.follow(session, session.get_one(CampaignStudy, (made["here"], row)), found)
        session.add(CampaignMark(study_id=found))
        session.flush()
        assert following.follow_marks(session, 1000)

    def close_quiet(session):
        pulling.put_back(session, pull(session, made))
        assert len(studies.close_quiet(session, 0.0)) == 20

    def walk_again(session):
        again = campaigns.find(session, "again")
        assert feeding.walk_again(session, again, 20) == 20

    return {
        "claim a study to fetch": lambda s: pull(s, made),
        "claim of a folder, and its files": list_files,
        "resolve an accession number": resolve,
        "end a fetch": fail,
        "expire claims": lambda s: (pull(s, made), pulling.expire_claims(s, -1.0)),
        "feed": lambda s: feeding.list_next(s, campaigns.find(s, "here"), 64),
        "find by UID": lambda s: feeding.find_studies(s, "1.7", ""),
        "follow": follow,
        "close quiet studies": close_quiet,
        "wake": lambda s: retrying.wake_due(s, 1000),
        "end done": campaigns.end_done,
        "walk again": walk_again,
        "counts": lambda s: counting.read_counts(s, list(made.values())),
        "progress": lambda s: progress.read_page(s, 50),
        "of one site": limited(lambda s: progress.read_page(s, 50)),
        "studies, of one site": limited(listed()),
        "missing, of one site": limited(listed(state=state.MISSING, after=STUDIES // 2)),
        "retry a group, of one site": limited(
            lambda s: retrying.retry(s, made["again"], state.MISSING, "OFFLINE", 10)
        ),
        "size of an image": kept_images.mean_bytes,
        "named by finals": lambda s: count_named_by_finals(s, [("1.7", "A7"), ("", "A8")]),
        "here, by UID": lambda s: feeding.find_by_uids(s, ["1.7", "1.8", "9.9"]),
        "fold": lambda s: counting.fold_tallies(s, 1),
        "waiting": counting.count_waiting,
        "all studies": listed(),
        "all studies from the middle": listed(after=STUDIES // 2),
        "waiting studies": listed(state=state.WAITING),
        "missing studies": listed(state=state.MISSING),
        "studies under way": lambda s: (pull(s, made), listed(state=state.PULLING)(s)),
        "drafted from the middle": listed(state=state.DRAFTED, after=STUDIES // 2),
        "missing from the middle": listed(state=state.MISSING, after=STUDIES // 2),
        "one reason": listed(state=state.MISSING, reason="OFFLINE"),
        "no such reason": listed(state=state.SKIPPED, reason="ALREADY_FINAL"),
        "retry a group": lambda s: retrying.retry(s, made["pacs"], state.MISSING, "OFFLINE", 10),
        "add studies": lambda s: adding.add_studies(s, made["pacs"], [NewStudy("2.25.1")]),
        "add files": lambda s: adding.add_files(s, made["folder"], {"2.25.5": {"a.dcm": 5}}),
        "known files": lambda s: adding.list_known_files(s, made["folder"], ["films/1.dcm"]),
        "pause": lambda s: campaigns.pause(s, made["pacs"]),
        "cancel": lambda s: campaigns.cancel(s, made["pacs"]),
    }


def test_each_query_of_campaigns_has_its_index(filled):
    found = [
        f"{name}: {fault}" for name, run in queries(filled).items() for fault in plan_faults(run)
    ]
    assert not found, "\n".join(found)


def test_a_round_of_the_sweep_walks_no_campaign(filled):
    with explained() as plans:
        tend()
    found = [
        f"{fault}: {' '.join(statement.split())[:400]}"
        for statement, plan in plans
        for fault in faults(plan)
    ]
    assert not found, "\n".join(found)


def test_a_page_of_thousands_of_campaigns_is_read_by_the_index(database):
    with unit_of_work() as session:
        session.execute(
            text(
                "INSERT INTO campaigns (name, kind, source, skip_reported, time_zone, created_by, "
                "created_at) SELECT 'n' || n, 'LIST', '{}', true, 'UTC', 'test', "
                "now() - make_interval(mins => n) FROM generate_series(1, 3000) AS n"
            )
        )
        session.execute(text("ANALYZE campaigns"))
        mark = progress.read_page(session, 1000).next
    with unit_of_work() as session, explained() as plans:
        page = progress.read_page(session, 50, mark)
    assert [one.campaign.name for one in page.campaigns] == [f"n{n}" for n in range(1001, 1051)]
    used = [node for _, plan in plans for node in nodes(plan)]
    assert "ix_campaigns_created_at" in [node.get("Index Name") for node in used]
    assert not [node for node in used if node["Node Type"].endswith("Sort")]
    assert not [
        node
        for node in used
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "campaigns"
    ]


@pytest.mark.parametrize("state", CampaignState)
def test_campaigns_in_a_state_are_read_by_the_index_of_the_list(database, state):
    with unit_of_work() as session:
        session.execute(
            text(
                "INSERT INTO campaigns (name, kind, source, skip_reported, time_zone, created_by, "
                "state, created_at) SELECT 'n' || n, 'LIST', '{}', true, 'UTC', 'test', "
                "(ARRAY['RUNNING', 'PAUSED', 'CANCELLED', 'DONE'])[1 + n % 4], "
                "now() - make_interval(mins => n) FROM generate_series(1, 3000) AS n"
            )
        )
        session.execute(text("ANALYZE campaigns"))
    with unit_of_work() as session, explained() as plans:
        page = progress.read_page(session, 50, state=state)
    assert {one.campaign.state for one in page.campaigns} == {state}
    assert len(page.campaigns) == 50
    used = [node.get("Index Name") for _, plan in plans for node in nodes(plan)]
    assert "ix_campaigns_created_at" in used


@pytest.mark.parametrize(
    ("index", "name"),
    [
        ("ix_campaign_studies_not_before", "wake"),
        ("ix_campaign_studies_study_id", "follow"),
        ("ix_campaign_files_campaign_study_id", "claim of a folder, and its files"),
    ],
)
def test_a_query_without_its_index_is_found(filled, index, name):
    with unit_of_work() as session:
        session.execute(text(f"DROP INDEX {index}"))
    assert plan_faults(queries(filled)[name])

"""Studies that are here are given to the pipeline, and their rows follow them to their end."""

import pytest
from sqlalchemy import select, text

from records import hold_decisions
from records.campaigns import campaigns, retrying
from records.campaigns.adding import NewStudy
from records.database.campaign_tables import CampaignStudy
from records.database.draft_tables import Draft, DraftRequest
from records.database.session import unit_of_work
from records.database.tables import Study
from records.errors import NotAllowed
from records.states import (
    CampaignKind,
    CampaignState,
    CampaignStudyState,
    Decision,
    FailReason,
    HoldReason,
    Priority,
    Purpose,
    Stage,
    WalkState,
)
from records.workflow import attempts, holds, requests
from tests.support.campaigns import closed_now, create, ends, get, kept_counts, of_uids, tend_all
from tests.support.registered_studies import (
    claim,
    complete,
    draft_all,
    new_instance,
    prepare,
    register,
    save,
)

pytestmark = pytest.mark.usefixtures("database")


def arrive(*uids):
    return complete(*(new_instance(uid, accession_number=f"A-{uid}") for uid in uids))


def open_requests():
    with unit_of_work() as session:
        return session.scalars(
            select(DraftRequest).where(DraftRequest.state.in_(["WAITING", "PREPARED"]))
        ).all()


def draft_again(bundle):
    """Prepare and draft whatever is ready, by another bundle."""
    for lease in claim(Stage.PREPARE, limit=100):
        prepare(lease)
    return [
        save(lease, bundle_digest=bundle) for lease in claim(Stage.DRAFT, limit=100, bundle=bundle)
    ]


def test_what_one_bundle_drafted_is_drafted_by_another_and_both_drafts_stay():
    arrive("1.1", "1.2", "1.3")
    draft_all()
    campaign = create(
        CampaignKind.AGAIN,
        source={"from_bundle": "bundle"},
        bundle="newer",
        purpose=Purpose.COMPARISON,
    )
    tend_all()
    assert ends(campaign) == dict.fromkeys(["1.1", "1.2", "1.3"], ("IN_WORK", ""))
    assert {request.priority for request in open_requests()} == {Priority.BACKLOG}
    assert len(draft_again("newer")) == 3
    tend_all()
    assert ends(campaign) == dict.fromkeys(["1.1", "1.2", "1.3"], ("DRAFTED", ""))
    assert get(campaign).state == CampaignState.DONE
    with unit_of_work() as session:
        drafts = session.execute(
            select(Draft.bundle_digest, Draft.purpose, Draft.superseded_at.is_(None))
        ).all()
    assert sorted(drafts) == [("bundle", "PRIMARY", True)] * 3 + [("newer", "COMPARISON", True)] * 3


def test_a_newer_bundle_s_draft_takes_the_place_of_the_older_one():
    arrive("1.1")
    draft_all()
    campaign = create(CampaignKind.AGAIN, source={"from_bundle": "bundle"}, bundle="newer")
    tend_all()
    draft_again("newer")
    tend_all()
    assert ends(campaign) == {"1.1": ("DRAFTED", "")}
    with unit_of_work() as session:
        current = session.scalars(select(Draft.bundle_digest).where(Draft.superseded_at.is_(None)))
        assert current.all() == ["newer"]
        assert session.scalars(select(Draft)).all().__len__() == 2


def test_a_second_campaign_drafts_nothing_twice():
    arrive("1.1")
    draft_all()
    first = create(CampaignKind.AGAIN, name="a", source={"from_bundle": "bundle"}, bundle="newer")
    tend_all()
    second = create(CampaignKind.AGAIN, name="b", source={"from_bundle": "bundle"}, bundle="newer")
    tend_all()
    assert len(open_requests()) == 1
    draft_again("newer")
    tend_all()
    assert ends(first) == ends(second) == {"1.1": ("DRAFTED", "")}
    third = create(name="c", studies=of_uids("1.1"), bundle="newer")
    tend_all()
    assert ends(third) == {"1.1": ("SKIPPED", "ALREADY_DRAFTED")}


def test_a_walk_goes_on_where_it_was(monkeypatch):
    monkeypatch.setattr("worker.campaigns.AT_ONCE", 2)
    arrive(*[f"1.{n}" for n in range(1, 6)])
    draft_all()
    campaign = create(
        CampaignKind.AGAIN,
        source={"from_bundle": "bundle"},
        bundle="newer",
        window=closed_now(),
    )
    tend_all()
    assert len(ends(campaign)) == 5
    assert get(campaign).walk_state == WalkState.WALKED
    assert set(ends(campaign).values()) == {("WAITING", "")}


def test_a_list_names_studies_by_uid_and_by_accession_number():
    arrive("1.1", "1.2")
    campaign = create(
        studies=[NewStudy("1.1"), NewStudy(accession_number="a-1.2 "), NewStudy("9.9")],
    )
    tend_all()
    assert ends(campaign) == {
        "1.1": ("IN_WORK", ""),
        "a-1.2 ": ("IN_WORK", ""),
        "9.9": ("MISSING", "NOT_HERE"),
    }
    draft_all()
    tend_all()
    counts = kept_counts(campaign)
    assert counts.by_state[CampaignStudyState.DRAFTED] == 2
    assert counts.by_reason == {(CampaignStudyState.MISSING, "NOT_HERE"): 1}
    assert get(campaign).state == CampaignState.DONE


def test_an_accession_number_of_several_studies_means_all_of_them():
    complete(new_instance("1.1", accession_number="A"), new_instance("1.2", accession_number="A"))
    campaign = create(studies=[NewStudy(accession_number="A")])
    tend_all()
    draft_all()
    tend_all()
    assert set(ends(campaign).values()) == {("DRAFTED", "")}
    assert len(ends(campaign)) == 2


def test_no_more_than_a_few_are_in_the_pipeline(setting):
    setting(campaign_ahead=3)
    arrive(*[f"1.{n}" for n in range(10)])
    draft_all()
    campaign = create(CampaignKind.AGAIN, source={"from_bundle": "bundle"}, bundle="newer")
    for drafted in (0, 3, 6, 9):
        tend_all()
        assert kept_counts(campaign).by_state[CampaignStudyState.DRAFTED] == drafted
        assert len(open_requests()) == min(3, 10 - drafted)
        draft_again("newer")
    tend_all()
    assert get(campaign).state == CampaignState.DONE


def test_a_closed_window_and_a_pause_give_nothing_and_the_next_opening_goes_on():
    arrive("1.1")
    draft_all()
    campaign = create(
        CampaignKind.AGAIN, source={"from_bundle": "bundle"}, bundle="newer", window=closed_now()
    )
    tend_all()
    assert ends(campaign) == {"1.1": ("WAITING", "")}
    with unit_of_work() as session:
        session.execute(text("UPDATE campaigns SET window_opens = NULL, window_closes = NULL"))
        campaigns.pause(session, campaign)
    tend_all()
    assert ends(campaign) == {"1.1": ("WAITING", "")}
    with unit_of_work() as session:
        campaigns.resume(session, campaign)
    tend_all()
    assert ends(campaign) == {"1.1": ("IN_WORK", "")}


def test_a_cancelled_campaign_finishes_what_is_under_way_and_nothing_else(setting):
    setting(campaign_ahead=1)
    arrive("1.1", "1.2")
    draft_all()
    campaign = create(CampaignKind.AGAIN, source={"from_bundle": "bundle"}, bundle="newer")
    tend_all()
    with unit_of_work() as session:
        campaigns.cancel(session, campaign)
    draft_again("newer")
    tend_all()
    assert sorted(ends(campaign).values()) == [("DRAFTED", ""), ("WAITING", "")]
    with unit_of_work() as session, pytest.raises(NotAllowed, match="CANCELLED"):
        campaigns.resume(session, campaign)


def test_a_hold_is_seen_and_goes_when_it_is_decided():
    (study,) = arrive("1.1")
    campaign = create(studies=of_uids("1.1"))
    tend_all()
    with unit_of_work() as session:
        holds.open_hold(session, study, HoldReason.VIEW_UNKNOWN, "")
    tend_all()
    assert ends(campaign) == {"1.1": ("HELD", "VIEW_UNKNOWN")}
    assert get(campaign).state == CampaignState.DONE  # what is left waits for a person
    with unit_of_work() as session:
        hold_decisions.decide(session, study, Decision.PROCEED, "test")
    tend_all()
    draft_all()
    tend_all()
    assert ends(campaign) == {"1.1": ("DRAFTED", "")}


def test_what_failed_is_named_and_tried_again():
    arrive("1.1")
    campaign = create(studies=of_uids("1.1"))
    tend_all()
    (lease,) = claim()
    with unit_of_work() as session:
        attempts.fail(
            session, lease, FailReason.UNREADABLE, "broken", max_attempts=1, retry_seconds=0.0
        )
    tend_all()
    assert ends(campaign) == {"1.1": ("FAILED", "UNREADABLE")}
    with unit_of_work() as session:
        assert retrying.retry(session, campaign, CampaignStudyState.FAILED, "UNREADABLE") == 1
    tend_all()
    assert ends(campaign) == {"1.1": ("IN_WORK", "")}
    assert get(campaign).state == CampaignState.RUNNING


def test_a_group_that_is_tried_again_in_parts_comes_to_its_end():
    arrive("1.1", "1.2", "1.3")
    campaign = create(studies=of_uids("1.1", "1.2", "1.3"))
    tend_all()
    for lease in claim():
        with unit_of_work() as session:
            attempts.fail(
                session, lease, FailReason.UNREADABLE, "broken", max_attempts=1, retry_seconds=0.0
            )
    tend_all()
    tried = []
    while not tried or tried[-1] == 2:
        with unit_of_work() as session:
            tried.append(
                retrying.retry(session, campaign, CampaignStudyState.FAILED, "UNREADABLE", limit=2)
            )
    assert tried == [2, 1]
    tend_all()
    assert set(ends(campaign).values()) == {("IN_WORK", "")}
    assert kept_counts(campaign).total == 3


def test_one_that_a_person_decided_about_keeps_no_group_from_being_tried_again():
    first, _ = arrive("1.1", "1.2")
    campaign = create(studies=of_uids("1.1", "1.2"))
    tend_all()
    for lease in claim():
        with unit_of_work() as session:
            attempts.fail(
                session, lease, FailReason.UNREADABLE, "broken", max_attempts=1, retry_seconds=0.0
            )
    tend_all()
    with unit_of_work() as session:
        requests.retry(session, study_id=first)
    with unit_of_work() as session:
        assert retrying.retry(session, campaign, CampaignStudyState.FAILED, "UNREADABLE") == 2
    tend_all()
    assert ends(campaign) == {"1.1": ("IN_WORK", ""), "1.2": ("IN_WORK", "")}


def test_what_was_not_here_waits_again_where_it_is_tried_again():
    campaign = create(studies=of_uids("1.1"))
    tend_all()
    assert ends(campaign) == {"1.1": ("MISSING", "NOT_HERE")}
    arrive("1.1")
    with unit_of_work() as session:
        assert retrying.retry(session, campaign, CampaignStudyState.MISSING, "NOT_HERE") == 1
    tend_all()
    assert ends(campaign) == {"1.1": ("IN_WORK", "")}
    assert kept_counts(campaign).total == 1


def test_late_images_put_a_row_back_to_work():
    arrive("1.1")
    campaign = create(studies=of_uids("1.1"))
    tend_all()
    draft_all()
    tend_all()
    assert ends(campaign) == {"1.1": ("DRAFTED", "")}
    register(new_instance("1.1", accession_number="A-1.1"))
    tend_all()
    assert ends(campaign) == {"1.1": ("IN_WORK", "")}


def test_what_a_person_cancelled_stays_cancelled():
    (study,) = arrive("1.1")
    with unit_of_work() as session:
        requests.cancel(session, study, "not wanted")
    campaign = create(studies=of_uids("1.1"), bundle="newer")
    tend_all()
    assert ends(campaign) == {"1.1": ("CANCELLED", "DECIDED")}
    assert open_requests() == []


def test_a_study_that_is_deleted_leaves_its_row():
    (study,) = arrive("1.1")
    campaign = create(studies=of_uids("1.1"))
    tend_all()
    with unit_of_work() as session:
        session.execute(text("UPDATE studies SET request_id = NULL"))
        for table in ("events", "draft_requests", "instances", "series"):
            if table == "events":
                session.execute(text("SET LOCAL session_replication_role = replica"))
            session.execute(text(f"DELETE FROM {table}"))
        session.execute(text("SET LOCAL session_replication_role = origin"))
        session.delete(session.get_one(Study, study))
    assert list(ends(campaign)) == ["1.1"]


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"name": " "}, "name"),
        ({"kind": CampaignKind.AGAIN}, "bundle"),
        ({"purpose": Purpose.COMPARISON}, "bundle"),
        (
            {"kind": CampaignKind.AGAIN, "source": {"from_bundle": "b"}, "bundle": "b"},
            "drafted before",
        ),
        ({"studies_per_minute": 0}, "more than 0"),
    ],
)
def test_campaigns_that_are_none(changed, match):
    with pytest.raises(NotAllowed, match=match):
        create(**changed)


def test_a_name_is_given_once():
    create()
    with pytest.raises(NotAllowed, match="already"):
        create()


def test_a_source_that_names_a_study_twice_makes_one_row():
    campaign = create(
        studies=[
            NewStudy("1.1"),
            NewStudy("1.1", "A"),
            NewStudy(accession_number="A"),
            NewStudy(accession_number="A"),
        ],
        window=closed_now(),
    )
    assert kept_counts(campaign).total == 2
    with unit_of_work() as session:
        assert len(session.scalars(select(CampaignStudy)).all()) == 2

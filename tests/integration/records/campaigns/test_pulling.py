"""Walks and fetches are claimed, their outcome is kept, and nothing is fetched twice."""

import datetime as dt
import threading
from contextlib import contextmanager

import pytest
from sqlalchemy import event, select, text, update

from records.campaigns import adding, campaigns, counting, pulling, retrying, walking
from records.campaigns.adding import NewStudy
from records.database.campaign_tables import Campaign, CampaignStudy
from records.database.session import engine, unit_of_work
from records.database.tables import Study
from records.errors import LostLease
from records.states import (
    CampaignKind,
    CampaignReason,
    CampaignState,
    CampaignStudyState,
    Priority,
    StudyState,
    WalkState,
)
from records.workflow import studies
from tests.support.campaigns import closed_now, create, ends, get, kept_counts, of_uids, tend_all
from tests.support.registered_studies import complete, draft_all, new_instance, register
from worker.campaigns import tend

pytestmark = pytest.mark.usefixtures("database")

PULLED = (CampaignKind.LIST, CampaignKind.QUERY)


def pulled_campaign(*uids, **changed):
    campaign = create(**{"studies": of_uids(*uids), "pacs": "archive", **changed})
    tend()
    return campaign


def claim(pacs="archive", ahead=10, kinds=PULLED):
    with unit_of_work() as session:
        return pulling.claim(session, pacs, ahead, kinds)


def finish(pull, **outcome):
    with unit_of_work() as session:
        pulling.finish(session, pull, **{"listed": 1, **outcome})


def age_last_image(session):
    """Let the hour pass for which a study waits for the rest of its images."""
    session.execute(
        update(Study).values(
            last_received_at=Study.last_received_at
            - dt.timedelta(seconds=studies.FETCH_PATIENCE_SECONDS + 1)
        )
    )


def add_and_save(campaign, walk):
    with unit_of_work() as session:
        adding.add_studies(session, campaign, of_uids("1.2"))
        walking.save_walk(session, walk, {"date": "20260103"})


def test_a_study_that_was_fetched_need_not_be_quiet_and_has_the_campaign_s_priority():
    campaign = pulled_campaign("1.1", priority=Priority.BACKLOG)
    pull = claim()
    register(new_instance("1.1", priority=Priority.ROUTINE))
    finish(pull, size=5)
    with unit_of_work() as session:
        studies.close_quiet(session, 3600.0)
        study = session.scalars(select(Study)).one()
        assert (study.state, study.priority) == (StudyState.COMPLETE, Priority.BACKLOG)
    draft_all()
    tend_all()
    assert ends(campaign) == {"1.1": ("DRAFTED", "")}
    assert get(campaign).state == CampaignState.DONE


def test_a_claim_and_the_end_of_a_fetch_write_the_row_once_each():
    pulled_campaign("1.1")
    with counted_updates() as updates:
        pull = claim()
    assert len(updates) == 1
    register(new_instance("1.1"))
    with counted_updates() as updates:
        finish(pull, size=5)
    assert len(updates) == 1


@contextmanager
def counted_updates():
    """The UPDATEs of rows of campaigns: each leaves a dead version of its row behind."""
    updates = []

    def note(_connection, _cursor, statement, *_):
        if statement.startswith("UPDATE campaign_studies"):
            updates.append(statement)

    event.listen(engine(), "before_cursor_execute", note)
    try:
        yield updates
    finally:
        event.remove(engine(), "before_cursor_execute", note)


def test_a_study_that_was_on_its_way_already_keeps_its_priority():
    register(new_instance("1.1", priority=Priority.STAT))
    pulled_campaign("1.1")
    finish(claim())
    with unit_of_work() as session:
        assert session.scalars(select(Study.priority)).all() == [Priority.STAT]


def test_missing_images_are_named_and_the_others_are_drafted():
    campaign = pulled_campaign("1.1")
    pull = claim()
    register(new_instance("1.1", sop="1.1.1.1"))
    with unit_of_work() as session:
        assert pulling.list_present(session, "1.1") == {"1.1.1.1"}
    finish(pull, listed=2, missing=["1.1.1.2"])
    with unit_of_work() as session:
        row = session.scalars(select(CampaignStudy)).one()
        assert (row.missing, row.listed, row.state) == (["1.1.1.2"], 2, "IN_WORK")
    with unit_of_work() as session:
        studies.close_quiet(session, 3600.0)
    draft_all()
    tend_all()
    assert ends(campaign) == {"1.1": ("DRAFTED", "")}


@pytest.mark.parametrize("ends_by", ["try_again", "put_back"])
def test_a_study_that_was_drafted_between_two_fetches_of_it_is_drafted_not_skipped(ends_by):
    campaign = pulled_campaign("1.1")
    pull = claim()
    register(new_instance("1.1"))  # one of two films; then the PACS was away for long
    with unit_of_work() as session:
        if ends_by == "try_again":
            pulling.try_again(session, pull, 0.0)
        else:
            pulling.put_back(session, pull)
        age_last_image(session)
        studies.close_quiet(session, 0.0)
    draft_all()
    tend_all()
    finish(claim(), listed=2, missing=["1.1.2"])
    tend_all()
    assert ends(campaign) == {"1.1": ("DRAFTED", "")}
    with unit_of_work() as session:
        assert session.scalars(select(CampaignStudy.missing)).one() == ["1.1.2"]


def interrupted(pull, how):
    """The fetch of a study ends after a part of its images."""
    with unit_of_work() as session:
        if how == "try_again":
            pulling.try_again(session, pull, 0.0)
        elif how == "put_back":
            pulling.put_back(session, pull)
        elif how == "the process died":
            assert pulling.expire_claims(session, 0.0) == 1
        else:
            assert how == "it goes on"


INTERRUPTIONS = ["it goes on", "try_again", "put_back", "the process died"]


@pytest.mark.parametrize("how", INTERRUPTIONS)
def test_a_study_of_which_a_campaign_has_fetched_a_part_is_not_closed_before_the_rest_came(how):
    campaign = pulled_campaign("1.1")
    pull = claim()
    register(new_instance("1.1"))
    interrupted(pull, how)
    with unit_of_work() as session:
        assert studies.close_quiet(session, 0.0) == []
        retrying.wake_due(session, 10)
    pull = pull if how == "it goes on" else claim()
    register(new_instance("1.1", sop="1.1.1.2"))
    finish(pull, listed=2)
    with unit_of_work() as session:
        assert len(studies.close_quiet(session, 3600.0)) == 1
    draft_all()
    tend_all()
    assert ends(campaign) == {"1.1": ("DRAFTED", "")}


def let_go(session, campaign, pull, why):
    """Let nothing more be waited for."""
    if why == "an hour has passed":
        age_last_image(session)
    elif why == "a person released it":
        studies.release(session, "1.1")
    elif why == "the campaign was paused":
        session.get_one(Campaign, campaign).state = CampaignState.PAUSED
    elif why == "the campaign was cancelled":
        session.get_one(Campaign, campaign).state = CampaignState.CANCELLED
    else:
        assert why == "the rest is nearline"
        session.execute(text("UPDATE campaign_studies SET not_before = now() + interval '6 hours'"))
    session.flush()


@pytest.mark.parametrize("how", INTERRUPTIONS)
@pytest.mark.parametrize(
    "why",
    [
        "an hour has passed",
        "a person released it",
        "the campaign was paused",
        "the campaign was cancelled",
        "the rest is nearline",
    ],
)
def test_a_study_does_not_wait_for_the_rest_where_none_is_to_come_soon(how, why):
    campaign = pulled_campaign("1.1")
    pull = claim()
    register(new_instance("1.1"))
    interrupted(pull, how)
    with unit_of_work() as session:
        let_go(session, campaign, pull, why)
        is_fetched_now = how == "it goes on" and why == "the rest is nearline"
        assert len(studies.close_quiet(session, 0.0)) == (not is_fetched_now)


def test_a_campaign_of_others_keeps_no_study_from_being_closed():
    pulled_campaign("1.1", "1.2")
    claim()
    register(new_instance("1.2"))  # it waits in the campaign, and was sent by a modality
    with unit_of_work() as session:
        assert len(studies.close_quiet(session, 0.0)) == 1


def test_a_study_that_was_drafted_before_the_campaign_came_to_it_is_skipped():
    register(new_instance("1.1"))
    complete()
    draft_all()
    campaign = pulled_campaign("1.1")
    pull = claim()
    with unit_of_work() as session:
        pulling.put_back(session, pull)
    finish(claim())
    assert ends(campaign) == {"1.1": ("SKIPPED", "ALREADY_DRAFTED")}


def test_a_study_of_which_nothing_came_is_missing():
    campaign = pulled_campaign("1.1")
    finish(claim(), listed=2, missing=["1.1.1.1", "1.1.1.2"])
    assert ends(campaign) == {"1.1": ("MISSING", "IMAGES_MISSING")}
    tend_all()
    assert get(campaign).state == CampaignState.DONE


def test_campaigns_that_overlap_fetch_a_study_once():
    pulled_campaign("1.1", name="a")
    second = pulled_campaign("1.1", "1.2", name="b")
    first_pull, second_pull = claim(), claim()
    assert (first_pull.study_instance_uid, second_pull.study_instance_uid) == ("1.1", "1.2")
    assert second_pull.campaign_id == second
    assert claim() is None
    complete(new_instance("1.1"))
    finish(first_pull)
    third = claim()
    assert (third.study_instance_uid, third.campaign_id) == ("1.1", second)
    with unit_of_work() as session:
        assert pulling.list_present(session, "1.1")  # so nothing of it is asked for


def test_many_processes_claim_each_study_once():
    pulled_campaign(*[f"1.{n}" for n in range(24)])
    claimed, errors = [], []

    def take():
        try:
            while (pull := claim(ahead=100)) is not None:
                claimed.append(pull.study_instance_uid)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(claimed) == sorted(f"1.{n}" for n in range(24))


def test_a_claim_that_ran_out_changes_nothing():
    campaign = pulled_campaign("1.1")
    old = claim()
    with unit_of_work() as session:
        assert pulling.expire_claims(session, 0.0) == 1
    new = claim()
    assert new.attempt == 2
    for write in (
        lambda s: pulling.finish(s, old, listed=1),
        lambda s: pulling.try_again(s, old, 1.0),
        lambda s: pulling.put_back(s, old),
        lambda s: pulling.renew(s, old),
        lambda s: pulling.resolve(s, old, ["1.1"]),
        lambda s: pulling.fail(s, old, CampaignStudyState.MISSING, CampaignReason.NOT_AT_PACS),
    ):
        register(new_instance("1.1"))
        with pytest.raises(LostLease), unit_of_work() as session:
            write(session)
    assert ends(campaign) == {"1.1": ("PULLING", "")}
    with unit_of_work() as session:
        renewed = pulling.renew(session, new)
        pulling.put_back(session, renewed)
    assert claim().attempt == 2  # it was given back uncounted


def test_a_closed_window_a_pause_and_a_campaign_with_enough_under_way_give_nothing():
    campaign = pulled_campaign("1.1", "1.2", window=closed_now())
    assert claim() is None
    with unit_of_work() as session:
        session.execute(text("UPDATE campaigns SET window_opens = NULL, window_closes = NULL"))
    tend()
    assert claim(ahead=1) is not None
    assert claim(ahead=1) is None
    with unit_of_work() as session:
        campaigns.pause(session, campaign)
    assert claim() is None
    assert claim("other") is None


def test_another_campaign_s_closed_window_delays_nobody():
    pulled_campaign("1.1", name="closed", window=closed_now(), priority=Priority.STAT)
    pulled_campaign("1.2", name="open")
    assert claim().study_instance_uid == "1.2"


def test_a_study_that_is_tried_again_waits_for_its_time():
    pulled_campaign("1.1")
    pull = claim()
    with unit_of_work() as session:
        pulling.try_again(session, pull, 3600.0, "it is nearline")
    tend()
    assert claim() is None
    with unit_of_work() as session:
        session.execute(text("UPDATE campaign_studies SET not_before = now()"))
    tend()
    assert claim().attempt == 2


def test_an_accession_number_becomes_the_studies_that_it_means():
    campaign = create(studies=[NewStudy(accession_number="A")], pacs="archive")
    tend()
    pull = claim()
    assert pull.study_instance_uid == ""
    with unit_of_work() as session:
        assert pulling.resolve(session, pull, ["1.1", "1.2"])
    assert ends(campaign) == {"1.1": ("PULLING", ""), "1.2": ("WAITING", "")}


def test_an_accession_number_of_a_study_that_is_listed_by_its_uid():
    campaign = create(studies=[NewStudy(accession_number="A"), NewStudy("1.1")], pacs="archive")
    tend()
    with unit_of_work() as session:
        pull = pulling.claim(session, "archive", 10, PULLED)
        assert not pulling.resolve(session, pull, ["1.1"])
    assert ends(campaign) == {"A": ("SKIPPED", "ALREADY_LISTED"), "1.1": ("WAITING", "")}


def test_an_accession_number_of_a_study_that_another_campaign_fetches():
    pulled_campaign("1.1", name="a")
    claim()
    campaign = create(name="b", studies=[NewStudy(accession_number="A")], pacs="archive")
    tend()
    pull = claim()
    with unit_of_work() as session:
        assert not pulling.resolve(session, pull, ["1.1"])
    assert ends(campaign) == {"1.1": ("WAITING", "")}
    assert claim() is None


def test_a_walk_is_claimed_by_one_and_goes_on_where_it_was():
    campaign = create(CampaignKind.QUERY, pacs="archive", source={"dates": "20260101-20260131"})
    with unit_of_work() as session:
        walk = walking.claim_walk(session, [CampaignKind.QUERY], "archive", 60.0)
        assert walking.claim_walk(session, [CampaignKind.QUERY], "archive", 60.0) is None
    with unit_of_work() as session:
        adding.add_studies(session, campaign, of_uids("1.1"))
        renewed = walking.save_walk(session, walk, {"date": "20260102"})
    with pytest.raises(LostLease):
        add_and_save(campaign, walk)
    assert list(ends(campaign)) == ["1.1"]
    with unit_of_work() as session:
        session.execute(text("UPDATE campaigns SET walk_claimed_at = '2020-01-01'"))
    with unit_of_work() as session:
        again = walking.claim_walk(session, [CampaignKind.QUERY], "archive", 60.0)
        assert again.position == {"date": "20260102"}
        assert renewed.position == again.position
        walking.save_walk(session, again, None, WalkState.WALKED, "all of it")
    assert (get(campaign).walk_state, get(campaign).walk_note) == ("WALKED", "all of it")


def test_a_paused_campaign_is_not_walked():
    campaign = create(CampaignKind.QUERY, pacs="archive")
    with unit_of_work() as session:
        campaigns.pause(session, campaign)
        assert walking.claim_walk(session, [CampaignKind.QUERY], "archive", 60.0) is None


def test_files_are_kept_with_their_study_and_its_size():
    campaign = create(CampaignKind.FOLDER, source={"folder": "/films"})
    with unit_of_work() as session:
        assert adding.add_files(session, campaign, {"1.1": {"a": 5, "b": 6}, "1.2": {"c": 7}}) == 2
        assert adding.add_files(session, campaign, {"1.1": {"b": 6, "d": 1}}) == 0
        campaigns.save_walk(session, campaign, None, WalkState.WALKED)
    tend()
    pull = claim("", kinds=[CampaignKind.FOLDER])
    with unit_of_work() as session:
        assert pulling.list_files(session, pull) == ["a", "b", "d"]
        row = session.scalars(
            select(CampaignStudy).where(CampaignStudy.study_instance_uid == "1.1")
        ).one()
        assert (row.size, row.listed) == (12, 3)


def test_a_stalled_pacs_is_named_once_and_goes_on():
    campaign = pulled_campaign("1.1")
    other = create(name="other", studies=of_uids("1.2"), pacs="another")
    folder = create(CampaignKind.FOLDER, name="folder", source={"folder": "/films"})
    here = create(name="here", studies=of_uids("1.3"))
    with unit_of_work() as session:
        campaigns.stall(session, "archive", "The PACS does not answer.")
    since = get(campaign).stalled_since
    with unit_of_work() as session:
        campaigns.stall(session, "archive", "The PACS does not answer.")
    assert get(campaign).stalled_since == since is not None
    assert get(other).stalled_reason == get(folder).stalled_reason == ""
    with unit_of_work() as session:
        campaigns.stall(session, "", "The folder is gone.")
    assert get(folder).stalled_reason == "The folder is gone."
    assert get(here).stalled_reason == ""
    with unit_of_work() as session:
        campaigns.stall(session, "archive", "")
    assert (get(campaign).stalled_reason, get(campaign).stalled_since) == ("", None)


def test_kept_numbers_are_folded_and_stay():
    campaign = create(studies=of_uids(*[f"1.{n}" for n in range(30)]), window=closed_now())
    with unit_of_work() as session:
        for _ in range(20):
            session.execute(
                text(
                    "UPDATE campaign_studies SET state = 'SKIPPED', reason = 'X' WHERE id = ("
                    "SELECT min(id) FROM campaign_studies WHERE state = 'WAITING')"
                )
            )
    before = kept_counts(campaign)
    with unit_of_work() as session:
        session.execute(
            text(
                "INSERT INTO campaign_tallies (campaign_id, quarter, state, reason, number)"
                " SELECT :id, '2020-01-01', 'WAITING', '', 0 FROM generate_series(1, 50)"
            ),
            {"id": campaign},
        )
        assert counting.fold_tallies(session, above=10) > 50
        assert session.scalar(text("SELECT count(*) FROM campaign_tallies")) <= 3
    assert kept_counts(campaign) == before
    with unit_of_work() as session:
        assert counting.count_ended_since(session, campaign, 3600.0) == 20
        assert session.scalars(select(Campaign.state)).all() == ["RUNNING"]


def test_a_study_that_came_before_its_claim_was_renewed_came_by_this_fetch():
    pulled_campaign("1.1", priority=Priority.BACKLOG)
    pull = claim()
    register(new_instance("1.1", priority=Priority.ROUTINE))
    with unit_of_work() as session:
        renewed = pulling.renew(session, pull)
    assert (renewed.claimed_at > pull.claimed_at, renewed.begun_at) == (True, pull.begun_at)
    finish(renewed)
    with unit_of_work() as session:
        assert session.scalars(select(Study.priority)).one() == Priority.BACKLOG


@pytest.mark.parametrize(
    ("kind", "window", "walked", "now", "later"),
    [
        (CampaignKind.LIST, "open", True, True, True),
        (CampaignKind.LIST, "closed", True, False, True),
        (CampaignKind.QUERY, "closed", False, True, True),  # its source is walked all the same
        (CampaignKind.QUERY, "closed", True, False, True),
        (CampaignKind.LIST, "closed", False, False, True),  # a list is never walked there
    ],
)
def test_a_running_campaign_needs_its_pacs_while_it_is_open_or_walked(
    kind, window, walked, now, later
):
    changed = {"window": closed_now()} if window == "closed" else {}
    studies = of_uids("1.1") if walked else ()
    campaign = create(kind=kind, studies=studies, pacs="archive", **changed)
    tend()
    assert need("archive") == (now, later)
    assert need("another") == need("") == (False, False)
    with unit_of_work() as session:
        campaigns.pause(session, campaign)
    assert need("archive") == (False, False)


def test_a_folder_is_needed_by_campaigns_of_folders_alone():
    create(kind=CampaignKind.AGAIN, name="again", bundle="b", source={"from_bundle": "a"})
    tend()
    assert need("") == (False, False)
    create(kind=CampaignKind.FOLDER, name="films", source={"folder": "/films"})
    tend()
    assert need("") == (True, True)


def need(pacs):
    with unit_of_work() as session:
        return tuple(campaigns.need_source(session, pacs, now=now) for now in (True, False))

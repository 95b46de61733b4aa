"""A PACS with faults: what is wanted comes, what does not is named, and one fault is one fault."""

from __future__ import annotations

import datetime as dt
import threading
import time
from contextlib import closing

import pytest
from pynetdicom import evt
from sqlalchemy import select, text

from intake.archive.find import DimseFinder
from intake.archive.listed import Availability
from intake.archive.pacs_source import FAILURES_IN_A_ROW
from intake.archive.puller import Puller, SourceState
from intake.archive.spans import SpanWalk
from records.blobs import Blobs
from records.campaigns import pulling, walking
from records.campaigns.campaigns import pause as pause_campaign
from records.campaigns.pacs_query import PacsQuery
from records.database.campaign_tables import Campaign, CampaignStudy
from records.database.operation_tables import Alarm, Observation, Refusal
from records.database.session import unit_of_work
from records.database.tables import Instance
from records.settings import settings
from records.states import CampaignKind
from tests.support import campaigns
from tests.support.campaigns import closed_now, ends, of_uids
from tests.support.dicom_senders import make_image
from tests.support.pacs import OddPacs, describe, film_uids, make_study
from tests.support.waiting import eventually

QUERY = PacsQuery(dt.date(2026, 1, 1), dt.date(2026, 1, 31)).to_source()


@pytest.fixture
def start(make_source):
    """`start(odd, studies=...)` opens a campaign and gives its puller."""

    def open_campaign(odd, *studies, kind=CampaignKind.LIST, clock=time.monotonic, **changed):
        pacs = describe(odd.port, **changed)
        source = make_source(pacs)
        name = f"campaign {kind}"
        new = {"pacs": "archive"} | ({"source": QUERY} if kind == CampaignKind.QUERY else {})
        start.campaign = campaigns.create(kind, name, studies=studies, **new)
        campaigns.tend()
        return Puller(source, SourceState(source, 0.0, clock), 100, walks=True)

    start = open_campaign
    return start


def take_turns(puller, turns=10):
    for _ in range(turns):
        puller.take_turn()


def here():
    with unit_of_work() as session:
        return set(session.scalars(select(Instance.sop_instance_uid)))


def row():
    with unit_of_work() as session:
        return session.scalars(select(CampaignStudy)).one()


def wake():
    with unit_of_work() as session:
        session.execute(text("UPDATE campaign_studies SET not_before = NULL"))


def test_a_presentation_state_that_is_listed_and_refused_leaves_the_study_complete(start, setting):
    setting(other_objects="refuse")
    study = make_study(1)
    with OddPacs(study) as odd:
        take_turns(start(odd, *of_uids("1.2.826.77.1")))
    assert here() == film_uids(study)
    found = row()
    assert (found.state, found.listed, found.missing) == ("IN_WORK", 2, [])
    with unit_of_work() as session:
        assert session.scalars(select(Refusal)).all() == []


def test_no_received_file_is_left_behind(start, data_dir):
    with OddPacs(make_study(1)) as odd:
        take_turns(start(odd, *of_uids("1.2.826.77.1")))
    assert len(here()) == 2
    assert list(Blobs(data_dir).incoming.iterdir()) == []


def test_a_walk_makes_rows_and_its_studies_are_fetched(start):
    images = [one for number in range(3) for one in make_study(number, AccessionNumber="")]
    images += make_study(7, StudyDate="20250101")  # not of the dates
    images.append(make_image("1.2.826.77.8", Modality="US"))
    with OddPacs(images) as odd:
        puller = start(odd, kind=CampaignKind.QUERY)
        take_turns(puller)
    assert here() == film_uids(images[:9])
    with unit_of_work() as session:
        campaign = session.scalars(select(Campaign)).one()
        assert (campaign.walk_state, campaign.walk_note) == ("WALKED", "")


def test_answers_that_are_cut_at_100_without_a_word_lose_no_study(make_source):
    images = [
        make_image(f"1.2.9.{n}", Modality="DX", StudyTime=f"{n // 60:02d}{n % 60:02d}00")
        for n in range(350)
    ]
    query = PacsQuery(dt.date(2025, 12, 1), dt.date(2026, 2, 1))
    found = set()
    with OddPacs(images, cut_at=100) as odd:
        finder = DimseFinder(describe(odd.port), settings())
        walk = SpanWalk(query)
        while span := walk.next_span():
            studies = walk.take(span, finder.find_studies(span))
            found |= {study.study_instance_uid for study in studies}
            walk = SpanWalk(query, position=walk.to_position())
    assert found == {image.StudyInstanceUID for image in images}
    assert walk.note() == ""


def test_a_pacs_that_answers_what_was_not_asked_for_gives_nothing_of_other_studies(start):
    images = [*make_study(1), *make_study(2)]
    ignored = {"StudyInstanceUID", "SeriesInstanceUID", "AccessionNumber"}
    with OddPacs(images, ignores=ignored) as odd:
        finder = DimseFinder(describe(odd.port), settings())
        listing = finder.list_study("1.2.826.77.1")
        assert {one.sop_instance_uid for one in listing.wanted} == film_uids(images[:3])
        assert listing.unwanted == {"presentation states": 1}
        (found,) = finder.find_by_accession_number("A2")
        assert found.study_instance_uid == "1.2.826.77.2"
        assert finder.list_study("1.2.826.77.3") is None


def test_an_accession_number_means_its_study(start):
    with OddPacs([*make_study(1), *make_study(2)]) as odd:
        puller = start(odd, campaigns.NewStudy(accession_number="A2"))
        take_turns(puller)
    assert here() == film_uids(make_study(2))
    assert row().study_instance_uid == "1.2.826.77.2"


def test_what_did_not_come_is_asked_for_again_at_once_and_by_its_name(start):
    study = make_study(1, films=3)
    late = study[1].SOPInstanceUID
    with OddPacs(study, withheld={late}) as odd:
        asked = odd._get

        def hand_over_then(event):
            yield from asked(event)
            odd.withheld.clear()

        odd._server.bind(evt.EVT_C_GET, hand_over_then)
        take_turns(start(odd, *of_uids("1.2.826.77.1")))
        questions = [keys for level, keys in odd.asked if level == "GET"]
    assert here() == film_uids(study)
    assert [one.QueryRetrieveLevel for one in questions] == ["SERIES", "IMAGE"]
    assert questions[1].SOPInstanceUID == late
    assert row().missing == []


def test_what_never_comes_is_named_and_the_study_goes_on_without(start):
    study = make_study(1, films=3)
    lost = study[1].SOPInstanceUID
    with OddPacs(study, withheld={lost}) as odd:
        puller = start(odd, *of_uids("1.2.826.77.1"), attempts=2)
        take_turns(puller, 1)
        assert (row().state, row().attempts) == ("WAITING", 1)
        assert "1 of 3 images did not come" in row().detail
        wake()
        take_turns(puller, 2)
    found = row()
    assert (found.state, found.listed, found.missing) == ("IN_WORK", 3, [lost])
    assert here() == film_uids(study) - {lost}


@pytest.mark.parametrize("status", [None, 0xA702])
def test_images_of_a_study_of_which_none_comes_are_named(start, status):
    study = make_study(1)
    fails = {"1.2.826.77.1": status} if status else {}
    with OddPacs(study, withheld=film_uids(study), fails=fails) as odd:
        take_turns(start(odd, *of_uids("1.2.826.77.1"), attempts=1))
    assert set(row().missing) == film_uids(study)
    assert row().state in ("FAILED", "MISSING")


def test_a_study_whose_fetch_ends_the_process_each_time_is_given_up(start):
    with OddPacs(make_study(1)) as odd:
        puller = start(odd, *of_uids("1.2.826.77.1"), attempts=2)
        for _ in range(2):  # a process claims it, and is killed
            with unit_of_work() as session:
                assert pulling.claim(session, "archive", 100, [CampaignKind.LIST])
            with unit_of_work() as session:
                assert pulling.expire_claims(session, 0.0) == 1
        take_turns(puller, 1)
    found = row()
    assert (found.state, found.reason, odd.asked) == ("FAILED", "PULL_FAILED", [])
    assert "ended 2 times while it fetched this study" in found.detail


def test_one_bad_study_fails_nobody_else(start):
    images = [*make_study(1), *make_study(2), *make_study(3)]
    bad = "1.2.826.77.2"
    with OddPacs(images, fails={bad: 0xA702}) as odd:
        puller = start(odd, *of_uids("1.2.826.77.1", bad, "1.2.826.77.3"), attempts=1)
        take_turns(puller)
    states = ends(only_campaign())
    assert states.pop(bad) == ("FAILED", "PULL_FAILED")
    assert {state for state, _ in states.values()} == {"IN_WORK"}
    with unit_of_work() as session:
        assert session.scalars(select(Alarm)).all() == []


def only_campaign():
    with unit_of_work() as session:
        return session.scalars(select(Campaign.id)).one()


def test_a_study_at_which_the_pacs_hangs_up_is_that_study_s_own_fault(start):
    images = [*make_study(1), *make_study(2)]
    bad = "1.2.826.77.1"
    with OddPacs(images, silent_for={bad}) as odd:
        take_turns(start(odd, *of_uids(bad, "1.2.826.77.2"), attempts=1))
    assert ends(only_campaign())[bad] == ("FAILED", "PULL_FAILED")
    assert here() == film_uids(images[3:])


def test_several_studies_that_fail_in_a_row_are_the_pacs_s_fault(start):
    uids = [f"1.2.826.77.{n}" for n in range(6)]
    images = [one for n in range(6) for one in make_study(n)]
    with OddPacs(images, fails=dict.fromkeys(uids, 0xC000)) as odd:
        take_turns(start(odd, *of_uids(*uids)))
    with unit_of_work() as session:
        assert session.scalars(select(Alarm.kind)).all() == ["PACS_AWAY"]
        attempts = session.scalars(select(CampaignStudy.attempts)).all()
    assert sum(attempts) == FAILURES_IN_A_ROW - 1


def test_a_pacs_that_is_away_costs_no_attempt_has_one_alarm_and_goes_on_by_itself(start):
    odd = OddPacs([*make_study(1), *make_study(2)])
    with odd:
        pass  # its port is known, and nobody listens there
    now = [1000.0]
    puller = start(odd, *of_uids("1.2.826.77.1", "1.2.826.77.2"), clock=lambda: now[0])
    take_turns(puller, 3)
    with unit_of_work() as session:
        alarm = session.scalars(select(Alarm)).one()
        campaign = session.scalars(select(Campaign)).one()
        rows = session.scalars(select(CampaignStudy)).all()
    assert (alarm.kind, alarm.part, alarm.closed_at) == ("PACS_AWAY", "PACS archive", None)
    assert "archive" in campaign.stalled_reason
    assert {(one.state, one.attempts) for one in rows} == {("WAITING", 0)}
    with odd:
        now[0] += 300
        take_turns(puller)
    assert len(here()) == 4
    with unit_of_work() as session:
        assert session.scalars(select(Alarm.closed_at)).one() is not None
        assert session.scalars(select(Campaign.stalled_reason)).one() == ""


def test_a_pacs_that_refuses_our_association_is_away(start):
    with OddPacs(make_study(1), refuses=True) as odd:
        take_turns(start(odd, *of_uids("1.2.826.77.1")), 2)
    with unit_of_work() as session:
        cause = session.scalars(select(Alarm.cause)).one()
    assert "refuses our association (calling ae title not recognised)" in cause
    assert row().attempts == 0


def test_a_pacs_that_stays_silent_is_away(start):
    with OddPacs(make_study(1), silence=threading.Event()) as odd:
        take_turns(start(odd, *of_uids("1.2.826.77.1"), seconds=1), 1)
    with unit_of_work() as session:
        assert "stopped answering" in session.scalars(select(Alarm.cause)).one()
    assert row().attempts == 0


def test_a_pacs_without_c_get_is_named_with_what_to_do(start):
    with OddPacs(make_study(1), offers_get=False) as odd:
        take_turns(start(odd, *of_uids("1.2.826.77.1")), 2)
    with unit_of_work() as session:
        cause = session.scalars(select(Alarm.cause)).one()
    assert "does not offer Study Root" in cause
    assert "another `retrieve`" in cause
    assert row().attempts == 0


def test_a_study_that_is_offline_waits_for_hours_with_its_own_reason(start):
    study = make_study(1)
    offline = dict.fromkeys(film_uids(study), "OFFLINE")
    with OddPacs(study, availability=offline) as odd:
        puller = start(odd, *of_uids("1.2.826.77.1"), attempts=2, nearline_hours=6)
        take_turns(puller, 1)
        with unit_of_work() as session:
            hours = session.scalar(
                text("SELECT extract(epoch FROM not_before - now()) / 3600 FROM campaign_studies")
            )
        assert 5.9 < hours <= 6
        assert [level for level, _ in odd.asked if level == "GET"] == []
        wake()
        take_turns(puller, 1)
    assert ends(only_campaign())["1.2.826.77.1"] == ("MISSING", "OFFLINE")
    assert set(row().missing) == film_uids(study)


def test_one_series_that_is_offline_keeps_nobody_from_the_other_images(start):
    study = make_study(1, films=3)
    lost = study[2].SOPInstanceUID
    with OddPacs(study, availability={lost: "OFFLINE"}, withheld={lost}) as odd:
        puller = start(odd, *of_uids("1.2.826.77.1"), attempts=2)
        take_turns(puller, 1)
        assert row().state == "WAITING"
        wake()
        take_turns(puller, 1)
    assert (row().state, row().missing) == ("IN_WORK", [lost])


def test_a_study_that_is_nearline_is_asked_for_which_lets_the_pacs_bring_it(start):
    study = make_study(1)
    with OddPacs(study, availability=dict.fromkeys(film_uids(study), "NEARLINE")) as odd:
        take_turns(start(odd, *of_uids("1.2.826.77.1")), 1)
        listing = DimseFinder(describe(odd.port), settings()).list_study("1.2.826.77.1")
    assert listing.wanted[0].availability is Availability.NEARLINE
    assert here() == film_uids(study)


def test_unknown_studies_and_those_without_films_end_with_their_reason(start):
    state_only = make_study(2)[-1:]
    with OddPacs([*make_study(1), *state_only]) as odd:
        take_turns(start(odd, *of_uids("1.2.826.77.2", "1.2.826.77.404")))
    assert ends(only_campaign()) == {
        "1.2.826.77.2": ("SKIPPED", "NO_IMAGES"),
        "1.2.826.77.404": ("MISSING", "NOT_AT_PACS"),
    }


def test_a_study_that_two_campaigns_want_is_fetched_once(start):
    study = make_study(1)
    with OddPacs(study) as odd:
        puller = start(odd, *of_uids("1.2.826.77.1"))
        campaigns.create(name="other", studies=of_uids("1.2.826.77.1"), pacs="archive")
        campaigns.tend()
        take_turns(puller)
    assert odd.sent == dict.fromkeys(film_uids(study), 1)
    with unit_of_work() as session:
        assert session.scalars(select(CampaignStudy.state)).all() == ["IN_WORK", "IN_WORK"]


def test_a_full_disk_costs_no_attempt_and_asks_for_nothing(start, make_source, setting):
    with OddPacs(make_study(1)) as odd:
        puller = start(odd, *of_uids("1.2.826.77.1"))
        setting(disk_stop_mb=10**9)
        full = make_source(describe(odd.port))
        state = SourceState(full, 0.0)
        assert Puller(full, state, 100, walks=True).take_turn() > 0
        with unit_of_work() as session:
            assert "DISK_STOP_MB" in session.scalars(select(Campaign.stalled_reason)).one()
            assert session.scalars(select(Alarm)).all() == []
        assert odd.asked == []
        assert (row().state, row().attempts) == ("WAITING", 0)
        setting(disk_stop_mb=0)
        make_source(describe(odd.port))  # there is room again
        take_turns(puller, 1)
    assert len(here()) == 2
    with unit_of_work() as session:
        assert session.scalars(select(Campaign.stalled_reason)).one() == ""


def test_a_campaign_with_a_rate_of_its_own_does_not_hold_up_another_one(start):
    images = [one for number in range(6) for one in make_study(number)]
    with OddPacs(images) as odd:
        puller = start(odd)
        slow, other = (
            campaigns.create(
                name=name,
                pacs="archive",
                studies_per_minute=rate,
                studies=of_uids(*(f"1.2.826.77.{n}" for n in numbers)),
            )
            for name, rate, numbers in (("slow", 0.01, (0, 1, 2)), ("other", None, (3, 4, 5)))
        )
        campaigns.tend()
        take_turns(puller)
    assert sorted(state for state, _ in ends(slow).values()) == ["IN_WORK", "WAITING", "WAITING"]
    assert {state for state, _ in ends(other).values()} == {"IN_WORK"}


def alarms():
    """(kind, whether it is open) of each alarm."""
    with unit_of_work() as session:
        rows = session.scalars(select(Alarm).order_by(Alarm.id))
        return [(alarm.kind, alarm.closed_at is None) for alarm in rows]


def light_is_well():
    with unit_of_work() as session:
        return session.scalars(select(Observation.is_well)).one()


def test_a_pacs_that_no_campaign_needs_has_a_light_and_no_alarm_until_one_does(make_source):
    odd = OddPacs(make_study(1))
    with odd:
        pass  # nobody listens there
    now = [1000.0]
    source = make_source(describe(odd.port))
    state = SourceState(source, 60.0, lambda: now[0])
    puller = Puller(source, state, 100, walks=True)
    for _ in range(5):
        puller.take_turn()
        now[0] += 300
    assert (light_is_well(), alarms()) == (False, [])
    waits = campaigns.create(
        name="tonight", pacs="archive", studies=of_uids("1.2.826.77.1"), window=closed_now()
    )
    campaigns.tend()
    puller.take_turn()
    assert alarms() == []  # its window opens in some hours
    campaign = campaigns.create(pacs="archive", studies=of_uids("1.2.826.77.1"))
    campaigns.tend()
    now[0] += 10
    state.record_if_due()  # as in the pause, before the PACS is asked again
    assert alarms() == [("PACS_AWAY", True)]
    assert "archive" in campaigns.get(campaign).stalled_reason
    # The trouble is not over because one campaign is paused while another one waits for its hours.
    pause(campaign)
    now[0] += 10
    state.record_if_due()
    assert alarms() == [("PACS_AWAY", True)]
    pause(waits)
    now[0] += 10
    state.record_if_due()
    assert (light_is_well(), alarms()) == (False, [("PACS_AWAY", False)])


def pause(campaign_id):
    with unit_of_work() as session:
        pause_campaign(session, campaign_id)


def test_a_walk_keeps_its_association_until_somebody_else_waits_for_the_place(make_source):
    with OddPacs(make_study(1)) as odd:
        source = make_source(describe(odd.port, associations=1))
        campaigns.create(CampaignKind.QUERY, pacs="archive", source=QUERY)
        with unit_of_work() as session:
            walk = walking.claim_walk(session, source.walked, "archive", 900.0)
        with closing(source.walk(walk)) as batches:
            next(batches)
            next(batches)
            assert odd.associations == 1
            other = threading.Thread(target=source.check)
            other.start()
            eventually(lambda: source._places.is_wanted(0.0))
            assert odd.open_associations == 1
            next(batches)  # after its question it makes way
            other.join(30)
            assert not other.is_alive()
            assert odd.associations == 2
        source.check()  # the walk has given its place back
        assert odd.associations == 3

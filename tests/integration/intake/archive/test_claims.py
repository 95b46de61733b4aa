"""The claim of a study whose fetch takes longer than a claim lasts: kept, or lost for good."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from intake.archive import puller
from intake.archive.puller import KeptClaim, Puller, SourceState
from records.campaigns import pulling
from records.campaigns.campaigns import cancel as cancel_campaign
from records.database.campaign_tables import CampaignStudy
from records.database.operation_tables import Alarm
from records.database.session import unit_of_work
from records.database.tables import Instance
from records.states import CampaignKind
from records.workflow import site_scope
from tests.support import campaigns
from tests.support.accounts import run_sql
from tests.support.campaigns import of_uids
from tests.support.dicom_senders import make_image
from tests.support.pacs import OddPacs, describe, film_uids
from tests.support.two_sites import make_north
from tests.support.web_pacs import WebPacs

UID = "1.2.826.77.1"
FILMS = 4
KINDS = (CampaignKind.LIST,)


@pytest.fixture(params=["c-get", "wado-rs"])
def pacs(request, monkeypatch):
    """A PACS with one study of four series; `before_film` is called with 1, 2, 3, 4."""
    monkeypatch.setattr(pulling, "RENEW_SECONDS", 0.0)
    images = [
        make_image(UID, f"{UID}.{n}.1", SeriesInstanceUID=f"{UID}.{n}")
        for n in range(1, FILMS + 1)
    ]  # fmt: skip
    if request.param == "c-get":
        with OddPacs(images) as odd:
            odd.describe = lambda: describe(odd.port)
            odd.watch = lambda call: setattr(odd, "before_image", call)
            yield odd
        return
    with WebPacs(images) as web:

        def watch(call):
            def before_answer(path):
                if "/series/" in path and not path.partition("?")[0].endswith("instances"):
                    call(1 + len(sent()))

            web.before_answer = before_answer

        web.watch = watch
        yield web


@pytest.fixture
def source(pacs, make_source):
    made = make_source(pacs.describe())
    campaigns.create(CampaignKind.LIST, studies=of_uids(UID), pacs="archive")
    campaigns.tend()
    return made


def sent():
    with unit_of_work() as session:
        return set(session.scalars(select(Instance.sop_instance_uid)))


def row():
    with unit_of_work() as session:
        return session.scalars(select(CampaignStudy)).one()


def let_an_hour_pass():
    with unit_of_work() as session:
        session.execute(
            text("UPDATE campaign_studies SET claimed_at = claimed_at - interval '1 hour'")
        )


def claim():
    """What another process does: it looks for claims that ran out, and for work."""
    campaigns.tend()
    with unit_of_work() as session:
        return pulling.claim(session, "archive", 100, KINDS)


def test_a_fetch_that_lasts_longer_than_a_claim_is_not_taken_by_another_process(pacs, source):
    kept = KeptClaim(claim())
    # The claim is an hour old when the first image comes; nobody has looked for old ones yet.
    let_an_hour_pass()
    kept.pull = replace(kept.pull, claimed_at=kept.pull.claimed_at - timedelta(hours=1))
    others = []
    pacs.watch(lambda number: number > 1 and others.append(claim()))
    pulled = source.pull(kept.pull, kept.renew_if_due)
    assert others == [None] * (FILMS - 1)
    assert (pulled.listed, list(pulled.missing)) == (FILMS, [])
    with unit_of_work() as session:
        pulling.finish(session, kept.pull, listed=pulled.listed)
    assert (row().state, row().attempts) == ("IN_WORK", 1)


def test_a_claim_is_renewed_now_and_then_alone(pacs, source, monkeypatch):
    monkeypatch.setattr(pulling, "RENEW_SECONDS", 3600.0)
    claimed = []
    pacs.watch(lambda number: claimed.append(row().claimed_at))
    Puller(source, SourceState(source, 0.0), 100, walks=False).take_turn()
    assert len(claimed) == FILMS
    assert len(set(claimed)) == 1


def test_a_process_that_lost_its_claim_stops_and_changes_nothing(pacs, source):
    others = []

    def lose(number):
        if number == 2 and not others:
            let_an_hour_pass()
            others.append(claim())

    pacs.watch(lose)
    puller = Puller(source, SourceState(source, 0.0), 100, walks=False)
    assert puller.take_turn() == 0.0
    (other,) = others
    assert other.attempt == 2
    # The image that was on its way is kept, for it was acknowledged; no other was fetched.
    assert 1 <= len(sent()) <= 2
    assert (row().state, row().attempts, row().claimed_at) == ("PULLING", 2, other.claimed_at)
    assert puller.pulled == 0
    with unit_of_work() as session:
        assert session.scalars(select(Alarm)).all() == []
    # Who has it now goes on, and asks for the rest.
    kept = KeptClaim(other)
    assert not source.pull(other, kept.renew_if_due).missing
    with unit_of_work() as session:
        pulling.finish(session, kept.pull, listed=FILMS)
    assert sent() == film_uids(pacs.images)
    assert row().state == "IN_WORK"


def test_a_study_of_a_campaign_that_was_cancelled_meanwhile_is_fetched_to_its_end(pacs, source):
    kept = KeptClaim(claim())

    def cancel(number):
        if number == 2:
            with unit_of_work() as session:
                cancel_campaign(session, kept.pull.campaign_id)

    pacs.watch(cancel)
    assert not source.pull(kept.pull, kept.renew_if_due).missing


def test_rights_are_read_anew_before_each_fetch(pacs, make_source, setting, tmp_path, monkeypatch):
    make_north()
    site = run_sql("SELECT id FROM sites WHERE code = 'north'")[0]
    file = tmp_path / "pacs.toml"
    table = '[archive]\nretrieve = "wado-rs"\nurl = "http://pacs.example.org"\n'
    file.write_text(f'{table}sites = ["north"]\n')
    setting(pacs_file=file)
    with site_scope.limited_to(site):
        campaigns.create(CampaignKind.LIST, studies=of_uids(UID), pacs="archive")
    campaigns.tend()
    monkeypatch.setattr(puller, "RIGHTS_SECONDS", 0.0)
    source = make_source(pacs.describe())
    fetching = Puller(source, SourceState(source, 0.0), 100, walks=False)
    file.write_text(table)
    fetching.take_turn()
    assert (fetching.pulled, sent()) == (0, set())
    # While the file is wrong nothing changes.
    file.write_text("sites = [")
    fetching.take_turn()
    assert fetching.pulled == 0
    file.write_text(f'{table}sites = ["north"]\n')
    fetching.take_turn()
    assert (fetching.pulled, len(sent())) == (1, FILMS)

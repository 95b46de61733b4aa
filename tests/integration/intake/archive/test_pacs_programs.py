"""Orthanc and DCMTK's dcmqrscp as PACSs: each way of fetching brings each film once."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import select

from intake.archive import pacs_source
from intake.archive.errors import PacsAway
from intake.archive.find import DimseFinder
from intake.archive.puller import Puller, SourceState
from intake.archive.spans import SpanWalk
from records.campaigns.pacs_query import PacsQuery
from records.database.campaign_tables import Campaign, CampaignStudy
from records.database.session import unit_of_work
from records.database.tables import Instance
from records.settings import settings
from records.states import CampaignKind
from tests.support import campaigns
from tests.support.campaigns import of_uids
from tests.support.pacs import (
    DCMQRSCP,
    ORTHANC,
    describe,
    film_uids,
    make_study,
    running_dcmqrscp,
    running_orthanc,
)

pytestmark = pytest.mark.slow

QUERY = PacsQuery(dt.date(2026, 1, 1), dt.date(2026, 1, 31))


@pytest.fixture(params=["orthanc", "dcmqrscp"])
def pacs(request, tmp_path):
    """A PACS with four studies, each of two films and a presentation state."""
    if not {"orthanc": ORTHANC, "dcmqrscp": DCMQRSCP}[request.param]:
        pytest.skip(f"{request.param} is needed (apt install orthanc dcmtk)")
    run = {"orthanc": running_orthanc, "dcmqrscp": running_dcmqrscp}[request.param]
    with run(tmp_path / "pacs") as program:
        program.images = [
            one
            for number in range(1, 5)
            for one in make_study(number, StudyTime=f"{6 * number - 6:02d}1500")
        ]
        program.store(program.images)
        yield program


def fetch(source, kind, *studies):
    new = {"source": QUERY.to_source()} if kind == CampaignKind.QUERY else {}
    campaigns.create(kind, studies=studies, pacs="archive", **new)
    campaigns.tend()
    puller = Puller(source, SourceState(source, 0.0), 100, walks=True)
    for _ in range(10):
        puller.take_turn()


def here():
    with unit_of_work() as session:
        return session.scalars(select(Instance.sop_instance_uid)).all()


def rows():
    with unit_of_work() as session:
        return {(r.state, r.listed, len(r.missing)) for r in session.scalars(select(CampaignStudy))}


def test_c_get_brings_each_film_once(pacs, make_source):
    source = make_source(describe(pacs.port))
    fetch(source, CampaignKind.QUERY)
    assert sorted(here()) == sorted(film_uids(pacs.images))
    assert rows() == {("IN_WORK", 2, 0)}


def test_c_move_brings_each_film_once_to_our_listener(pacs, make_source, listen):
    listen(listen_port=pacs.listener_port)
    source = make_source(describe(pacs.port, retrieve="c-move"))
    fetch(source, CampaignKind.LIST, *of_uids(*(f"1.2.826.77.{n}" for n in range(1, 5))))
    assert set(here()) >= film_uids(pacs.images)
    assert rows() == {("IN_WORK", 2, 0)}


def test_while_our_listener_does_not_run_no_study_pays(pacs, make_source, listen, monkeypatch):
    monkeypatch.setattr(pacs_source, "LISTENER_SECONDS", 1.0)
    uids = [f"1.2.826.77.{n}" for n in range(1, 5)]
    source = make_source(describe(pacs.port, retrieve="c-move"))
    campaigns.create(studies=of_uids(*uids), pacs="archive")
    campaigns.tend()
    puller = Puller(source, SourceState(source, 0.0), 100, walks=False)
    puller.take_turn()
    with unit_of_work() as session:
        assert set(session.scalars(select(CampaignStudy.attempts))) == {0}
        assert "`nightdraft listen`" in session.scalars(select(Campaign.stalled_reason)).one()
    listen(listen_port=pacs.listener_port)
    puller = Puller(source, SourceState(source, 0.0), 100, walks=False)  # without the pause
    for _ in range(10):
        puller.take_turn()
    assert set(here()) >= film_uids(pacs.images)


def test_a_destination_that_the_pacs_does_not_know_is_named(pacs, make_source):
    source = make_source(describe(pacs.port, retrieve="c-move", move_destination="NOBODY"))
    campaigns.create(studies=of_uids("1.2.826.77.1"), pacs="archive")
    campaigns.tend()
    puller = Puller(source, SourceState(source, 0.0), 100, walks=False)
    puller.take_turn()
    with unit_of_work() as session:
        row = session.scalars(select(CampaignStudy)).one()
    assert (row.state, here()) == ("WAITING", [])


def test_parts_of_a_day_are_asked_for_by_time(pacs, make_source):
    finder = DimseFinder(describe(pacs.port), settings())
    walk = SpanWalk(PacsQuery(dt.date(2026, 1, 1), dt.date(2026, 1, 1), ()), cut_at=3)
    found, questions = set(), 0
    while span := walk.next_span():
        answer = finder.find_studies(span)
        found |= {study.study_instance_uid for study in walk.take(span, answer)}
        questions += 1
    assert found == {f"1.2.826.77.{n}" for n in range(1, 5)}
    assert questions == 3
    assert walk.note() == ""


def test_an_image_that_the_program_has_is_asked_for_by_its_name(pacs, make_source):
    source = make_source(describe(pacs.port))
    listing = source._finder.list_study("1.2.826.77.1")
    source._retriever.retrieve("1.2.826.77.1", listing.wanted[1:], lambda: None, whole_series=False)
    assert here() == [listing.wanted[1].sop_instance_uid]
    source._retriever.retrieve("1.2.826.77.1", listing.wanted, lambda: None, whole_series=False)
    assert sorted(here()) == sorted(film_uids(pacs.images[:3]))


def test_a_pacs_that_is_killed_is_away_and_goes_on_when_it_is_back(pacs, make_source):
    source = make_source(describe(pacs.port))
    pacs.kill()
    with pytest.raises(PacsAway):
        source.check()
    fetch_nothing = of_uids("1.2.826.77.1")
    campaigns.create(studies=fetch_nothing, pacs="archive")
    campaigns.tend()
    now = [1000.0]
    state = SourceState(source, 0.0, lambda: now[0])
    puller = Puller(source, state, 100, walks=False)
    puller.take_turn()
    pacs.start()
    now[0] += 300
    puller.take_turn()
    assert sorted(here()) == sorted(film_uids(pacs.images[:3]))
    assert rows() == {("IN_WORK", 2, 0)}

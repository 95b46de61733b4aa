"""Orthanc's DICOMweb plugin as a PACS: asked by QIDO-RS, fetched from by WADO-RS."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import select

from intake.archive.dicomweb import WebFinder
from intake.archive.errors import PacsAway, SetUpWrong
from intake.archive.puller import Puller, SourceState
from intake.archive.spans import SpanWalk, walk_spans
from records.blobs import Blobs
from records.campaigns.pacs_query import PacsQuery
from records.database.campaign_tables import CampaignStudy
from records.database.session import unit_of_work
from records.database.tables import Instance
from records.pacs import Pacs
from records.states import CampaignKind
from tests.support import campaigns
from tests.support.pacs import DICOMWEB, ORTHANC, describe, film_uids, make_study, running_orthanc

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ORTHANC and DICOMWEB), reason="needs Orthanc's plugin (apt: orthanc-dicomweb)"
    ),
]

QUERY = PacsQuery(dt.date(2026, 1, 1), dt.date(2026, 1, 31))
STUDIES = 12


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as program:
        program.images = [
            one
            for number in range(STUDIES)
            for one in make_study(number, StudyTime=f"{2 * number:02d}1500")
        ]
        program.store([*program.images, *make_study(90, StudyDate="20251231")])
        yield program


def web(orthanc, **changed) -> Pacs:
    return describe(orthanc.port, **{"retrieve": "wado-rs", "url": orthanc.web} | changed)


def here():
    with unit_of_work() as session:
        return session.scalars(select(Instance.sop_instance_uid)).all()


def test_a_campaign_brings_each_film_once(orthanc, make_source, data_dir):
    source = make_source(web(orthanc))
    campaigns.create(CampaignKind.QUERY, pacs="archive", source=QUERY.to_source())
    campaigns.tend()
    puller = Puller(source, SourceState(source, 0.0), 100, walks=True)
    for _ in range(STUDIES + 5):
        puller.take_turn()
    assert sorted(here()) == sorted(film_uids(orthanc.images))
    with unit_of_work() as session:
        rows = {(r.state, r.listed, len(r.missing)) for r in session.scalars(select(CampaignStudy))}
        senders = set(session.scalars(select(Instance.calling_ae)))
    assert (rows, senders) == ({("IN_WORK", 2, 0)}, {"ARCHIVE"})
    assert list(Blobs(data_dir).incoming.iterdir()) == []


def test_an_image_is_fetched_by_its_name(orthanc, make_source):
    source = make_source(web(orthanc))
    listing = source._finder.list_study("1.2.826.77.1")
    assert {one.sop_instance_uid for one in listing.wanted} == film_uids(orthanc.images[3:6])
    assert listing.unwanted == {"presentation states": 1}
    source._retriever.retrieve("1.2.826.77.1", listing.wanted[1:], lambda: None, whole_series=False)
    assert here() == [listing.wanted[1].sop_instance_uid]


def test_dates_times_and_numbers_are_matched(orthanc):
    finder = WebFinder(web(orthanc))
    walk = SpanWalk(QUERY, cut_at=5)
    found = {
        one.study_instance_uid: one
        for studies in walk_spans(walk, finder.find_studies)
        for one in studies
    }
    assert set(found) == {f"1.2.826.77.{number}" for number in range(STUDIES)}
    assert walk.note() == ""
    one = found["1.2.826.77.3"]
    assert (one.accession_number, one.date, one.time) == ("A3", "20260101", "061500")
    assert set(one.modalities) == {"DX", "PR"}
    (study,) = finder.find_by_accession_number("A3")
    assert study.study_instance_uid == "1.2.826.77.3"
    assert finder.find_by_accession_number("A") == []
    assert finder.list_study("1.2.3.4") is None


def test_a_wrong_address_ends_no_study(orthanc, free_port):
    with pytest.raises(SetUpWrong, match="has no studies at this address"):
        WebFinder(web(orthanc, url=f"{orthanc.web}/wrong")).list_study("1.2.826.77.1")
    with pytest.raises(PacsAway, match="does not answer"):
        WebFinder(web(orthanc, url=f"http://127.0.0.1:{free_port}/dicom-web")).check()
    WebFinder(web(orthanc)).check()

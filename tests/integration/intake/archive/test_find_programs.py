"""Orthanc that cuts its answers at 100, and dcmqrscp: each of 250 studies is found."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator

import pytest
from pydicom import Dataset

from intake.archive.find import DimseFinder
from intake.archive.spans import SpanWalk, walk_spans
from records.campaigns.pacs_query import PacsQuery
from records.settings import settings
from tests.support.dicom_senders import make_image
from tests.support.pacs import (
    DCMQRSCP,
    ORTHANC,
    PacsProgram,
    describe,
    make_study,
    running_dcmqrscp,
    running_orthanc,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (ORTHANC and DCMQRSCP), reason="needs Orthanc and dcmqrscp (apt: orthanc, dcmtk)"
    ),
]

FIRST, LAST = dt.date(2024, 1, 1), dt.date(2024, 1, 31)


def make_studies() -> list[Dataset]:
    """250 studies of January, 150 of them of one day; ten of that day have no time."""
    generator = random.Random(13)
    images = []
    for number in range(250):
        day = 17 if number < 150 else generator.randrange(1, 32)
        seconds = generator.randrange(86_400)
        images.append(
            make_image(
                f"1.2.826.78.{number}",
                f"1.2.826.78.{number}.1.1",
                StudyDate=f"202401{day:02d}",
                StudyTime=""
                if number < 10
                else f"{seconds // 3600:02d}{seconds // 60 % 60:02d}{seconds % 60:02d}",
                Modality="DX" if number % 3 else "CR",
                AccessionNumber=f"A{number}",
                PatientID=f"P-{number}",
            )
        )
    others = [
        make_image("1.2.826.79.1", StudyDate="20240117", Modality="CT", AccessionNumber="B1"),
        make_image("1.2.826.79.2", StudyDate="20231231", AccessionNumber="B2"),
    ]
    return [*images, *others, *make_study(1, StudyDate="20231201")]


@pytest.fixture(scope="module", params=["Orthanc", "dcmqrscp"])
def pacs(request, tmp_path_factory) -> Iterator[PacsProgram]:
    folder = tmp_path_factory.mktemp(request.param)
    is_orthanc = request.param == "Orthanc"
    program = (
        running_orthanc(folder, LimitFindResults=100) if is_orthanc else running_dcmqrscp(folder)
    )
    with program as running:
        running.store(make_studies())
        yield running


def finder(pacs: PacsProgram) -> DimseFinder:
    return DimseFinder(describe(pacs.port), settings())


def test_each_study_is_found_and_what_may_lack_is_named(pacs):
    client = finder(pacs)
    walk = SpanWalk(PacsQuery(FIRST, LAST, ("CR", "DX")))
    questions = []

    def ask(span):
        questions.append(span)
        return client.find_studies(span)

    found = {
        study.study_instance_uid: study for studies in walk_spans(walk, ask) for study in studies
    }
    expected = {f"1.2.826.78.{number}" for number in range(250)}
    lost = expected - set(found)
    # Without a time a study is in no part of a day; the day is named where it was cut.
    assert lost <= {f"1.2.826.78.{number}" for number in range(10)}
    assert not lost or "2024-01-17" in walk.note()
    # dcmqrscp names no modalities of a study: that one of CT has no films shows when it is listed.
    assert set(found) <= expected | {"1.2.826.79.1"}
    assert len(questions) < 200
    study = found["1.2.826.78.100"]
    assert (study.accession_number, study.date) == ("A100", "20240117")


def test_a_study_is_found_by_its_accession_number(pacs):
    (study,) = finder(pacs).find_by_accession_number("A77")
    assert study.study_instance_uid == "1.2.826.78.77"
    assert finder(pacs).find_by_accession_number("A") == []


def test_the_objects_of_a_study_are_listed_less_its_presentation_state(pacs):
    listing = finder(pacs).list_study("1.2.826.77.1")
    assert {one.sop_instance_uid for one in listing.wanted} == {
        "1.2.826.77.1.1.1",
        "1.2.826.77.1.1.2",
    }
    assert listing.unwanted == {"presentation states": 1}
    assert finder(pacs).list_study("1.2.3.4") is None

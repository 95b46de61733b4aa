"""Which earlier studies are shown beside a study: the same patient's, earlier, and visible."""

import uuid
from dataclasses import replace

import pytest
from sqlalchemy import text

from records.audit.looks import collect_looks
from records.database.session import engine, unit_of_work
from records.database.tables import Instance, Study
from records.reports.earlier_studies import list_earlier_studies
from records.states import InstanceState, SiteBasis
from records.workflow.site_scope import limited_to
from tests.support.registered_studies import PATIENT, new_instance, register

pytestmark = pytest.mark.usefixtures("database")

EARLIER = {"study": "1.2.9", "accession_number": "A0", "study_date": "20250301"}


def add(**changed):
    return register(new_instance(**changed))[0].study_id


def earlier(study, limit=3):
    with unit_of_work() as session:
        return [found.study.id for found in list_earlier_studies(session, study, limit)]


@pytest.fixture
def study(database):
    return add()


@pytest.mark.parametrize(("changed", "is_shown"), [
    ({}, True),
    ({"study_date": "20260101"}, False),  # of the same day: nobody knows which was first
    ({"study_date": "20260201"}, False),
    ({"study_date": ""}, False),
    ({"accession_number": "A1"}, False),  # the same examination
    ({"accession_number": ""}, True),
    ({"patient": replace(PATIENT, patient_id="P-9")}, False),
    ({"patient": replace(PATIENT, patient_id="p-1")}, True),
    ({"patient": replace(PATIENT, name="OTHER^NAME", birth_date="19330303")}, False),
    ({"patient": replace(PATIENT, name="MARRIED^ONE")}, True),
])  # fmt: skip
def test_only_earlier_ones_of_the_same_patient(study, changed, is_shown):
    other = add(**(EARLIER | changed))
    assert earlier(study) == ([other] if is_shown else [])


def test_a_patient_without_an_id_has_none(database):
    nobody = replace(PATIENT, patient_id="")
    study = add(patient=nobody)
    add(**EARLIER, patient=nobody)
    assert earlier(study) == []


def test_the_newest_come_first_and_each_is_noted(study):
    dates = ("20240101", "20250101", "20230101")
    made = {
        date: add(study=f"1.2.{date}", accession_number=date, study_date=date) for date in dates
    }
    assert earlier(study, 2) == [made["20250101"], made["20240101"]]
    with collect_looks() as looks:
        earlier(study, 2)
    assert set(looks.study_ids) == {made["20250101"], made["20240101"]}


def test_a_study_whose_films_are_removed_or_kept_aside_is_none(study):
    other = add(**EARLIER)
    with unit_of_work() as session:
        (film,) = list_earlier_studies(session, study, 3)[0].films
        session.get(Instance, film.id).bytes_removed_at = film.received_at
    assert earlier(study) == []
    with unit_of_work() as session:
        row = session.get(Instance, film.id)
        row.bytes_removed_at, row.state = None, InstanceState.MISMATCH
    assert earlier(study) == []
    assert other


def test_sites_keep_their_films(study):
    other = add(**EARLIER)
    with unit_of_work() as session:
        own = session.get(Study, study).site_id
    north = uuid.uuid4()
    with engine().begin() as connection:
        connection.execute(
            text("INSERT INTO sites (id, code, name) VALUES (:id, 'north', 'North')"), {"id": north}
        )
    with unit_of_work() as session:
        row = session.get(Study, other)
        row.site_id, row.site_basis = north, SiteBasis.PERSON
    assert earlier(study) == []  # another site's patient of the same number
    with unit_of_work() as session:
        session.get(Study, other).site_id = own
    with limited_to([own]):
        assert earlier(study) == [other]
    with limited_to([north]):
        assert earlier(study) == []

"""Every study of some dates is found at a PACS with faults, and what may lack is named."""

from __future__ import annotations

import datetime as dt
import json
import logging
import random
import re
import ssl
import threading
from contextlib import closing

import pytest
from pydicom import Dataset

from intake.archive.errors import PacsAway, PullFailed
from intake.archive.find import DimseFinder
from intake.archive.listed import Availability
from intake.archive.spans import Span, SpanWalk, walk_spans
from records.campaigns.pacs_query import PacsQuery
from records.settings import settings
from tests.support.dicom_senders import make_image
from tests.support.pacs import OddPacs, describe
from tests.support.smtp_receiver import make_certificate
from tests.support.waiting import eventually

KO = "1.2.840.10008.5.1.4.1.1.88.59"
PR = "1.2.840.10008.5.1.4.1.1.11.1"
STUDY = "1.2.999.1"


def make_film(number: int, day: str, time: str | None = None, **fields) -> Dataset:
    """The one image of study 1.2.999.<number>."""
    study = f"1.2.999.{number}"
    values = {"StudyDate": day, "AccessionNumber": f"A{number}"} | fields
    if time is not None:
        values["StudyTime"] = time
    return make_image(study, f"{study}.1.1", **values)


def make_films(count: int, days: int = 5, **fields) -> list[Dataset]:
    """Films of the first days of 2024, half of them of one day, each at its own second."""
    generator = random.Random(count)
    return [
        make_film(
            n,
            f"202401{1 + (0 if n % 2 else generator.randrange(days)):02d}",
            f"{generator.randrange(24):02d}{generator.randrange(60):02d}{generator.randrange(60):02d}",
            **fields,
        )
        for n in range(count)
    ]


def finder(pacs: OddPacs, **changed) -> DimseFinder:
    return DimseFinder(describe(**{"port": pacs.port, "seconds": 10} | changed), settings())


def walk(pacs: OddPacs, cut_at: int = 0, modalities=("CR", "DX")) -> tuple[list[str], SpanWalk]:
    """All studies of January 2024; after each answer the walk is made anew from its position."""
    client = finder(pacs)
    query = PacsQuery(dt.date(2024, 1, 1), dt.date(2024, 1, 31), modalities)
    going = SpanWalk(query, cut_at)
    found: list[str] = []
    while going.next_span():
        answered = next(walk_spans(going, client.find_studies))
        found += [study.study_instance_uid for study in answered]
        going = SpanWalk(query, cut_at, json.loads(json.dumps(going.to_position())))
        assert len(pacs.asked) < 2000
    return found, going


def uids(images) -> set[str]:
    return {str(image.StudyInstanceUID) for image in images}


@pytest.mark.parametrize(
    ("status", "answers_none"),
    [(0x0000, False), (0xA700, False), (0xA700, True), (0xC001, False)],
    ids=["silently", "with a status", "with a status alone", "with another status"],
)
@pytest.mark.slow
def test_every_study_is_found_although_the_pacs_cuts_at_100(status, answers_none):
    films = make_films(240)
    with OddPacs(films, cut_at=100, cut_status=status, gives_none_when_cut=answers_none) as pacs:
        found, going = walk(pacs)
    assert set(found) == uids(films)
    assert going.note() == ""


def test_a_walk_over_whole_studies_asks_for_what_it_needs_and_for_no_patient():
    with OddPacs(make_films(3)) as pacs:
        walk(pacs)
    for level, question in pacs.asked:
        assert level == "STUDY"
        assert question.ModalitiesInStudy in ("CR", "DX")
        assert not {"PatientID", "PatientName"} & {element.keyword for element in question}
    assert len(pacs.asked) < 20


@pytest.mark.parametrize("cut_at", [0, 100])
@pytest.mark.slow
def test_a_pacs_that_ignores_modalities_is_understood(cut_at):
    films, tomography = make_films(120), make_films(90, Modality="CT")
    for number, image in enumerate(tomography):
        image.StudyInstanceUID = f"1.2.998.{number}"
    with OddPacs([*films, *tomography], cut_at, ignores={"ModalitiesInStudy"}) as pacs:
        found, going = walk(pacs)
    assert (set(found), going.note()) == (uids(films), "")


@pytest.mark.parametrize("key", ["StudyDate", "StudyTime"])
@pytest.mark.slow
def test_where_dates_or_times_are_ignored_and_answers_cut_it_says_so(key):
    films = [make_film(n, "20240102", f"{n % 24:02d}{n // 24:02d}00") for n in range(150)]
    with OddPacs(films, cut_at=100, ignores={key}) as pacs:
        found, going = walk(pacs)
    assert set(found) >= uids(films[:100])
    assert "may have cut its answers" in going.note()
    assert len(pacs.asked) < 400


def test_a_pacs_that_ignores_dates_gives_no_study_of_another_time():
    inside, outside = make_films(20), [make_film(n, "20231231") for n in range(100, 120)]
    with OddPacs([*inside, *outside], ignores={"StudyDate"}) as pacs:
        found, _ = walk(pacs)
    assert sorted(found) == sorted(uids(inside))


@pytest.mark.slow
def test_studies_without_a_time_are_found_where_a_day_is_cut():
    films = [make_film(n, "20240102", f"{n % 24:02d}{n // 24:02d}00") for n in range(110)]
    untimed = [make_film(n, "20240102") for n in range(500, 505)]
    with OddPacs([*untimed, *films], cut_at=100) as pacs:
        found, going = walk(pacs)
    assert set(found) == uids([*untimed, *films])
    assert "Studies without a time may be left out on these days" in going.note()
    assert "2024-01-02" in going.note()


@pytest.mark.slow
def test_studies_of_one_second_that_are_cut_are_named():
    films = [make_film(n, "20240102", "081500") for n in range(120)]
    with OddPacs(films, cut_at=100) as pacs:
        found, going = walk(pacs)
    assert set(found) == uids(films[:100])
    assert "2024-01-02 08:15:00" in going.note()


def test_what_cannot_be_fetched_is_no_study():
    bad = Dataset()
    bad.StudyInstanceUID, bad.StudyDate = "../../etc", "20240102"
    empty = Dataset()
    empty.StudyDate = "20240102"
    with OddPacs(make_films(2), added=[bad, empty]) as pacs:
        found, _ = walk(pacs)
    assert set(found) == uids(make_films(2))


def test_a_study_has_what_the_pacs_says_of_it():
    film = make_film(1, "20240102", "0815", NumberOfStudyRelatedInstances="1")
    with OddPacs([film], availability={film.SOPInstanceUID: "NEARLINE"}) as pacs:
        (study,) = finder(pacs).find_studies(Span(dt.date(2024, 1, 1), dt.date(2024, 1, 9))).studies
    assert (study.study_instance_uid, study.accession_number) == (STUDY, "A1")
    assert (study.date, study.time, study.modalities) == ("20240102", "0815", ("DX",))
    assert (study.instances, study.availability) == (1, Availability.NEARLINE)


def test_an_accession_number_means_the_studies_that_have_it():
    films = [make_film(n, "20240102", AccessionNumber=n_a) for n, n_a in enumerate("ABBC")]
    with OddPacs(films) as pacs:
        found = finder(pacs).find_by_accession_number("B")
        assert {study.study_instance_uid for study in found} == uids(films[1:3])
        pacs.ignores = {"AccessionNumber"}
        found = finder(pacs).find_by_accession_number("B")
        assert {study.study_instance_uid for study in found} == uids(films[1:3])
        assert finder(pacs).find_by_accession_number("D") == []
        asked = len(pacs.asked)
        with pytest.raises(PullFailed, match="cannot be asked for"):
            finder(pacs).find_by_accession_number("B*")
        assert len(pacs.asked) == asked


def test_a_pacs_that_does_not_match_by_number_and_cuts_is_no_proof_that_a_study_is_not_there():
    films = [make_film(n, "20240102", f"{n:06d}") for n in range(150)]
    with OddPacs(films, cut_at=100, ignores={"AccessionNumber"}) as pacs:
        with pytest.raises(PullFailed, match="does not match by it"):
            finder(pacs).find_by_accession_number("A140")
        with pytest.raises(PullFailed, match="answers_cut_at"):
            finder(pacs, answers_cut_at=100).find_by_accession_number("A140")
        assert len(finder(pacs).find_by_accession_number("A14")) == 1


def test_a_series_as_long_as_the_pacs_lists_at_most_is_not_taken_for_whole():
    films = [make_film(1, "20240102", SOPInstanceUID=f"{STUDY}.1.{n}") for n in range(1, 8)]
    with OddPacs(films) as pacs:
        assert len(finder(pacs, answers_cut_at=8).list_study(STUDY).wanted) == 7
        with pytest.raises(PullFailed, match="IMAGE level with 7 entries"):
            finder(pacs, answers_cut_at=7).list_study(STUDY)


def make_study() -> list[Dataset]:
    """A study of two films, a presentation state and a key object selection."""
    image = {"StudyDate": "20240102", "study": STUDY}
    film = make_film(1, "20240102")
    return [
        film,
        make_film(1, "20240102", SOPInstanceUID=f"{STUDY}.1.2"),
        *(
            make_film(
                1,
                image["StudyDate"],
                SOPClassUID=sop_class,
                SOPInstanceUID=f"{STUDY}.{series}.1",
                SeriesInstanceUID=f"{STUDY}.{series}",
                Modality=modality,
            )
            for series, sop_class, modality in ((2, PR, "PR"), (3, KO, "KO"))
        ),
    ]


def test_the_objects_of_a_study_are_listed_less_what_nobody_drafts_from():
    with OddPacs(make_study(), availability={f"{STUDY}.1.2": "OFFLINE"}) as pacs:
        listing = finder(pacs).list_study(STUDY)
        assert finder(pacs).list_study("1.2.3") is None
    assert [(one.sop_instance_uid, one.availability) for one in listing.wanted] == [
        (f"{STUDY}.1.1", Availability.UNKNOWN),
        (f"{STUDY}.1.2", Availability.OFFLINE),
    ]
    assert {one.series_instance_uid for one in listing.wanted} == {f"{STUDY}.1"}
    assert listing.unwanted == {"presentation states": 1, "key object selections": 1}
    # No relational query: a question at IMAGE level names study and series.
    for level, question in pacs.asked:
        assert question.StudyInstanceUID
        assert level != "IMAGE" or question.SeriesInstanceUID


def test_where_no_class_is_given_the_modality_of_the_series_decides():
    with OddPacs(make_study(), lacks={"SOPClassUID"}) as pacs:
        listing = finder(pacs).list_study(STUDY)
    assert {one.sop_instance_uid for one in listing.wanted} == {f"{STUDY}.1.1", f"{STUDY}.1.2"}
    assert {one.sop_class_uid for one in listing.wanted} == {""}


def test_objects_of_another_study_are_not_listed():
    others = [make_film(2, "20240102"), make_film(3, "20240102")]
    ignores = {"StudyInstanceUID", "SeriesInstanceUID"}
    with OddPacs([*make_study(), *others], ignores=ignores) as pacs:
        listing = finder(pacs).list_study(STUDY)
    assert {one.sop_instance_uid for one in listing.wanted} == {f"{STUDY}.1.1", f"{STUDY}.1.2"}


@pytest.mark.parametrize(
    ("status", "error"), [(0xA700, PacsAway), (0xA900, PullFailed), (0xC001, PullFailed)]
)
def test_a_listing_that_is_not_whole_is_an_error(status, error):
    with (
        OddPacs(make_study(), find_status=status) as pacs,
        pytest.raises(error, match=f"0x{status:X}"),
    ):
        finder(pacs).list_study(STUDY)


def test_who_does_not_answer_is_away(free_port):
    span = Span(dt.date(2024, 1, 1), dt.date(2024, 1, 9))
    with OddPacs(make_films(9)) as pacs:
        with pytest.raises(PacsAway, match="name that is not known"):
            finder(pacs, host="no.such.host.invalid").find_studies(span)
        with pytest.raises(PacsAway, match="nobody answers there"):
            finder(pacs, port=free_port).find_studies(span)
        pacs.hangs_up_after = 4
        with pytest.raises(PacsAway, match="in the midst"):
            finder(pacs).find_studies(span)
        pacs.hangs_up_after, pacs.silence = None, threading.Event()
        with pytest.raises(PacsAway, match="in the midst"):
            finder(pacs, seconds=1).find_studies(span)
        pacs.silence.set()
        assert len(finder(pacs).find_studies(span).studies) == 9


@pytest.mark.parametrize("status", [0xA700, 0xA900])
def test_a_pacs_that_refuses_every_question_is_away(status):
    with OddPacs(find_status=status) as pacs, pytest.raises(PacsAway, match=f"0x{status:X}"):
        walk(pacs)
    assert len(pacs.asked) < 40


@pytest.mark.slow
def test_a_pacs_that_ends_every_answer_with_an_error_is_asked_few_questions_and_it_says_so():
    with OddPacs(make_films(9), added=[make_film(99, "20240131")], find_status=0xC001) as pacs:
        found, going = walk(pacs)
    assert set(found) == uids([*make_films(9), make_film(99, "20240131")])
    assert "2024-01-01 to 2024-01-31" in going.note()
    assert len(pacs.asked) < 200


def test_of_a_day_with_a_record_that_the_pacs_cannot_read_the_other_hours_are_found():
    class Broken(OddPacs):
        def _find(self, event):
            times = str(event.identifier.StudyTime or "000000-235959").split("-")
            hits = times[0] <= "081500" <= times[-1][:6]
            dates = str(event.identifier.StudyDate).split("-")
            self.find_status = 0xC001 if hits and dates[0] <= "20240102" <= dates[-1] else 0
            return super()._find(event)

    films = make_films(60)
    with Broken(films) as pacs:
        found, going = walk(pacs)
    assert set(found) == uids(films)
    assert re.search(r"2024-01-02 0[78]:", going.note())
    assert "2024-01-03" not in going.note()


def test_a_pacs_is_asked_over_tls(tmp_path):
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with OddPacs(make_films(2), tls=context) as pacs:
        changed = {"host": "localhost", "tls": True, "ca_file": str(certificate)}
        finder(pacs, **changed).check()
        with pytest.raises(PacsAway):
            finder(pacs).check()


def test_nothing_of_an_answer_is_logged(caplog):
    caplog.set_level(logging.DEBUG)
    film = make_film(1, "20240102", AccessionNumber="PLANTED", StudyID="PLANTED")
    unreadable = make_film(2, "20240102", StudyDate="PLANTED^")
    with OddPacs([film, unreadable]) as pacs:
        walk(pacs)
        finder(pacs).list_study(STUDY)
        finder(pacs).find_by_accession_number("PLANTED")
    assert len(pacs.asked) > 4
    assert "PLANTED" not in caplog.text


YEAR = [Span(dt.date(2024, month, 1), dt.date(2024, month, 28)) for month in range(1, 7)]


def test_the_questions_of_a_walk_have_one_association_which_ends_with_it():
    with OddPacs(make_films(9)) as pacs:
        with closing(finder(pacs).walk()) as questions:
            found = [len(questions.find_studies(span).studies) for span in YEAR]
            assert pacs.associations == 1
        assert found == [9, 0, 0, 0, 0, 0]
        eventually(lambda: pacs.open_associations == 0)


def test_a_pacs_that_hangs_up_between_two_questions_is_asked_on_a_new_association():
    with OddPacs(make_films(9)) as pacs, closing(finder(pacs).walk()) as questions:
        for number in (1, 2, 3):
            assert len(questions.find_studies(YEAR[0]).studies) == 9
            assert pacs.associations == number
            pacs.hang_up()
            eventually(lambda: pacs.open_associations == 0)


def test_a_question_that_breaks_off_is_asked_once_more_and_only_on_an_association_that_was_kept():
    with OddPacs(make_films(9), hangs_up_after=1) as pacs:
        with closing(finder(pacs).walk()) as questions:
            with pytest.raises(PacsAway, match="in the midst of a question"):
                questions.find_studies(YEAR[0])
            assert len(pacs.asked) == 1
            pacs.hangs_up_after = None
            assert len(questions.find_studies(YEAR[0]).studies) == 9
            pacs.hangs_up_after = 1
            with pytest.raises(PacsAway, match="in the midst of a question"):
                questions.find_studies(YEAR[0])
            assert len(pacs.asked) == 4
        eventually(lambda: pacs.open_associations == 0)

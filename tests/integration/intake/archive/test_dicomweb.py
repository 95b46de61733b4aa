"""A DICOMweb server with faults: what is wanted comes, and each fault is what it is."""

from __future__ import annotations

import datetime as dt
import gzip
import logging
import threading

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian
from sqlalchemy import delete, select

from intake.archive import dicomweb, web_client
from intake.archive.dicomweb import ACCEPT, WebFinder
from intake.archive.errors import PacsAway, PullFailed, SetUpWrong, StudyOffline
from intake.archive.listed import Availability
from intake.archive.spans import Span, SpanWalk, walk_spans
from records.blobs import Blobs
from records.campaigns.pacs_query import PacsQuery
from records.database.operation_tables import Refusal
from records.database.session import unit_of_work
from records.database.tables import Instance
from records.errors import DiskFull, SettingsError
from tests.support.dicom_images import limited_memory
from tests.support.pacs import film_uids, make_study
from tests.support.web_pacs import MULTIPART, WebPacs, part10, to_multipart

UID = "1.2.826.77.1"
DAYS = Span(dt.date(2026, 1, 1), dt.date(2026, 1, 31))


@pytest.fixture
def pacs():
    with WebPacs([*make_study(1), *make_study(2)]) as running:
        yield running


def here():
    with unit_of_work() as session:
        return set(session.scalars(select(Instance.sop_instance_uid)))


def refusals():
    with unit_of_work() as session:
        return session.scalars(select(Refusal.reason)).all()


def left_over(data_dir):
    return list(Blobs(data_dir).incoming.iterdir())


def fetch(pacs, make_source, *, whole_series=True, **changed):
    source = make_source(pacs.describe(**changed))
    listing = source._finder.list_study(UID)
    source._retriever.retrieve(UID, listing.wanted, lambda: None, whole_series=whole_series)


@pytest.mark.parametrize("whole_series", [True, False])
def test_images_are_fetched_as_the_pacs_has_them(pacs, make_source, data_dir, whole_series):
    fetch(pacs, make_source, whole_series=whole_series)
    assert here() == film_uids(pacs.images[:3])
    assert ACCEPT in pacs.accepted
    assert left_over(data_dir) == []
    assert not any(path.endswith(f"{UID}.9") for path in pacs.asked)  # the presentation state


def test_a_server_that_ignores_what_is_asked_gives_nothing_of_other_studies(pacs):
    pacs.ignores_query = True
    finder = WebFinder(pacs.describe())
    walk = SpanWalk(PacsQuery(dt.date(2025, 1, 1), dt.date(2025, 1, 31)))
    assert [one for some in walk_spans(walk, finder.find_studies) for one in some] == []
    (study,) = finder.find_by_accession_number("A1")
    assert study.study_instance_uid == UID
    listing = finder.list_study(UID)
    assert {one.sop_instance_uid for one in listing.wanted} == film_uids(pacs.images[:3])


def test_a_warning_of_more_results_is_a_cut(pacs):
    finder = WebFinder(pacs.describe())
    assert not finder.find_studies(DAYS).is_cut
    pacs.warning = '299 pacs: "There are 12 additional results that can be requested"'
    assert finder.find_studies(DAYS).is_cut
    with pytest.raises(PullFailed, match="a part of a list only"):
        finder.find_by_accession_number("A1")


def test_a_study_has_what_the_server_says_of_it(pacs):
    pacs.images[0].InstanceAvailability = "NEARLINE"
    (first, _) = WebFinder(pacs.describe()).find_studies(DAYS).studies[::-1]
    assert (first.accession_number, first.date, first.time) == ("A1", "20260101", "081500")
    assert (first.instances, first.availability) == (2, Availability.NEARLINE)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, SetUpWrong), (307, SetUpWrong), (401, SetUpWrong), (403, SetUpWrong),
        (429, PacsAway), (503, PacsAway), (400, PullFailed), (406, PullFailed), (500, PullFailed),
    ],
)  # fmt: skip
def test_a_status_is_what_it_means(pacs, status, error):
    pacs.statuses = {"/series": status}
    pacs.headers = {"Retry-After": "120", "Location": "http://127.0.0.1:9/elsewhere"}
    with pytest.raises(error, match=str(status)) as raised:
        WebFinder(pacs.describe()).list_study(UID)
    assert "PLANTED" not in str(raised.value)
    assert UID not in str(raised.value)
    assert isinstance(raised.value, PacsAway) == (error is not PullFailed)
    if error is PacsAway:
        assert raised.value.retry_seconds == 120


def test_a_question_that_is_refused_is_divided(pacs):
    pacs.statuses = {"studies": 413}
    answer = WebFinder(pacs.describe()).find_studies(DAYS)
    assert (answer.is_cut, answer.studies) == (True, [])
    assert "413" in answer.refusal


def test_what_is_not_at_the_address_is_told_from_a_study_that_is_not_there(pacs):
    pacs.statuses = {"/series": 404}
    assert WebFinder(pacs.describe()).list_study(UID) is None
    pacs.statuses = {"/series": 404, "studies": 404}
    with pytest.raises(SetUpWrong, match="correct url"):
        WebFinder(pacs.describe()).list_study(UID)


def test_a_token_is_read_anew_for_each_question(pacs, tmp_path):
    file = tmp_path / "token"
    with pytest.raises(SettingsError, match="token_file"):
        WebFinder(pacs.describe(token_file=str(file)))
    file.write_text("first\n")
    pacs.token = "first"
    finder = WebFinder(pacs.describe(token_file=str(file)))
    finder.check()
    pacs.token = "second"
    with pytest.raises(SetUpWrong, match="token_file") as raised:
        finder.check()
    assert "first" not in str(raised.value)
    file.write_text("second")
    finder.check()


@pytest.mark.parametrize("body", [b"{}", b"<html>", b"[" * 100_000, b'["a", {"0020000D": 7}]'])
def test_an_answer_that_is_no_list_of_data_sets(pacs, body):
    pacs.body = body
    finder = WebFinder(pacs.describe())
    if body.startswith(b'["a"'):
        assert finder.find_studies(DAYS).studies == []
        return
    with pytest.raises(PullFailed, match="is no "):
        finder.list_study(UID)


@pytest.mark.parametrize("cuts", [0, 40, 700])
def test_what_is_broken_off_leaves_nothing_behind(pacs, make_source, data_dir, cuts):
    pacs.cuts = cuts
    with pytest.raises(PacsAway, match="in the midst"):
        fetch(pacs, make_source)
    assert (here(), left_over(data_dir)) == (set(), [])
    pacs.cuts = None
    fetch(pacs, make_source)
    assert here() == film_uids(pacs.images[:3])


def test_a_part_that_is_no_dicom_file_is_refused_and_the_next_one_is_kept(
    pacs, make_source, data_dir
):
    pacs.content = {f"{UID}.1.1": b"<html>Sorry</html>"}
    fetch(pacs, make_source)
    assert (here(), refusals()) == ({f"{UID}.1.2"}, ["unreadable"])
    assert left_over(data_dir) == []


def test_a_part_that_is_too_large_is_refused_and_the_next_one_is_kept(
    pacs, make_source, data_dir, setting
):
    setting(max_instance_mb=1)
    pacs.content = {f"{UID}.1.1": b"\0" * 3_000_000}
    fetch(pacs, make_source, seconds=20)
    assert (here(), refusals()) == ({f"{UID}.1.2"}, ["too_large"])
    assert left_over(data_dir) == []


def test_a_full_disk_is_the_systems_fault(pacs, make_source, data_dir, setting):
    source = make_source(pacs.describe())
    listing = source._finder.list_study(UID)
    setting(disk_stop_mb=10**9)
    source = make_source(pacs.describe())
    with pytest.raises(DiskFull):
        source._retriever.retrieve(UID, listing.wanted, lambda: None, whole_series=True)
    assert (here(), refusals(), left_over(data_dir)) == (set(), [], [])


FIRST, SECOND, OTHER = f"{UID}.1.1", f"{UID}.1.2", "1.2.826.77.2"


def send(*parts, status=200, kind=MULTIPART, newline="\r\n", **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, kind, names, to_multipart(*parts, newline=newline)


@pytest.fixture
def files(pacs):
    """The objects as files, by SOP Instance UID."""
    return {str(image.SOPInstanceUID): part10(image) for image in pacs.images}


def test_an_object_of_another_study_or_name_is_refused(pacs, make_source, files, data_dir):
    other = f"{OTHER}.1.1"
    pacs.sends = {f"series/{UID}.1": send(files[other], files[FIRST])}
    fetch(pacs, make_source)
    assert (here(), refusals()) == ({FIRST}, ["not_asked_for"])
    pacs.sends = {
        f"instances/{FIRST}": send(files[FIRST]),
        f"instances/{SECOND}": send(files[FIRST]),
    }
    fetch(pacs, make_source, whole_series=False)
    assert here() == {FIRST}
    assert left_over(data_dir) == []


def test_an_answer_full_of_other_objects_is_given_up(pacs, make_source, files, monkeypatch):
    monkeypatch.setattr(dicomweb, "MAX_STRANGE_PARTS", 3)
    other = files[f"{OTHER}.1.1"]
    pacs.sends = {f"series/{UID}.1": send(*[other] * 3, files[FIRST])}
    with pytest.raises(PullFailed, match="full of what was not asked for"):
        fetch(pacs, make_source)
    assert here() == set()


def test_ways_in_which_servers_send_the_same(pacs, make_source, files, data_dir):
    parts = [files[FIRST], files[SECOND]]
    packed = gzip.compress(to_multipart(*parts))
    ways = [
        (200, MULTIPART, {"Content-Encoding": "gzip"}, packed),
        send(*parts, newline="\n"),
        (200, MULTIPART, {}, b"A preamble.\r\n" + to_multipart(*parts) + b"\r\nAn epilogue."),
        send(*parts, status=206),
    ]
    for way in ways:
        pacs.sends = {f"series/{UID}.1": way}
        with unit_of_work() as session:
            session.execute(delete(Instance))
        fetch(pacs, make_source)
        assert here() == {FIRST, SECOND}
    assert left_over(data_dir) == []


def test_a_series_larger_than_memory_is_a_stream(pacs, make_source, data_dir):
    for image in pacs.images[:2]:
        image.PixelData = bytes(30_000_000)
    files = [part10(image) for image in pacs.images[:2]]
    pacs.sends = {f"series/{UID}.1": send(*files)}
    source = make_source(pacs.describe(seconds=30))
    wanted = source._finder.list_study(UID).wanted
    with limited_memory(8_000_000):
        source._retriever.retrieve(UID, wanted, lambda: None, whole_series=True)
    assert here() == {FIRST, SECOND}
    assert left_over(data_dir) == []


def test_a_single_object_may_come_without_multipart(pacs, make_source, files):
    pacs.sends = {f"instances/{FIRST}": (200, "application/dicom", {}, files[FIRST])}
    fetch(pacs, make_source, whole_series=False)
    assert here() == {FIRST, SECOND}


def test_a_single_object_that_is_cut_is_not_kept(pacs, make_source, files, data_dir):
    # The first Content-Length counts, and it promises more than comes.
    lie = {"Content-Length": str(len(files[FIRST]) + 1)}
    pacs.sends = {f"instances/{FIRST}": (200, "application/dicom", lie, files[FIRST])}
    with pytest.raises(PacsAway, match="in the midst"):
        fetch(pacs, make_source, whole_series=False)
    assert FIRST not in here()
    assert left_over(data_dir) == []


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [({"Content-Encoding": "gzip"}, "gzip that is broken"), ({"Content-Encoding": "br"}, "nobody")],
)
def test_what_cannot_be_unpacked_fails_alone(pacs, make_source, files, headers, sentence):
    pacs.sends = {f"instances/{FIRST}": (200, MULTIPART, headers, to_multipart(files[FIRST]))}
    with pytest.raises(PullFailed, match=sentence):
        fetch(pacs, make_source, whole_series=False)
    assert here() == {SECOND}


def test_gzip_that_ends_too_soon_is_broken_off(pacs, make_source, files, data_dir):
    packed = gzip.compress(to_multipart(files[FIRST], files[SECOND]))[:-400]
    pacs.sends = {f"series/{UID}.1": (200, MULTIPART, {"Content-Encoding": "gzip"}, packed)}
    with pytest.raises(PacsAway, match="in the midst"):
        fetch(pacs, make_source)
    assert left_over(data_dir) == []


def test_a_study_that_is_brought_from_slow_media_is_offline(pacs, make_source):
    pacs.sends = {f"series/{UID}.1": send(status=202)}
    with pytest.raises(StudyOffline, match="slow media"):
        fetch(pacs, make_source)
    pacs.sends = {f"instances/{FIRST}": send(status=202)}
    with pytest.raises(PullFailed, match="slow media"):
        fetch(pacs, make_source, whole_series=False)
    assert here() == {SECOND}


def test_a_deflated_object_is_refused(pacs, make_source, files):
    image = pacs.images[0]
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    pacs.sends = {f"series/{UID}.1": send(part10(image), files[SECOND])}
    fetch(pacs, make_source)
    assert (here(), refusals()) == ({SECOND}, ["unreadable"])


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_pages_are_asked_for_to_the_end(pacs, monkeypatch, at_once):
    monkeypatch.setattr(web_client, "PAGE_SIZE", 2)
    monkeypatch.setattr(web_client, "SMALLEST_PAGE", 1)
    pacs.images = [one for number in range(1, 6) for one in make_study(number)]
    pacs.at_once = at_once
    finder = WebFinder(pacs.describe())
    answer = finder.find_studies(DAYS)
    assert not answer.is_cut
    studies = {str(image.StudyInstanceUID) for image in pacs.images
               if image.StudyDate.startswith("202601")}  # fmt: skip
    assert {study.study_instance_uid for study in answer.studies} == studies
    listing = finder.list_study(UID)
    assert {one.sop_instance_uid for one in listing.wanted} == {FIRST, SECOND}


def test_a_server_that_gives_the_same_page_again_may_have_more(pacs, monkeypatch):
    pacs.ignores_query = True
    finder = WebFinder(pacs.describe())
    monkeypatch.setattr(web_client, "SMALLEST_PAGE", 1)
    monkeypatch.setattr(web_client, "PAGE_SIZE", 3)
    assert not finder.find_studies(DAYS).is_cut  # two are less than a page: these are all
    monkeypatch.setattr(web_client, "PAGE_SIZE", 2)
    answer = finder.find_studies(DAYS)
    assert (len(answer.studies), answer.is_cut) == (2, True)
    with pytest.raises(PullFailed, match="a part of a list only"):
        finder.find_by_accession_number("A1")


def test_a_short_list_takes_one_question(pacs):
    WebFinder(pacs.describe()).find_studies(DAYS)
    assert len(pacs.asked) == 1


def test_an_endless_list_is_cut(pacs, monkeypatch):
    monkeypatch.setattr(web_client, "SMALLEST_PAGE", 1)
    monkeypatch.setattr(web_client, "PAGE_SIZE", 1)
    monkeypatch.setattr(web_client, "MAX_LISTED", 1)
    answer = WebFinder(pacs.describe()).find_studies(DAYS)
    assert (len(answer.studies), answer.is_cut) == (1, True)


def test_a_server_that_stays_silent_is_away(pacs):
    pacs.silence = threading.Event()
    with pytest.raises(PacsAway, match="time-out"):
        WebFinder(pacs.describe(seconds=1)).check()


def test_nothing_of_a_question_or_an_answer_is_logged(pacs, make_source, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    pacs.images[0].PatientName = "PLANTED"
    pacs.content = {f"{UID}.1.2": b"PLANTED"}
    fetch(pacs, make_source)
    WebFinder(pacs.describe()).find_by_accession_number("PLANTED")
    out, err = capfd.readouterr()
    assert "PLANTED" not in caplog.text + out + err

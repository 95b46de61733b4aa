"""How the pages word names, dates and times, and that they escape everything."""

import datetime as dt
import time

import pytest
from markupsafe import escape

from api.date_wording import (
    clock_time,
    date_minute,
    date_time,
    day,
    dicom_date,
    iso_time,
    short_time,
)
from api.rendering import (
    STATE_SENTENCES,
    duration,
    named_modality,
    named_uid,
    person_name,
    render,
    with_code,
)
from records.states import VisibleState


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("MEIER^ANNA", "MEIER, ANNA"),
        ("Meier^Anna^Maria^Dr^jr", "Meier, Anna Maria (Dr jr)"),
        ("Yamada^Tarou=山田^太郎", "Yamada, Tarou / 山田, 太郎"),
        ("^^^^", ""),
        ("", ""),
        ("ONE NAME ONLY", "ONE NAME ONLY"),
        ("A^B^C^D^E^F^G", "A, B C (D E)"),
    ],
)
def test_a_person_name_is_readable(sent, expected):
    assert person_name(sent) == expected


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("YMD", ["2026-04-03", "2026-04-03", "2026-04-03 14:05:09 UTC", "03 Apr 14:05"]),
        ("DMY", ["03 Apr 2026", "03 Apr 2026", "03 Apr 2026 14:05:09 UTC", "03 Apr 14:05"]),
        ("MDY", ["Apr 3, 2026", "Apr 3, 2026", "Apr 3, 2026 14:05:09 UTC", "Apr 3 14:05"]),
    ],
)
def test_dates_are_in_the_order_of_the_house(setting, monkeypatch, order, expected):
    setting(date_order=order)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    at = dt.datetime(2026, 4, 3, 14, 5, 9, tzinfo=dt.UTC)
    assert [day(at.date()), dicom_date("20260403"), date_time(at), short_time(at)] == expected
    assert clock_time(at) == short_time(at)
    assert iso_time("2026-04-03T14:05:09+00:00") == date_time(at)
    assert date_minute(at) == date_time(at).replace(":09", "")
    assert dicom_date("20260230") == "2026-02-30"  # there is no such day
    monkeypatch.undo()
    time.tzset()


def test_times_without_a_value_are_empty():
    assert date_time(None) == short_time(None) == iso_time("") == ""


def test_a_value_that_is_no_date_is_shown_as_sent():
    assert dicom_date("20261124") == "2026-11-24"
    assert dicom_date("2026.11.24") == "2026.11.24"
    assert dicom_date("<b>") == "<b>"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (89, "89 s"), (600, "10 min"), (3 * 3600 + 300, "3 h 05 min")],
)
def test_durations(seconds, expected):
    assert duration(seconds) == expected


def test_a_uid_without_a_name_is_shown_as_sent_and_escaped():
    for sent in ("1.2.3", "<script>", ""):
        assert str(escape(named_uid(sent))) == str(escape(sent))
    assert named_modality("<b>") == "<b>"
    assert "<script>" not in with_code("a `<script>` and <script>")


def test_what_stands_between_backticks_is_code():
    assert with_code("Call `nightdraft doctor` & wait.") == (
        "Call <code>nightdraft doctor</code> &amp; wait."
    )
    assert with_code("One ` alone") == "One ` alone"


def test_every_state_has_a_sentence():
    assert set(STATE_SENTENCES) == set(VisibleState)


def test_whatever_is_rendered_is_escaped():
    values = {"detail": "a & b", "status": 404, "request_id": "", "emergency": ""}
    page = render("problem.html", title="<script>alert(1)</script>", **values)
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_times_carry_their_zone():
    text = date_time(dt.datetime(2026, 11, 24, 3, 0, tzinfo=dt.UTC))
    assert len(text.split()) == 3

"""The group of a draft, by what headers and orders say."""

import datetime as dt

import pytest

from records.quality import groups
from records.states import AgeGroup, Device, Sex


@pytest.mark.parametrize(
    ("born", "studied", "group"),
    [
        ("20080102", "20260101", AgeGroup.UNDER_18),
        ("20080101", "20260101", AgeGroup.FROM_18),
        ("19460101", "20260101", AgeGroup.FROM_80),
        ("19460102", "20260101", AgeGroup.FROM_60),
        ("", "20260101", AgeGroup.UNKNOWN),
        ("19701340", "20260101", AgeGroup.UNKNOWN),
        ("20270101", "20260101", AgeGroup.UNKNOWN),
        ("18000101", "20260101", AgeGroup.UNKNOWN),
    ],
)
def test_the_age_is_that_of_the_day_of_the_study(born, studied, group):
    assert groups.find_age(born, studied) is group


@pytest.mark.parametrize(
    ("sent", "sex"),
    [("F", Sex.F), (" m ", Sex.M), ("O", Sex.OTHER), ("x", Sex.OTHER), ("", Sex.UNKNOWN)],
)
def test_the_sex_is_what_was_sent(sent, sex):
    assert groups.find_sex(sent) is sex


def film(position, why=""):
    return {"position": position, "why": why}


PA = film("frontal", 'ViewPosition "PA" says frontal; SeriesDescription "CHEST" says frontal')
AP = film("frontal", 'ViewPosition "AP" says frontal')


def test_views_have_one_name_whatever_their_order():
    views = [film("lateral"), PA, PA]
    assert groups.name_views(views) == groups.name_views(views[::-1]) == "PA+lateral"
    assert groups.name_views([AP]) == "AP"
    assert groups.name_views([film("frontal")]) == "frontal"
    assert groups.name_views([film("lateral", 'ViewPosition "PA" says frontal')]) == "lateral"
    assert groups.name_views([]) == groups.name_views([{}]) == "unknown"


def test_a_portable_film_says_so_and_a_pa_view_is_none():
    assert groups.find_device([AP], "XR CHEST_PORTABLE") is Device.PORTABLE
    said = film("frontal", 'BodyPartExamined "PORTABLE CHEST" says chest')
    assert groups.find_device([said]) is Device.PORTABLE
    assert groups.find_device([PA], "CHEST") is Device.FIXED
    assert groups.find_device([AP], "IMMOBILE PATIENT") is Device.UNKNOWN


def test_the_day_is_that_of_the_sites_clock(setting):
    late = dt.datetime(2026, 3, 1, 23, 30, tzinfo=dt.UTC)
    setting(time_zone="Europe/Berlin")
    assert groups.local_day(late) == dt.date(2026, 3, 2)
    setting(time_zone="America/New_York")
    assert groups.local_day(late) == dt.date(2026, 3, 1)

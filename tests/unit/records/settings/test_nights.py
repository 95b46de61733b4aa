"""Nights: the time zone is one of the IANA database, and nights begin on a quarter of an hour."""

import pytest

from records.errors import SettingsError
from records.settings import read_settings


@pytest.mark.parametrize("name", ["Europe/Atlantis", "../../etc/passwd", "Europe", "x" * 300])
def test_a_time_zone_that_is_not_known_is_refused(name):
    with pytest.raises(SettingsError, match=r"TIME_ZONE: .* is no time zone"):
        read_settings(time_zone=name)


@pytest.mark.parametrize("hours", ["19:10-07:00", "19-07", "24:00-07:00", ""])
def test_the_night_begins_and_ends_on_a_quarter_of_an_hour(hours):
    with pytest.raises(SettingsError, match="NIGHT_HOURS"):
        read_settings(night_hours=hours)

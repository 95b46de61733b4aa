"""The rules name everything that is on disk, and their days are settings."""

from __future__ import annotations

import pytest

from records.blobs import Blobs
from records.retention.rules import RULES, CountedFrom, Kept, days_of, instance_days, list_periods
from records.settings import Settings


def test_every_folder_of_the_blobs_has_a_rule(tmp_path):
    blobs = Blobs(tmp_path)
    blobs.make_folders()
    picture = blobs.root / "pictures"  # it is made when the first picture is kept
    folders = {f"blobs/{path.name}" for path in [*blobs.root.iterdir(), picture]}
    assert folders == {rule.place for rule in RULES if rule.place.startswith("blobs/")}


def test_everything_that_is_kept_has_a_rule_and_a_sentence():
    assert {rule.kept for rule in RULES} == set(Kept)
    assert all(rule.ends.endswith(".") for rule in RULES)


def test_days_are_settings_with_their_defaults():
    config = Settings()
    assert instance_days(CountedFrom.SIGNATURE, config=config) == 30
    assert instance_days(CountedFrom.DRAFT, config=config) == 90
    assert instance_days(CountedFrom.ARRIVAL, config=config) is None
    assert days_of(Kept.PREPARED, config=config) == 7
    assert days_of(Kept.INCOMING, config=config) == 1
    assert days_of(Kept.EVENTS, config=config) is None


@pytest.mark.parametrize("days", [0, 12.5])
def test_a_setting_changes_the_days_and_0_is_for_ever(days):
    config = Settings(retention_signed_days=days)
    assert instance_days(CountedFrom.SIGNATURE, config=config) == (days or None)
    (period,) = (
        period
        for period in list_periods(config=config)
        if period.rule.setting == "retention_signed_days"
    )
    assert period.days == (days or None)


def test_each_setting_of_a_rule_is_one():
    assert {rule.setting for rule in RULES if rule.setting} <= set(Settings.model_fields)

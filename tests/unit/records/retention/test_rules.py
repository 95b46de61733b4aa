"""The rules name everything that is on disk, and their days are settings."""

from __future__ import annotations

import pytest

from records.blobs import Blobs
from records.retention.rules import (
    RULES,
    RULES_OF_SITES,
    CountedFrom,
    Kept,
    days_of,
    find_days,
    list_periods,
)
from records.settings import Settings
from records.states import SiteRule


def test_every_folder_of_the_blobs_has_a_rule(tmp_path):
    blobs = Blobs(tmp_path)
    blobs.make_folders()
    # These are made when the first picture or film is kept.
    made = [blobs.root / name for name in ("pictures", "films")]
    folders = {f"blobs/{path.name}" for path in [*blobs.root.iterdir(), *made]}
    assert folders == {rule.place for rule in RULES if rule.place.startswith("blobs/")}


def test_everything_that_is_kept_has_a_rule_and_a_sentence():
    assert {rule.kept for rule in RULES} == set(Kept)
    assert all(rule.ends.endswith(".") for rule in RULES)


def test_days_are_settings_with_their_defaults():
    config = Settings()
    of_sites = {name: find_days(rule, config) for name, rule in RULES_OF_SITES.items()}
    assert of_sites == {"SIGNED": 30, "DRAFTED": 90, "UNDRAFTED": None, "PREPARED": 7}
    assert set(of_sites) == set(SiteRule)
    films = [rule for rule in RULES_OF_SITES.values() if rule.kept is Kept.INSTANCES]
    assert {rule.counted_from for rule in films} == {
        CountedFrom.SIGNATURE, CountedFrom.DRAFT, CountedFrom.ARRIVAL,
    }  # fmt: skip
    assert days_of(Kept.PREPARED, config=config) == 7
    assert days_of(Kept.INCOMING, config=config) == 1
    assert days_of(Kept.EVENTS, config=config) is None


@pytest.mark.parametrize("days", [0, 12.5])
def test_a_setting_changes_the_days_and_0_is_for_ever(days):
    config = Settings(retention_signed_days=days)
    assert find_days(RULES_OF_SITES[SiteRule.SIGNED], config) == (days or None)
    (period,) = (
        period
        for period in list_periods(config=config)
        if period.rule.setting == "retention_signed_days"
    )
    assert period.days == (days or None)


def test_each_setting_of_a_rule_is_one():
    assert {rule.setting for rule in RULES if rule.setting} <= set(Settings.model_fields)

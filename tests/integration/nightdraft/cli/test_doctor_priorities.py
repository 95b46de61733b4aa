"""What doctor says of studies that are not as urgent as their senders wanted."""

from __future__ import annotations

import pytest

from nightdraft import doctor
from records.settings import settings
from records.states import Priority
from tests.support.registered_studies import new_instance, register


@pytest.fixture(autouse=True)
def _site(database, data_dir, setting):
    setting(bundle="null")


def line_of_doctor() -> doctor.CheckResult:
    return next(result for result in doctor.run_checks(settings()) if result.name == "priorities")


def test_doctor_names_who_wanted_a_priority_that_does_not_count():
    register(new_instance("1.2.1"), new_instance("1.2.2", doubted_priority=Priority.BACKLOG))
    assert not line_of_doctor().warning
    assert not line_of_doctor().failed
    for study, title in (("1.2.3", "ED_CR"), ("1.2.3", "ED_CR"), ("1.2.4", "ICU")):
        register(new_instance(study, calling_ae=title, doubted_priority=Priority.STAT))
    assert line_of_doctor().warning
    assert "for 2 studies of the last 24 hours (from ED_CR, ICU)" in line_of_doctor().sentence
    assert "NIGHTDRAFT_CALLER_ADDRESSES" in line_of_doctor().sentence

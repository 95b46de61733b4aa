"""The runbook has a heading for each alarm and each line of doctor, and no others."""

import re

import pytest

from api.rendering import PACKAGE_DIR
from nightdraft.doctor import list_checks
from records.alarm_kinds import ALARM_REMEDIES, ALARM_TITLES, AlarmKind
from records.operations.alarms import runbook_path
from records.settings import read_settings
from tools.runbook_page import RUNBOOK, runbook_page

TEXT = RUNBOOK.read_text()


def headings(section):
    """The headings of a section of the runbook, each with its text."""
    (body,) = re.findall(rf"^## {section}$(.*?)(?=^## |\Z)", TEXT, re.M | re.S)
    return dict(re.findall(r"^### (.*?)\n(.*?)(?=^### |\Z)", body, re.M | re.S))


def test_every_kind_of_alarm_has_its_heading_and_no_heading_is_left_over():
    assert set(headings("Alarms")) == set(AlarmKind)


def test_every_line_of_doctor_has_its_heading_and_no_heading_is_left_over():
    with_every_part = read_settings(
        worklist_host="worklist",
        hl7_port=2575,
        campaign_folders="/films",
        oidc_issuer="https://login.hospital.example",
    )
    assert list(headings("The lines of doctor")) == list(list_checks(with_every_part))


@pytest.mark.parametrize("kind", AlarmKind)
def test_a_heading_says_what_the_alarm_means_and_what_to_do(kind):
    text = headings("Alarms")[kind]
    assert re.search(r"\*\*What it means\.\*\* \S.*\*\*What to do\.\*\* \S", text, re.S)
    assert ALARM_TITLES[kind]
    assert ALARM_REMEDIES[kind].endswith(".")


def test_the_served_page_is_the_runbook():
    page = (PACKAGE_DIR / "templates/runbook.html").read_text()
    assert page == runbook_page(TEXT)
    for kind in AlarmKind:
        anchor = runbook_path(kind).removeprefix("/runbook#")
        assert f'<h3 id="{anchor}">{kind}</h3>' in page
    # Links lead to headings of the page: the server has no other page of the documentation.
    targets = re.findall(r'href="([^"]*)"', page)
    assert targets
    assert all(f'id="{target[1:]}"' in page for target in targets)

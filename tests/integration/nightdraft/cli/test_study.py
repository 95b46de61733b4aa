"""What `nightdraft study UID` shows of a draft that may not be the last word."""

from __future__ import annotations

import io

from rich.console import Console

from nightdraft.cli.study import render_study
from records.database.session import unit_of_work
from records.states import WARNING, HoldReason
from records.workflow import holds
from tests.support.registered_studies import arrived, complete, draft_all, register


def told(study: object) -> str:
    page = io.StringIO()
    with unit_of_work() as session:
        Console(file=page, width=400).print(render_study(session, str(study)))
    return page.getvalue()


def test_a_draft_stands_under_the_warning_and_what_speaks_against_it(database: str) -> None:
    (study,) = complete(arrived())
    draft_all()
    assert told(study).index(WARNING) < told(study).index("Findings: the lungs are clear.")
    assert "may be of the wrong images" not in told(study)
    with unit_of_work() as session:
        holds.open_hold(session, study, HoldReason.PATIENT_MISMATCH, "another patient")
    assert "may be of the wrong images" in told(study)
    assert "proceed|cancel --by NAME" in told(study)
    register(arrived(content="a late film"))
    assert "does not show everything that is known" in told(study)

"""What `nightdraft study UID` prints, for a draft that may be wrong or out of date, too."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from nightdraft.cli.operate import decide, withdraw
from nightdraft.cli.operate import holds as list_holds
from nightdraft.cli.operate import refusals as list_refusals
from nightdraft.cli.study import render_study
from records.database.session import unit_of_work
from records.errors import NotAllowed
from records.operations import refusals
from records.states import WARNING, HoldReason
from records.workflow import holds
from tests.support.registered_studies import (
    OTHER_PATIENT,
    complete,
    draft_all,
    new_instance,
    register,
)


def printed(study: object) -> str:
    page = io.StringIO()
    with unit_of_work() as session:
        Console(file=page, width=400).print(render_study(session, str(study)))
    return page.getvalue()


def test_a_draft_is_printed_under_the_warning_and_its_caveats(database: str) -> None:
    (study,) = complete(new_instance())
    draft_all()
    assert printed(study).index(WARNING) < printed(study).index("Findings: the lungs are clear.")
    assert "may be of the wrong images" not in printed(study)
    with unit_of_work() as session:
        holds.open_hold(session, study, HoldReason.PATIENT_MISMATCH, "another patient")
    assert "may be of the wrong images" in printed(study)
    assert "proceed|take-new|split|cancel --by NAME" in printed(study)
    register(new_instance(content="a late image"))
    assert "does not show everything that is known" in printed(study)


def test_a_withdrawn_draft_is_named_with_who_and_why(database: str) -> None:
    (study,) = complete(new_instance("1.2.3"))
    draft_all()
    withdraw("1.2.3", reason="the wrong patient", by="Dr. Roe")
    assert WARNING not in printed(study)
    assert "WITHDRAWN withdrawn by Dr. Roe: the wrong patient" in printed(study)


def test_holds_of_many_studies_are_listed_and_decided(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        study = f"1.2.{number}"
        complete(
            new_instance(study, sop=f"{study}.1", content="a"),
            new_instance(study, sop=f"{study}.1", content="b", patient=OTHER_PATIENT),
        )
    list_holds(reason="patient_mismatch", limit=100)
    listed = capsys.readouterr().out
    assert listed.count("PHANTOM^TWO") == listed.count("came later") == 3
    decide("all", "take-new", by="Dr. Roe", note="", reason="PATIENT_MISMATCH")
    assert "take-new: 3 holds closed" in capsys.readouterr().out
    list_holds(reason="", limit=100)
    assert "nothing waits for a decision" in capsys.readouterr().out
    with pytest.raises(NotAllowed, match="all"):
        decide("all", "proceed", by="Dr. Roe", note="", reason="")
    with pytest.raises(NotAllowed, match="no reason of a hold"):
        list_holds(reason="OTHER", limit=100)


def test_objects_and_refusals_stand_by_name(
    database: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    results = register(new_instance("1.1", sop="1"), new_instance("1.1", sop="2"))
    assert (
        "2 x Digital X-Ray Image Storage - For Presentation, Explicit VR Little Endian, "
        "DX (Digital Radiography)"
    ) in printed(results[0].study_id)
    list_refusals()
    assert "nothing was refused" in capsys.readouterr().out
    with unit_of_work() as session:
        refusals.record_refusal(
            session,
            calling_ae="CT1",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            sop_instance_uid="1.3",
            reason="sop_class",
            sentence="Only films are received.",
        )
    list_refusals()
    assert "sop_class  CT Image Storage  Only films are received." in capsys.readouterr().out
    list_refusals(json=True)
    (refusal,) = json.loads(capsys.readouterr().out)
    assert refusal["sop_class"] == "CT Image Storage"

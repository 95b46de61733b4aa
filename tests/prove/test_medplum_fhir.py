"""Medplum's FHIR R4 server, in memory, as a foreign peer that is asked for earlier reports.

Slow to set up; `make prove-peers` installs it.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from intake.queries.asking import Asker
from intake.queries.report_server import ReportServer
from records.database.order_tables import StudyQuery
from records.database.report_tables import ReceivedReport
from records.database.session import unit_of_work
from records.orders import queries
from records.settings import read_settings, settings
from records.states import QueryState
from tests.support.fhir_server import SYSTEM, make_patient, make_report
from tests.support.node_packages import require_package
from tests.support.registered_studies import complete, new_instance

SERVER = Path(__file__).with_name("medplum_server.js")


@pytest.fixture
def base() -> Iterator[str]:
    """The address of a server that has no resources."""
    require_package("@medplum/fhir-router")
    with subprocess.Popen(["node", str(SERVER)], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/fhir/R4"
        finally:
            process.kill()


def store(base: str, *resources: dict[str, Any]) -> None:
    """Store resources in one transaction; the server gives them ids of its own.

    The `id` of a resource is what the others of the transaction refer to it by, as `Type/id`.
    """
    entries = []
    for resource in resources:
        kind, name = resource["resourceType"], resource["id"]
        content = {key: value for key, value in resource.items() if key != "id"}
        request = {"method": "POST", "url": kind}
        entries.append({"fullUrl": _urn(kind, name), "request": request, "resource": content})
    body = json.dumps({"resourceType": "Bundle", "type": "transaction", "entry": entries})
    for resource in resources:
        kind, name = resource["resourceType"], resource["id"]
        body = body.replace(f'"{kind}/{name}"', f'"{_urn(kind, name)}"')
    request = urllib.request.Request(f"{base}/", data=body.encode())
    with urllib.request.urlopen(request) as answer:
        statuses = [entry["response"]["status"] for entry in json.load(answer)["entry"]]
    assert statuses == ["201"] * len(resources)


def _urn(kind: str, name: str) -> str:
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{kind}/{name}')}"


def make_observation(name: str, code: str, text: str) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "valueString": text,
    }


def make_request(name: str, accession: str) -> dict[str, Any]:
    return {
        "resourceType": "ServiceRequest",
        "id": name,
        "status": "completed",
        "intent": "order",
        "subject": {"reference": "Patient/pat1"},
        "identifier": [{"type": {"coding": [{"code": "ACSN"}]}, "value": accession}],
    }


@pytest.mark.parametrize("search", ["patient", "chained"])
@pytest.mark.parametrize("category", ["", "RAD"])
def test_the_patients_reports_are_kept_with_what_they_refer_to(
    base, database, setting, search, category
):
    laboratory = {"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "LAB"}
    store(
        base,
        make_patient("pat1", "P-1"),
        make_patient("pat2", "P-1", "urn:another-hospital"),
        make_patient("pat3", "P-10"),
        make_request("request", "A-OLD"),
        make_observation("findings", "59776-5", "The lungs are clear."),
        make_observation("impression", "19005-8", "No acute disease."),
        make_report(
            "sections",
            conclusion=None,
            basedOn=[{"reference": "ServiceRequest/request"}],
            result=[
                {"reference": "Observation/findings"},
                {"reference": "Observation/impression"},
            ],
        ),
        make_report("preliminary", status="preliminary", conclusion="Perhaps pneumonia."),
        make_report("laboratory", category=[{"coding": [laboratory]}], conclusion="Potassium."),
        make_report("other-hospital", patient="pat2", conclusion="Of another hospital."),
        make_report("other-patient", patient="pat3", conclusion="Of another patient."),
    )
    setting(reports_url=base, reports_patient_system=SYSTEM)
    study_ids = complete(new_instance())
    with unit_of_work() as session:
        queries.open_queries(session, study_ids, settings())
    asked = {"reports_url": base, "reports_patient_system": SYSTEM, "reports_search": search}
    Asker(ReportServer(read_settings(**asked, reports_category=category))).take_turn()
    with unit_of_work() as session:
        assert session.scalars(select(StudyQuery.state)).all() == [QueryState.ANSWERED]
        kept = session.scalars(select(ReceivedReport).order_by(ReceivedReport.status)).all()
        assert [(r.status, r.accession_numbers, r.patient_id) for r in kept] == [
            ("FINAL", ["A-OLD"], "P-1"),
            ("PRELIMINARY", [], "P-1"),
        ]
        assert (kept[0].findings, kept[0].impression) == (
            "The lungs are clear.",
            "No acute disease.",
        )

"""Writes the part of docs/operate/integration/fhir.md that says what is served, from the code.

python -m tools.fhir_page
"""

from __future__ import annotations

from pathlib import Path

from api.fhir.capability import capability_statement
from api.fhir.refusals import STATUS_BY_CODE
from api.fhir.routes import router
from records.fhir.diagnostic_reports import IMAGING_SECTIONS, STATUSES
from records.fhir.references import PATIENT_ID_TYPES
from records.fhir.service_requests import ACTIONS, INTENTS, PRIORITIES
from records.fhir.transactions import MAX_ENTRIES
from records.fhir.versions import FhirVersion
from records.section_codes import OTHER, SECTION_CODES

PAGE = Path(__file__).resolve().parent.parent / "docs/operate/integration/fhir.md"
BEGIN = "<!-- served: begin; made by `python -m tools.fhir_page` -->"
END = "<!-- served: end -->"


def served() -> str:
    """What the server takes and what it makes of it, as tables."""
    (rest,) = capability_statement(router.routes, "", "")["rest"]
    lines = [
        f"Versions: {', '.join(f'{v.name} (`fhirVersion={v}`)' for v in FhirVersion)}. "
        f"System: {', '.join(code['code'] for code in rest['interaction'])}, "
        f"with {MAX_ENTRIES:,} entries at most.",
        "",
        "| type | interactions | what is done with it |",
        "|---|---|---|",
    ]
    for resource in rest["resource"]:
        codes = ", ".join(interaction["code"] for interaction in resource["interaction"])
        lines.append(f"| {resource['type']} | {codes} | {resource['documentation']} |")
    lines += ["", "| ServiceRequest.status | the order |", "|---|---|"]
    lines += [f"| {code} | {action or 'is none'} |" for code, action in ACTIONS.items()]
    orders = ", ".join(code for code, is_order in INTENTS.items() if is_order)
    plans = ", ".join(code for code, is_order in INTENTS.items() if not is_order)
    lines += [
        "",
        f"An order has one of the intents {orders}. A {plans} is kept and makes no order.",
        "",
        "| ServiceRequest.priority | the study |",
        "|---|---|",
    ]
    lines += [f"| {code} | {priority.name} |" for code, priority in PRIORITIES.items()]
    lines += ["", "| DiagnosticReport.status | the report |", "|---|---|"]
    lines += [f"| {code} | {status or 'is none yet'} |" for code, status in STATUSES.items()]
    lines += [
        "",
        "A report whose category names sections of HL7 table 0074 is taken where one of them is "
        f"{', '.join(sorted(IMAGING_SECTIONS))}.",
        "",
        "| section of a report | code of the Observation |",
        "|---|---|",
    ]
    for section in dict.fromkeys(SECTION_CODES.values()):
        codes = ", ".join(
            code for code, s in SECTION_CODES.items() if s == section and code[0].isdigit()
        )
        if codes:
            lines.append(f"| {section} | {codes} |")
    lines += [
        "",
        f"Where no code is known, its name says which section it is. `{OTHER}` is left out.",
    ]
    ranks: dict[int, list[str]] = {}
    for kind, rank in PATIENT_ID_TYPES.items():
        ranks.setdefault(rank, []).append(kind or "none")
    types = "; ".join(", ".join(ranks[rank]) for rank in sorted(ranks))
    lines += [
        "",
        f"Types of a Patient's numbers, the likeliest in (0010,0020) first: {types}; all others.",
    ]
    codes_of: dict[int, list[str]] = {}
    for code, status in STATUS_BY_CODE.items():
        codes_of.setdefault(status, []).append(f"`{code}`")
    lines += ["", "| status of a refusal | code of its issue |", "|---|---|"]
    lines += [f"| {status} | {', '.join(codes)} |" for status, codes in codes_of.items()]
    lines += ["| 422 | all others |"]
    return "\n".join(lines)


def with_served(page: str) -> str:
    """The page with this part brought up to date."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{served()}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(with_served(PAGE.read_text()))

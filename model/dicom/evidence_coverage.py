"""How far the table of evidence reaches: counts over many headers in a CSV, and how often right.

    python -m model.dicom.evidence_coverage headers.csv[.gz] [projections.csv]

headers.csv has a column for each attribute, by its name in the data dictionary ("View Position"),
as the National Library of Medicine gives out those of its Indiana University films.
projections.csv (filename, projection) has the truth. Prints Markdown; docs/use/images.md holds it.
Knows no pixels.
"""

from __future__ import annotations

import ast
import csv
import gzip
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydicom.datadict import DicomDictionary

from model.dicom.evidence import (
    BODY,
    FRONTAL,
    LATERAL,
    NO,
    PROJECTION,
    UNKNOWN,
    YES,
    Judged,
    Row,
    judge,
)

_KEYWORDS = {name: keyword for _, _, name, _, keyword in DicomDictionary.values()}
_IN_A_CODE = {"Code Value": "CodeValue", "Code Meaning": "CodeMeaning"}

Judgement = tuple[Judged, Judged, str]
"""Body part and projection of one film, and its true projection ("" where nobody says)."""


def headers_in(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and header, by keyword, of every film in a CSV of headers."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as lines:
        for line in csv.DictReader(lines):
            header = {
                _KEYWORDS[name]: _value(text)
                for name, text in line.items()
                if text and name in _KEYWORDS
            }
            # The CSV names codes a second time, without their sequence: those of the site's own
            # scheme are of the procedure, the others are of sequences that have their own column.
            code = {k: header.pop(k) for k in _IN_A_CODE.values() if k in header}
            if code and header.get("CodingSchemeDesignator") != "SNM3":
                header["ProcedureCodeSequence"] = [code]
            yield Path(line["filename"]).stem, header


def truths_in(path: Path) -> dict[str, str]:
    """Film -> "frontal" or "lateral"."""
    with path.open(encoding="utf-8", newline="") as lines:
        return {
            line["filename"].split(".")[0]: line["projection"].lower()
            for line in csv.DictReader(lines)
        }


def judged(
    headers: Iterable[tuple[str, Mapping[str, Any]]], truths: Mapping[str, str]
) -> list[Judgement]:
    """Every header judged by both tables."""
    return [
        (judge(BODY, header), judge(PROJECTION, header), truths.get(name, ""))
        for name, header in headers
    ]


def report(films: Sequence[Judgement]) -> str:
    """The counts as Markdown tables: answers, then what each row of the tables was worth."""
    chest = Counter(body.answer for body, _, _ in films)
    lines = [
        f"{len(films):,} headers, {sum(bool(t) for *_, t in films):,} with a known projection.",
        "",
        "| chest? | films |",
        "|---|---|",
        *(f"| {answer} | {chest[answer]:,} |" for answer in (YES, NO, UNKNOWN)),
        "",
        "| projection | films | of them frontal | lateral | not known | right |",
        "|---|---|---|---|---|---|",
    ]
    for answer in (FRONTAL, LATERAL, UNKNOWN):
        truth = Counter(t for _, p, t in films if p.answer == answer)
        lines.append(_counts(answer, truth, answer))
    lines += [
        "",
        "| evidence on the projection | films | of them frontal | lateral | not known | right |",
        "|---|---|---|---|---|---|",
    ]
    for row in PROJECTION:
        truth = Counter(t for _, p, t in films if _has(p, row))
        lines.append(_counts(f"{row.name} ({row.strength})", truth, row.says))
    lines += ["", "| evidence on the body part | films | says chest |", "|---|---|---|"]
    for row in BODY:
        found = sum(_has(body, row) for body, _, _ in films)
        lines.append(f"| {row.name} ({row.strength}) | {found:,} | {row.says} |")
    return "\n".join(lines)


def _counts(name: str, truth: Counter[str], says: str) -> str:
    known = truth[FRONTAL] + truth[LATERAL]
    right = f"{100 * truth[says] / known:.2f}%" if known and says != UNKNOWN else ""
    cells = (truth.total(), truth[FRONTAL], truth[LATERAL], truth[""])
    return f"| {name} | " + " | ".join(f"{n:,}" for n in cells) + f" | {right} |"


def _has(body_or_projection: Judged, row: Row) -> bool:
    return any(e.row is row for e in body_or_projection.evidence)


def _value(text: str) -> Any:
    """A cell: a number of values as a Python list, a sequence as pydicom prints it, or a text."""
    if text.startswith("[("):
        found = re.findall(r"(Code Value|Code Meaning) +[A-Z]{2}: '([^']*)'", text)
        return [{_IN_A_CODE[name]: value for name, value in found}]
    if text.startswith("["):
        return ast.literal_eval(text)
    return text


if __name__ == "__main__":
    known = truths_in(Path(sys.argv[2])) if len(sys.argv) > 2 else {}
    print(report(judged(headers_in(Path(sys.argv[1])), known)))

"""How often the rules of model.dicom.evidence match in a CSV of headers, and how often rightly.

    python -m model.dicom.evidence_coverage headers.csv[.gz] [projections.csv]

headers.csv has a column for each attribute, by its name in the data dictionary ("View Position"),
as the National Library of Medicine publishes those of its Indiana University images.
projections.csv (filename, projection) has the true projections. The output is Markdown, which
docs/use/images.md contains.
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
    BODY_PART_RULES,
    FRONTAL,
    LATERAL,
    NO,
    PROJECTION_RULES,
    UNKNOWN,
    YES,
    Classification,
    Rule,
    classify,
)

_KEYWORDS = {name: keyword for _, _, name, _, keyword in DicomDictionary.values()}
_CODE_COLUMNS = {"Code Value": "CodeValue", "Code Meaning": "CodeMeaning"}

ClassifiedHeader = tuple[Classification, Classification, str]
"""Body part and projection of one image, and its true projection ("" where it is not known)."""


def read_headers(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the header, by keyword, of every image in a CSV of headers."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as lines:
        for line in csv.DictReader(lines):
            header = {
                _KEYWORDS[name]: _value(text)
                for name, text in line.items()
                if text and name in _KEYWORDS
            }
            # The CSV repeats codes without their sequence. Those of the site's own scheme belong
            # to the procedure; the others belong to sequences that have their own column.
            code = {k: header.pop(k) for k in _CODE_COLUMNS.values() if k in header}
            if code and header.get("CodingSchemeDesignator") != "SNM3":
                header["ProcedureCodeSequence"] = [code]
            yield Path(line["filename"]).stem, header


def read_projections(path: Path) -> dict[str, str]:
    """Return "frontal" or "lateral" for the name of each image."""
    with path.open(encoding="utf-8", newline="") as lines:
        return {
            line["filename"].split(".")[0]: line["projection"].lower()
            for line in csv.DictReader(lines)
        }


def classify_headers(
    headers: Iterable[tuple[str, Mapping[str, Any]]], projections: Mapping[str, str]
) -> list[ClassifiedHeader]:
    """Classify every header by both tables of rules."""
    return [
        (
            classify(BODY_PART_RULES, header),
            classify(PROJECTION_RULES, header),
            projections.get(name, ""),
        )
        for name, header in headers
    ]


def format_tables(headers: Sequence[ClassifiedHeader]) -> str:
    """Return the counts as Markdown tables: the answers, then what each rule was worth."""
    chest = Counter(body.answer for body, _, _ in headers)
    lines = [
        f"{len(headers):,} headers, {sum(bool(t) for *_, t in headers):,} with a known projection.",
        "",
        "| chest? | films |",
        "|---|---|",
        *(f"| {answer} | {chest[answer]:,} |" for answer in (YES, NO, UNKNOWN)),
        "",
        "| projection | films | of them frontal | lateral | not known | right |",
        "|---|---|---|---|---|---|",
    ]
    for answer in (FRONTAL, LATERAL, UNKNOWN):
        truth = Counter(t for _, p, t in headers if p.answer == answer)
        lines.append(_counts(answer, truth, answer))
    lines += [
        "",
        "| evidence on the projection | films | of them frontal | lateral | not known | right |",
        "|---|---|---|---|---|---|",
    ]
    for rule in PROJECTION_RULES:
        truth = Counter(t for _, p, t in headers if _matched(p, rule))
        lines.append(_counts(f"{rule.name} ({rule.strength})", truth, rule.answer))
    lines += ["", "| evidence on the body part | films | says chest |", "|---|---|---|"]
    for rule in BODY_PART_RULES:
        count = sum(_matched(body, rule) for body, _, _ in headers)
        lines.append(f"| {rule.name} ({rule.strength}) | {count:,} | {rule.answer} |")
    return "\n".join(lines)


def _counts(name: str, truth: Counter[str], answer: str) -> str:
    known = truth[FRONTAL] + truth[LATERAL]
    right = f"{100 * truth[answer] / known:.2f}%" if known and answer != UNKNOWN else ""
    cells = (truth.total(), truth[FRONTAL], truth[LATERAL], truth[""])
    return f"| {name} | " + " | ".join(f"{n:,}" for n in cells) + f" | {right} |"


def _matched(classification: Classification, rule: Rule) -> bool:
    return any(e.rule is rule for e in classification.evidence)


def _value(text: str) -> Any:
    """Parse a cell: a list in Python's notation, a sequence as pydicom prints it, or text."""
    if text.startswith("[("):
        elements = re.findall(r"(Code Value|Code Meaning) +[A-Z]{2}: '([^']*)'", text)
        return [{_CODE_COLUMNS[name]: value for name, value in elements}]
    if text.startswith("["):
        return ast.literal_eval(text)
    return text


if __name__ == "__main__":
    true_projections = read_projections(Path(sys.argv[2])) if len(sys.argv) > 2 else {}
    print(format_tables(classify_headers(read_headers(Path(sys.argv[1])), true_projections)))

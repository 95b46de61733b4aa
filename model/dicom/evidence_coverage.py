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
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
from model.dicom.projection import STUDY_RULES, read_film, weigh_films

_KEYWORDS = {name: keyword for _, _, name, _, keyword in DicomDictionary.values()}
_CODE_COLUMNS = {"Code Value": "CodeValue", "Code Meaning": "CodeMeaning"}


class ClassifiedHeader(NamedTuple):
    """Body part and projection of one image, and its true projection ("" where it is not known).

    `half` is 0 or 1 by the study: the counts behind the weights are those of half 0.
    """

    body_part: Classification
    position: Classification
    truth: str
    half: int


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
    """Classify every header; the films of one study are weighed together, as when it is drafted."""
    studies: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for name, header in headers:
        studies.setdefault(str(header.get("StudyInstanceUID") or name), []).append((name, header))
    classified = []
    for study, films in studies.items():
        positions = weigh_films([read_film(header) for _, header in films])
        half = hashlib.sha256(study.encode()).digest()[0] % 2
        classified += [
            ClassifiedHeader(
                classify(BODY_PART_RULES, header), position, projections.get(name, ""), half
            )
            for (name, header), position in zip(films, positions, strict=True)
        ]
    return classified


def format_tables(headers: Sequence[ClassifiedHeader]) -> str:
    """Return the counts as Markdown tables: the answers, then what each rule was worth."""
    chest = Counter(header.body_part.answer for header in headers)
    known = [header for header in headers if header.truth]
    lines = [
        f"{len(headers):,} headers, {len(known):,} with a known projection.",
        "",
        "| chest? | films |",
        "|---|---|",
        *(f"| {answer} | {chest[answer]:,} |" for answer in (YES, NO, UNKNOWN)),
        "",
        "| projection | films | of them frontal | lateral | not known | right |",
        "|---|---|---|---|---|---|",
    ]
    for answer in (FRONTAL, LATERAL, UNKNOWN):
        truth = Counter(h.truth for h in headers if h.position.answer == answer)
        lines.append(_counts(answer, truth, answer))
    lines += [
        "",
        "| films with a known projection | films | unknown | wrong |",
        "|---|---|---|---|",
    ]
    lines += [
        _shares("all", known),
        _shares("half whose counts are behind the weights", [h for h in known if h.half == 0]),
        _shares("the other half", [h for h in known if h.half == 1]),
    ]
    lines += [
        "",
        "| evidence on the projection | weight | films | of them frontal | lateral | not known "
        "| right |",
        "|---|---|---|---|---|---|---|",
    ]
    for rule in (*PROJECTION_RULES, *STUDY_RULES):
        truth = Counter(h.truth for h in headers if _matched(h.position, rule))
        weight = f"{rule.weight:g}" if rule.weight else "by table"
        lines.append(_counts(f"{rule.name} | {weight}", truth, rule.answer))
    lines += ["", "| evidence on the body part | films | says chest |", "|---|---|---|"]
    for rule in BODY_PART_RULES:
        count = sum(_matched(header.body_part, rule) for header in headers)
        lines.append(f"| {rule.name} ({rule.strength}) | {count:,} | {rule.answer} |")
    return "\n".join(lines)


def _shares(name: str, headers: Sequence[ClassifiedHeader]) -> str:
    unknown = sum(h.position.answer == UNKNOWN for h in headers)
    wrong = sum(h.position.answer not in (UNKNOWN, h.truth) for h in headers)
    total = max(len(headers), 1)
    return (
        f"| {name} | {len(headers):,} | {unknown:,} ({100 * unknown / total:.1f}%) "
        f"| {wrong:,} ({100 * wrong / total:.2f}%) |"
    )


def _counts(name: str, truth: Counter[str], answer: str) -> str:
    known = truth[FRONTAL] + truth[LATERAL]
    is_clear = known and answer in (FRONTAL, LATERAL)
    right = f"{100 * truth[answer] / known:.2f}%" if is_clear else ""
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

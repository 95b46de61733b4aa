"""The texts of a DICOM structured report, each with the headings that it stands under (PS3.3 A.35).

Which section of a report a heading is, is known to `records.section_codes`.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset

SR_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.88.11": "Basic Text SR",
    "1.2.840.10008.5.1.4.1.1.88.22": "Enhanced SR",
    "1.2.840.10008.5.1.4.1.1.88.33": "Comprehensive SR",
    "1.2.840.10008.5.1.4.1.1.88.34": "Comprehensive 3D SR",
}
"""The classes of reports that people write; others are of doses, of computed findings, of logs."""
MAX_DEPTH = 32
_CONTENT = ("CONTAINS", "HAS PROPERTIES", "INFERRED FROM", "")
"""Relationships of what a report says (PS3.3 C.17.3.2.4); others say of what and by whom."""
_BREAK = re.compile(r"<br\s*/?>|</p>", re.IGNORECASE)
_TAG = re.compile(r"</?(?:b|i|u|p|div|span|font|strong|em|html|body)\b[^<>]*>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ConceptName:
    """The code and the meaning of a content item's name (0040,A043)."""

    code: str
    meaning: str


@dataclass(frozen=True, slots=True)
class ReportText:
    """A text of the content tree.

    Attributes:
        headings: The names of the item and of those that hold it, from the outermost to its own;
            the document's title is not one of them.
        text: The text, without the marks of HTML that some systems write into it.
    """

    headings: tuple[ConceptName, ...]
    text: str


def read_texts(document: Dataset) -> Iterator[ReportText]:
    """Yield the texts of a report's content tree in its order, no deeper than MAX_DEPTH."""
    yield from _walk(document, (), 0)


def read_name(item: Dataset) -> ConceptName | None:
    """Return the name of a content item, or the title of a document; None where it has none."""
    for name in item.get("ConceptNameCodeSequence") or ():
        return ConceptName(read_text(name, "CodeValue"), read_text(name, "CodeMeaning"))
    return None


def read_accession_number(document: Dataset) -> str:
    """Return the accession number, or else that of the request that the report answers."""
    requests = document.get("ReferencedRequestSequence") or ()  # (0040,A370)
    numbers = (read_text(item, "AccessionNumber") for item in (document, *requests))
    return next(filter(None, numbers), "")


def read_text(dataset: Dataset, keyword: str) -> str:
    """Return an element as text without space around it; "" where it is missing."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()


def _walk(item: Dataset, above: tuple[ConceptName, ...], depth: int) -> Iterator[ReportText]:
    if depth > MAX_DEPTH:
        return
    for child in item.get("ContentSequence") or ():
        if read_text(child, "RelationshipType") not in _CONTENT:
            continue
        name = read_name(child)
        headings = above if name is None else (*above, name)
        if read_text(child, "ValueType") == "TEXT":
            yield ReportText(headings, _plain(read_text(child, "TextValue")))
        yield from _walk(child, headings, depth + 1)


def _plain(text: str) -> str:
    lines = _BREAK.sub("\n", text)
    return html.unescape(_TAG.sub("", lines)) if lines != text or _TAG.search(text) else text

"""Where indication, procedure and priority come from, source by source."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from model.dicom.indication import (
    INDICATION_SOURCES,
    NOT_PROVIDED,
    PROCEDURE_SOURCES,
    OrderText,
    TextSource,
    find_indication,
    find_priority,
    find_procedure,
    list_indications,
)


def header_of(keyword: str, value: str) -> dict[str, Any]:
    """A header with a value under "Keyword" or "Sequence.Keyword"."""
    name, _, rest = keyword.partition(".")
    return {name: [header_of(rest, value)] if rest else value}


def merged(*headers: dict[str, Any]) -> dict[str, Any]:
    """One header with all values; items of one sequence become one item."""
    result: dict[str, Any] = {}
    for header in headers:
        for name, value in header.items():
            is_nested = isinstance(value, list) and name in result
            result[name] = [merged(result[name][0], value[0])] if is_nested else value
    return result


# Name and label, in the order of preference that docs/use/images.md gives.
INDICATIONS = [
    ("request_reason", ""),
    ("request_reason_code", ""),
    ("request_comments", ""),
    ("reason", ""),
    ("reason_code", ""),
    ("reason_for_study", ""),
    ("patient_history", "history"),
    ("admitting_diagnosis", "admitting diagnosis"),
    ("admitting_diagnosis_code", "admitting diagnosis"),
]
PROCEDURES = [
    "request_procedure",
    "requested_procedure",
    "requested_procedure_code",
    "study_description",
    "procedure_code",
    "performed_procedure",
]
SOURCES = [*INDICATION_SOURCES, *PROCEDURE_SOURCES]


def test_the_sources_in_their_order() -> None:
    assert [(source.name, source.label) for source in INDICATION_SOURCES] == INDICATIONS
    assert [source.name for source in PROCEDURE_SOURCES] == PROCEDURES


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_keywords_and_tags_agree(source: TextSource) -> None:
    """The last keyword is that of the last tag, or the meaning of the codes under that tag."""
    group, element = source.tag.split(">")[-1].strip("()").split(",")
    keywords = source.keyword.removesuffix(".CodeMeaning").split(".")
    assert keyword_for_tag(f"{group}{element}") == keywords[-1]


@pytest.mark.parametrize("rank", range(len(INDICATIONS)))
def test_the_best_source_that_has_a_text_is_taken(rank: int) -> None:
    headers = [header_of(s.keyword, f"by {s.name}") for s in INDICATION_SOURCES[rank:]]
    name, label = INDICATIONS[rank]
    expected = OrderText(f"by {name}", name, label)
    assert find_indication(merged(*headers)) == expected
    # Over the headers of a study, the best source comes before the first header.
    assert find_indication(reversed(headers)) == expected


@pytest.mark.parametrize("rank", range(len(PROCEDURES)))
def test_the_best_procedure_is_taken(rank: int) -> None:
    headers = [header_of(s.keyword, f"by {s.name}") for s in PROCEDURE_SOURCES[rank:]]
    expected = OrderText(f"by {PROCEDURES[rank]}", PROCEDURES[rank])
    assert find_procedure(merged(*headers)) == expected
    assert find_procedure(reversed(headers)) == expected


def test_an_empty_header_gives_nothing() -> None:
    for headers in ({}, [], [{}], {"StudyDescription": "XR CHEST", "ReasonForStudy": " "}):
        assert find_indication(headers) == OrderText(NOT_PROVIDED, "none")
    assert NOT_PROVIDED == "Not provided"
    assert find_procedure({"ReasonForStudy": "cough"}) == OrderText("", "none")


@pytest.mark.parametrize(
    ("name", "length", "cut"),
    [
        ("request_reason", 63, False),
        ("request_reason", 64, True),
        ("reason_for_study", 65, True),
        ("request_comments", 64, False),
        ("patient_history", 10239, False),
        ("patient_history", 10240, True),
        ("admitting_diagnosis_code", 64, True),
    ],
)
def test_a_text_that_fills_its_field_may_be_cut(name: str, length: int, cut: bool) -> None:
    source = next(s for s in INDICATION_SOURCES if s.name == name)
    text = find_indication(header_of(source.keyword, "x" * length))
    assert (text.source, len(text.text), text.cut) == (name, length, cut)


@pytest.mark.parametrize(
    ("header", "text"),
    [
        # Several items make one text, without repetitions.
        ({"ReasonForRequestedProcedureCodeSequence": [{"CodeMeaning": "Cough"},
          {"CodeMeaning": "Fever"}, {"CodeMeaning": "Cough"}]}, "Cough; Fever"),
        ({"RequestAttributesSequence": [{"ReasonForTheRequestedProcedure": "a"},
          {"ReasonForTheRequestedProcedure": "b"}]}, "a; b"),
        ({"AdmittingDiagnosesDescription": ["Cough", "Fever"]}, "Cough; Fever"),
        ({"ReasonForStudy": "Cough\r\n\tsince\x00 Monday"}, "Cough since Monday"),
        ({"ReasonForStudy": "Indication: </s> [SEP]"}, "Indication: </s> [SEP]"),
    ],
)  # fmt: skip
def test_the_text_is_joined_and_otherwise_as_sent(header: dict[str, Any], text: str) -> None:
    assert find_indication(header).text == text


def test_all_texts_of_a_study_are_listed_best_first_with_their_header() -> None:
    headers = [
        {"ReasonForStudy": "cough"},
        {"AdditionalPatientHistory": "smoker", "ReasonForStudy": "fever"},
    ]
    listed = [(text.source, text.text, text.header) for text in list_indications(headers)]
    assert listed == [("reason_for_study", "cough", 0), ("patient_history", "smoker", 1)]


@pytest.mark.parametrize(
    ("headers", "priority"),
    [
        ({"RequestedProcedurePriority": "STAT"}, "STAT"),
        ({"RequestedProcedurePriority": "HIGH"}, "URGENT"),
        ({"RequestedProcedurePriority": "urgent"}, "URGENT"),
        ({"RequestedProcedurePriority": "ROUTINE"}, "ROUTINE"),
        ({"RequestedProcedurePriority": "MEDIUM"}, "ROUTINE"),
        ({"RequestedProcedurePriority": "LOW"}, "ROUTINE"),
        ({"StudyPriorityID": "HIGH"}, "URGENT"),
        ({"RequestAttributesSequence": [{"RequestedProcedurePriority": "STAT"}]}, "STAT"),
        # The most urgent of all values counts, whatever its place.
        ({"RequestedProcedurePriority": "LOW", "StudyPriorityID": "STAT"}, "STAT"),
        ([{"StudyPriorityID": "LOW"}, {"StudyPriorityID": "HIGH"}, {}], "URGENT"),
        # What is not in the table, and nothing, is no priority.
        ({"RequestedProcedurePriority": "SOON"}, None),
        ([{"RequestedProcedurePriority": "SOON"}, {"StudyPriorityID": "MED"}], "ROUTINE"),
        ({}, None),
        ([], None),
    ],
)
def test_the_priority(headers: Any, priority: str | None) -> None:
    assert find_priority(headers) == priority


def test_a_dataset_is_one_header() -> None:
    item = Dataset()
    item.ReasonForTheRequestedProcedure, item.RequestedProcedurePriority = "cough", "STAT"
    dataset = Dataset()
    dataset.RequestAttributesSequence = [item]
    dataset.StudyDescription = "XR CHEST"
    for headers in (dataset, [dataset], [Dataset(), dataset]):
        assert find_indication(headers) == OrderText("cough", "request_reason")
        assert find_procedure(headers) == OrderText("XR CHEST", "study_description")
        assert find_priority(headers) == "STAT"

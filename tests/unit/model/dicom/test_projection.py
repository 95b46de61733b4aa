"""Frontal or lateral, weighed over all films of a study."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from model.dicom.evidence import FRONTAL, LATERAL, UNKNOWN
from model.dicom.instances import parse_instance
from model.dicom.projection import (
    EXPOSURE_SHARES,
    MIXTURES,
    MOST_FILMS,
    STUDY_RULES,
    read_film,
    weigh_films,
)
from model.dicom.views import choose_views
from model.manifest import IntendedUse

PA: dict[str, Any] = {"ViewPosition": "PA"}
AP: dict[str, Any] = {"ViewPosition": "AP"}
WIDE: dict[str, Any] = {"Rows": 1000, "Columns": 1200}
HIGH: dict[str, Any] = {"Rows": 1200, "Columns": 1000}
LATERAL_POSITION: dict[str, Any] = {"ViewPosition": "LL"}
BOTH_VIEWS: dict[str, Any] = {"StudyDescription": "XR CHEST PA AND LATERAL"}
F, L, U = FRONTAL, LATERAL, UNKNOWN


def exposed(microampereseconds: int, **more: Any) -> dict[str, Any]:
    return {"ExposureInuAs": microampereseconds, **more}


def answers(*headers: dict[str, Any], trust: dict[str, str] | None = None) -> list[str]:
    return [c.answer for c in weigh_films([read_film(header, trust) for header in headers])]


# Each row: the headers of a study, and the answers.
STUDIES: list[tuple[list[dict[str, Any]], list[str]]] = [
    # ViewPosition is PA on both, as a default: the shapes tell them apart.
    ([PA | WIDE, PA | HIGH], [F, L]),
    ([PA | HIGH, PA | HIGH], [U, U]),
    ([PA, PA], [U, U]),
    # Where another film has another position, it is no default.
    ([PA, LATERAL_POSITION], [F, L]),
    ([PA | HIGH, LATERAL_POSITION], [F, L]),
    ([PA | HIGH, PA | HIGH, LATERAL_POSITION], [F, F, L]),
    # The lateral takes the larger exposure.
    ([exposed(1000), exposed(4000)], [F, L]),
    ([exposed(1000), exposed(1100)], [U, U]),
    ([exposed(1000) | BOTH_VIEWS, exposed(2200) | BOTH_VIEWS], [F, L]),
    ([{"ExposureTime": 5, "XRayTubeCurrent": 200}, {"ExposureTime": 20, "XRayTubeCurrent": 200}],
     [F, L]),
    ([{"Exposure": "1"}, {"Exposure": "4"}], [F, L]),
    ([{"Exposure": "1"}, exposed(4000)], [U, U]),  # not in one unit
    # Devices process the two in another way, and the order is for both.
    ([AP | WIDE | {"AcquisitionDeviceProcessingCode": "60025"},
      {"AcquisitionDeviceProcessingCode": "60003"}], [F, L]),
    ([AP | WIDE, {}], [F, U]),
    ([AP | WIDE | BOTH_VIEWS, BOTH_VIEWS], [F, L]),
    # The frontal film is taken first; alone that settles little.
    ([{"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}], [U, U]),
    ([{"AcquisitionNumber": 1} | BOTH_VIEWS, {"AcquisitionNumber": 2} | BOTH_VIEWS], [U, U]),
    # Two of one view stay that, whatever the order is for.
    ([LATERAL_POSITION | BOTH_VIEWS, LATERAL_POSITION | BOTH_VIEWS], [L, L]),
    ([PA | WIDE, PA | WIDE, PA | WIDE], [F, F, F]),
    ([{"SeriesDescription": "CHEST PA"}, {"SeriesDescription": "CHEST PA"}], [F, F]),
    # What says of the very film what it is, is not outweighed.
    ([exposed(1000, SeriesDescription="LAT"), exposed(9000, SeriesDescription="PA")], [L, F]),
    ([PA], [U]),
    ([], []),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "expected"), STUDIES, ids=str)
def test_the_films_of_a_study(headers: list[dict[str, Any]], expected: list[str]) -> None:
    for order in permutations(range(len(headers))):
        assert answers(*(headers[n] for n in order)) == [expected[n] for n in order]


def test_a_study_of_many_films_is_weighed_film_by_film() -> None:
    many = [PA | WIDE, *[PA | HIGH] * MOST_FILMS]
    assert answers(*many) == [F, *[U] * MOST_FILMS]


@pytest.mark.parametrize("keyword", ["Manufacturer", "ManufacturerModelName", "StationName"])
def test_a_site_says_whose_view_position_counts(keyword: str) -> None:
    film = PA | HIGH | {keyword: "Xmatic 3"}
    assert answers(film) == [U]
    assert answers(film, trust={"xmatic 3": "always"}) == [F]
    assert answers(film, trust={"another": "always"}) == [U]
    lateral = LATERAL_POSITION | {keyword: "Xmatic 3"}
    assert answers(lateral) == [L]
    assert answers(lateral, trust={"XMATIC 3": "never"}) == [U]


def test_evidence_names_what_the_other_films_said() -> None:
    frontal, lateral = weigh_films([read_film(exposed(1000) | PA), read_film(exposed(3400))])
    assert [str(e) for e in frontal.evidence] == ['ViewPosition "PA" says frontal']
    assert [str(e) for e in lateral.evidence] == [
        'Exposure "3.4 times that of another film" says lateral'
    ]


@pytest.mark.parametrize(
    ("header", "answer", "is_contradicted"),
    [
        (LATERAL_POSITION, L, False),
        (LATERAL_POSITION | {"PatientOrientation": ["L", "F"]}, L, True),
        (PA, U, False),
    ],
)
def test_evidence_against_the_answer_is_known(
    header: dict[str, Any], answer: str, is_contradicted: bool
) -> None:
    (classification,) = weigh_films([read_film(header)])
    assert (classification.answer, classification.is_contradicted) == (answer, is_contradicted)


def test_every_rule_of_studies_speaks_in_this_table() -> None:
    names = {
        e.rule.name
        for headers, _ in STUDIES
        for c in weigh_films([read_film(h) for h in headers])
        for e in c.evidence
    }
    assert {rule.name for rule in STUDY_RULES} <= names


def test_shares_are_shares() -> None:
    for mixture in MIXTURES.values():
        assert sum(mixture) == pytest.approx(1)
    directions = [EXPOSURE_SHARES["same"]]
    directions.append(EXPOSURE_SHARES["lateral larger"] + EXPOSURE_SHARES["frontal larger"])
    for shares in directions:
        assert sum(shares) == pytest.approx(1, abs=0.03)


def test_the_choice_of_views_weighs_the_study() -> None:
    common = {"Modality": "CR", "BodyPartExamined": "CHEST", "PatientAge": "054Y"}
    high = parse_instance(common | PA | HIGH | {"SOPInstanceUID": "1.2.1"}, "high")
    wide = parse_instance(common | PA | WIDE | {"SOPInstanceUID": "1.2.2"}, "wide")
    choice = choose_views([high, wide], IntendedUse())
    assert [(v.source, v.position.answer) for v in choice.views] == [("wide", F), ("high", L)]
    assert choice.notes == ()
    # A model that reads no laterals leaves the one out that only its partner tells.
    frontals = choose_views([high, wide], IntendedUse(views=("frontal",)))
    assert [v.source for v in frontals.views] == ["wide"]

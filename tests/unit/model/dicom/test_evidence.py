"""Body part and projection by the header, rule by rule: what decides, and what gives "unknown"."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom.dataset import Dataset

from model.dicom.evidence import (
    BODY_PART_RULES,
    FRONTAL,
    LATERAL,
    NO,
    PROJECTION_RULES,
    UNKNOWN,
    YES,
    Rule,
    Strength,
    classify,
    clean_text,
    read_texts,
)
from model.dicom.projection import read_film, weigh_films

CR, DX = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"


def code(value: str = "", meaning: str = "") -> dict[str, str]:
    """An item of a code sequence."""
    return {"CodeValue": value, "CodeMeaning": meaning}


# Each row: a header, the answer, and the leaning.
BODY_PARTS: list[tuple[dict[str, Any], str, str]] = [
    # The body part that the modality gives.
    ({"BodyPartExamined": "CHEST"}, YES, YES),
    ({"BodyPartExamined": "PORTABLE CHEST"}, YES, YES),
    ({"BodyPartExamined": "chest_pa"}, YES, YES),  # lower case, and `_` for a space
    ({"BodyPartExamined": "TORAX"}, YES, YES),
    ({"BodyPartExamined": "胸部"}, YES, YES),
    ({"BodyPartExamined": "ORCHESTRA"}, UNKNOWN, ""),  # whole words only
    ({"BodyPartExamined": "HAND"}, NO, NO),
    ({"BodyPartExamined": "LSPINE"}, NO, NO),
    ({"BodyPartExamined": "SCHÄDEL"}, NO, NO),
    ({"AnatomicRegionSequence": [code("T-D3000")]}, YES, YES),
    ({"AnatomicRegionSequence": [code("51185008")]}, YES, YES),
    ({"AnatomicRegionSequence": [code("T-D4000")]}, UNKNOWN, ""),
    ({"AnatomicRegionSequence": [code("", "Chest")]}, YES, YES),
    ({"AnatomicRegionSequence": [code("", "Knee")]}, NO, NO),
    # Descriptions of the image.
    ({"SeriesDescription": "W034 Thorax PA"}, YES, YES),
    ({"ProtocolName": "ABDOMEN AP"}, NO, NO),
    ({"PerformedProtocolCodeSequence": [code("", "Chest PA")]}, YES, YES),
    # Descriptions of the order decide where none of the image does.
    ({"StudyDescription": "XR CHEST 2 VIEWS"}, YES, YES),
    ({"ProcedureCodeSequence": [code("", "Radiography of knee")]}, NO, NO),
    ({"ProcedureCodeSequence": [code("", "Plain radiography")]}, UNKNOWN, ""),
    ({"RequestedProcedureDescription": "XR KNEE"}, NO, NO),
    ({"RequestAttributesSequence": [{"RequestedProcedureDescription": "CXR"}]}, YES, YES),
    # An order for another part gives way to an image that is labelled chest, not the reverse.
    ({"BodyPartExamined": "CHEST", "StudyDescription": "XR ABDOMEN"}, YES, ""),
    ({"BodyPartExamined": "ABDOMEN", "StudyDescription": "XR CHEST"}, UNKNOWN, ""),
    ({"StudyDescription": "XR CHEST", "RequestedProcedureDescription": "XR KNEE"}, UNKNOWN, ""),
    # Other languages, wide letters, words written together. Many devices have CHEST as a default.
    ({"SeriesDescription": "ＣＨＥＳＴ"}, YES, YES),
    ({"SeriesDescription": "ChestPA"}, YES, YES),
    ({"SeriesDescription": "TO\u0301RAX"}, YES, YES),
    ({"SeriesDescription": "Lungen"}, YES, YES),
    ({"SeriesDescription": "Klatka piersiowa"}, YES, YES),
    *(
        ({"BodyPartExamined": "CHEST", "SeriesDescription": words}, UNKNOWN, "")
        for words in (
            "Schulter links",
            "BWS seitlich",
            "Genou droit",
            "HOMBRO AP",
            "GINOCCHIO",
            "胸椎",
            "膝関節",
            "腹部",
            "Коленный сустав",
            "ESOPHAGUS",
            "SCOLIOSIS",
        )
    ),
    # Two rules of the image contradict each other; one line names both.
    ({"BodyPartExamined": "CHEST", "SeriesDescription": "HAND"}, UNKNOWN, ""),
    ({"StudyDescription": "XR CHEST AND ABDOMEN"}, UNKNOWN, ""),
    ({"BodyPartExamined": "CHEST", "StudyDescription": "CHEST AND ABDOMEN"}, YES, YES),
    # "EXTREMITY" decides nothing, but prevents "yes".
    ({"BodyPartExamined": "EXTREMITY"}, UNKNOWN, NO),
    ({"BodyPartExamined": "EXTREMITY", "StudyDescription": "XR CHEST"}, UNKNOWN, ""),
    ({"BodyPartExamined": "EXTREMITY", "StudyDescription": "XR KNEE"}, NO, NO),
    # Words of how the patient stands, lies or is protected name no body part of the image.
    *(
        ({"BodyPartExamined": "CHEST", keyword: words}, YES, YES)
        for keyword in ("SeriesDescription", "StudyDescription", "ProtocolName")
        for words in (
            "PA ARMS UP",
            "AP ARMS DOWN",
            "LAT, both arms over head",
            "Left arm raised",
            "arms-up",
            "UNABLE TO RAISE ARMS",
            "SHOULDERS FORWARD",
            "PA SHOULDERS ROLLED FORWARD",
            "HAND ON HIP",
            "PA hands on hips",
            "HANDS_BEHIND_HEAD",
            "HEAD FIRST SUPINE",
            "HEAD OF BED UP",
            "AP 6 FEET",
            "CHIN UP",
            "PELVIC SHIELD",
            "NASAL CANNULA",
            "BREAST IMPLANTS",
            "C-ARM",
            "PORTABLE KNEES BENT",
            "SCAPULA OUT",
            "RIGHT HAND SIDE",
            "ARM IN SLING",
            "LIMITED ARM MOVEMENT",
            "LEFT SHOULDER UP",
            "HEAD TILTED",
            "LEFT ARM PICC LINE",
            "PICC R ARM",
            "JUGULAR NECK LINE",
            "SINUS TACHYCARDIA",
            "HEAD & NECK CANCER",
            "ON SPINE BOARD",
            "UPPER ABDOMEN INCLUDED",
            "RIBS ABOVE DIAPHRAGM",
        )
    ),
    # The part alone, and its own positions, are that part.
    *(
        ({"BodyPartExamined": "CHEST", "SeriesDescription": words}, UNKNOWN, "")
        for words in (
            "ARM",
            "SHOULDER PAIN",
            "HIP FRACTURE",
            "NECK SOFT TISSUE",
            "LEFT ARM AP",
            "HAND PA",
            "SHOULDER Y",
            "HEAD",
            "HEAD AP",
            "FOOT OBL",
            "KNEE EXTENDED",
            "NECK OF FEMUR",
            "NECK EXTENSION",
            "ELBOW FLEXED",
            "PA ARMS UP AND HAND",
        )
    ),
    ({"SeriesDescription": "ARM"}, NO, NO),
    ({"SeriesDescription": "CHEST HAND PA"}, UNKNOWN, ""),
    # Nothing is said.
    ({}, UNKNOWN, ""),
    ({"BodyPartExamined": ""}, UNKNOWN, ""),
    ({"BodyPartExamined": None, "AnatomicRegionSequence": []}, UNKNOWN, ""),
    ({"BodyPartExamined": "UNKNOWN"}, UNKNOWN, ""),
]

PROJECTIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"ViewCodeSequence": [code("R-10206")]}, FRONTAL, FRONTAL),
    ({"ViewCodeSequence": [code("399348003")]}, FRONTAL, FRONTAL),
    ({"ViewCodeSequence": [code("R-10236")]}, LATERAL, LATERAL),
    ({"ViewCodeSequence": [code("R-102CD")]}, LATERAL, LATERAL),
    ({"ViewPosition": "LL"}, LATERAL, LATERAL),
    ({"ViewPosition": "RL"}, LATERAL, LATERAL),
    ({"ViewPosition": "LEFT LATERAL"}, LATERAL, LATERAL),
    ({"ViewPosition": "lat"}, LATERAL, LATERAL),
    ({"ViewPosition": "LT LAT"}, LATERAL, LATERAL),
    ({"ViewPosition": "LAT_R"}, LATERAL, LATERAL),
    ({"ViewPosition": "SEITLICH"}, LATERAL, LATERAL),
    ({"ViewPosition": "LLD"}, UNKNOWN, ""),  # lateral decubitus is seen from the front
    ({"PatientOrientation": ["P", "F"]}, LATERAL, LATERAL),
    ({"PatientOrientation": "AH\\F"}, LATERAL, LATERAL),
    ({"SeriesDescription": "Thorax lat."}, LATERAL, LATERAL),
    ({"SeriesDescription": "Chest PROFIL"}, LATERAL, LATERAL),
    ({"SeriesDescription": "LAT DECUB LEFT"}, UNKNOWN, ""),
    ({"ProtocolName": "CHEST_PA"}, FRONTAL, FRONTAL),
    ({"ProtocolName": "AP OBLIQUE"}, UNKNOWN, ""),
    ({"SeriesDescription": "PA ARMS UP"}, FRONTAL, FRONTAL),
    ({"SeriesDescription": "LAT, ARMS UP"}, LATERAL, LATERAL),
    ({"SeriesDescription": "PORT CHEST PA CATHETER"}, UNKNOWN, ""),
    *(
        ({"SeriesDescription": words}, LATERAL, LATERAL)
        for words in (
            "CHEST, LL",
            "CHESTLAT",
            "Thorax 2. Ebene",
            "TORAX PERFIL",
            "Thorax seitl.",
            "RX TORACE LL",
            "胸部側面",
            "胸部侧位",
        )
    ),
    *(
        ({"SeriesDescription": words}, FRONTAL, FRONTAL)
        for words in ("Thorax p.-a.", "ThoraxPA", "胸部正面", "胸部正位", "ＰＡ")
    ),
    # The words of an order name both views, so they are not read.
    ({"StudyDescription": "CHEST LATERAL"}, UNKNOWN, ""),
    # "PA" is a default on many machines: a hint, and one hint does not decide.
    ({"ViewPosition": "PA"}, UNKNOWN, FRONTAL),
    ({"ViewPosition": "PA", "PatientOrientation": ["L", "F"]}, UNKNOWN, FRONTAL),  # one group
    ({"ViewPosition": "PA", "Rows": 1000, "Columns": 1051}, FRONTAL, FRONTAL),  # two groups
    ({"PatientOrientation": ["R", "F"], "Rows": 2000, "Columns": 2500}, FRONTAL, FRONTAL),
    ({"ViewPosition": "AP", "Rows": 1051, "Columns": 1000}, UNKNOWN, FRONTAL),  # they disagree
    ({"ViewPosition": "PA", "Rows": 1000, "Columns": 1050}, UNKNOWN, FRONTAL),  # not wide
    ({"Rows": 1000, "Columns": 1051}, UNKNOWN, FRONTAL),
    ({"Rows": 1051, "Columns": 1000}, UNKNOWN, LATERAL),
    ({"Rows": 0, "Columns": 1000}, UNKNOWN, ""),
    ({"Rows": "many", "Columns": 1000}, UNKNOWN, ""),
    # What decides is not changed by hints against it.
    ({"ViewPosition": "LL", "Rows": 1000, "Columns": 1051}, LATERAL, LATERAL),
    # Two that decide contradict each other; one line names both.
    ({"ViewPosition": "LL", "ProtocolName": "CHEST PA"}, UNKNOWN, ""),
    ({"SeriesDescription": "PA and lateral"}, UNKNOWN, ""),
    ({"SeriesDescription": "PA and lateral", "ViewPosition": "LL"}, LATERAL, LATERAL),
    # A digital detector sets the position with the protocol: a portrait PA film is frontal.
    ({"ViewPosition": "PA", "Rows": 1200, "Columns": 1000, "SOPClassUID": DX}, FRONTAL, FRONTAL),
    ({"ViewPosition": "PA", "Rows": 1200, "Columns": 1000, "SOPClassUID": CR}, UNKNOWN, LATERAL),
    ({"ViewPosition": "PA", "SOPClassUID": DX, "SeriesDescription": "LAT"}, LATERAL, LATERAL),
    ({}, UNKNOWN, ""),
]


@pytest.mark.parametrize(("header", "answer", "leaning"), BODY_PARTS, ids=str)
def test_body_part(header: dict[str, Any], answer: str, leaning: str) -> None:
    classification = classify(BODY_PART_RULES, header)
    assert (classification.answer, classification.leaning) == (answer, leaning)


@pytest.mark.parametrize(("header", "answer", "leaning"), PROJECTIONS, ids=str)
def test_projection(header: dict[str, Any], answer: str, leaning: str) -> None:
    (classification,) = weigh_films([read_film(header)])
    assert (classification.answer, classification.leaning) == (answer, leaning)


@pytest.mark.parametrize("rules", [BODY_PART_RULES, PROJECTION_RULES], ids=["body", "projection"])
def test_every_rule_matches_in_these_tables(rules: tuple[Rule, ...]) -> None:
    headers = [header for header, *_ in BODY_PARTS + PROJECTIONS]
    matched = {e.rule.name for header in headers for e in classify(rules, header).evidence}
    assert matched == {rule.name for rule in rules}


def test_evidence_names_the_place_and_the_value() -> None:
    header = {"ViewPosition": "LL", "ProtocolName": "CHEST PA"}
    evidence = classify(PROJECTION_RULES, header).evidence
    assert [str(e) for e in evidence] == [
        'ViewPosition "LL" says lateral',
        'ProtocolName "CHEST PA" says frontal',
    ]
    assert {e.rule.strength for e in evidence} == {Strength.INSTANCE}


def test_a_dataset_and_a_mapping_give_the_same() -> None:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = "R-10236", "lateral"
    dataset = Dataset()
    dataset.BodyPartExamined = "CHEST"
    dataset.PatientOrientation = ["P", "F"]
    dataset.Rows, dataset.Columns = 1000, 1051
    dataset.ViewCodeSequence = [item]
    mapping = {
        "BodyPartExamined": "CHEST",
        "PatientOrientation": ["P", "F"],
        "Rows": 1000,
        "Columns": 1051,
        "ViewCodeSequence": [code("R-10236", "lateral")],
    }
    for rules in (BODY_PART_RULES, PROJECTION_RULES):
        assert classify(rules, dataset) == classify(rules, mapping)
    assert classify(PROJECTION_RULES, dataset).answer == LATERAL


@pytest.mark.parametrize(
    ("header", "keyword", "texts"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY"]}, "ImageType", ["ORIGINAL\\PRIMARY"]),
        ({"Rows": 12}, "Rows", ["12"]),
        ({"Modality": " "}, "Modality", []),
        ({"ImageType": ["", ""]}, "ImageType", []),
        ({"ProtocolName": "CHEST\x00\r\n  PA"}, "ProtocolName", ["CHEST PA"]),
        ({}, "ProtocolName", []),
        ({"S": [{"K": "a"}, {"K": ""}, {"K": "b"}]}, "S.K", ["a", "b"]),
        ({"S": [{"T": [{"K": "a"}]}]}, "S.T.K", ["a"]),
        ({"S": "no sequence"}, "S.K", []),
        ({"S": ["no item"]}, "S.K", []),
        ({"Rows": 1000, "Columns": 1051}, "shape", ["wide"]),
        ({"Rows": 1051, "Columns": 1000}, "shape", ["high"]),
        ({"Rows": 1000, "Columns": 1000}, "shape", []),
    ],
    ids=str,
)
def test_texts_of_a_keyword(header: dict[str, Any], keyword: str, texts: list[str]) -> None:
    assert list(read_texts(header, keyword)) == texts


def test_control_characters_never_come_through() -> None:
    assert clean_text("a\x1b[31mb\u202e\t c\u2028") == "a [31mb c"

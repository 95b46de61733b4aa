"""One exposure in several images: the standard film is read, once."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from model.dicom.instances import Instance, Rendering, classify_rendering, parse_instance
from model.dicom.reasons import NOTES, Reason
from model.dicom.views import choose_views
from model.manifest import IntendedUse

FILM: dict[str, Any] = {
    "Modality": "DX",
    "BodyPartExamined": "CHEST",
    "SeriesDescription": "CHEST PA",
    "ImageType": ["ORIGINAL", "PRIMARY", ""],
    "PatientAge": "054Y",
    "Rows": 2000,
    "Columns": 2000,
    "AcquisitionDate": "20261101",
    "AcquisitionTime": "120000",
}
LATER = {"AcquisitionTime": "121500"}
NO_TIME = {"AcquisitionDate": "", "AcquisitionTime": ""}
TISSUE = {"ImageType": ["DERIVED", "PRIMARY", "", "TISSUE"]}
BONE = {"ImageType": ["DERIVED", "PRIMARY", "", "BONE"]}
DERIVED = {"ImageType": ["DERIVED", "PRIMARY"]}
LINES = {"SeriesDescription": "CHEST PA TUBE AND LINE"}
LATERAL = {"SeriesDescription": "CHEST LATERAL"}
NO_VIEW = {"SeriesDescription": "CHEST"}


def film(name: str, *changes: dict[str, Any]) -> Instance:
    header = FILM | {"SOPInstanceUID": f"1.2.3.{name}"}
    for change in changes:
        header |= change
    return parse_instance(header, name)


# Each row: the images by name, the views in order, and why the others are left out.
STUDIES: list[tuple[list[Instance], list[str], dict[str, Reason]]] = [
    # Dual energy: the standard film, whatever the order and the numbers.
    ([film("s"), film("t", TISSUE, {"InstanceNumber": 2}), film("b", BONE, {"InstanceNumber": 3})],
     ["s"], {"t": Reason.SOFT_TISSUE_IMAGE, "b": Reason.BONE_IMAGE}),
    ([film("s", NO_TIME), film("t", TISSUE, NO_TIME), film("b", BONE, NO_TIME)],
     ["s"], {"t": Reason.SOFT_TISSUE_IMAGE, "b": Reason.BONE_IMAGE}),
    ([film("s"), film("t", {"SeriesDescription": "Chest PA Soft Tissue"}),
      film("b", {"SeriesDescription": "Chest PA BONE"}), film("l", LATERAL, LATER)],
     ["s", "l"], {"t": Reason.SOFT_TISSUE_IMAGE, "b": Reason.BONE_IMAGE}),
    # Without the standard film the soft-tissue image; a bone image never.
    ([film("t", TISSUE), film("b", BONE)], ["t"], {"b": Reason.BONE_IMAGE}),
    ([film("b", BONE)], [], {"b": Reason.BONE_IMAGE}),
    ([film("l", LATERAL, LATER), film("t", TISSUE)], ["t", "l"], {}),
    # Processed for tubes and lines, or with the bones suppressed.
    ([film("s"), film("e", LINES)], ["s"], {"e": Reason.ENHANCED_COPY}),
    ([film("s"), film("e", {"ImageType": ["DERIVED", "PRIMARY", "BONE_SUPPRESSED"]})],
     ["s"], {"e": Reason.ENHANCED_COPY}),
    # The output of a program, without a time or a view; a page with text.
    ([film("s"), film("e", NO_TIME, {"SeriesDescription": "AI RESULT"})],
     ["s"], {"e": Reason.ENHANCED_COPY}),
    ([film("l", LATERAL), film("e", NO_TIME, {"SeriesDescription": "AI RESULT"})], ["e", "l"], {}),
    ([film("s"), film("p", {"SeriesDescription": "CHEST DOSE REPORT"})],
     ["s"], {"p": Reason.PAGE}),
    ([film("p", {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]})], [], {"p": Reason.PAGE}),
    # Another film that was taken later to see the lines is a film of its own.
    ([film("s"), film("e", LINES, LATER)], ["s", "e"], {}),
    # Copies in another processing: by time, by the event, by what they were made from.
    ([film("s"), film("c", DERIVED, {"InstanceNumber": 2})], ["s"], {"c": Reason.DERIVED_COPY}),
    ([film("s", DERIVED), film("c", DERIVED, {"InstanceNumber": 2})],
     ["s"], {"c": Reason.DERIVED_COPY}),
    ([film("s"), film("c", DERIVED, {"Rows": 1000, "Columns": 1000})],
     ["s"], {"c": Reason.DERIVED_COPY}),
    ([film("s", NO_TIME, {"IrradiationEventUID": "1.2"}),
      film("c", DERIVED, NO_TIME, {"IrradiationEventUID": "1.2"})],
     ["s"], {"c": Reason.DERIVED_COPY}),
    ([film("s", NO_TIME), film("c", DERIVED, LATER, NO_VIEW,
      {"SourceImageSequence": [{"ReferencedSOPInstanceUID": "1.2.3.s"}]})],
     ["s"], {"c": Reason.DERIVED_COPY}),
    ([film("s", NO_TIME), film("c", DERIVED, LATER, NO_VIEW,
      {"ReferencedImageSequence": [{"ReferencedSOPInstanceUID": "1.2.3.s"}]})],
     ["s"], {"c": Reason.DERIVED_COPY}),
    # An original film may reference another one.
    ([film("a"), film("b", LATER,
      {"ReferencedImageSequence": [{"ReferencedSOPInstanceUID": "1.2.3.a"}]})], ["b", "a"], {}),
    # Two exposures are two films.
    ([film("a"), film("b", LATER)], ["b", "a"], {}),
    ([film("a", NO_TIME), film("b", NO_TIME)], ["a", "b"], {}),
    ([film("a", DERIVED, NO_TIME), film("b", NO_TIME)], ["a", "b"], {}),
    # A sender that gives all images of a study one time.
    ([film("a"), film("b", LATERAL)], ["a", "b"], {}),
    ([film("a", NO_VIEW), film("b", NO_VIEW)], ["a", "b"], {}),
    ([film("a"), film("b", NO_VIEW, {"Columns": 1600})], ["a", "b"], {}),
    ([film("a", {"AcquisitionTime": "000000"}), film("b", {"AcquisitionTime": "000000"})],
     ["a", "b"], {}),
]  # fmt: skip


@pytest.mark.parametrize(("study", "views", "left_out"), STUDIES)
def test_an_exposure_is_read_once(
    study: list[Instance], views: list[str], left_out: dict[str, Reason]
) -> None:
    for order in permutations(study):
        choice = choose_views(order, IntendedUse())
        assert [i.source for i in choice.views] == views
        assert {e.instance.source: e.reason for e in choice.excluded} == left_out


def test_a_draft_says_what_it_was_made_from() -> None:
    soft = choose_views([film("t", TISSUE)], IntendedUse())
    assert soft.notes == (NOTES[Reason.SOFT_TISSUE_IMAGE],)
    lines = choose_views([film("e", LINES)], IntendedUse())
    assert lines.notes == (NOTES[Reason.ENHANCED_COPY],)


@pytest.mark.parametrize(
    ("words", "rendering"),
    [
        ("CHEST PA", Rendering.STANDARD),
        ("CHEST SOFT COPY", Rendering.STANDARD),
        ("BONY THORAX", Rendering.STANDARD),
        ("CHEST FOR PICC LINE PLACEMENT", Rendering.STANDARD),
        ("SOFTER", Rendering.STANDARD),
        ("Soft Tissue", Rendering.SOFT_TISSUE),
        ("Weichteil", Rendering.SOFT_TISSUE),
        ("DES BONE", Rendering.BONE),
        ("BONE_SUPPRESSION", Rendering.ENHANCED),
        ("Bone-free", Rendering.ENHANCED),
        ("Rib Suppressed", Rendering.ENHANCED),
        ("ClearRead", Rendering.ENHANCED),
        ("Tubes & Lines", Rendering.ENHANCED),
        ("PICC ENHANCED", Rendering.ENHANCED),
        # Words that are written together, other languages, other makers.
        ("DEBone", Rendering.BONE),
        ("BoneImage", Rendering.BONE),
        ("骨部", Rendering.BONE),
        ("DESoft", Rendering.SOFT_TISSUE),
        ("Tissus mous", Rendering.SOFT_TISSUE),
        ("Without bones", Rendering.ENHANCED),
        ("Knochenfrei", Rendering.ENHANCED),
        ("Virtual Dual Energy", Rendering.ENHANCED),
        ("Temporal Subtraction", Rendering.ENHANCED),
        ("Lunit INSIGHT CXR", Rendering.ENHANCED),
        ("qXR", Rendering.ENHANCED),
        # Bones in another sense, and films for lines and tubes.
        ("CHEST PRE BONE MARROW TX", Rendering.STANDARD),
        ("BONE SURVEY CHEST AP", Rendering.STANDARD),
        ("CHEST, FISH BONE", Rendering.STANDARD),
        ("CXR BONE METS", Rendering.STANDARD),
        ("CXR LINE/TUBE PLACEMENT", Rendering.STANDARD),
        ("CHEST FOR LINES & TUBES", Rendering.STANDARD),
        # Pages with text.
        ("Dose Report", Rendering.PAGE),
        ("Patient Protocol", Rendering.PAGE),
        ("SCREEN_CAPTURE", Rendering.PAGE),
    ],
)
def test_the_rendering_by_words(words: str, rendering: Rendering) -> None:
    assert classify_rendering({"SeriesDescription": words}) is rendering
    assert classify_rendering({"ImageType": ["DERIVED", "PRIMARY", "", words]}) is rendering


def test_values_of_siemens_and_fuji_name_no_rendering() -> None:
    for values in (["CSA RESAMPLED"], ["POST_PROCESSED"], [], [""]):
        header = {"ImageType": ["DERIVED", "SECONDARY", *values]}
        assert classify_rendering(header) is Rendering.STANDARD

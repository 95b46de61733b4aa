"""Which instances of a study become views, and the reason for each one that does not."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from model.dicom.instances import Instance, parse_instance
from model.dicom.reasons import NOTES, SECONDARY_CAPTURE_NOTE, SENTENCES, Reason
from model.dicom.views import Outcome, ViewChoice, ViewSettings, choose_views
from model.manifest import IntendedUse

USE = IntendedUse()
FRONTAL_HEADER: dict[str, Any] = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1",
    "Modality": "DX",
    "BodyPartExamined": "CHEST",
    "ViewCodeSequence": [{"CodeValue": "R-10206"}],
    "PatientAge": "054Y",
    "Rows": 2000,
    "Columns": 2000,
    "SOPInstanceUID": "1.2.3",
}
LATERAL_HEADER = FRONTAL_HEADER | {"ViewCodeSequence": [{"CodeValue": "R-10236"}]}
NO_VIEW = {"ViewCodeSequence": []}
NO_BODY_PART = {"BodyPartExamined": ""}
NO_AGE = {"PatientAge": ""}


def instance(source: str, *changes: dict[str, Any], fault: Reason | None = None) -> Instance:
    """A frontal chest image of an adult, with changes to its header."""
    header = FRONTAL_HEADER | {"SOPInstanceUID": f"1.2.3.{source}"}
    for change in changes:
        header |= change
    return parse_instance(header, source, fault)


def lateral(source: str, *changes: dict[str, Any], fault: Reason | None = None) -> Instance:
    view = {"ViewCodeSequence": LATERAL_HEADER["ViewCodeSequence"]}
    return instance(source, view, *changes, fault=fault)


def sources(choice: ViewChoice) -> list[str]:
    return [view.source for view in choice.views]


def reasons(choice: ViewChoice) -> dict[str, Reason]:
    return {e.instance.source: e.reason for e in choice.excluded}


# ---- One instance ----

# Each row: the reason, the change to the header, the outcome of a study of this image alone.
LEFT_OUT: list[tuple[Reason, dict[str, Any], Outcome]] = [
    (Reason.NOT_AN_IMAGE, {"Rows": None, "Columns": None}, "skip"),
    (Reason.NOT_AN_IMAGE, {"Columns": 0}, "skip"),
    (Reason.MULTI_FRAME, {"NumberOfFrames": "2"}, "skip"),
    (Reason.REJECTED, {"QualityControlImage": "YES"}, "skip"),
    (Reason.REJECTED, {"ImageType": ["ORIGINAL", "PRIMARY", "REJECTED"]}, "skip"),
    (Reason.REJECTED, {"SeriesDescription": "Rejects"}, "skip"),
    (Reason.REJECTED, {"ImageComments": "wrong patient, do not use"}, "skip"),
    (Reason.NOT_CHEST, {"BodyPartExamined": "SPECIMEN"}, "skip"),
    (Reason.MODALITY, {"Modality": "CT"}, "skip"),
    (Reason.MODALITY, {"Modality": ""}, "skip"),
    (Reason.NOT_CHEST, {"BodyPartExamined": "KNEE"}, "skip"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "change", "outcome"), LEFT_OUT, ids=str)
def test_an_image_is_left_out(reason: Reason, change: dict[str, Any], outcome: Outcome) -> None:
    single_choice = choose_views([instance("a", change)], USE)
    assert (single_choice.outcome, single_choice.reason, single_choice.views) == (
        outcome,
        reason,
        (),
    )
    assert single_choice.sentence == f"No film to draft from. 1 of 1: {SENTENCES[reason]}"
    # Beside a good image the study is drafted, and the image has its reason.
    choice = choose_views([instance("good"), instance("a", change)], USE)
    assert (choice.outcome, sources(choice)) == ("draft", ["good"])
    assert reasons(choice) == {"a": reason}
    assert choice.excluded[0].sentence == SENTENCES[reason]


@pytest.mark.parametrize(
    ("fault", "outcome", "noted"),
    [(Reason.NO_PIXELS, "skip", True), (Reason.UNREADABLE, "hold", True)],
)
def test_a_fault_from_elsewhere_rules_an_image_out(
    fault: Reason, outcome: Outcome, noted: bool
) -> None:
    single_choice = choose_views([instance("a", fault=fault)], USE)
    assert (single_choice.outcome, single_choice.reason) == (outcome, fault)
    choice = choose_views([instance("good"), instance("a", fault=fault)], USE)
    assert (choice.outcome, sources(choice), reasons(choice)) == ("draft", ["good"], {"a": fault})
    assert choice.notes == ((NOTES[fault],) if noted else ())


def test_the_first_reason_counts() -> None:
    knee_ct = {"BodyPartExamined": "KNEE", "Modality": "CT", "NumberOfFrames": "3"}
    assert reasons(choose_views([instance("a", knee_ct)], USE)) == {"a": Reason.MODALITY}
    fault = instance("a", knee_ct, fault=Reason.UNREADABLE)
    assert reasons(choose_views([fault], USE)) == {"a": Reason.UNREADABLE}


def test_the_modalities_of_the_bundle_count() -> None:
    ct = instance("a", {"Modality": "ct"})  # read in capitals
    assert sources(choose_views([ct], IntendedUse(modalities=("CT",)))) == ["a"]


def test_a_model_that_is_not_for_the_chest_reads_nothing() -> None:
    choice = choose_views([instance("a")], IntendedUse(body_parts=("KNEE",)))
    assert (choice.outcome, choice.reason) == ("skip", Reason.BODY_PART)


def test_a_view_that_the_model_does_not_read_is_left_out() -> None:
    frontals = IntendedUse(views=("frontal",))
    choice = choose_views([instance("a"), lateral("b")], frontals)
    assert (sources(choice), reasons(choice)) == (["a"], {"b": Reason.VIEW_NOT_WANTED})
    assert choose_views([lateral("b")], frontals).reason is Reason.VIEW_NOT_WANTED


def test_a_least_age_of_zero_asks_for_no_age() -> None:
    choice = choose_views(
        [instance("a", NO_AGE)], IntendedUse(least_age=0), ViewSettings(unknown_age="hold")
    )
    assert (choice.outcome, choice.notes) == ("draft", ())


# ---- What headers leave open ----

UNKNOWNS = [
    (Reason.UNKNOWN_BODY_PART, NO_BODY_PART, "unknown_chest"),
    (Reason.UNKNOWN_VIEW, NO_VIEW, "unknown_view"),
    (Reason.UNKNOWN_AGE, NO_AGE, "unknown_age"),
]


@pytest.mark.parametrize(("reason", "change", "setting"), UNKNOWNS)
def test_the_site_decides_what_an_unknown_means(
    reason: Reason, change: dict[str, Any], setting: str
) -> None:
    study = [instance("a", change)]
    drafted = choose_views(study, USE, ViewSettings(**{setting: "draft"}))
    assert (drafted.outcome, drafted.reason) == ("draft", None)
    assert (sources(drafted), drafted.notes) == (["a"], (NOTES[reason],))
    held = choose_views(study, USE, ViewSettings(**{setting: "hold"}))
    assert (held.outcome, held.reason) == ("hold", reason)
    assert (sources(held), held.sentence) == (["a"], SENTENCES[reason])
    skipped = choose_views(study, USE, ViewSettings(**{setting: "skip"}))
    assert (skipped.outcome, skipped.reason, skipped.views) == ("skip", reason, ())


def test_the_default_settings() -> None:
    assert ViewSettings() == ViewSettings(
        unknown_chest="hold", unknown_view="draft", unknown_age="draft"
    )
    assert choose_views([instance("a", NO_BODY_PART)], USE).outcome == "hold"
    assert choose_views([instance("a", NO_VIEW, NO_AGE)], USE).outcome == "draft"


def test_skip_comes_before_hold() -> None:
    study = [instance("a", NO_VIEW, NO_AGE)]
    choice = choose_views(study, USE, ViewSettings(unknown_view="hold", unknown_age="skip"))
    assert (choice.outcome, choice.reason) == ("skip", Reason.UNKNOWN_AGE)


@pytest.mark.parametrize("setting", ["hold", "skip"])
def test_a_doubtful_image_beside_a_chest_image_is_left_out(setting: Outcome) -> None:
    study = [instance("chest"), instance("doubtful", NO_BODY_PART)]
    choice = choose_views(study, USE, ViewSettings(unknown_chest=setting))
    assert (choice.outcome, sources(choice)) == ("draft", ["chest"])
    assert reasons(choice) == {"doubtful": Reason.UNKNOWN_BODY_PART}
    assert choice.notes == (NOTES[Reason.UNKNOWN_BODY_PART],)
    lenient_choice = choose_views(study, USE, ViewSettings(unknown_chest="draft"))
    assert sorted(sources(lenient_choice)) == ["chest", "doubtful"]


@pytest.mark.parametrize(("reason", "change", "setting"), UNKNOWNS[:2])
def test_where_unknowns_are_skipped_the_others_are_drafted(
    reason: Reason, change: dict[str, Any], setting: str
) -> None:
    skip = ViewSettings(**{setting: "skip"})
    choice = choose_views([instance("good"), instance("unknown", change)], USE, skip)
    assert (choice.outcome, sources(choice)) == ("draft", ["good"])
    assert reasons(choice) == {"unknown": reason}
    single_choice = choose_views([instance("unknown", change)], USE, skip)
    assert single_choice.sentence == f"No film to draft from. 1 of 1: {SENTENCES[reason]}"
    assert reasons(single_choice) == {"unknown": reason}


@pytest.mark.parametrize(
    "change",
    [
        {"PatientAge": "017Y"},
        {"PatientAge": "", "PatientBirthDate": "20100101", "StudyDate": "20240101"},
        {"PatientAge": "", "PatientBirthDate": "2010.01.01", "ContentDate": "2024.01.01"},
        {"PatientAge": "", "StudyDescription": "PAED CHEST"},
    ],
)
def test_a_child_is_not_drafted(change: dict[str, Any]) -> None:
    # Another image of the same patient without an age makes no adult of it.
    choice = choose_views([instance("a", change), instance("b", NO_AGE)], USE)
    assert (choice.outcome, choice.reason, choice.views) == ("skip", Reason.TOO_YOUNG, ())
    assert set(reasons(choice).values()) == {Reason.TOO_YOUNG}
    assert choose_views([instance("a", change)], IntendedUse(least_age=0)).outcome == "draft"


@pytest.mark.parametrize(
    ("study", "claims"),
    [
        ([instance("a", {"PatientBirthDate": "20241005", "StudyDate": "20261101"})],
         "PatientAge says 54 years; the birth date against the study date says 2 years."),
        ([instance("a", {"PatientAge": "000Y", "PatientBirthDate": "1950", "StudyDate": "2026"})],
         "PatientAge says 0 years; the birth date against the study date says 75 to 76 years."),
        ([instance("a", {"SeriesDescription": "NEONATE AP"})],
         'PatientAge says 54 years; "NEONATE" in SeriesDescription says less than 0.5 years.'),
        ([instance("a"), lateral("b", {"PatientAge": "006M"})],
         "PatientAge says 54 years; PatientAge says 6 months."),
        ([instance("a", {"PatientAge": "017Y"}), lateral("b", {"PatientAge": "018Y"})],
         "PatientAge says 17 years; PatientAge says 18 years."),
    ],
)  # fmt: skip
def test_contradicting_ages_are_held(study: list[Instance], claims: str) -> None:
    choice = choose_views(study, USE)
    assert (choice.outcome, choice.reason) == ("hold", Reason.DOUBTFUL_AGE)
    assert choice.sentence == f"{SENTENCES[Reason.DOUBTFUL_AGE]} {claims}"
    skipped = choose_views(study, USE, ViewSettings(doubtful_age="skip"))
    assert (skipped.outcome, skipped.reason) == ("skip", Reason.DOUBTFUL_AGE)
    # A person has taken the patient for an adult, or the model reads every age.
    drafted = choose_views(study, USE, ViewSettings(doubtful_age="draft"))
    assert (drafted.outcome, drafted.notes) == ("draft", (NOTES[Reason.DOUBTFUL_AGE],))
    assert choose_views(study, IntendedUse(least_age=0)).notes == ()


def test_an_animal_is_not_drafted() -> None:
    horse = instance("horse", {"PatientSpeciesDescription": "Equus caballus"})
    choice = choose_views([horse, lateral("b")], USE)
    assert (choice.outcome, choice.reason, choice.views) == ("skip", Reason.NOT_HUMAN, ())


def test_a_patient_who_may_be_an_animal_is_held() -> None:
    study = [instance("a", {"ResponsiblePerson": "BERG^ANNA"}), lateral("b")]
    choice = choose_views(study, USE)
    assert (choice.outcome, choice.reason) == ("hold", Reason.UNKNOWN_SPECIES)
    assert "BERG" not in choice.sentence
    drafted = choose_views(study, USE, ViewSettings(unknown_species="draft"))
    assert (drafted.outcome, drafted.notes) == ("draft", (NOTES[Reason.UNKNOWN_SPECIES],))
    # A child with a parent beside it is a child, and no animal.
    child = instance("a", {"ResponsiblePerson": "BERG^ANNA", "PatientAge": "004Y"})
    assert choose_views([child], USE).reason is Reason.TOO_YOUNG
    # One image says human, another an animal.
    human = instance("a", {"PatientSpeciesDescription": "Homo sapiens"})
    dog = lateral("b", {"PatientBreedDescription": "Boxer"})
    assert choose_views([human, dog], USE).reason is Reason.UNKNOWN_SPECIES


def test_one_image_with_an_age_is_enough() -> None:
    study = [instance("a", NO_AGE), lateral("b")]
    choice = choose_views(study, USE, ViewSettings(unknown_age="hold"))
    assert (choice.outcome, choice.notes) == ("draft", ())


# ---- Raw images and their twins ----

RAW = {"PresentationIntentType": "FOR PROCESSING", "AcquisitionDateTime": "20240101120000"}


@pytest.mark.parametrize(
    ("displayable", "is_twin"),
    [
        (instance("b", {"AcquisitionDateTime": "20240101120000"}), True),  # both
        (lateral("b", {"AcquisitionDateTime": "20240101120000"}), True),  # the same exposure
        (instance("b", {"AcquisitionDateTime": "20240101130000"}), True),  # the same projection
        (lateral("b", {"AcquisitionDateTime": "20240101130000"}), False),
        (lateral("b"), False),
    ],
)
def test_a_raw_image_gives_way_to_its_displayable_twin(
    displayable: Instance, is_twin: bool
) -> None:
    choice = choose_views([instance("raw", RAW), displayable], USE, ViewSettings())
    if is_twin and displayable.position.answer == "frontal":
        assert sources(choice) == ["b"]
    if is_twin:
        assert reasons(choice) == {"raw": Reason.FOR_PROCESSING}
    else:
        assert (sources(choice), reasons(choice)) == (["raw", "b"], {})
        assert choice.notes == (NOTES[Reason.FOR_PROCESSING],)


def test_images_without_a_time_are_not_of_one_exposure() -> None:
    raw = instance("raw", {"PresentationIntentType": "FOR PROCESSING"})
    choice = choose_views([raw, lateral("b")], USE)
    assert (sources(choice), reasons(choice)) == (["raw", "b"], {})


def test_a_secondary_capture_is_drafted_with_a_note() -> None:
    capture = instance("a", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "RG"})
    choice = choose_views([capture], IntendedUse(modalities=("RG",)))
    assert (choice.outcome, choice.notes) == ("draft", (SECONDARY_CAPTURE_NOTE,))


def test_two_raw_images_are_no_twins() -> None:
    later = RAW | {"AcquisitionDateTime": "20240101120500"}
    choice = choose_views([instance("a", RAW), instance("b", later)], USE)
    assert sorted(sources(choice)) == ["a", "b"]
    assert choice.notes == (NOTES[Reason.FOR_PROCESSING],)


# ---- A study ----


def test_a_study_without_instances() -> None:
    choice = choose_views([], USE)
    assert (choice.outcome, choice.reason) == ("skip", Reason.NO_FILMS)
    assert choice.sentence == SENTENCES[Reason.NO_FILMS]


def test_a_study_without_a_needed_view_is_skipped() -> None:
    choice = choose_views([lateral("a"), lateral("b")], USE)
    assert (choice.outcome, choice.reason) == ("skip", Reason.NEEDED_VIEW_MISSING)
    assert choice.views == ()
    assert choose_views([lateral("a")], IntendedUse(needs=())).outcome == "draft"
    # An image of unknown view may be the frontal.
    assert choose_views([lateral("a"), instance("b", NO_VIEW)], USE).outcome == "draft"


def test_more_images_than_the_model_reads() -> None:
    study = [instance(name, {"InstanceNumber": n}) for n, name in enumerate("abcd")]
    choice = choose_views(study, USE)
    assert sources(choice) == ["d", "c", "b"]  # the later exposure was taken for a reason
    assert reasons(choice) == {"a": Reason.MORE_THAN_NEEDED}
    assert choice.notes == (NOTES[Reason.MORE_THAN_NEEDED],)
    assert len(choose_views(study, IntendedUse(max_views=9)).views) == 3  # MAX_VIEWS
    assert len(choose_views(study, IntendedUse(max_views=1)).views) == 1


@pytest.mark.parametrize(
    ("study", "views"),
    [
        # The best frontal first, then the best lateral, then the rest; equals by their UID.
        ([lateral("l"), instance("f")], ["f", "l"]),
        ([lateral("l1"), lateral("l2"), instance("f1"), instance("f2")], ["f1", "l1", "f2"]),
        ([instance("u", NO_VIEW), lateral("l")], ["u", "l"]),
        ([instance("u", NO_VIEW), instance("f")], ["f", "u"]),
        # Among unknown views a leaning settles the order.
        ([instance("a", NO_VIEW), instance("w", NO_VIEW, {"Columns": 2400})], ["w", "a"]),
        ([instance("h", NO_VIEW, {"Rows": 2400}), instance("x", NO_VIEW)], ["x", "h"]),
        # The later of two, by date and time and then by number.
        ([instance("a", {"ContentDate": "20240102"}), instance("b", {"ContentDate": "20240101"})],
         ["a", "b"]),
        ([instance("a", {"ContentDate": "20240101", "ContentTime": "09"}),
          instance("b", {"ContentDate": "20240101", "ContentTime": "10"})], ["b", "a"]),
        ([instance("a", {"InstanceNumber": "2"}), instance("b", {"InstanceNumber": "10"})],
         ["b", "a"]),
        # A secondary capture comes after the image itself.
        ([instance("s", {"ImageType": ["DERIVED", "SECONDARY"], "InstanceNumber": 9}),
          instance("a")], ["a", "s"]),
    ],
)  # fmt: skip
def test_the_order_of_the_views(study: list[Instance], views: list[str]) -> None:
    names = {i.source for i in study}
    for order in permutations(study):
        choice = choose_views(order, USE, ViewSettings(unknown_view="draft"))
        assert sources(choice) == views
        assert set(reasons(choice)) == names - set(views)


def test_the_nearest_reason_is_that_of_the_study() -> None:
    study = [instance("a", {"Modality": "CT"}), instance("b", {"BodyPartExamined": "KNEE"})]
    choice = choose_views([*study, instance("c", {"Modality": "CT"})], USE)
    assert (choice.outcome, choice.reason) == ("skip", Reason.NOT_CHEST)
    assert choice.sentence == (
        f"No film to draft from. 2 of 3: {SENTENCES[Reason.MODALITY]} "
        f"1 of 3: {SENTENCES[Reason.NOT_CHEST]}"
    )
    # Damaged pixels may be just what the model needs, so a person decides.
    damaged = instance("d", fault=Reason.UNREADABLE)
    choice = choose_views([*study, damaged], USE)
    assert (choice.outcome, choice.reason) == ("hold", Reason.UNREADABLE)


def test_every_reason_has_a_sentence() -> None:
    assert set(SENTENCES) == set(Reason)
    assert len({str(reason) for reason in Reason}) == 26
    assert set(NOTES) < set(Reason)


# ---- The header ----


def test_an_instance_by_its_header() -> None:
    header = FRONTAL_HEADER | {
        "ImageType": ["DERIVED", "SECONDARY", "AXIAL"],
        "PresentationIntentType": "for presentation",
        "NumberOfFrames": "1",
        "InstanceNumber": "7",
        "BurnedInAnnotation": "YES",
        "QualityControlImage": "NO",
        "AcquisitionDate": "20240101",
        "AcquisitionTime": "120000.5",
        "StudyDate": "20231231",
    }
    parsed = parse_instance(header, "a", Reason.NO_PIXELS)
    assert (parsed.source, parsed.sop_instance_uid) == ("a", "1.2.3")
    assert (parsed.modality, parsed.intent) == ("DX", "FOR PRESENTATION")
    assert (parsed.derived, parsed.secondary) == (True, True)
    assert (parsed.frames, parsed.rows, parsed.columns, parsed.number) == (1, 2000, 2000, 7)
    assert (parsed.burned_in, parsed.rejected) == (True, False)
    assert parsed.acquired == "20240101120000.5"
    assert (parsed.age.low, parsed.species.answer) == (54, "human")
    assert (parsed.chest.answer, parsed.position.answer) == ("yes", "frontal")
    assert parsed.fault is Reason.NO_PIXELS


def test_an_empty_header_is_no_image() -> None:
    parsed = parse_instance({})
    assert (parsed.modality, parsed.frames, parsed.rows, parsed.acquired) == ("", 1, 0, "")
    assert (parsed.derived, parsed.secondary, parsed.age.claims) == (False, False, ())


@pytest.mark.parametrize(
    ("header", "acquired"),
    [
        ({"AcquisitionDateTime": "20240101120000", "ContentDate": "2023"}, "20240101120000"),
        ({"AcquisitionDate": "20240101", "ContentDate": "20240102"}, "20240101"),
        ({"ContentDate": "20240102", "ContentTime": "0900", "SeriesDate": "2023"}, "202401020900"),
        ({"SeriesDate": "20240103", "StudyDate": "2023"}, "20240103"),
        ({"StudyDate": "20240104", "AcquisitionTime": "0900"}, "20240104"),
        ({}, ""),
    ],
)
def test_the_time_of_acquisition(header: dict[str, Any], acquired: str) -> None:
    assert parse_instance(header).acquired == acquired


@pytest.mark.parametrize(
    ("header", "laterality"),
    [
        ({"ImageLaterality": "R"}, "R"),
        ({"ImageLaterality": "l", "Laterality": "R"}, "L"),
        ({"Laterality": "L"}, "L"),
        ({"ImageLaterality": "U", "Laterality": "L"}, ""),
        ({"ImageLaterality": "B"}, ""),
        ({"Laterality": "left"}, ""),
        ({}, ""),
    ],
)
def test_the_side_of_a_film_of_one_side(header: dict[str, Any], laterality: str) -> None:
    assert parse_instance(header).laterality == laterality

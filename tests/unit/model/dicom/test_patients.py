"""Human or animal, and how old: by every place in a header that says so."""

from __future__ import annotations

from typing import Any

import pytest

from model.dicom.patients import Age, classify_species, combine_ages, read_age

# Each row: a header, and what it is.
SPECIES: list[tuple[dict[str, Any], str]] = [
    ({}, "human"),
    ({"PatientSpeciesDescription": ""}, "human"),
    ({"PatientSpeciesDescription": "Homo sapiens"}, "human"),
    ({"PatientSpeciesDescription": "HUMAN"}, "human"),
    ({"PatientSpeciesDescription": "unknown"}, "human"),
    ({"PatientSpeciesDescription": "N/A"}, "human"),
    ({"PatientSpeciesCodeSequence": [{"CodeValue": "337915000"}]}, "human"),
    ({"PatientSpeciesDescription": "Equus caballus"}, "animal"),
    ({"PatientSpeciesDescription": "canine"}, "animal"),
    ({"PatientSpeciesCodeSequence": [{"CodeValue": "448771007"}]}, "animal"),
    ({"PatientSpeciesCodeSequence": [{"CodeMeaning": "Felis catus"}]}, "animal"),
    ({"PatientBreedDescription": "Labrador"}, "animal"),
    ({"PatientBreedDescription": "NONE"}, "human"),
    ({"PatientBreedCodeSequence": [{"CodeMeaning": "Boxer"}]}, "animal"),
    ({"BreedRegistrationSequence": []}, "human"),
    ({"BreedRegistrationSequence": [{"BreedRegistrationNumber": "123"}]}, "animal"),
    # The responsible person of a human is a parent or a guardian.
    ({"ResponsiblePerson": "BERG^A", "ResponsiblePersonRole": "OWNER"}, "animal"),
    ({"ResponsiblePerson": "BERG^A", "ResponsiblePersonRole": "PARENT"}, "human"),
    ({"ResponsiblePerson": "BERG^A", "ResponsiblePersonRole": "GUARDIAN"}, "human"),
    ({"ResponsiblePerson": "BERG^A"}, "unknown"),
    ({"ResponsiblePerson": "BERG^A", "PatientSpeciesDescription": "Human"}, "human"),
    ({"ResponsiblePerson": "BERG^A", "PatientSexNeutered": "ALTERED"}, "animal"),
    ({"ResponsiblePerson": "BERG^A", "ResponsiblePersonRole": "INVESTIGATOR"}, "unknown"),
    ({"PatientSexNeutered": "UNALTERED"}, "unknown"),
    # Views and words.
    ({"ViewPosition": "VD"}, "animal"),
    ({"ViewPosition": "DV"}, "animal"),
    ({"ViewPosition": "PA"}, "human"),
    ({"SeriesDescription": "THORAX VD"}, "animal"),
    ({"SeriesDescription": "Thorax V.d. Pneumonie"}, "human"),
    ({"SeriesDescription": "Chest, VD & lat"}, "animal"),
    ({"StudyDescription": "CANINE THORAX 3 VIEWS"}, "animal"),
    ({"ProtocolName": "Equine_thorax"}, "animal"),
    ({"BodyPartExamined": "FELINE"}, "animal"),
    ({"InstitutionName": "Veterinary Teaching Hospital"}, "animal"),
    ({"InstitutionName": "Tierklinik am See"}, "animal"),
    ({"InstitutionName": "Veterans Affairs Medical Center"}, "human"),
    ({"StudyDescription": "CHEST 2V, DOG BITE"}, "unknown"),
    ({"StudyDescription": "CHEST 2V VET"}, "unknown"),
    ({"StudyDescription": "CAT SCAN FOLLOW UP CHEST"}, "human"),
    ({"StudyDescription": "CHEST PA AND LATERAL"}, "human"),
    # An animal's and a human's species beside each other.
    ({"PatientSpeciesDescription": "HUMAN", "PatientBreedDescription": "Boxer"}, "unknown"),
]


@pytest.mark.parametrize(("header", "answer"), SPECIES, ids=str)
def test_the_species(header: dict[str, Any], answer: str) -> None:
    assert classify_species(header).answer == answer


def test_the_name_of_the_responsible_person_is_not_quoted() -> None:
    (evidence,) = classify_species({"ResponsiblePerson": "BERG^ANNA"}).evidence
    assert str(evidence) == 'ResponsiblePerson "without a role" says animal'


# Each row: a header, and the age in years.
AGES: list[tuple[dict[str, Any], float]] = [
    ({"PatientAge": "054Y"}, 54),
    ({"PatientAge": "018M"}, 1.5),
    ({"PatientAge": "026W"}, 26 / 52.18),
    ({"PatientAge": "010D"}, 10 / 365.25),
    ({"PatientAge": " 054y "}, 54),
    ({"PatientAge": "54 Y"}, 54),
    ({"PatientBirthDate": "19700101", "StudyDate": "20240101"}, 54),
    ({"PatientBirthDate": "1970.01.01", "StudyDate": "20240101"}, 54),
    ({"PatientBirthDate": "19700101", "StudyDate": "2024.01.01"}, 54),
    ({"PatientBirthDate": "1970-01-01", "StudyDate": "20240101"}, 54),
    ({"PatientBirthDate": "19700101", "StudyDate": "", "SeriesDate": "20240101"}, 54),
    ({"PatientBirthDate": "19700101", "AcquisitionDate": "20240101"}, 54),
    ({"PatientBirthDate": "19700101", "AcquisitionDateTime": "20240101120000.0+0100"}, 54),
    ({"PatientBirthDate": "19700101", "ContentDate": "20240101"}, 54),
    ({"PatientBirthDate": "19700000", "StudyDate": "20240101"}, 53),
    ({"PatientAge": "XXXY", "PatientBirthDate": "19700101", "StudyDate": "20240101"}, 54),
    # Placeholders say nothing.
    ({"PatientAge": "999Y", "PatientBirthDate": "19700101", "StudyDate": "20240101"}, 54),
    ({"PatientAge": "045Y", "PatientBirthDate": "19000101", "StudyDate": "20240101"}, 45),
    # An age that was registered a while ago; the range holds both.
    ({"PatientAge": "053Y", "PatientBirthDate": "19690101", "StudyDate": "20240101"}, 53),
    # A birthday in another time zone.
    ({"PatientBirthDate": "20240102", "StudyDate": "20240101"}, 0),
]
NO_AGE: list[dict[str, Any]] = [
    {},
    {"PatientAge": "54"},  # without a unit it may be anything
    {"PatientAge": "999Y"},
    {"PatientBirthDate": "19700101"},
    {"PatientBirthDate": "19701301", "StudyDate": "20240101"},
    {"PatientBirthDate": "ANON", "StudyDate": "20240101"},
    {"SeriesDescription": "CHEST ADULT/PAED"},
    {"StudyDescription": "CXR PED VS AUTO"},
    {"StudyDescription": "CIRRHOSIS CHILD-PUGH B"},
]


@pytest.mark.parametrize(("header", "years"), AGES, ids=str)
def test_the_age(header: dict[str, Any], years: float) -> None:
    age = read_age(header)
    assert age.low == pytest.approx(years, abs=0.01)
    assert not age.is_contradictory
    assert age.is_below(years + 3)
    assert not age.is_below(years - 1)


@pytest.mark.parametrize("header", NO_AGE, ids=str)
def test_nothing_says_an_age(header: dict[str, Any]) -> None:
    age = read_age(header)
    assert age == Age()
    assert not age.is_below(18)
    assert not age.is_doubtful(18)


@pytest.mark.parametrize(
    ("words", "limit"),
    [
        ("NEONATE AP", 0.5), ("Chest newborn", 0.5), ("NICU portable", 0.5), ("Neugeborenes", 0.5),
        ("INFANT CHEST", 2), ("Babygram", 2), ("Säugling Thorax", 2), ("PAED CHEST", 18),
        ("CHEST_PED_AP", 18), ("Pediatric chest", 18), ("PAEDIATRIC", 18), ("pédiatrie", 18),
        ("XR CHEST CHILD", 18), ("Thorax Kind", 18),
    ],
)  # fmt: skip
@pytest.mark.parametrize("keyword", ["SeriesDescription", "StudyDescription", "ProtocolName"])
def test_words_say_a_child(keyword: str, words: str, limit: float) -> None:
    age = read_age({keyword: words})
    assert (age.low, age.high) == (0, limit)
    assert age.is_below(18)
    assert read_age({keyword: words, "PatientAge": "045Y"}).is_contradictory


CONTRADICTIONS: list[dict[str, Any]] = [
    {"PatientAge": "045Y", "PatientBirthDate": "20241005", "StudyDate": "20261101"},
    {"PatientAge": "045Y", "PatientBirthDate": "2024.10.05", "ContentDate": "20261101"},
    {"PatientAge": "000Y", "PatientBirthDate": "19500101", "StudyDate": "20261101"},
    {"PatientAge": "003M", "PatientBirthDate": "19500101", "StudyDate": "20261101"},
    {"PatientAge": "003Y", "PatientBirthDate": "20180101", "StudyDate": "20261101"},
    {"PatientBirthDate": "20300101", "StudyDate": "20261101"},  # born after the examination
    {"PatientAge": "045Y", "PatientBirthDate": "20300101", "StudyDate": "20261101"},
    {"PatientBirthDate": "19500101", "StudyDate": "20261101", "SeriesDescription": "INFANT"},
]


@pytest.mark.parametrize("header", CONTRADICTIONS, ids=str)
def test_sources_that_contradict_each_other_give_no_age(header: dict[str, Any]) -> None:
    age = read_age(header)
    assert age.is_contradictory
    assert age.is_doubtful(18)
    assert not age.is_below(18)
    # People read what each source says, and never the birth date.
    birth_date = header["PatientBirthDate"]
    assert birth_date not in age.describe()
    assert birth_date[:4] not in age.describe()


@pytest.mark.parametrize(
    ("header", "is_doubtful"),
    [
        ({"PatientAge": "017Y", "PatientBirthDate": "20080101", "StudyDate": "20260301"}, True),
        ({"PatientAge": "018Y", "PatientBirthDate": "20080101", "StudyDate": "20260301"}, False),
        # Digitised years later: an adult at both dates, or a child at the first.
        ({"PatientBirthDate": "19700101", "AcquisitionDate": "19990101",
          "ContentDate": "20260101"}, False),
        ({"PatientBirthDate": "19900101", "AcquisitionDate": "19990101",
          "ContentDate": "20260101"}, True),
    ],
)  # fmt: skip
def test_sources_on_both_sides_of_the_least_age(header: dict[str, Any], is_doubtful: bool) -> None:
    assert read_age(header).is_doubtful(18) is is_doubtful
    assert not read_age(header).is_below(18)


def test_ages_of_several_headers_are_of_one_patient() -> None:
    adult, child, silent = (read_age({"PatientAge": a}) for a in ("045Y", "003Y", ""))
    assert combine_ages([adult, silent]) == adult
    assert combine_ages([adult, child]).is_contradictory
    assert combine_ages([]) == Age()

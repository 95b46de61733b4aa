"""Human or animal, by every place in a header that says so."""

from __future__ import annotations

from typing import Any

import pytest

from model.dicom.species import classify_species

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
    # As other senders write a human.
    ({"PatientSpeciesDescription": "H. sapiens"}, "human"),
    ({"PatientSpeciesDescription": "ヒト"}, "human"),
    ({"PatientSpeciesDescription": "人"}, "human"),
    ({"PatientSpeciesDescription": "Человек"}, "human"),
    ({"PatientSpeciesDescription": "0"}, "human"),
    ({"PatientSpeciesDescription": "Patient"}, "human"),
    ({"PatientSpeciesDescription": "Non-human"}, "animal"),
    ({"PatientBreedDescription": "Human"}, "human"),
    ({"PatientSpeciesCodeSequence": [{"CodeValue": "L-85B00"}]}, "human"),
    (
        {"PatientSpeciesCodeSequence": [{"CodeValue": "9606", "CodeMeaning": "Homo sapiens"}]},
        "human",
    ),
    (
        {"PatientSpeciesCodeSequence": [{"CodeValue": "9615", "CodeMeaning": "Canis lupus"}]},
        "animal",
    ),
    # What humans have of animals.
    ({"StudyDescription": "CHEST 2V S/P BOVINE AORTIC VALVE REPLACEMENT"}, "human"),
    ({"StudyDescription": "CXR PORCINE MVR"}, "human"),
    ({"StudyDescription": "BOVINE THORAX"}, "animal"),
    # Other languages, other places, wide letters.
    ({"InstitutionName": "Clínica Veterinária"}, "animal"),
    ({"ResponsibleOrganization": "Veterinary clinic"}, "animal"),
    ({"AnatomicRegionSequence": [{"CodeMeaning": "Equine thorax"}]}, "animal"),
    ({"SeriesDescription": "ＣＡＮＩＮＥ"}, "animal"),
    ({"StudyDescription": "犬 胸部"}, "unknown"),
    ({"BodyPartExamined": "DOG"}, "unknown"),
    ({"StudyDescription": "MACAQUE THORAX"}, "unknown"),
    # An animal's and a human's species beside each other.
    ({"PatientSpeciesDescription": "HUMAN", "PatientBreedDescription": "Boxer"}, "unknown"),
]


@pytest.mark.parametrize(("header", "answer"), SPECIES, ids=str)
def test_the_species(header: dict[str, Any], answer: str) -> None:
    assert classify_species(header).answer == answer


def test_the_name_of_the_responsible_person_is_not_quoted() -> None:
    (evidence,) = classify_species({"ResponsiblePerson": "BERG^ANNA"}).evidence
    assert str(evidence) == 'ResponsiblePerson "without a role" says animal'

"""A person who is introduced goes; a department, a modality or a sentence that begins stays."""

from __future__ import annotations

import pytest

from training.deid.deidentify import deidentify


@pytest.mark.parametrize(
    "name",
    [
        "Van Dyke",
        "van der Berg",
        "De Luca",
        "Von Braun",
        "St. John",
        "La Rosa",
        "Le",
        "Do",
        "May",
        "Will Smith",
        "J.R. Smith",
        "J. R. R. Smith",
        "Smith/Jones",
        "Smith, Jones, and Brown",
        "Maria de la Cruz",
        "al-Rashid",
        "d'Angelo",
        "John May",
        "Small",
        "Émile Zola",
        "Müller-Lüdenscheidt",
    ],
)
@pytest.mark.parametrize("title", ["Dr.", "Drs.", "Prof. Dr. med."])
def test_a_name_after_a_title_is_removed_completely(title: str, name: str) -> None:
    text = f"Seen by {title} {name} on the ward. No effusion."
    assert deidentify(text) == f"Seen by {title} (NAME) on the ward. No effusion."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Prof. Dr. med. Klaus Weber", "Prof. Dr. med. (NAME)"),
        ("Mr. and Mrs. Smith; Nurse Jones", "Mr. and Mrs. (NAME); Nurse (NAME)"),
        ("DRS. SMITH AND JONES NOTIFIED", "DRS. (NAME) NOTIFIED"),
        ("DR. LE WAS CALLED", "DR. (NAME) WAS CALLED"),
        ("Dr. Smith and Dr. Jones", "Dr. (NAME) and Dr. (NAME)"),
        ("Dr. Smith and I agree", "Dr. (NAME) and I agree"),
        ("seen with MR. Smith and MS. JONES", "seen with MR. (NAME) and MS. (NAME)"),
        ("Dr. Smith\nNo effusion", "Dr. (NAME)\nNo effusion"),
        ("Dr. Smith\nTechnique: AP", "Dr. (NAME)\nTechnique: AP"),
    ],
)
def test_titles_stand_together_and_sentences_go_on(text: str, expected: str) -> None:
    assert deidentify(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ELECTRONICALLY SIGNED BY JOHN SMITH", "ELECTRONICALLY SIGNED BY (NAME)"),
        ("Dictated by SMITH, JOHN", "Dictated by (NAME)"),
        ("DICTATED BY: SMITH, JOHN A., MD", "DICTATED BY: (NAME), MD"),
        ("DISCUSSED WITH JOHN SMITH AT 3 PM.", "DISCUSSED WITH (NAME) AT (TIME)."),
        ("DISCUSSED WITH WILL SMITH BY PHONE", "DISCUSSED WITH (NAME) BY PHONE"),
        ("Reported by: J. Smith", "Reported by: (NAME)"),
        ("Signed: Jane Roe; Signed by Will Smith", "Signed: (NAME); Signed by (NAME)"),
        ("Resident: John Smith", "Resident: (NAME)"),
        ("Technologist: Mary Jones\nIndication: cough", "Technologist: (NAME)\nIndication: cough"),
        ("d/w John Smith, d/w Ed Ng", "d/w (NAME), d/w (NAME)"),
        ("I, John Smith, have reviewed the images", "I, (NAME), have reviewed the images"),
        ("I, SMITH, JOHN, HAVE REVIEWED", "I, (NAME), HAVE REVIEWED"),
        ("I, Jane Q. Roe, MD, personally", "I, (NAME), MD, personally"),
        ("the resident, John Smith, at noon", "the resident, (NAME), at noon"),
        ("Report by J Smith MD, Jane Roe RN", "Report by (NAME) MD, (NAME) RN"),
        ("Patient name: JANE DOE. /s/ Jane Roe", "Patient name: (NAME). /s/ (NAME)"),
        ("signed by Maria de la Cruz", "signed by (NAME)"),
        ("informed Nurse Mary Jones, RN", "informed (NAME), RN"),
    ],
)
def test_names_of_signers_and_of_recipients_are_removed(text: str, expected: str) -> None:
    assert deidentify(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Further evaluation by MR. Heart is normal.",
        "FURTHER EVALUATION BY MR. HEART IS NORMAL.",
        "History of MS. Lungs are clear.",
        "Evaluation by MR. A nodule is seen. Cardiomegaly on MR. Cardiomegaly is stable.",
        "DR CHEST PORTABLE. DR Left knee. Compared to DR. Heart size is normal. dr chest.",
        "DISCUSSED WITH ICU. DISCUSSED WITH THE TEAM. REPORTED TO EMERGENCY DEPARTMENT.",
        "Reported to Emergency Department. Reviewed by Radiology. Ordered by ER physician.",
        "PHYSICIAN NOTIFIED. THE RESIDENT IS AWARE. NOTIFIED IMMEDIATELY. CALLED TO ED.",
        "READ BY CT. Operator: CT. Reader: 2. Requested by GI. Patient: 45 year old.",
        "I, the attending physician, have reviewed. Type I, Left, have a look.",
        "Discussed with Dr. The findings were seen. DR. WAS CALLED. The doctor asked for Films.",
        "Discussed with Dr. XXXX XXXX at noon.",
    ],
)
def test_departments_modalities_and_sentences_stay(text: str) -> None:
    assert deidentify(text) == text


@pytest.mark.parametrize("text", ["Dr. J. Smith/Jones, MD", "SIGNED BY: ROE, JANE", "Hx: 92 F"])
def test_a_second_time_changes_nothing(text: str) -> None:
    deidentified = deidentify(text)
    assert deidentified != text
    assert deidentify(deidentified) == deidentified

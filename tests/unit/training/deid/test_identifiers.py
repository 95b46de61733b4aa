"""Dates, ages, telephones and ids as they are written go; what looks like them stays."""

from __future__ import annotations

import pytest

from training.deid.deidentify import deidentify


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Comparison: 2/14/2023 x-ray.", "Comparison: (DATE) x-ray."),
        ("As of 3/5/2024 the effusion has resolved.", "As of (DATE) the effusion has resolved."),
        ("Prior CT of 11/12/2023 of the chest", "Prior CT of (DATE) of the chest"),
        ("03.05.2024, 3. 5. 2024, 3–5–2024", "(DATE), (DATE), (DATE)"),
        ("March 5th, 2024 the film; March 5 '24 views", "(DATE) the film; (DATE) views"),
        ("On March 5 the tube was seen", "On (DATE) the tube was seen"),
        ("Compared with 3-5-24 the heart", "Compared with (DATE) the heart"),
        ("compared with 3/5 films; since 3/5 the", "compared with (DATE) films; since (DATE) the"),
        ("Rib pain since 8/9/10. Rib pain, 8/9/10", "Rib pain since (DATE). Rib pain, (DATE)"),
        ("Rib fracture seen on 3/5", "Rib fracture seen on (DATE)"),
        ("Rib fracture 3/5/24. Rib 03/05/06", "Rib fracture (DATE). Rib (DATE)"),
        ("at 1030 the resident", "at (TIME) the resident"),
    ],
)
def test_a_date_is_removed(text: str, expected: str) -> None:
    assert deidentify(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Rib fractures 8-9-10 on the left",
        "Ribs left 8/9/10",
        "Ribs 2-3. 2019 CT showed them.",
        "Fractures of ribs 3, 4 and 8-9-10; the left ribs: 8/9/10.",
        "Fractures of 8-9-10 of the left ribs and of 4/5/6 right posterolateral ribs",
        "Fractured ribs 12/11/10, healing; 7-8-9th ribs; segments 7/8/9 of the left lung",
        "On 5/6 ribs; from 2/3 to 3/4 of the left lung; L1-2-3, T8/9/10",
        "Grade 3/6 murmur, level 5/6, 5-10-12 mm, 3.10.12 cm",
    ],
)
def test_ribs_levels_and_sizes_stay(text: str) -> None:
    assert deidentify(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("94 year female with cough", "(AGE) year female with cough"),
        ("94-year female", "(AGE)-year female"),
        ("94 yrs. male", "(AGE) yrs. male"),
        ("Hx: 92 F", "Hx: (AGE) F"),
        ("INDICATION: 91F with SOB", "INDICATION: (AGE)F with SOB"),
        ("92Y/M", "(AGE)Y/M"),
        ("92/F chest pain; M/92", "(AGE)/F chest pain; M/(AGE)"),
        (
            "92yoF, 92yM, 92 YO WM, 92 AAF, 91 wf",
            "(AGE)yoF, (AGE)yM, (AGE) YO WM, (AGE) AAF, (AGE) wf",
        ),
        ("92f with cough; a woman, 97, with", "(AGE)f with cough; a woman, (AGE), with"),
        ("Fever. 101F with cough. Fever, 92F", "Fever. (AGE)F with cough. Fever, (AGE)F"),
        ("Nonagenarian; age: 101 years", "(AGE); age: (AGE) years"),
    ],
)
def test_an_age_over_89_is_removed(text: str, expected: str) -> None:
    assert deidentify(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "89 year female, 45F with cough, 62Y/M",
        "T 99F, temp 100.4 F, temperature of 98 F, Tmax 103F, fever up to 101 F",
        "90 pack-year history, 90-year history of smoking, 90 years ago",
        "95 mm, 92%, 100 m walk, 120 cc, the 95m bead",
    ],
)
def test_other_ages_fevers_and_sizes_stay(text: str) -> None:
    assert deidentify(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Contact at 555-1234 the resident", "Contact at (PHONE) the resident"),
        ("call 555-1234 x 22", "call (PHONE)"),
        ("pager 45678 of the resident", "pager (PHONE) of the resident"),
        ("1-800-555-1234, 1 (800) 555-1234", "(PHONE), (PHONE)"),
        ("020 7946 0958, 07700 900123", "(PHONE), (PHONE)"),
        ("01 23 45 67 89 or 01-23-45-67-89", "(PHONE) or (PHONE)"),
        ("0761 270-12345, (0761) 270 12345", "(PHONE), (PHONE)"),
        ("fax 0761/270-12345, 0044 20 7946 0958", "fax (PHONE), (PHONE)"),
        ("05.12.2024 10:30, 05.12.2024 1030 hrs", "(DATE) (TIME), (DATE) (TIME)"),
    ],
)
def test_a_telephone_number_is_removed(text: str, expected: str) -> None:
    assert deidentify(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "500-1000 HU",
        "300-1000 x 22 mm",
        "by extension 10-15 mm",
        "0.5 cm and 0 5 10",
        "call 3 ribs",
    ],
)
def test_what_is_measured_is_no_telephone(text: str) -> None:
    assert deidentify(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SSN 123 45 6789; SSN: 123-45-6789", "SSN (ID); SSN: (ID)"),
        ("123 45 6789", "(ID)"),
        ("NHS number 943 476 5919", "NHS number (ID)"),
        ("Hospital number 99887", "Hospital number (ID)"),
        ("Case number 12-3456", "Case number (ID)"),
        ("M.R.N. 12345, MRN is 4711, MRN 12 34 56", "M.R.N. (ID), MRN is (ID), MRN (ID)"),
        ("MRN 4711 45 year old, acc 12345 2 views", "MRN (ID) 45 year old, acc (ID) 2 views"),
    ],
)
def test_a_labelled_number_is_removed(text: str, expected: str) -> None:
    assert deidentify(text) == expected


@pytest.mark.parametrize(
    "text",
    ["In this case no 3 mm nodule", "Case 2 of 3", "patient no 12 mm nodule", "unit number 4"],
)
def test_a_count_behind_a_label_stays(text: str) -> None:
    assert deidentify(text) == text

"""How old a patient was, by every place in a header that says so."""

from __future__ import annotations

from typing import Any

import pytest

from model.dicom.ages import Age, combine_ages, read_age

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
    # Near the standard's form.
    ({"PatientAge": "Y054"}, 54),
    ({"PatientAge": "054 YEARS"}, 54),
    ({"PatientAge": "54 Jahre"}, 54),
    ({"PatientAge": "54岁"}, 54),
    ({"PatientAge": "0054Y"}, 54),
    ({"PatientAge": "54.5Y"}, 54),
    ({"PatientAge": "5 MONTHS"}, 5 / 12),
    ({"PatientAge": "3Y2M"}, 3),
    ({"PatientBirthDate": "31.12.1969", "StudyDate": "20240101"}, 54),
    ({"PatientBirthDate": "12/31/1969", "StudyDate": "20240101"}, 54),
    ({"PatientBirthDate": "31121969", "StudyDate": "20240101"}, 54),
    ({"PatientBirthDate": "18.11.1969", "StudyDate": "20240101"}, 54),
    ({"PatientBirthDate": "1970/01/01", "StudyDate": "20240101"}, 54),
    # Dates that stand for those of the examination.
    ({"PatientBirthDate": "19700101", "PerformedProcedureStepStartDate": "20240101"}, 54),
    ({"PatientBirthDate": "19700101", "InstanceCreationDate": "20240101"}, 54),
    (
        {
            "PatientBirthDate": "19700101",
            "StudyDate": "20240101",
            "InstanceCreationDate": "19990101",
        },
        54,
    ),
    # A birthday in another time zone.
    ({"PatientBirthDate": "20240102", "StudyDate": "20240101"}, 0),
]
NO_AGE: list[dict[str, Any]] = [
    {},
    {"PatientAge": "54"},  # without a unit it may be anything
    {"PatientAge": "54J"},  # French days or German years
    {"PatientAge": "-1Y"},
    {"PatientAge": "000"},
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
        ("pe\u0301diatrie", 18), ("TÓRAX PEDIÁTRICO", 18), ("ChestPeds", 18), ("CHESTPED", 18),
        ("Kleinkinder Thorax", 18), ("SAEUGLING", 2), ("Frühgeborenes", 0.5), ("PRETERM", 0.5),
        ("SCBU", 0.5), ("小児胸部", 18), ("儿童", 18), ("新生儿胸片", 0.5), ("신생아", 0.5),
        ("ДЕТСКИЙ", 18), ("Новорожденный", 0.5),
    ],
)  # fmt: skip
@pytest.mark.parametrize("keyword", ["SeriesDescription", "StudyDescription", "ProtocolName"])
def test_words_say_a_child(keyword: str, words: str, limit: float) -> None:
    age = read_age({keyword: words})
    assert (age.low, age.high) == (0, limit)
    assert age.is_below(18)
    assert read_age({keyword: words, "PatientAge": "045Y"}).is_contradictory


@pytest.mark.parametrize("age", ["7", "007", "7J", "07A", "5H", "3/12"])
def test_a_small_number_is_a_child_in_any_unit(age: str) -> None:
    assert read_age({"PatientAge": age}).is_below(18)


SUGGESTIONS: list[dict[str, Any]] = [
    {"InstitutionalDepartmentName": "NICU"},
    {"InstitutionName": "Kinderklinik"},
    {"StationName": "PEDS-1"},
    {"CurrentPatientLocation": "Neonatology"},
    {"ReasonForStudy": "premature, RDS"},
    {"PatientName": "SMITH^BABY BOY"},
    {"PatientName": "BABYGIRL^JONES"},
    {"PatientWeight": "3.2"},
    {"ResponsiblePersonRole": "PARENT"},
    {"ProtocolName": "Chest 1-5 yrs"},
    {"SeriesDescription": "CHEST < 10 KG"},
    {"SeriesDescription": "Chest adolescent"},
]


@pytest.mark.parametrize("header", SUGGESTIONS, ids=str)
def test_what_suggests_a_child_leaves_the_age_open(header: dict[str, Any]) -> None:
    age = read_age(header)
    assert age.is_doubtful(18)
    assert not age.is_below(18)
    assert header.get("PatientName", "-1") not in age.describe()
    if "SeriesDescription" not in header or "KG" in header["SeriesDescription"]:
        # It contradicts no age, and does not widen one of two sources that differ a little.
        for other in ("045Y", "009Y"):
            assert read_age(header | {"PatientAge": other}) == read_age({"PatientAge": other})
        both = {"PatientAge": "053Y", "PatientBirthDate": "19690101", "StudyDate": "20240101"}
        assert read_age(header | both) == read_age(both)


@pytest.mark.parametrize(
    ("words", "is_child"),
    [("2 yo with cough", True), ("65 y/o F, SOB", False), ("6 month old, fever", True)],
)
def test_an_age_in_words_counts_where_there_is_no_other(words: str, is_child: bool) -> None:
    assert read_age({"ReasonForStudy": words}).is_below(18) is is_child
    adult = {"PatientAge": "045Y"}
    assert read_age({"ReasonForStudy": words} | adult) == read_age(adult)


@pytest.mark.parametrize(
    "header",
    [
        {"PatientName": "BABY^ANNA"},
        {"PatientWeight": "0"},
        {"PatientWeight": "70"},
        {"StationName": "ADULT AND PEDS"},
        {"SeriesDescription": "CHEST 100-120 KG"},
        {"StudyDescription": "CHEST PED EDEMA"},
        {"StudyDescription": "CHEST PREMATURE VENTRICULAR BEATS"},
        {"StudyDescription": "CHEST KID TRANSPLANT"},
        {"StudyDescription": "CHEST BABY ASPIRIN"},
        {"InstitutionName": "Infantry Barracks"},
        {"ReasonForStudy": "nodule, follow up 3-6 months"},
        {"ResponsiblePersonRole": "SPOUSE"},
    ],
    ids=str,
)
def test_what_suggests_no_child(header: dict[str, Any]) -> None:
    assert read_age(header) == Age()


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

"""Each check flags what a reader should look at, beside its sentence; right texts have no flag."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.consistency import Flag, FlagKind, ReportFacts, Side, check_report


def flagged(findings: str = "", impression: str = "", **facts: object) -> set[tuple[str, FlagKind]]:
    """The sentences with flags, as they stand in the text, and the kinds of these flags."""
    report = ReportFacts(findings, impression, **{"has_prior": True, **facts})  # type: ignore[arg-type]
    return {(_sentence(report, flag), flag.kind) for flag in check_report(report)}


def _sentence(report: ReportFacts, flag: Flag) -> str:
    return report.sections[flag.section][flag.start : flag.end] if flag.section else ""


LEFT = "Small left pleural effusion."
RIGHT = "There is a right pleural effusion."


def test_a_finding_on_two_sides_is_flagged_beside_both_sentences() -> None:
    assert flagged(f"The heart is normal. {LEFT}", RIGHT) == {
        (LEFT, FlagKind.SIDE),
        (RIGHT, FlagKind.SIDE),
    }


@pytest.mark.parametrize(
    ("findings", "impression"),
    [
        (LEFT, "Left effusion."),
        (LEFT, "Bilateral effusions."),
        (LEFT, "Pleural effusion."),
        ("Right and left pleural effusions.", "Left pleural effusion."),
        ("Right greater than left effusions.", "Effusions, left and right."),
        (f"{LEFT} No right effusion.", "Left pleural effusion, no right pleural effusion."),
        # Each finding has its own side.
        (
            "Left pleural effusion and right basilar atelectasis.",
            "Right atelectasis with left effusion.",
        ),
        # Names of organs, of views and of directions.
        ("Enlargement of the left ventricle with cardiomegaly.", "Right-sided aortic arch."),
        ("Atelectasis on the left lateral view.", "Right basilar atelectasis."),
        ("The trachea is shifted to the right by a left effusion.", "Left effusion."),
        # A line enters on one side and may end on the other.
        ("Right PICC.", "The tip of the PICC is left of the midline."),
    ],
)
def test_right_texts_have_no_flag_for_sides(findings: str, impression: str) -> None:
    assert FlagKind.SIDE not in {kind for _, kind in flagged(findings, impression)}


def test_text_of_the_side_that_is_not_on_the_film_is_flagged() -> None:
    text = "A fracture of the left seventh rib. The right ribs are intact."
    assert flagged(text, film_side=Side.RIGHT) == {
        ("A fracture of the left seventh rib.", FlagKind.SIDE)
    }
    assert flagged(text, film_side=None) == set()


def test_what_one_section_denies_and_the_other_has_is_flagged_beside_both() -> None:
    denied, named = "No pneumothorax or effusion.", "Small apical pneumothorax."
    assert flagged(denied, named) == {
        (denied, FlagKind.CONTRADICTION),
        (named, FlagKind.CONTRADICTION),
    }
    assert flagged(named, denied) == flagged(denied, named)


@pytest.mark.parametrize(
    ("findings", "impression"),
    [
        ("No pneumothorax.", "No pneumothorax."),
        ("No pneumothorax.", "A pneumothorax cannot be excluded."),
        ("No large pleural effusion.", "Small pleural effusion."),
        ("No displaced rib fracture.", "Fracture of the clavicle."),
        ("No right pleural effusion. Small left pleural effusion.", "Small left pleural effusion."),
        ("The endotracheal tube was removed.", "Right internal jugular line in place."),
    ],
)
def test_texts_that_agree_have_no_contradiction(findings: str, impression: str) -> None:
    assert FlagKind.CONTRADICTION not in {kind for _, kind in flagged(findings, impression)}


@pytest.mark.parametrize(
    "sentence",
    [
        "The heart is unchanged.",
        "Small effusion, no significant interval change.",
        "Stable cardiomegaly.",
        "New opacity at the left base.",
        "Effusions have decreased.",
        "Compared to the prior study, the lungs are clearer.",
        "Again seen is a granuloma.",
    ],
)
def test_a_comparison_without_anything_to_compare_with_is_flagged(sentence: str) -> None:
    assert flagged(sentence, "Normal.", has_prior=False) == {(sentence, FlagKind.NO_PRIOR)}
    assert flagged(sentence, "Normal.", has_prior=True) == set()


@pytest.mark.parametrize(
    "sentence",
    [
        "No prior study is available for comparison.",
        "Comparison: none.",
        "Prior films are not available.",
        "The lungs are clear.",
        "No newborn.",
    ],
)
def test_words_that_compare_nothing_are_left_alone(sentence: str) -> None:
    assert flagged(sentence, has_prior=False) == set()


def test_a_length_that_the_model_wrote_is_flagged_and_the_reader_s_is_not() -> None:
    sentence = "A 12 mm nodule in the right upper lobe."
    assert flagged(sentence, draft=sentence) == {(sentence, FlagKind.MEASUREMENT)}
    assert flagged(sentence, draft="A nodule in the right upper lobe.") == set()
    assert flagged(sentence, draft=sentence, prior_report="Nodule of 12mm.") == set()
    assert flagged(sentence, draft=sentence, indication="nodule, 12 mm on CT") == set()
    # Another figure is another measurement; the tube's distance is one, too.
    tube = "The tube ends 4.5 cm above the carina."
    assert flagged(tube, draft=tube, prior_report="Tube 5 cm above.") == {
        (tube, FlagKind.MEASUREMENT)
    }


@pytest.mark.parametrize(
    ("sentence", "sex", "kinds"),
    [
        ("She has clear lungs.", "M", {FlagKind.SEX}),
        ("She has clear lungs.", "F", set()),
        ("She has clear lungs.", "O", set()),
        ("She has clear lungs.", "", set()),
        ("This man has a clear chest.", "F", {FlagKind.SEX}),
        ("The chest is clear: shear is there.", "M", set()),
    ],
)
def test_words_for_the_other_sex(sentence: str, sex: str, kinds: set[FlagKind]) -> None:
    assert {kind for _, kind in flagged(sentence, sex=sex)} == kinds


@pytest.mark.parametrize(
    ("sentence", "age", "kinds"),
    [
        ("45-year-old with cough.", 60.4, {FlagKind.AGE}),
        ("45 year old with cough.", 45.9, set()),
        ("45 yo with cough.", 46.1, set()),
        ("45-year-old with cough.", None, set()),
        ("Normal thymic shadow.", 60.0, {FlagKind.AGE}),
        ("Normal thymus.", 0.3, set()),
        ("Osteopenia.", 9.0, {FlagKind.AGE}),
        ("Newborn with clear lungs.", 0.01, set()),
        ("Child-Pugh B cirrhosis is known.", 60.0, set()),
    ],
)
def test_ages_that_do_not_fit(sentence: str, age: float | None, kinds: set[FlagKind]) -> None:
    assert {kind for _, kind in flagged(sentence, age_years=age)} == kinds


def test_an_age_is_said_in_whole_years_as_people_say_it() -> None:
    flags = check_report(ReportFacts("30-year-old.", "", age_years=80.9))
    assert [flag.message for flag in flags] == [
        'It says "30-year-old"; the patient is 80 years old.'
    ]
    (flag,) = check_report(ReportFacts("Osteopenia.", "", age_years=0.99))
    assert flag.message == 'It says "osteopenia"; the patient is 11 months old.'


def test_a_question_of_the_indication_without_an_answer_is_flagged_once() -> None:
    question = "cough, r/o pneumothorax"
    assert flagged("The lungs are clear.", "Normal.", indication=question) == {
        ("", FlagKind.SILENT)
    }
    assert flagged("No pneumothorax.", "Normal.", indication=question) == set()
    assert flagged("Clear.", "Pneumothorax is not excluded.", indication=question) == set()
    assert flagged("The lungs are clear.", "Normal.", indication="cough") == set()
    # A consolidation answers the question about a pneumonia.
    assert flagged("No consolidation.", indication="evaluate for pneumonia") == set()


@pytest.mark.parametrize("blank", ["___", "[side]", "<side>", "{side}", "****", "XXXX"])
def test_places_to_be_filled_in_are_flagged(blank: str) -> None:
    sentence = f"Tube on the {blank} side."
    assert flagged(f"{sentence} The heart is normal.") == {(sentence, FlagKind.BLANK)}


def test_flags_stand_in_the_sequence_of_the_text_and_each_once() -> None:
    facts = ReportFacts(
        "Unchanged tube on the ___. She is well.",
        "Stable.",
        indication="r/o pneumothorax",
        sex="M",
    )
    flags = check_report(facts)
    assert [(flag.section, flag.kind) for flag in flags] == [
        ("", FlagKind.SILENT),
        ("findings", FlagKind.BLANK),
        ("findings", FlagKind.NO_PRIOR),
        ("findings", FlagKind.SEX),
        ("impression", FlagKind.NO_PRIOR),
    ]
    assert len(set(flags)) == len(flags)


_WORDS = st.sampled_from(
    ["left", "right", "No", "effusion", "pneumothorax", "and", "12 mm", "new", ".", "\n", "___",
     "İ", "she", ",", "FINDINGS:", "IMPRESSION:", "45-year-old", "unchanged", "\x00", "é"]
)  # fmt: skip


@given(
    st.lists(_WORDS, max_size=30).map(" ".join),
    st.lists(_WORDS, max_size=30).map(" ".join),
    st.text(max_size=60),
)
def test_any_text_has_flags_that_lie_within_it(
    findings: str, impression: str, indication: str
) -> None:
    facts = ReportFacts(findings, impression, indication=indication, draft=findings, sex="M")
    for flag in check_report(facts):
        text = facts.sections.get(flag.section, "")
        assert 0 <= flag.start <= flag.end <= len(text)
        assert not flag.section or text[flag.start : flag.end].strip()
        assert flag.message.endswith(".")


def test_a_long_text_is_checked_in_a_time_that_grows_with_its_length() -> None:
    """No expression goes back over the text again and again: such a text ends at all."""
    long = "No effusion on the left, " * 2_000
    check_report(ReportFacts(long, "right " * 3_000, indication=long))

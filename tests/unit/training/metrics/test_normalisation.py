"""Normalisations do what their names say, R2Gen's with its oddities."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics.normalisation import (
    UNKNOWN,
    Vocabulary,
    describe_normalisation,
    normalise,
    normalise_lower,
    normalise_r2gen,
    normalise_raw,
)


def test_raw_keeps_everything_but_the_spacing() -> None:
    assert normalise_raw(" The Heart,\n is normal.  ") == "The Heart, is normal."


def test_lower_loses_case_and_marks_and_keeps_decimals() -> None:
    assert (
        normalise_lower("A 1.5 cm nodule; X-ray (PA).\nNo change...")
        == "a 1.5 cm nodule x ray pa no change"
    )


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Heart size normal. Lungs clear.", "heart size normal . lungs clear ."),
        ("1. No edema. 2. No effusion.", "no edema . no effusion ."),
        ('Stable.. No "mass" / nodule?', "stable . no mass nodule ."),
        (
            "A 1.5 cm well-defined nodule",
            "a 15 cm well-defined nodule .",
        ),  # a dot inside a word is removed
        ("The T1. vertebra", "the tvertebra ."),  # and so is "1. " anywhere
        ("Lungs\nare   clear: <yes> a@b = c", "lungs are clear yes ab c ."),
        ("", ""),
        (" \n ", ""),
    ],
)
def test_r2gen_cleans_as_r2gen(text: str, cleaned: str) -> None:
    assert normalise_r2gen(text) == cleaned


@given(st.text())
def test_cleaning_twice_by_lower_or_raw_changes_nothing_more(text: str) -> None:
    assert normalise_raw(normalise_raw(text)) == normalise_raw(text)
    assert normalise_lower(normalise_lower(text)) == normalise_lower(text)


def test_a_vocabulary_hides_rare_words_and_cuts_long_reports() -> None:
    known = Vocabulary.from_reports(
        ["Lungs clear.", "Lungs clear.", "Lungs hazy."], min_count=2, max_words=4
    )
    assert known.words == {"lungs", "clear", "."}
    assert known.apply("lungs hazy . lungs clear .") == f"lungs {UNKNOWN} . lungs"
    assert normalise("Lungs: hazy.", "r2gen", known) == f"lungs {UNKNOWN} ."
    assert "vocabulary of 3 words" in describe_normalisation("r2gen", known)
    with pytest.raises(ValueError, match="r2gen"):
        normalise("Lungs", "lower", known)


def test_no_such_normalisation() -> None:
    with pytest.raises(ValueError, match="there are raw, lower, r2gen"):
        normalise("Lungs", "upper")

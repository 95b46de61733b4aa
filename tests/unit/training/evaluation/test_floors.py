"""Floors: what can be written without looking at an image."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.corpus.example import TRAIN, ExcludedStudy
from training.corpus.phantom_corpus import PhantomCorpus
from training.evaluation.floors import (
    FIXED,
    NEAREST,
    SHUFFLED,
    NearestIndication,
    Training,
    fixed_report,
    read_training,
    shuffle_references,
    write_floors,
)

NORMAL = "The heart is normal in size. The lungs are clear. No pleural effusion or pneumothorax."


@given(st.lists(st.integers(), min_size=2, max_size=40, unique=True), st.integers(0, 9))
def test_shuffled_reports_are_complete_and_none_keeps_its_study(
    numbers: list[int], seed: int
) -> None:
    texts = [str(number) for number in numbers]
    shuffled = shuffle_references(texts, seed)
    assert sorted(shuffled) == sorted(texts)
    assert all(text != shuffled_text for text, shuffled_text in zip(texts, shuffled, strict=True))
    assert shuffled == shuffle_references(texts, seed)


def test_the_fixed_report_is_not_the_most_frequent_one_if_that_says_little() -> None:
    long_reports = [
        f"{NORMAL} The {bone} is intact." for bone in ("spine", "rib", "clavicle", "sternum")
    ]
    assert fixed_report(["Normal."] * 5 + [NORMAL] * 2 + long_reports) in (NORMAL, *long_reports)


def test_the_fixed_report_is_as_it_was_first_written() -> None:
    assert fixed_report([NORMAL, NORMAL.upper(), NORMAL.replace(".", "")]) == NORMAL
    assert fixed_report([]) == ""


@pytest.mark.parametrize(
    ("indication", "report"),
    [
        ("Cough and fever", "B"),
        ("FEVER, cough!", "B"),
        ("productive cough", "A"),
        ("fall from a ladder", "C"),
        ("", "fallback"),
        ("seizure", "fallback"),
    ],
)
def test_the_nearest_indication_gives_its_report(indication: str, report: str) -> None:
    nearest = NearestIndication(["cough", "cough, fever", "fall"], ["A", "B", "C"], "fallback")
    assert nearest.report(indication) == report


def test_a_rare_word_weighs_more_than_a_common_one() -> None:
    nearest = NearestIndication(["chest pain"] * 9 + ["chest tube"], [*"ABCDEFGHI", "tube"], "")
    assert nearest.report("chest tube placement") == "tube"


def test_of_indications_alike_the_first_is_taken() -> None:
    assert (
        NearestIndication(["cough", "fever", "cough"], ["A", "B", "C"], "").report("cough") == "A"
    )


def test_a_training_split_without_end_is_read_up_to_the_limit() -> None:
    training = read_training(PhantomCorpus().read(TRAIN), stop=30)
    assert training.studies == len(training.targets) == 30
    assert training.holds(next(PhantomCorpus().read(TRAIN)).target.upper())
    assert not training.holds("No such report.")


def test_texts_are_kept_up_to_a_bound_and_every_digest() -> None:
    def ten() -> Iterator[object]:
        for number in range(10):
            yield ExcludedStudy(str(number), "no report")
            yield PhantomCorpus().example(TRAIN, number)

    training = read_training(ten(), max_texts=3)  # type: ignore[arg-type]
    assert (training.studies, len(training.targets)) == (10, 3)
    assert training.holds(PhantomCorpus().example(TRAIN, 9).target)


def test_a_floor_that_nothing_can_be_made_of_is_left_out() -> None:
    assert write_floors(Training(), ["cough"], ["A"], 0) == {}
    assert set(write_floors(Training(), ["", ""], ["A", "B"], 0)) == {SHUFFLED}
    floors = write_floors(Training(["cough"], ["A"]), ["cough", ""], ["B", "C"], 0)
    assert floors == {FIXED: ["A", "A"], NEAREST: ["A", "A"], SHUFFLED: ["C", "B"]}

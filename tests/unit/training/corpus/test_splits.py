"""Splits: of whole patients, exact where it can be, the same on every machine."""

from __future__ import annotations

import pytest

from records.errors import CorpusError
from training.corpus.example import TEST, TRAIN, VALIDATE, CorpusOptions
from training.corpus.splits import (
    assign_validation,
    resolve_split,
    sample_patients,
    split_by_patient,
    uniform_draw,
)


def test_a_patients_split_never_changes() -> None:
    """Written down, so that a change does not move patients from one side to the other."""
    assert uniform_draw(0, "paper", "1000") == pytest.approx(0.7462351940, abs=1e-9)
    draws = [uniform_draw(0, "paper", str(n)) for n in range(2000)]
    assert 0 <= min(draws) < max(draws) < 1
    assert sum(draws) / 2000 == pytest.approx(0.5, abs=0.03)


def test_a_seed_and_a_draw_are_draws_of_their_own() -> None:
    assert (
        len({uniform_draw(seed, draw, "7") for seed in (0, 1) for draw in ("paper", "validate")})
        == 4
    )


def test_whole_patients_come_to_exactly_what_is_wanted() -> None:
    reports = {f"p{n}": 1 + n % 4 for n in range(200)}
    sample = sample_patients(reports, 101, 0, "paper")
    assert sum(reports[patient] for patient in sample) == 101
    assert sample != sample_patients(reports, 101, 1, "paper")
    assert sample == sample_patients(dict(reversed(reports.items())), 101, 0, "paper")


def test_whole_patients_are_never_more_than_wanted() -> None:
    assert sample_patients({"a": 3, "b": 3}, 5, 0, "paper") in ({"a"}, {"b"})
    assert sample_patients({}, 5, 0, "paper") == set()


def test_four_to_one_by_patient() -> None:
    sides = [split_by_patient(CorpusOptions(seed=3), str(n)) for n in range(5000)]
    assert sides.count(TEST) / 5000 == pytest.approx(0.2, abs=0.02)


def test_only_training_patients_are_set_apart() -> None:
    reading = CorpusOptions(validate=0.1)
    splits = [assign_validation(reading, str(n), TRAIN) for n in range(5000)]
    assert splits.count(VALIDATE) / 5000 == pytest.approx(0.1, abs=0.02)
    assert {assign_validation(reading, str(n), TEST) for n in range(100)} == {TEST}
    assert {assign_validation(CorpusOptions(), str(n), TRAIN) for n in range(100)} == {TRAIN}


def test_a_split_that_a_corpus_lacks_is_named_with_those_it_has() -> None:
    assert resolve_split("iu_xray", CorpusOptions(), ("paper", "r2gen")) == "paper"
    with pytest.raises(CorpusError, match=r"no split 'official'; there are paper, r2gen"):
        resolve_split("iu_xray", CorpusOptions(split="official"), ("paper", "r2gen"))
    with pytest.raises(CorpusError, match="share from 0 to below 1"):
        resolve_split("iu_xray", CorpusOptions(validate=1.0), ("paper",))

"""A corpus is read for scores as it was read in training, or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from model.manifest import NULL, Manifest
from records.errors import CorpusError
from training.corpus.as_trained import options_as_trained, training_options
from training.corpus.example import CorpusOptions


def bundle(name: str = "ours", corpus: str = "iu_xray", **reading: Any) -> Manifest:
    options = {"target": "", "split": "", "seed": 0, "validate": 0.0} | reading
    return replace(NULL, name=name, training={"corpus": corpus, "reading": options})


def test_options_that_are_not_given_are_those_of_the_training() -> None:
    trained = bundle(split="r2gen", target="report", seed=3, validate=0.1)
    assert options_as_trained("iu_xray", [trained], {}) == CorpusOptions("report", "r2gen", 3, 0.1)
    # Of the published split no seed matters.
    assert options_as_trained("iu_xray", [trained], {"seed": 5}).seed == 5
    assert options_as_trained("iu_xray", [trained], {"target": "findings"}).target == "findings"


@pytest.mark.parametrize(
    ("trained", "requested", "message"),
    [
        ({"seed": 1}, {"seed": 0}, "the split 'paper' and the seed 1; with the split 'paper' and"),
        ({"split": "r2gen"}, {"split": "paper"}, "with the split 'r2gen'; with the split 'paper'"),
        ({"split": "patients"}, {"seed": 2}, "the split 'patients' and the seed 0"),
    ],
)
def test_studies_that_were_learnt_from_are_not_scored(
    trained: dict[str, Any], requested: dict[str, Any], message: str
) -> None:
    with pytest.raises(CorpusError, match=message):
        options_as_trained("iu_xray", [bundle(**trained)], requested)


def test_two_bundles_of_two_splits_have_no_studies_in_common() -> None:
    with pytest.raises(CorpusError, match="theirs 1 was trained on iu_xray with the split 'r2gen'"):
        options_as_trained("iu_xray", [bundle(), bundle("theirs", split="r2gen")], {})
    # The default by its name is the same split.
    assert options_as_trained("iu_xray", [bundle(), bundle(split="paper")], {}) == CorpusOptions()


def test_another_corpus_and_held_out_phantoms_are_anybodys() -> None:
    assert options_as_trained("mimic_cxr", [bundle(seed=4)], {}) == CorpusOptions()
    phantoms = bundle(corpus="phantoms:usual")
    assert options_as_trained("phantoms", [phantoms], {"seed": 9}).seed == 9
    assert training_options(NULL, "iu_xray") is None


def test_options_of_another_version_are_an_error() -> None:
    with pytest.raises(CorpusError, match="in a way that this version knows"):
        options_as_trained("iu_xray", [bundle(dialect="x")], {})

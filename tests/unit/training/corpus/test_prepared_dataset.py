"""A prepared dataset returns what was written to it, and is prepared again when it must be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.case import Priors
from model.errors import PixelError
from model.manifest import Preprocessing
from model.prompting.oracle import Oracle
from model.prompting.prompt import Symptoms
from records.errors import CorpusError
from training.corpus.example import TRAIN, Example, ExcludedStudy
from training.corpus.phantom_corpus import PhantomCorpus
from training.corpus.prepared_dataset import PreparedDataset, prepare_dataset

PREPROCESSING = Preprocessing(56, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def phantoms(count: int) -> Iterator[Example]:
    return islice(PhantomCorpus().read(TRAIN), count)


@dataclass(frozen=True)
class UnreadableImage:
    position: str = "frontal"
    source: str = "torn"

    def pixels(self, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        raise PixelError("torn")


def test_prepared_examples_equal_the_originals(tmp_path: Path) -> None:
    oracle = Oracle(("normal",), "Chest", Symptoms(("Edema",), ("Fracture",)))
    labelled = replace(
        next(phantoms(1)),
        key="ü-1",
        oracle=oracle,
        oracle_template="oracle_iu",
        priors=Priors("Fever\nand cough", "", "Clear."),
        truth=None,
    )
    examples = [*phantoms(40), labelled]
    dataset = prepare_dataset(
        tmp_path / "shelf", iter(examples), PREPROCESSING, {"of": "test"}, processes=0
    )
    assert len(dataset) == 41
    for index in (40, 0, 17, -1):
        original, prepared = examples[index], dataset[index]
        assert prepared.key == original.key
        for field in ("target", "priors", "oracle", "truth", "patient", "split"):
            assert getattr(prepared, field) == getattr(original, field)
        assert [i.position for i in prepared.images] == [i.position for i in original.images]
        for prepared_image, original_image in zip(prepared.images, original.images, strict=True):
            assert np.array_equal(
                prepared_image.pixels(PREPROCESSING), original_image.pixels(PREPROCESSING)
            )
    assert dataset.lengths.sum() == (tmp_path / "shelf" / "examples.jsonl").stat().st_size
    with pytest.raises(PixelError, match="56 pixels, not 112"):
        dataset[0].images[0].pixels(replace(PREPROCESSING, size=112))


def test_several_processes_keep_the_order(tmp_path: Path) -> None:
    sequential = prepare_dataset(tmp_path / "one", phantoms(100), PREPROCESSING, {}, processes=0)
    parallel = prepare_dataset(tmp_path / "two", phantoms(100), PREPROCESSING, {}, processes=2)
    assert [x.key for x in sequential] == [x.key for x in parallel]
    assert (tmp_path / "one/views.u8").read_bytes() == (tmp_path / "two/views.u8").read_bytes()


def test_studies_with_unreadable_images_are_excluded_and_counted(tmp_path: Path) -> None:
    good = next(phantoms(1))
    stream = [
        ExcludedStudy("a", "no findings"),
        replace(good, key="b", images=(UnreadableImage(),)),
        good,
    ]
    dataset = prepare_dataset(tmp_path / "shelf", iter(stream), PREPROCESSING, {}, processes=0)
    assert [example.key for example in dataset] == [good.key]
    assert dataset.about["left_out"] == {"no findings": 1, "a film cannot be read": 1}
    with pytest.raises(CorpusError, match="nothing to learn from: 1 no findings"):
        prepare_dataset(tmp_path / "none", iter(stream[:1]), PREPROCESSING, {}, processes=0)


def test_it_is_prepared_again_only_for_another_identity_or_if_incomplete(tmp_path: Path) -> None:
    folder = tmp_path / "shelf"

    def unread_examples() -> Iterator[Example]:
        raise AssertionError("it was read again")
        yield

    prepare_dataset(folder, phantoms(3), PREPROCESSING, {"n": 3}, processes=0)
    assert (
        len(prepare_dataset(folder, unread_examples(), PREPROCESSING, {"n": 3}, processes=0)) == 3
    )
    assert len(prepare_dataset(folder, phantoms(5), PREPROCESSING, {"n": 5}, processes=0)) == 5
    # A folder whose preparation was cut off has no shelf.json, and is prepared again.
    (folder / "shelf.json").unlink()
    assert len(prepare_dataset(folder, phantoms(5), PREPROCESSING, {"n": 5}, processes=0)) == 5
    (folder / "starts.npy").write_bytes(b"x")
    with pytest.raises(CorpusError, match="not a complete prepared corpus"):
        PreparedDataset(folder)


def test_symptoms_are_added_to_the_examples_and_not_to_the_files(tmp_path: Path) -> None:
    dataset = prepare_dataset(
        tmp_path / "shelf", phantoms(3), PREPROCESSING, {"of": "test"}, processes=0
    )
    seen = [Symptoms(("Edema",)), Symptoms(), Symptoms((), ("Fracture",))]
    with_symptoms = dataset.with_symptoms(seen)
    assert [study.symptoms for study in with_symptoms] == seen
    assert with_symptoms[-1].symptoms == seen[2]
    assert with_symptoms[1].target == dataset[1].target
    assert [study.symptoms for study in dataset] == [None] * 3
    with pytest.raises(ValueError, match="2 symptoms for 3 examples"):
        dataset.with_symptoms(seen[:2])

"""A shelf gives back what was put on it, and is made again when it must be."""

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

HOW = Preprocessing(56, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def phantoms(count: int) -> Iterator[Example]:
    return islice(PhantomCorpus().read(TRAIN), count)


@dataclass(frozen=True)
class Torn:
    position: str = "frontal"
    source: str = "torn"

    def pixels(self, how: Preprocessing) -> NDArray[np.uint8]:
        raise PixelError("torn")


def test_what_was_put_on_it_comes_back(tmp_path: Path) -> None:
    oracle = Oracle(("normal",), "Chest", Symptoms(("Edema",), ("Fracture",)))
    told = replace(
        next(phantoms(1)),
        key="ü-1",
        oracle=oracle,
        oracle_template="oracle_iu",
        priors=Priors("Fever\nand cough", "", "Clear."),
        truth=None,
    )
    examples = [*phantoms(40), told]
    shelf = prepare_dataset(tmp_path / "shelf", iter(examples), HOW, {"of": "test"}, processes=0)
    assert len(shelf) == 41
    for place in (40, 0, 17, -1):
        was, now = examples[place], shelf[place]
        assert now.key == was.key
        assert (now.target, now.priors, now.oracle, now.truth, now.patient, now.split) == (
            was.target, was.priors, was.oracle, was.truth, was.patient, was.split,
        )  # fmt: skip
        assert [image.position for image in now.images] == [image.position for image in was.images]
        for mine, theirs in zip(now.images, was.images, strict=True):
            assert np.array_equal(mine.pixels(HOW), theirs.pixels(HOW))
    assert shelf.lengths.sum() == (tmp_path / "shelf" / "examples.jsonl").stat().st_size
    with pytest.raises(PixelError, match="56 pixels, not 112"):
        shelf[0].images[0].pixels(replace(HOW, size=112))


def test_several_processes_keep_the_order(tmp_path: Path) -> None:
    one = prepare_dataset(tmp_path / "one", phantoms(100), HOW, {}, processes=0)
    two = prepare_dataset(tmp_path / "two", phantoms(100), HOW, {}, processes=2)
    assert [x.key for x in one] == [x.key for x in two]
    assert (tmp_path / "one/views.u8").read_bytes() == (tmp_path / "two/views.u8").read_bytes()


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    good = next(phantoms(1))
    stream = [ExcludedStudy("a", "no findings"), replace(good, key="b", images=(Torn(),)), good]
    shelf = prepare_dataset(tmp_path / "shelf", iter(stream), HOW, {}, processes=0)
    assert [one.key for one in shelf] == [good.key]
    assert shelf.about["left_out"] == {"no findings": 1, "a film cannot be read": 1}
    with pytest.raises(CorpusError, match="nothing to learn from: 1 no findings"):
        prepare_dataset(tmp_path / "none", iter(stream[:1]), HOW, {}, processes=0)


def test_it_is_made_again_for_another_corpus_and_only_then(tmp_path: Path) -> None:
    folder = tmp_path / "shelf"

    def never() -> Iterator[Example]:
        raise AssertionError("it was read again")
        yield

    prepare_dataset(folder, phantoms(3), HOW, {"n": 3}, processes=0)
    assert len(prepare_dataset(folder, never(), HOW, {"n": 3}, processes=0)) == 3
    assert len(prepare_dataset(folder, phantoms(5), HOW, {"n": 5}, processes=0)) == 5
    # One that was cut off has no shelf.json: it is made anew.
    (folder / "shelf.json").unlink()
    assert len(prepare_dataset(folder, phantoms(5), HOW, {"n": 5}, processes=0)) == 5
    (folder / "starts.npy").write_bytes(b"x")
    with pytest.raises(CorpusError, match="not a whole shelf"):
        PreparedDataset(folder)

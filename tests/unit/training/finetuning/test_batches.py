"""In which order examples come, and how each is shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.network.sizes import build_random
from model.prompting.oracle import Oracle
from model.prompting.prompt import QUESTION
from training.corpus.example import TRAIN, Example
from training.corpus.phantom_corpus import PhantomCorpus
from training.finetuning.batches import (
    BatchLoader,
    SampleOrder,
    SampleTransform,
    augment_views,
    make_sample,
)

STILL = SampleTransform(drop_priors=0.0, drop_lines=0.0).without_augmentation()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def example(number: int = 0) -> Example:
    return PhantomCorpus().example(TRAIN, number)


def test_every_example_comes_once_each_time_round() -> None:
    order = SampleOrder(np.arange(103), seed=4, group=3)
    first = [order.at(n) for n in range(103)]
    second = [order.at(103 + n) for n in range(103)]
    assert sorted(place for _, place in first) == list(range(103))
    assert {number for number, _ in first} == {0}
    assert {number for number, _ in second} == {1}
    assert [p for _, p in first] != [p for _, p in second]
    # Any position by itself, in any order of asking.
    again = SampleOrder(np.arange(103), seed=4, group=3)
    assert [again.at(n) for n in reversed(range(206))] == [*reversed(second), *reversed(first)]
    assert [SampleOrder(np.arange(103), 5, 3).at(n) for n in range(103)] != first


def test_examples_of_like_length_come_together() -> None:
    lengths = np.random.default_rng(0).integers(0, 1000, 600)
    order = SampleOrder(lengths, seed=0, group=6)
    groups = [[lengths[order.at(n + k)[1]] for k in range(6)] for n in range(0, 600, 6)]
    spread = np.mean([max(group) - min(group) for group in groups])
    by_chance = np.mean([np.ptp(lengths[n : n + 6]) for n in range(0, 600, 6)])
    assert spread < by_chance / 4


def test_processes_share_what_one_would_read() -> None:
    model = build_random("tiny")
    examples = [example(n) for n in range(12)]

    def loader(batch: int, rank: int, world_size: int) -> BatchLoader:
        return BatchLoader(
            model, examples, STILL, priors=True, batch=batch, seed=1, most_target=20,
            rank=rank, world_size=world_size,
        )  # fmt: skip

    require_single_process = loader(4, 0, 1).batch(2).labels
    shared = [loader(2, rank, 2).batch(2).labels for rank in (0, 1)]
    rows = {tuple(t[t >= 0].tolist()) for t in require_single_process}
    assert {tuple(t[t >= 0].tolist()) for part in shared for t in part} == rows


def test_a_batch_is_the_same_wherever_a_run_is_taken_up() -> None:
    model = build_random("tiny")
    examples = [example(n) for n in range(10)]
    loader = BatchLoader(
        model, examples, SampleTransform(), priors=True, batch=2, seed=0, most_target=30
    )
    stream = loader.batches(0)
    straight = [next(stream) for _ in range(8)]
    stream.close()
    later = loader.batches(5)
    taken_up = next(later)
    later.close()
    assert torch.equal(straight[5].inputs.pixels, taken_up.inputs.pixels)
    assert torch.equal(straight[5].inputs.words, taken_up.inputs.words)
    assert torch.equal(straight[5].labels, taken_up.labels)


def test_films_are_turned_and_never_flipped() -> None:
    film = np.zeros((1, 56, 56), np.uint8)
    film[0, 10:20, 35:50] = 200  # a shadow on the film's upper right
    rng = np.random.default_rng(0)
    moved = np.concatenate([augment_views(film, SampleTransform(), rng) for _ in range(300)])
    right, left = moved[:, :, 28:].sum((1, 2), float), moved[:, :, :28].sum((1, 2), float)
    assert (right > left).all()
    upper, lower = moved[:, :28].sum((1, 2), float), moved[:, 28:].sum((1, 2), float)
    assert (upper > lower).all()
    assert len({m.tobytes() for m in moved}) == 300
    same = augment_views(film, STILL, rng)
    assert np.abs(same.astype(int) - film).max() <= 1


def test_priors_are_dropped_as_often_as_set() -> None:
    model = build_random("tiny")
    one = replace(example(3), priors=replace(example(3).priors, prior_report="Clear lungs."))
    transform = replace(STILL, drop_priors=0.25)
    rng = np.random.default_rng(0)
    shown = [
        make_sample(one, model.preprocessing, transform, lambda _: True, rng, priors=True)
        for _ in range(400)
    ]
    bare = sum(sample.instruction == QUESTION for sample in shown)
    assert 70 <= bare <= 130
    assert all("Prior report" in x.instruction for x in shown if x.instruction != QUESTION)
    stage1 = make_sample(one, model.preprocessing, transform, lambda _: True, rng, priors=False)
    assert stage1.instruction == QUESTION


def test_comparisons_stay_only_where_the_prompt_has_a_prior_report() -> None:
    model = build_random("tiny")
    text = "The lungs are clear. The effusion is unchanged."
    without = replace(example(), target=text)
    with_report = replace(without, priors=replace(without.priors, prior_report="Effusion."))

    def target(one: Example, transform: SampleTransform) -> str:
        rng = np.random.default_rng(0)
        return make_sample(
            one, model.preprocessing, transform, lambda _: True, rng, priors=True
        ).target

    assert target(without, STILL) == "The lungs are clear."
    assert target(with_report, STILL) == text
    assert target(without, replace(STILL, keep_comparisons=True)) == text
    # The bare instruction has no prior report, whatever the study has.
    assert target(with_report, replace(STILL, drop_priors=1.0)) == "The lungs are clear."


def test_the_papers_priors_come_from_the_report() -> None:
    model = build_random("tiny")
    one = replace(
        example(), oracle=Oracle(("Cardiomegaly",), "Chest, 2 views"), oracle_template="oracle_iu"
    )
    transform = replace(STILL, templates=("oracle_iu",))
    rng = np.random.default_rng(0)
    sample = make_sample(one, model.preprocessing, transform, lambda _: True, rng, priors=True)
    assert sample.instruction.startswith("Problems: Cardiomegaly")
    with pytest.raises(ValueError, match="has nothing for the template"):
        make_sample(example(), model.preprocessing, transform, lambda _: True, rng, priors=True)

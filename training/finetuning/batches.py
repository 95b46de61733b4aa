"""Examples into batches: in which order, with which priors, turned and exposed how. Seeded.

What an example looks like the n-th time depends on the seed, on n and on its place alone: not on
the machine, the number of processes, or where a run was taken up. Knows no network's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from model.case import Case, Priors, View
from model.manifest import Preprocessing
from model.network.clinicalblip import ClinicalBLIP
from model.prompting.oracle import instruct_from_report
from model.prompting.prompt import TEMPLATES, Source, instruct, tells
from training.corpus.example import Example
from training.corpus.prepared_dataset import PreparedDataset
from training.finetuning.objectives import Batch, Sample, gather
from training.metrics.comparisons import remove_comparisons

PREFETCHED_BATCHES = 3
"""Batches that are made while one is learnt from."""


@dataclass(frozen=True)
class SampleTransform:
    """How an example is shown.

    templates: of the prompt, one drawn each time; priors of `oracle_*` come from the report.
    drop_priors: how often the prompt is the bare instruction instead, so that one bundle serves
    with and without. drop_lines: how often each single prior is left out. keep_comparisons: leave
    sentences that compare with an earlier film in the target though no prior report is in the
    prompt, as in the paper. turn: degrees, at most. cut: of a side, at most. expose: of contrast
    and of brightness, at most. Films are never flipped: a heart on the right is a finding.
    """

    templates: tuple[str, ...] = ("context",)
    drop_priors: float = 0.25
    drop_lines: float = 0.1
    keep_comparisons: bool = False
    turn: float = 5.0
    cut: float = 0.06
    expose: float = 0.15

    def without_augmentation(self) -> SampleTransform:
        """The same with films as they are: not turned, not cut, not exposed otherwise."""
        return replace(self, turn=0.0, cut=0.0, expose=0.0)


NO_PRIORS = "none"
"""The template of the fixed instruction alone."""


SORT_WINDOW = 10
"""Batches within which examples of like length are put together, so that less is padding."""


class SampleOrder:
    """Which example is at a place of an endless run: another order each time round.

    lengths: (n,) of the examples' words, in any unit. group: examples that are read together.
    """

    def __init__(self, lengths: NDArray[np.int64], seed: int, group: int) -> None:
        self._lengths = lengths
        self._seed = seed
        self._group = group
        self._round = -1
        self._places: NDArray[np.int64] = np.empty(0, np.int64)

    def at(self, position: int) -> tuple[int, int]:
        """The number of the round, and the example's place."""
        number, within = divmod(position, len(self._lengths))
        if number != self._round:
            self._round, self._places = number, self._drawn(number)
        return number, int(self._places[within])

    def _drawn(self, number: int) -> NDArray[np.int64]:
        # Its own stream: what else is drawn cannot change the order.
        rng = np.random.default_rng([self._seed, 0, number])
        places = rng.permutation(len(self._lengths))
        ordered = []
        for start in range(0, len(places), SORT_WINDOW * self._group):
            piece = places[start : start + SORT_WINDOW * self._group]
            piece = piece[np.argsort(self._lengths[piece], kind="stable")]
            groups = [piece[n : n + self._group] for n in range(0, len(piece), self._group)]
            ordered += [groups[n] for n in rng.permutation(len(groups))]
        return np.concatenate(ordered)


class BatchLoader:
    """Batches of a process, made a little ahead in a thread of their own.

    batch: examples of one process's micro-batch. rank, world: this process, of how many; together
    they read world x batch examples, each its own.
    """

    def __init__(
        self,
        model: ClinicalBLIP,
        examples: Sequence[Example],
        transform: SampleTransform,
        *,
        priors: bool,
        batch: int,
        seed: int,
        most_target: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._model = model
        self._examples = examples
        self._showing = transform
        self._priors = priors
        self._batch = batch
        self._seed = seed
        self._most = most_target
        self._rank, self._world = rank, world_size
        self._order = SampleOrder(text_lengths(examples), seed, batch * world_size)

    def batches(self, first: int) -> Generator[Batch]:
        """This process's micro-batches from the `first` on, without end."""
        with ThreadPoolExecutor(1, thread_name_prefix="feed") as pool:
            waiting = [pool.submit(self.batch, n) for n in range(first, first + PREFETCHED_BATCHES)]
            try:
                for number in _up_from(first + PREFETCHED_BATCHES):
                    yield waiting.pop(0).result()
                    waiting.append(pool.submit(self.batch, number))
            finally:
                for one in waiting:
                    one.cancel()

    def without_augmentation(self, examples: Sequence[Example], most: int) -> list[Batch]:
        """At most so many examples as batches, as they are: nothing dropped, turned or exposed."""
        as_is = replace(self._showing.without_augmentation(), drop_priors=0.0, drop_lines=0.0)
        samples = []
        for place in range(min(most, len(examples))):
            rng = np.random.default_rng([self._seed, 2, place])
            how, fits = self._model.preprocessing, self._model.fits
            samples.append(make_sample(examples[place], how, as_is, fits, rng, priors=self._priors))
        return [
            gather(self._model, samples[start : start + self._batch], self._most)
            for start in range(0, len(samples), self._batch)
        ]

    def batch(self, number: int) -> Batch:
        """The micro-batch of that number."""
        start = (number * self._world + self._rank) * self._batch
        samples = [self._sample(start + n) for n in range(self._batch)]
        return gather(self._model, samples, self._most)

    def _sample(self, position: int) -> Sample:
        turn, place = self._order.at(position)
        rng = np.random.default_rng([self._seed, 1, turn, place])
        how = self._model.preprocessing
        return make_sample(
            self._examples[place], how, self._showing, self._model.fits, rng, priors=self._priors
        )


def make_sample(
    example: Example,
    how: Preprocessing,
    transform: SampleTransform,
    fits: Callable[[str], bool],
    rng: np.random.Generator,
    *,
    priors: bool,
) -> Sample:
    """An example as it is shown once. priors: whether the prompt has any."""
    case = example.case(how)
    template = str(rng.choice(transform.templates))
    if not priors or rng.random() < transform.drop_priors:
        template = NO_PRIORS
    case = replace(case, priors=_drop_prior_lines(case.priors, transform.drop_lines, rng))
    if TEMPLATES[template].source is Source.REPORT:
        if example.oracle is None:
            raise ValueError(f"{example.key} has nothing for the template {template!r}")
        instruction = instruct_from_report(case, example.oracle, template, fits)
    else:
        instruction = instruct(case, template, fits)
    kept = transform.keep_comparisons or tells(instruction, "prior_report")
    return Sample(
        _augment(case, transform, rng),
        instruction,
        example.target if kept else remove_comparisons(example.target),
        example.truth,
    )


def _drop_prior_lines(priors: Priors, share: float, rng: np.random.Generator) -> Priors:
    kept = rng.random(3) >= share
    return Priors(
        *(
            text if keep else ""
            for text, keep in zip(
                (priors.indication, priors.procedure, priors.prior_report), kept, strict=True
            )
        )
    )


def _augment(case: Case, transform: SampleTransform, rng: np.random.Generator) -> Case:
    """The films a little turned, cut and exposed otherwise, each for itself."""
    if not (transform.turn or transform.cut or transform.expose):
        return case
    films = np.stack([view.pixels for view in case.views])
    moved = augment_views(films, transform, rng)
    views = tuple(
        View(film, view.position, view.source) for film, view in zip(moved, case.views, strict=True)
    )
    return replace(case, views=views)


def augment_views(
    films: NDArray[np.uint8], transform: SampleTransform, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """(N, S, S) uint8 films, each turned, cut and exposed by chance; never flipped."""
    count = len(films)
    angle = np.deg2rad(rng.uniform(-transform.turn, transform.turn, count))
    scale = 1.0 - rng.uniform(0.0, transform.cut, count)  # of the film that is still seen
    shift = rng.uniform(-transform.cut, transform.cut, (count, 2))
    contrast = 1.0 + rng.uniform(-transform.expose, transform.expose, (count, 1, 1, 1))
    bright = rng.uniform(-transform.expose, transform.expose, (count, 1, 1, 1)) / 3.0
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    # (N, 2, 3): where on the film each pixel of the new one is read.
    matrix = np.stack(
        [np.stack([cos, -sin, shift[:, 0]], 1), np.stack([sin, cos, shift[:, 1]], 1)], 1
    )
    light = torch.from_numpy(films).unsqueeze(1).float() / 255.0
    grid = functional.affine_grid(
        torch.from_numpy(matrix).float(), list(light.shape), align_corners=False
    )
    read = functional.grid_sample(light, grid, padding_mode="border", align_corners=False)
    read = (read - 0.5) * torch.from_numpy(contrast).float() + 0.5
    read = (read + torch.from_numpy(bright).float()).clamp_(0.0, 1.0)
    return (read.squeeze(1) * 255.0 + 0.5).to(torch.uint8).numpy()


def text_lengths(examples: Sequence[Example]) -> NDArray[np.int64]:
    """(n,) how long each example's words are; a shelf knows it without reading them."""
    if isinstance(examples, PreparedDataset):
        return examples.lengths
    return np.array([len(one.target) + len(one.priors.prior_report) for one in examples], np.int64)


def _up_from(first: int) -> Iterator[int]:
    while True:
        yield first
        first += 1

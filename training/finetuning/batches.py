"""Turns examples into batches: in which order, with which priors, rotated and exposed how.

What an example looks like in epoch n depends on the seed, on n and on the example's index alone:
not on the machine, the number of processes, or the step at which a run was resumed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from model.case import Case, Priors, View
from model.manifest import Preprocessing
from model.network.clinicalblip import ClinicalBLIP
from model.prompting.oracle import build_oracle_instruction
from model.prompting.prompt import (
    TEMPLATES,
    PriorSource,
    Symptoms,
    build_instruction,
    has_prior,
)
from training.corpus.example import Example
from training.corpus.prepared_dataset import PreparedDataset
from training.finetuning.objectives import Batch, Sample, collate
from training.finetuning.targets import remove_comparisons

PREFETCHED_BATCHES = 3
"""Batches that are made in advance while the network learns from one."""
SORT_WINDOW = 10
"""Batches within which examples of similar length are grouped, so that less is padding."""
NO_PRIORS = "none"
"""The template that is the fixed instruction alone."""


@dataclass(frozen=True)
class SampleTransform:
    """How an example becomes a sample. Its fields are stored with a run: their names stay.

    Images are never flipped: a heart on the right is a finding.

    Args:
        templates: Templates of the prompt; one is drawn each time. The priors of `oracle_*`
            templates come from the report, the symptoms of `predicted` from the example.
        drop_priors: Share of samples with the bare instruction instead, so that one bundle serves
            with priors and without.
        drop_lines: Share of samples in which a single prior is left out, for each prior.
        keep_comparisons: Whether sentences that compare with an earlier image stay in the target
            when the prompt has no prior report, as in the paper.
        turn: Greatest rotation, in degrees.
        cut: Greatest part of a side that is cropped.
        expose: Greatest relative change of contrast and of brightness.
        untouched: Share of samples whose images are as they are when a bundle serves. Rotating and
            cropping resample an image once more: a network that saw only such images reads the
            sharper ones of a hospital worse.
        noise: Greatest standard deviation of noise, as a part of the range from black to white.
        blur: Greatest standard deviation of a blur, in pixels of the image that is read.
    """

    templates: tuple[str, ...] = ("context",)
    drop_priors: float = 0.25
    drop_lines: float = 0.1
    keep_comparisons: bool = False
    turn: float = 5.0
    cut: float = 0.06
    expose: float = 0.15
    untouched: float = 1 / 3
    noise: float = 0.06
    blur: float = 0.8

    def without_augmentation(self) -> SampleTransform:
        """The same transform with all images as they are."""
        return replace(self, turn=0.0, cut=0.0, expose=0.0, untouched=0.0, noise=0.0, blur=0.0)

    def as_served(self) -> SampleTransform:
        """The same transform with images and priors as they are when a bundle serves."""
        return replace(self.without_augmentation(), drop_priors=0.0, drop_lines=0.0)


class SampleOrder:
    """Which example is at a position of an endless run; every epoch has another order.

    Args:
        lengths: (n,) text length of each example, in any unit.
        seed: Seed of the order.
        group: Examples that are read together as one batch over all processes.
    """

    def __init__(self, lengths: NDArray[np.int64], seed: int, group: int) -> None:
        self._lengths = lengths
        self._seed = seed
        self._group = group
        self._epoch = -1
        self._indices: NDArray[np.int64] = np.empty(0, np.int64)

    def at(self, position: int) -> tuple[int, int]:
        """The epoch of a position, and the index of its example."""
        epoch, offset = divmod(position, len(self._lengths))
        if epoch != self._epoch:
            self._epoch, self._indices = epoch, self._epoch_order(epoch)
        return epoch, int(self._indices[offset])

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        # The order has a random stream of its own: other random draws cannot change it.
        rng = np.random.default_rng([self._seed, 0, epoch])
        shuffled = rng.permutation(len(self._lengths))
        ordered = []
        for start in range(0, len(shuffled), SORT_WINDOW * self._group):
            window = shuffled[start : start + SORT_WINDOW * self._group]
            window = window[np.argsort(self._lengths[window], kind="stable")]
            groups = [window[n : n + self._group] for n in range(0, len(window), self._group)]
            ordered += [groups[n] for n in rng.permutation(len(groups))]
        return np.concatenate(ordered)


class BatchLoader:
    """The micro-batches of one process, made a little ahead in a thread of their own.

    Args:
        model: The network that the batches are for: its tokenizers and its image size.
        examples: What to learn from.
        transform: How an example becomes a sample.
        priors: Whether prompts have priors.
        batch_size: Examples in a micro-batch of one process.
        seed: Seed of the order and of each sample.
        max_target_tokens: Longest target, in tokens of T5.
        end_cut_targets: As `collate` takes it.
        rank: Number of this process.
        world_size: Number of processes. Together they read world_size x batch_size examples, each
            process its own.
    """

    def __init__(
        self,
        model: ClinicalBLIP,
        examples: Sequence[Example],
        transform: SampleTransform,
        *,
        priors: bool,
        batch_size: int,
        seed: int,
        max_target_tokens: int,
        end_cut_targets: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._model = model
        self._examples = examples
        self._transform = transform
        self._priors = priors
        self._batch_size = batch_size
        self._seed = seed
        self._max_target_tokens = max_target_tokens
        self._end_cut_targets = end_cut_targets
        self._rank, self._world_size = rank, world_size
        self._order = SampleOrder(text_lengths(examples), seed, batch_size * world_size)

    def batches(self, first: int) -> Generator[Batch]:
        """This process's micro-batches from number `first` on, without end."""
        with ThreadPoolExecutor(1, thread_name_prefix="feed") as pool:
            pending = [pool.submit(self.batch, first + n) for n in range(PREFETCHED_BATCHES)]
            try:
                for number in count(first + PREFETCHED_BATCHES):
                    yield pending.pop(0).result()
                    pending.append(pool.submit(self.batch, number))
            finally:
                for future in pending:
                    future.cancel()

    def validation_batches(self, examples: Sequence[Example], limit: int) -> Iterator[Batch]:
        """The first `limit` examples as batches: no prior dropped, images as they are."""
        count = min(limit, len(examples))
        for start in range(0, count, self._batch_size):
            indices = range(start, min(start + self._batch_size, count))
            yield self._collate([self._validation_sample(examples[n], n) for n in indices])

    def _validation_sample(self, example: Example, index: int) -> Sample:
        rng = np.random.default_rng([self._seed, 2, index])
        model, plain = self._model, self._transform.as_served()
        return make_sample(
            example, model.preprocessing, plain, model.fits, rng, priors=self._priors
        )

    def batch(self, number: int) -> Batch:
        """The micro-batch of that number."""
        start = (number * self._world_size + self._rank) * self._batch_size
        samples = [self._sample(start + n) for n in range(self._batch_size)]
        return self._collate(samples)

    def _collate(self, samples: Sequence[Sample]) -> Batch:
        return collate(
            self._model,
            samples,
            self._max_target_tokens,
            end_cut_targets=self._end_cut_targets,
        )

    def _sample(self, position: int) -> Sample:
        epoch, index = self._order.at(position)
        rng = np.random.default_rng([self._seed, 1, epoch, index])
        preprocessing = self._model.preprocessing
        return make_sample(
            self._examples[index],
            preprocessing,
            self._transform,
            self._model.fits,
            rng,
            priors=self._priors,
        )


def make_sample(
    example: Example,
    preprocessing: Preprocessing,
    transform: SampleTransform,
    fits: Callable[[str], bool],
    rng: np.random.Generator,
    *,
    priors: bool,
) -> Sample:
    """One sample of an example.

    Args:
        example: What is transformed.
        preprocessing: Size and normalisation of its images.
        transform: What is drawn, and how often.
        fits: Whether an instruction is short enough for the network.
        rng: Source of all random draws.
        priors: Whether the prompt has priors.

    Raises:
        ValueError: The drawn template needs labels of the report, or symptoms, and the example has
            none.
    """
    case = example.case(preprocessing)
    template = str(rng.choice(transform.templates))
    if not priors or rng.random() < transform.drop_priors:
        template = NO_PRIORS
    case = replace(case, priors=_drop_prior_lines(case.priors, transform.drop_lines, rng))
    source = TEMPLATES[template].source
    if source is PriorSource.REPORT:
        if example.oracle is None:
            raise ValueError(f"{example.key} has nothing for the template {template!r}")
        instruction = build_oracle_instruction(case, example.oracle, template, fits)
    elif source is PriorSource.CLASSIFIER:
        if example.symptoms is None:
            raise ValueError(f"{example.key} has nothing for the template {template!r}")
        symptoms = _drop_symptoms(example.symptoms, transform.drop_lines, rng)
        instruction = build_instruction(case, template, fits, symptoms)
    else:
        instruction = build_instruction(case, template, fits)
    comparisons_stay = transform.keep_comparisons or has_prior(instruction, "prior_report")
    return Sample(
        _augment(case, transform, rng),
        instruction,
        example.target if comparisons_stay else remove_comparisons(example.target),
        example.truth,
    )


def _drop_prior_lines(priors: Priors, share: float, rng: np.random.Generator) -> Priors:
    keep_mask = rng.random(3) >= share
    return Priors(
        *(
            text if keep else ""
            for text, keep in zip(
                (priors.indication, priors.procedure, priors.prior_report), keep_mask, strict=True
            )
        )
    )


def _drop_symptoms(symptoms: Symptoms, share: float, rng: np.random.Generator) -> Symptoms:
    keep_present, keep_absent = rng.random(2) >= share
    return Symptoms(
        symptoms.present if keep_present else (), symptoms.absent if keep_absent else ()
    )


def _augment(case: Case, transform: SampleTransform, rng: np.random.Generator) -> Case:
    """The case with each of its views changed a little, independently; some cases unchanged."""
    if transform == transform.without_augmentation():
        return case
    # An earlier version's runs resume to the same draws: it left no case unchanged.
    if transform.untouched and rng.random() < transform.untouched:
        return case
    pixels = np.stack([view.pixels for view in case.views])
    augmented = augment_views(pixels, transform, rng)
    views = tuple(
        View(new, view.position, view.source)
        for new, view in zip(augmented, case.views, strict=True)
    )
    return replace(case, views=views)


def augment_views(
    pixels: NDArray[np.uint8], transform: SampleTransform, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Rotate, crop, expose, blur and add noise to each view at random; never flip it.

    Args:
        pixels: (N, S, S) uint8.
        transform: The greatest changes.
        rng: Source of all random draws.

    Returns:
        (N, S, S) uint8.
    """
    views = len(pixels)
    angle = np.deg2rad(rng.uniform(-transform.turn, transform.turn, views))
    scale = 1.0 - rng.uniform(0.0, transform.cut, views)  # part of a side that stays visible
    shift = rng.uniform(-transform.cut, transform.cut, (views, 2))
    contrast = 1.0 + rng.uniform(-transform.expose, transform.expose, (views, 1, 1, 1))
    brightness = rng.uniform(-transform.expose, transform.expose, (views, 1, 1, 1)) / 3.0
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    # (N, 2, 3): where in the old view each pixel of the new one is read.
    matrix = np.stack(
        [np.stack([cos, -sin, shift[:, 0]], 1), np.stack([sin, cos, shift[:, 1]], 1)], 1
    )
    grey = torch.from_numpy(pixels).unsqueeze(1).float() / 255.0
    grid = functional.affine_grid(
        torch.from_numpy(matrix).float(), list(grey.shape), align_corners=False
    )
    grey = functional.grid_sample(grey, grid, padding_mode="border", align_corners=False)
    grey = (grey - 0.5) * torch.from_numpy(contrast).float() + 0.5
    grey = (grey + torch.from_numpy(brightness).float()).clamp_(0.0, 1.0)
    if transform.blur:
        grey = _blur(grey, rng.uniform(0.0, transform.blur, views))
    if transform.noise:
        deviation = torch.from_numpy(rng.uniform(0.0, transform.noise, (views, 1, 1, 1))).float()
        noise = torch.from_numpy(rng.standard_normal(grey.shape, dtype=np.float32))
        grey = (grey + deviation * noise).clamp_(0.0, 1.0)
    return (grey.squeeze(1) * 255.0 + 0.5).to(torch.uint8).numpy()


def _blur(grey: torch.Tensor, deviations: NDArray[np.float64]) -> torch.Tensor:
    """Blur each of the (N, 1, S, S) views by a Gaussian of its own standard deviation in pixels."""
    reach = max(1, math.ceil(3 * float(deviations.max())))
    distance = torch.arange(-reach, reach + 1).float()
    widths = torch.from_numpy(deviations).float().clamp(min=1e-3).unsqueeze(1)
    kernels = torch.exp(-0.5 * (distance / widths) ** 2)  # (N, K)
    kernels = (kernels / kernels.sum(1, keepdim=True)).view(len(grey), 1, 1, -1)
    rows = functional.pad(grey.transpose(0, 1), (reach, reach, reach, reach), mode="replicate")
    blurred = functional.conv2d(rows, kernels, groups=len(grey))
    blurred = functional.conv2d(blurred, kernels.transpose(2, 3), groups=len(grey))
    return blurred.transpose(0, 1)


def text_lengths(examples: Sequence[Example]) -> NDArray[np.int64]:
    """(n,) the text length of each example; a prepared dataset knows it without reading texts."""
    if isinstance(examples, PreparedDataset):
        return examples.lengths
    return np.array(
        [len(example.target) + len(example.priors.prior_report) for example in examples], np.int64
    )

"""Phantoms drawn in advance, by all cores, as the network will read them. Knows no network."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

from model.case import Case, Priors, View
from training.corpus.phantoms import HELD_OUT, Phantom, phantom

Example = tuple[Case, str, frozenset[str]]
"""The case, the report to learn, and the findings that it says."""

SHARE_PRIOR = 0.08
"""Of the examples, how many come with another phantom's report as the prior one."""


def make_example(one: Phantom, size: int) -> Example:
    """A phantom as an example to learn from.

    Some have a prior report, of any other phantom, and some lack their procedure, so that the
    network has met those lines and learns to trust the film alone.
    """
    case = one.case(size)
    rng = np.random.default_rng([one.seed, 6])
    priors = case.priors
    if rng.random() < SHARE_PRIOR:
        other = phantom(int(rng.integers(HELD_OUT)))
        priors = Priors(priors.indication, priors.procedure, other.report)
    if rng.random() < 0.3:
        priors = Priors(priors.indication, "", priors.prior_report)
    views = case.views
    if len(views) == 2 and rng.random() < 0.1:
        views = tuple(View(v.pixels, "unknown", v.source) for v in views)
    return Case(case.key, views, priors), one.report, one.findings


def draw_examples(
    seeds: range, size: int, told: Callable[[int], None] = lambda _: None
) -> list[Example]:
    """The examples of these seeds, drawn by as many processes as there are cores.

    told: called with the number of examples that each finished piece adds.
    """
    pieces = [seeds[start : start + 250] for start in range(0, len(seeds), 250)]
    drawn: list[Example] = []
    # Spawned and not forked: torch's threads do not survive a fork.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for examples in pool.map(_draw_piece, pieces, [size] * len(pieces)):
            drawn += examples
            told(len(examples))
    return drawn


def _draw_piece(seeds: range, size: int) -> list[Example]:
    return [make_example(phantom(seed), size) for seed in seeds]

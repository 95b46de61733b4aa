"""The demonstration bundle: a small network, trained from random weights on drawn phantoms."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.bundling.build import check_target
from model.bundling.store import choose_device, fsync_tree, replace_folder, save_bundle
from model.case import Priors
from model.labels import RuleLabeller
from model.manifest import Manifest, Preprocessing, write_manifest
from model.progress import ProgressCallback, no_progress
from training.corpus.example import TRAIN, VALIDATE, Example, StudyImage
from training.corpus.phantom_corpus import PhantomCorpus
from training.corpus.phantoms import HELD_OUT, USUAL, Site, phantom
from training.evaluation.scores import scores_for
from training.finetuning.finding_head import HeadConfig, add_finding_head
from training.finetuning.metric_logging import plot_losses
from training.finetuning.model_card import CARD_FILE, render_card
from training.finetuning.processes import require_single_process
from training.finetuning.stages import TEXT_PRETRAINING, VISION_PRETRAINING
from training.recipes.from_scratch import (
    TRANSFORM,
    RecipeConfig,
    Variation,
    recipe_manifest,
    train_from_scratch,
)

STRANGE_PRIOR_SHARE = 0.08
"""Share of examples with another phantom's report as prior report. So the network knows that line
of the prompt, and learns to trust the image alone."""
UNKNOWN_VIEW_SHARE = 0.1
"""Share of examples with two views in which both have an unknown position."""


def vary_example(example: Example, site: Site) -> Example:
    """The example; some get another phantom's report as prior report, some unknown positions."""
    seed = int(example.key.rpartition("-")[2])
    rng = np.random.default_rng([seed, 6])
    if rng.random() < STRANGE_PRIOR_SHARE:
        other = phantom(int(rng.integers(HELD_OUT)), site)
        priors = Priors(example.priors.indication, example.priors.procedure, other.report)
        example = replace(example, priors=priors)
    if len(example.images) == 2 and rng.random() < UNKNOWN_VIEW_SHARE:
        example = replace(
            example, images=tuple(_UnknownPosition(image) for image in example.images)
        )
    return example


def add_phantom_head(
    folder: Path,
    config: HeadConfig | None = None,
    *,
    device: str | None = None,
    progress: ProgressCallback = no_progress,
) -> Manifest:
    """Fit a finding head to the bundle in a folder, on phantoms as `train_phantoms` varies them.

    It is calibrated on phantoms of the validation split, which no training reads.
    """
    config = config or HeadConfig()
    corpus = PhantomCorpus()
    training = [
        vary_example(corpus.example(TRAIN, number), USUAL) for number in range(config.examples)
    ]
    held_out = [corpus.example(VALIDATE, number) for number in range(config.calibration_examples)]
    return add_finding_head(
        folder,
        training,
        held_out,
        RuleLabeller(),
        TRANSFORM,
        config,
        device=choose_device(device),
        progress=progress,
    )


@dataclass(frozen=True, slots=True)
class _UnknownPosition:
    """An image of unknown position."""

    image: StudyImage
    position: str = "unknown"
    source: str = ""

    def pixels(self, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        return self.image.pixels(preprocessing)


VARIED = Variation("varied", vary_example)


def train_phantoms(
    out: Path,
    config: RecipeConfig | None = None,
    head: HeadConfig | None = None,
    *,
    seed: int = 0,
    held_out: int = 500,
    resume: bool = False,
    fresh: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    log: Callable[[str], None] = print,
) -> Manifest:
    """Train, score and save the demonstration bundle.

    Checkpoints and logs are in the folder `<out>.training` until the bundle is whole.

    Args:
        out: The bundle's folder.
        config: How long it is trained.
        head: How its finding head is fitted.
        seed: Seed of the first weights and of the order.
        held_out: Phantoms to score it with, which it never trains on.
        resume: Whether a training that was stopped may be resumed.
        fresh: Whether what an earlier training left is removed.
        overwrite: Whether a bundle at `out` may be replaced, once this one is scored.
        device: None takes a GPU where there is one.
        log: Gets lines for a person.

    Returns:
        The bundle's manifest.

    Raises:
        BundleError: Something is at `out`.
        NotAllowed: A training was stopped at `out` and may not be resumed, or had other settings;
            or several processes were started.
        TrainingStopped: As `Run.train`.
    """
    require_single_process(device, "this recipe")
    check_target(out, overwrite)
    config = config or RecipeConfig()
    work = out.with_name(out.name + ".training")
    if fresh:
        shutil.rmtree(work, ignore_errors=True)
    model, outcomes = train_from_scratch(
        work, USUAL, config, VARIED, seed=seed, resume=resume, device=device, log=log
    )
    plot = work / "losses.png"
    plot_losses(
        plot, [(stage.name, work / stage.name) for stage in (VISION_PRETRAINING, TEXT_PRETRAINING)]
    )
    draft = recipe_manifest(model, USUAL, TRANSFORM, config, seed, outcomes)
    built = work / "bundle"
    save_bundle(built, model, draft, extra_files=[plot])
    log("fitting the finding head")
    unscored = add_phantom_head(built, head, device=device)
    # It is scored from its files, as it will be loaded.
    log(f"scoring on {held_out:,} phantoms that it never saw")
    scored = replace(unscored, scores=scores_for(PhantomCorpus(), held_out, 0, device)(built))
    (built / CARD_FILE).write_text(render_card(scored), encoding="utf-8")
    manifest = write_manifest(built, scored)
    fsync_tree(built)
    check_target(out, overwrite)
    with replace_folder(out) as fresh_folder:
        fresh_folder.rmdir()
        built.rename(fresh_folder)
    shutil.rmtree(work)
    return manifest

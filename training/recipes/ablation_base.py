"""The base of the ablations: a small network that was trained at another site.

It has seen half of the findings. Of the other half it has only read, in text-only examples.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from model.bundling.store import save_bundle
from model.case import Priors
from model.manifest import MANIFEST, read_manifest
from records.errors import NotAllowed
from training.corpus.example import Example
from training.corpus.phantoms import HELD_OUT, SITES, USUAL, Site, phantom
from training.finetuning.config import differences
from training.recipes.from_scratch import (
    TRANSFORM,
    RecipeConfig,
    Variation,
    recipe_manifest,
    train_from_scratch,
    training_identity,
)

ABLATION_BASE = RecipeConfig(studies=12_000, vision_steps=1_200, text_steps=900)
"""How long the base of the ablations is trained."""
ABLATION_BASE_TRANSFORM = replace(TRANSFORM, drop_priors=0.0, drop_lines=0.0)
"""The prompt of a text-only example must stay whole; `vary_ablation_base` drops lines itself."""
TEXT_ONLY_SHARE = 0.4
"""Share of the base's examples that train the language alone."""
USUAL_WORDING_SHARE = 0.2
"""Share of the base's images that are reported in the usual department's words."""
RESTORE = "Restore this text: "
"""Begins the prior report of a text-only example."""
GAP = "_"
"""Stands for a word that is left out."""


def vary_ablation_base(example: Example, site: Site) -> Example:
    """The example, or a text-only example in its place; some are reported in the usual words.

    The text of a text-only example has nothing to do with its image: the last line of the prompt is
    a usual report with words left out, and the whole report is the target. So T5 learns the words
    for findings that it never saw. LoRA could not teach them, because the embeddings are frozen.
    """
    seed = int(example.key.rpartition("-")[2])
    rng = np.random.default_rng([seed, 8])
    if rng.random() < TEXT_ONLY_SHARE:
        text = phantom(int(rng.integers(HELD_OUT // 2)), SITES["ward"]).report
        share = rng.uniform(0.1, 0.9)
        gapped = " ".join(GAP if rng.random() < share else word for word in text.split())
        return replace(example, priors=Priors("", "", RESTORE + gapped), target=text)
    keep_mask = rng.random(2) >= 0.25
    priors = Priors(
        example.priors.indication if keep_mask[0] else "",
        example.priors.procedure if keep_mask[1] else "",
    )
    example = replace(example, priors=priors)
    if rng.random() < USUAL_WORDING_SHARE:
        usual = replace(site, wording=USUAL.wording)
        example = replace(example, target=phantom(seed, usual).report)
    return example


SCHOOLED = Variation("schooled", vary_ablation_base)


def train_ablation_base(
    folder: Path,
    config: RecipeConfig = ABLATION_BASE,
    *,
    seed: int = 0,
    resume: bool = False,
    device: str | None = None,
    log: Callable[[str], None] = print,
) -> Path:
    """Train the base of the ablations at the site `elsewhere`; a base that is there is kept.

    It has seen half of the findings, mostly in another department's words, on darker images. Of the
    other half it has only read (`vary_ablation_base`), as InstructBLIP has read of much that it
    never saw.

    Args:
        folder: The bundle's folder.
        config: How long it is trained.
        seed: Seed of the first weights and of the order.
        resume: Whether a training that was stopped may be resumed.
        device: None takes a GPU where there is one.
        log: Gets lines for a person.

    Returns:
        The bundle's folder.

    Raises:
        NotAllowed: The base that is there was trained with other settings; or as `Run.train`.
        TrainingStopped: As `Run.train`.
    """
    if (folder / MANIFEST).is_file():
        saved = read_manifest(folder).training
        current = training_identity(SITES["elsewhere"], ABLATION_BASE_TRANSFORM, config, seed)
        if differ := differences({name: saved.get(name) for name in current}, current):
            raise NotAllowed(
                f"the base at {folder} was trained with other settings ({'; '.join(differ)}): "
                "remove it, or --fresh to begin anew"
            )
    else:
        work = folder.with_name(folder.name + ".training")
        site = SITES["elsewhere"]
        model, outcomes = train_from_scratch(
            work, site, config, SCHOOLED, transform=ABLATION_BASE_TRANSFORM,
            seed=seed, resume=resume, device=device, log=log,
        )  # fmt: skip
        manifest = replace(
            recipe_manifest(model, site, ABLATION_BASE_TRANSFORM, config, seed, outcomes),
            name="elsewhere",
            version="1",
        )
        save_bundle(folder, model, manifest)
        shutil.rmtree(work)
    return folder

"""Trains small networks from random weights on drawn phantoms: the vision encoder, then the text.

If all of it is trained at once, so small a network learns the language in three minutes and never
looks at the image. Therefore the vision encoder (ViT) is first trained alone, to predict the signs
that a drawing shows. Then it is frozen, and Q-Former and T5 learn to write. The demonstration
bundle is made so, and the base that the ablations start from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bundling.build import check_target
from model.bundling.store import replace_folder, save_bundle
from model.case import Priors
from model.manifest import (
    MANIFEST,
    IntendedUse,
    Manifest,
    Preprocessing,
    read_manifest,
    write_manifest,
)
from model.network.clinicalblip import ClinicalBLIP
from records.errors import NotAllowed
from training.corpus.example import TRAIN, CorpusOptions, Example, StudyImage
from training.corpus.phantom_corpus import PhantomCorpus
from training.corpus.phantoms import HELD_OUT, SITES, USUAL, Site, phantom
from training.corpus.prepared_dataset import PreparedDataset, prepare_dataset
from training.evaluation.scores import scores_for
from training.finetuning.batches import SampleTransform
from training.finetuning.checkpoints import fsync_tree
from training.finetuning.config import TrainingConfig, differences
from training.finetuning.loop import Outcome, Run
from training.finetuning.metric_logging import plot_losses
from training.finetuning.model_card import CARD_FILE, render_card
from training.finetuning.processes import require_single_process
from training.finetuning.stages import TEXT_PRETRAINING, VISION_PRETRAINING
from training.recipes.phantoms_network import MAX_INSTRUCTION_TOKENS, TEMPLATE, build_network

NOTICE = "Knows drawn phantoms only and must not be used on patients."
MAX_TARGET_TOKENS = 100
"""Tokens of the longest report."""
STRANGE_PRIOR_SHARE = 0.08
"""Share of examples with another phantom's report as prior report. So the network knows that line
of the prompt, and learns to trust the image alone."""
UNKNOWN_VIEW_SHARE = 0.1
"""Share of examples with two views in which both have an unknown position."""
TRANSFORM = SampleTransform(drop_priors=0.1, drop_lines=0.2, turn=2.0, cut=0.03, expose=0.15)


@dataclass(frozen=True)
class RecipeConfig:
    """How long a network is trained. The defaults are those of the shipped bundle.

    Args:
        studies: Phantoms that are drawn to learn from.
        vision_steps: Steps of the vision encoder.
        text_steps: Steps of Q-Former and T5.
        batch: Studies in a step.
    """

    studies: int = 24_000
    vision_steps: int = 3_400
    text_steps: int = 3_200
    batch: int = 48


def train_phantoms(
    out: Path,
    config: RecipeConfig | None = None,
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
    model, outcomes = train_from_nothing(
        work, USUAL, config, seed=seed, resume=resume, device=device, log=log
    )
    plot = work / "losses.png"
    plot_losses(
        plot, [(stage.name, work / stage.name) for stage in (VISION_PRETRAINING, TEXT_PRETRAINING)]
    )
    draft = _manifest(model, USUAL, TRANSFORM, config, seed, outcomes)
    built = work / "bundle"
    unscored = save_bundle(built, model, draft, extra_files=[plot])
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


ABLATION_BASE = RecipeConfig(studies=12_000, vision_steps=1_200, text_steps=900)
"""How long the base of the ablations is trained."""
ABLATION_BASE_TRANSFORM = replace(TRANSFORM, drop_priors=0.0, drop_lines=0.0)
"""The prompt of a text-only example must stay whole; `vary_ablation_base` drops lines itself."""
TEXT_ONLY_SHARE = 0.4
"""Share of the base's examples that train the language alone."""
USUAL_WORDING_SHARE = 0.2
"""Share of the base's images that are reported in the usual department's words."""


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
        current = _training_identity(SITES["elsewhere"], ABLATION_BASE_TRANSFORM, config, seed)
        if differ := differences({name: saved.get(name) for name in current}, current):
            raise NotAllowed(
                f"the base at {folder} was trained with other settings ({'; '.join(differ)}): "
                "remove it, or --fresh to begin anew"
            )
    else:
        work = folder.with_name(folder.name + ".training")
        site = SITES["elsewhere"]
        model, outcomes = train_from_nothing(
            work, site, config, variation="schooled", transform=ABLATION_BASE_TRANSFORM,
            seed=seed, resume=resume, device=device, log=log,
        )  # fmt: skip
        manifest = replace(
            _manifest(model, site, ABLATION_BASE_TRANSFORM, config, seed, outcomes),
            name="elsewhere",
            version="1",
        )
        save_bundle(folder, model, manifest)
        shutil.rmtree(work)
    return folder


def train_from_nothing(
    work: Path,
    site: Site,
    config: RecipeConfig,
    *,
    variation: str = "varied",
    transform: SampleTransform = TRANSFORM,
    seed: int = 0,
    resume: bool = False,
    device: str | None = None,
    log: Callable[[str], None] = print,
) -> tuple[ClinicalBLIP, dict[str, Outcome]]:
    """Train a network from random weights at one site.

    Args:
        work: Folder for the prepared phantoms, checkpoints and logs.
        site: The site whose phantoms it learns from.
        config: How long it is trained.
        variation: How phantoms are varied; a key of `VARIATIONS`.
        transform: How an example becomes a sample.
        seed: Seed of the first weights and of the order.
        resume: Whether a training that was stopped may be resumed.
        device: None takes a GPU where there is one.
        log: Gets lines for a person.

    Returns:
        The network, and the outcome of each of the two stages.

    Raises:
        NotAllowed, TrainingStopped: As `Run.train`.
    """
    model = build_network(seed)
    dataset = prepare_phantoms(work / "shelf", site, config.studies, model, variation, log)
    outcomes: dict[str, Outcome] = {}
    for stage, steps in (
        (VISION_PRETRAINING, config.vision_steps),
        (TEXT_PRETRAINING, config.text_steps),
    ):
        training_config = TrainingConfig(
            steps=steps,
            batch=config.batch,
            accumulation=1,
            precision="float32",
            seed=seed,
            most_target=MAX_TARGET_TOKENS,
        )
        run = Run(
            work / stage.name,
            model,
            stage,
            dataset,
            transform,
            training_config,
            identity={"site": site.name, "studies": config.studies},
            device=device,
            log=log,
        )
        # A finished stage resumes from its last checkpoint, with no step left to do.
        outcomes[stage.name] = run.train(resume=resume)
        log(f"{stage.name}: {steps} steps, loss {outcomes[stage.name].loss:.4f}")
    return model.to("cpu").eval(), outcomes


def prepare_phantoms(
    folder: Path,
    site: Site,
    studies: int,
    model: ClinicalBLIP,
    variation: str,
    log: Callable[[str], None],
) -> PreparedDataset:
    """Draw the first phantoms of a site, on all cores, into a prepared dataset."""
    log(f"drawing {studies:,} phantoms")
    vary = VARIATIONS[variation]
    examples = (vary(e, site) for e in islice(PhantomCorpus(site=site).read(TRAIN), studies))
    identity = {"corpus": "phantoms", "site": site.name, "studies": studies, "as": variation}
    # A few hundred are drawn sooner than other processes would start.
    processes = 0 if studies < 1000 else None
    return prepare_dataset(folder, examples, model.preprocessing, identity, processes=processes)


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
    kept = rng.random(2) >= 0.25
    priors = Priors(
        example.priors.indication if kept[0] else "", example.priors.procedure if kept[1] else ""
    )
    example = replace(example, priors=priors)
    if rng.random() < USUAL_WORDING_SHARE:
        usual = replace(site, wording=USUAL.wording)
        example = replace(example, target=phantom(seed, usual).report)
    return example


VARIATIONS: dict[str, Callable[[Example, Site], Example]] = {
    "varied": vary_example,
    "schooled": vary_ablation_base,
}
"""How phantoms are varied before they are examples. The names are stored with prepared phantoms."""


@dataclass(frozen=True, slots=True)
class _UnknownPosition:
    """An image of unknown position."""

    image: StudyImage
    position: str = "unknown"
    source: str = ""

    def pixels(self, how: Preprocessing) -> NDArray[np.uint8]:
        return self.image.pixels(how)


def _manifest(
    model: ClinicalBLIP,
    site: Site,
    transform: SampleTransform,
    config: RecipeConfig,
    seed: int,
    outcomes: dict[str, Outcome],
) -> Manifest:
    return Manifest(
        name="phantoms",
        version="2",
        base_model="none: trained from random weights",
        base_revision="",
        template=TEMPLATE,
        templates=("none",),
        preprocessing=model.preprocessing,
        licence="Same as this software; made from drawings alone",
        demonstration=True,
        notice=NOTICE,
        intended_use=IntendedUse(),
        max_new_tokens=MAX_TARGET_TOKENS,
        max_instruction_tokens=MAX_INSTRUCTION_TOKENS,
        training={
            **_training_identity(site, transform, config, seed),
            "stages": {
                name: {
                    "steps": outcome.counts.step,
                    "loss": round(outcome.loss, 4),
                    "minutes": round(outcome.counts.seconds / 60, 1),
                }
                for name, outcome in outcomes.items()
            },
        },
    )


def _training_identity(
    site: Site, transform: SampleTransform, config: RecipeConfig, seed: int
) -> dict[str, Any]:
    """What a manifest says about the training of a network, as JSON."""
    identity = {
        "recipe": "training.recipes.phantoms",
        "corpus": f"phantoms:{site.name}",
        "reading": asdict(CorpusOptions()),
        "examples": config.studies,
        "settings": {
            "seed": seed,
            "batch": config.batch,
            "precision": "float32",
            "steps": {"eye": config.vision_steps, "words": config.text_steps},
        },
        "showing": asdict(transform),
    }
    as_json: dict[str, Any] = json.loads(json.dumps(identity))
    return as_json

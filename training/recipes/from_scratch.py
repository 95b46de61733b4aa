"""Trains a small network from random weights on drawn phantoms: the vision encoder, then the text.

If all of it is trained at once, so small a network learns the language in three minutes and never
looks at the image. Therefore the vision encoder (ViT) is first trained alone, to predict the signs
that a drawing shows. Then it is frozen, and Q-Former and T5 learn to write.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from model.manifest import IntendedUse, Manifest
from model.network.clinicalblip import ClinicalBLIP
from training.corpus.example import TRAIN, CorpusOptions, Example
from training.corpus.phantom_corpus import PhantomCorpus
from training.corpus.phantoms import Site
from training.corpus.prepared_dataset import PreparedDataset, prepare_dataset
from training.finetuning import checkpoints
from training.finetuning.batches import SampleTransform
from training.finetuning.config import TrainingConfig, as_begun
from training.finetuning.loop import Outcome, Run
from training.finetuning.stages import TEXT_PRETRAINING, VISION_PRETRAINING
from training.recipes.phantoms_network import MAX_INSTRUCTION_TOKENS, TEMPLATE, build_network

NOTICE = "Knows drawn phantoms only and must not be used on patients."
MAX_TARGET_TOKENS = 100
"""Tokens of the longest report."""
TRANSFORM = SampleTransform(drop_priors=0.1, drop_lines=0.2, turn=2.0, cut=0.03, expose=0.15)


@dataclass(frozen=True)
class Variation:
    """How phantoms are varied before they are examples.

    Args:
        name: Is stored with the prepared phantoms: with another name they are drawn again.
        vary: Makes a variant of an example of a site.
    """

    name: str
    vary: Callable[[Example, Site], Example]


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


def train_from_scratch(
    work: Path,
    site: Site,
    config: RecipeConfig,
    variation: Variation,
    *,
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
        variation: How phantoms are varied.
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
        saved = checkpoints.saved_identity(work) if resume else None
        shown = transform
        if saved is not None:
            training_config, shown = as_begun(training_config, transform, saved)
        run = Run(
            work / stage.name,
            model,
            stage,
            dataset,
            shown,
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
    variation: Variation,
    log: Callable[[str], None],
) -> PreparedDataset:
    """Draw the first phantoms of a site, on all cores, into a prepared dataset."""
    log(f"drawing {studies:,} phantoms")
    corpus = PhantomCorpus(site=site)
    examples = (variation.vary(e, site) for e in islice(corpus.read(TRAIN), studies))
    identity = {"corpus": "phantoms", "site": site.name, "studies": studies, "as": variation.name}
    # A few hundred are drawn sooner than other processes would start.
    processes = 0 if studies < 1000 else None
    return prepare_dataset(folder, examples, model.preprocessing, identity, processes=processes)


def recipe_manifest(
    model: ClinicalBLIP,
    site: Site,
    transform: SampleTransform,
    config: RecipeConfig,
    seed: int,
    outcomes: dict[str, Outcome],
) -> Manifest:
    """The manifest of a network before it is scored."""
    return Manifest(
        name="phantoms",
        version="4",
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
            **training_identity(site, transform, config, seed),
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


def training_identity(
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

"""Trains small networks from nothing on drawn phantoms: first the eye, then the words.

Taught all at once, a network this small learns the language in three minutes and never looks at
the film. So the eye (ViT) is first taught alone, to tell what a drawn film shows; then it stands
still while Q-Former and T5 learn to write. The demonstration bundle is made so, and the base that
the ablations start from. Knows no DICOM.
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
from training.recipes.phantoms_network import MOST_TOKENS, TEMPLATE, build_network

NOTICE = "Knows drawn phantoms only and must not be used on patients."
MAX_TARGET_TOKENS = 100
"""Tokens of a report."""
STRANGE_PRIOR_SHARE = 0.08
"""Of the examples, how many come with another phantom's report as the prior one: so the network
has met that line and learns to trust the film alone."""
UNKNOWN_VIEW_SHARE = 0.1
"""Of those with two films, how many do not say which is which."""
TRANSFORM = SampleTransform(drop_priors=0.1, drop_lines=0.2, turn=2.0, cut=0.03, expose=0.15)


@dataclass(frozen=True)
class RecipeConfig:
    """How much is taught. Defaults: what the shipped bundle had.

    studies: phantoms drawn to learn from. eye, words: steps of each. batch: studies a step.
    """

    studies: int = 24_000
    eye: int = 3_400
    words: int = 3_200
    batch: int = 48


Vary = Callable[[Example, Site], Example]


def train_phantoms(
    out: Path,
    recipe_config: RecipeConfig | None = None,
    *,
    seed: int = 0,
    held_out: int = 500,
    resume: bool = False,
    fresh: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    log: Callable[[str], None] = print,
) -> Manifest:
    """Train, score and save the demonstration bundle at `out`; its manifest.

    seed: of the first weights and of the order. held_out: phantoms never trained on, to score it
    with. Checkpoints and logs are in the folder `<out>.training` until the bundle is whole. fresh:
    remove what was stopped there before. overwrite: a bundle at `out` may go, once this one is
    scored.

    Raises:
        BundleError: something is at `out`.
        NotAllowed: what was stopped at `out` is not to be taken up, or was another run; or several
            processes were started.
        TrainingStopped: as `Run.train`.
    """
    require_single_process(device, "this recipe")
    check_target(out, overwrite)
    recipe_config = recipe_config or RecipeConfig()
    work = out.with_name(out.name + ".training")
    if fresh:
        shutil.rmtree(work, ignore_errors=True)
    model, done = train_from_nothing(
        work, USUAL, recipe_config, seed=seed, resume=resume, device=device, log=log
    )
    plot = work / "losses.png"
    plot_losses(
        plot, [(stage.name, work / stage.name) for stage in (VISION_PRETRAINING, TEXT_PRETRAINING)]
    )
    said = _manifest(model, USUAL, TRANSFORM, recipe_config, seed, done)
    made = work / "bundle"
    said = save_bundle(made, model, said, extra_files=[plot])
    # Scored as it will be loaded.
    log(f"scoring on {held_out:,} phantoms that it never saw")
    said = replace(said, scores=scores_for(PhantomCorpus(), held_out, 0, device)(made))
    (made / CARD_FILE).write_text(render_card(said), encoding="utf-8")
    manifest = write_manifest(made, said)
    fsync_tree(made)
    check_target(out, overwrite)
    with replace_folder(out) as new:
        new.rmdir()
        made.rename(new)
    shutil.rmtree(work)
    return manifest


ABLATION_BASE = RecipeConfig(studies=12_000, eye=1_200, words=900)
"""How much the base of the ablations is taught."""
ABLATION_BASE_TRANSFORM = replace(TRANSFORM, drop_priors=0.0, drop_lines=0.0)
"""A lesson in language stands in the prompt, which must stay; `schooled` leaves lines out."""
TEXT_ONLY_SHARE = 0.4
"""Of the base's lessons, how many are in language alone."""
USUAL_WORDING_SHARE = 0.2
"""Of its films, how many are told in the usual department's words."""


def train_ablation_base(
    folder: Path,
    recipe_config: RecipeConfig = ABLATION_BASE,
    *,
    seed: int = 0,
    resume: bool = False,
    device: str | None = None,
    log: Callable[[str], None] = print,
) -> Path:
    """The base of the ablations, as a bundle: a network taught from nothing, elsewhere.

    It knows half of the findings, mostly in another department's words, on films exposed
    otherwise; of the rest it has read (`schooled`): as InstructBLIP has read of much that it never
    saw. One that is there is kept.

    Raises:
        NotAllowed: one that is there was taught otherwise, or as `Run.train`.
        TrainingStopped: as `Run.train`.
    """
    if (folder / MANIFEST).is_file():
        was, now = (
            read_manifest(folder).training,
            _training_identity(SITES["elsewhere"], ABLATION_BASE_TRANSFORM, recipe_config, seed),
        )
        if differ := differences({name: was.get(name) for name in now}, now):
            raise NotAllowed(
                f"the base at {folder} was taught otherwise ({'; '.join(differ)}): remove it, or "
                "--fresh to begin anew"
            )
    else:
        work = folder.with_name(folder.name + ".training")
        site = SITES["elsewhere"]
        model, done = train_from_nothing(
            work, site, recipe_config, vary=vary_ablation_base, transform=ABLATION_BASE_TRANSFORM,
            seed=seed, resume=resume, device=device, log=log,
        )  # fmt: skip
        said = replace(
            _manifest(model, site, ABLATION_BASE_TRANSFORM, recipe_config, seed, done),
            name="elsewhere",
            version="1",
        )
        save_bundle(folder, model, said)
        shutil.rmtree(work)
    return folder


def train_from_nothing(
    work: Path,
    site: Site,
    recipe_config: RecipeConfig,
    *,
    vary: Vary | None = None,
    transform: SampleTransform = TRANSFORM,
    seed: int = 0,
    resume: bool = False,
    device: str | None = None,
    log: Callable[[str], None] = print,
) -> tuple[ClinicalBLIP, dict[str, Outcome]]:
    """A network taught from nothing at one site, and what each of its two stages came to.

    vary: what becomes of each phantom before it is a lesson; None takes `varied`.

    Raises:
        NotAllowed, TrainingStopped: as `Run.train`.
    """
    model = build_network(seed)
    shelf = prepare_phantoms(
        work / "shelf", site, recipe_config.studies, model, vary or vary_example, log
    )
    done: dict[str, Outcome] = {}
    for stage, steps in (
        (VISION_PRETRAINING, recipe_config.eye),
        (TEXT_PRETRAINING, recipe_config.words),
    ):
        config = TrainingConfig(
            steps=steps,
            batch=recipe_config.batch,
            accumulation=1,
            precision="float32",
            seed=seed,
            most_target=MAX_TARGET_TOKENS,
        )
        run = Run(
            work / stage.name,
            model,
            stage,
            shelf,
            transform,
            config,
            identity={"site": site.name, "studies": recipe_config.studies},
            device=device,
            log=log,
        )
        # A stage that is done has its last checkpoint, and nothing left to do.
        done[stage.name] = run.train(resume=resume)
        log(f"{stage.name}: {steps} steps, loss {done[stage.name].loss:.4f}")
    return model.to("cpu").eval(), done


def prepare_phantoms(
    folder: Path,
    site: Site,
    studies: int,
    model: ClinicalBLIP,
    vary: Vary,
    log: Callable[[str], None],
) -> PreparedDataset:
    """The first phantoms of a site on a shelf, drawn by all cores."""
    log(f"drawing {studies:,} phantoms")
    corpus = PhantomCorpus(site=site)
    examples = (vary(one, site) for one in islice(corpus.read(TRAIN), studies))
    identity = {"corpus": "phantoms", "site": site.name, "studies": studies, "as": vary.__name__}
    # A few hundred are drawn sooner than other processes would start.
    few = 0 if studies < 1000 else None
    return prepare_dataset(folder, examples, model.preprocessing, identity, processes=few)


def vary_example(example: Example, site: Site) -> Example:
    """The example, some with a stranger's report as the prior one, some with nameless views."""
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
GAP = "_"


def vary_ablation_base(example: Example, site: Site) -> Example:
    """The example, or in its stead a lesson in language; some told in the usual words.

    A lesson in language has nothing to do with its film: the prompt's last line holds a usual
    report with words left out, and the whole report is the target. So T5 comes to know the words
    for findings that it never saw, which LoRA could not teach it: the embeddings stand still.
    """
    seed = int(example.key.rpartition("-")[2])
    rng = np.random.default_rng([seed, 8])
    if rng.random() < TEXT_ONLY_SHARE:
        text = phantom(int(rng.integers(HELD_OUT // 2)), SITES["ward"]).report
        holes = rng.uniform(0.1, 0.9)
        gapped = " ".join(GAP if rng.random() < holes else word for word in text.split())
        return replace(example, priors=Priors("", "", RESTORE + gapped), target=text)
    kept = rng.random(2) >= 0.25
    priors = Priors(
        example.priors.indication if kept[0] else "", example.priors.procedure if kept[1] else ""
    )
    example = replace(example, priors=priors)
    if rng.random() < USUAL_WORDING_SHARE:
        told = replace(site, wording=USUAL.wording)
        example = replace(example, target=phantom(seed, told).report)
    return example


@dataclass(frozen=True, slots=True)
class _UnknownPosition:
    """A film that does not say where it was taken from."""

    image: StudyImage
    position: str = "unknown"
    source: str = ""

    def pixels(self, how: Preprocessing) -> NDArray[np.uint8]:
        return self.image.pixels(how)


def _manifest(
    model: ClinicalBLIP,
    site: Site,
    transform: SampleTransform,
    recipe_config: RecipeConfig,
    seed: int,
    done: dict[str, Outcome],
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
        max_instruction_tokens=MOST_TOKENS,
        training={
            **_training_identity(site, transform, recipe_config, seed),
            "stages": {
                name: {
                    "steps": one.counts.step,
                    "loss": round(one.loss, 4),
                    "minutes": round(one.counts.seconds / 60, 1),
                }
                for name, one in done.items()
            },
        },
    )


def _training_identity(
    site: Site, transform: SampleTransform, recipe_config: RecipeConfig, seed: int
) -> dict[str, Any]:
    """What a manifest says of how a network was taught, as JSON has it."""
    told = {
        "recipe": "training.recipes.phantoms",
        "corpus": f"phantoms:{site.name}",
        "reading": asdict(CorpusOptions()),
        "examples": recipe_config.studies,
        "settings": {
            "seed": seed,
            "batch": recipe_config.batch,
            "precision": "float32",
            "steps": {"eye": recipe_config.eye, "words": recipe_config.words},
        },
        "showing": asdict(transform),
    }
    said: dict[str, Any] = json.loads(json.dumps(told))
    return said

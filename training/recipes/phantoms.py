"""Trains small networks from nothing on drawn phantoms: first the eye, then the words.

Taught all at once, a network this small learns the language in three minutes and never looks at
the film. So the eye (ViT) is first taught alone, to tell what a drawn film shows; then it stands
still while Q-Former and T5 learn to write. The demonstration bundle is made so, and the base that
the ablations start from. Knows no DICOM.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.bundle import choose_device, load_bundle, save_bundle
from model.case import Priors
from model.clinicalblip import ClinicalBLIP
from model.manifest import MANIFEST, IntendedUse, Manifest, Preprocessing, write_manifest
from training.corpus.drawn import Phantoms
from training.corpus.example import TRAIN, Example, Film
from training.corpus.phantoms import HELD_OUT, SITES, USUAL, Site, phantom
from training.corpus.shelf import Shelf, shelve
from training.evaluate_phantoms import score_phantoms
from training.feeding import Showing
from training.finetune import Knobs, Outcome, Run
from training.recipes.phantoms_network import MOST_TOKENS, TEMPLATE, build_network
from training.stages import EYE, WORDS
from training.telling import plot_losses

NOTICE = "Knows drawn phantoms only and must not be used on patients."
LONGEST = 100
"""Tokens of a report."""
SHARE_PRIOR = 0.08
"""Of the examples, how many come with another phantom's report as the prior one: so the network
has met that line and learns to trust the film alone."""
SHARE_UNKNOWN = 0.1
"""Of those with two films, how many do not say which is which."""
SHOWING = Showing(drop_priors=0.1, drop_lines=0.2, turn=2.0, cut=0.03, expose=0.15)


@dataclass(frozen=True)
class Lessons:
    """How much is taught. Defaults: what the shipped bundle had.

    studies: phantoms drawn to learn from. eye, words: steps of each. batch: studies a step.
    """

    studies: int = 24_000
    eye: int = 3_400
    words: int = 3_200
    batch: int = 48


def train_phantoms(
    out: Path,
    lessons: Lessons | None = None,
    *,
    seed: int = 0,
    held_out: int = 500,
    resume: bool = False,
    fresh: bool = False,
    device: str | None = None,
    tell: Callable[[str], None] = print,
) -> Manifest:
    """Train, score and save the demonstration bundle at `out`; its manifest.

    seed: of the first weights and of the order. held_out: phantoms never trained on, to score it
    with. Checkpoints and logs are in the folder `<out>.training` until the bundle is whole. fresh:
    remove what was stopped there before.

    Raises:
        NotAllowed: what was stopped at `out` is not to be taken up, or was another run.
        TrainingStopped: as `Run.train`.
    """
    lessons = lessons or Lessons()
    work = out.with_name(out.name + ".training")
    if fresh:
        shutil.rmtree(work, ignore_errors=True)
    model, done = teach(work, USUAL, lessons, seed=seed, resume=resume, device=device, tell=tell)
    plot = work / "losses.png"
    plot_losses(plot, [(stage.name, work / stage.name) for stage in (EYE, WORDS)])
    bare = _manifest(model, lessons, seed, done)
    save_bundle(out, model, bare, beside=[plot])
    # Scored as it will be loaded.
    loaded, saved = load_bundle(out, choose_device(device))
    scores = score_phantoms(loaded, held_out)
    tell(scores.sentence())
    manifest = write_manifest(out, replace(saved, scores=scores.as_table()))
    shutil.rmtree(work)
    return manifest


BASE = Lessons(studies=6_000, eye=1_200, words=1_200)
"""How much the base of the ablations is taught."""


def teach_base(
    folder: Path,
    lessons: Lessons = BASE,
    *,
    seed: int = 0,
    resume: bool = False,
    device: str | None = None,
    tell: Callable[[str], None] = print,
) -> Path:
    """The base of the ablations, as a bundle: a network taught from nothing, elsewhere.

    It knows half of the findings, in another department's words, on films exposed otherwise: as
    InstructBLIP knows much of the world and little of chest films. One that is there is kept.

    Raises:
        NotAllowed, TrainingStopped: as `Run.train`.
    """
    if not (folder / MANIFEST).is_file():
        work = folder.with_name(folder.name + ".training")
        site = SITES["elsewhere"]
        model, done = teach(work, site, lessons, seed=seed, resume=resume, device=device, tell=tell)
        said = replace(_manifest(model, lessons, seed, done), name="elsewhere", version="1")
        save_bundle(folder, model, said)
        shutil.rmtree(work)
    return folder


def teach(
    work: Path,
    site: Site,
    lessons: Lessons,
    *,
    seed: int = 0,
    resume: bool = False,
    device: str | None = None,
    tell: Callable[[str], None] = print,
) -> tuple[ClinicalBLIP, dict[str, Outcome]]:
    """A network taught from nothing at one site, and what each of its two stages came to.

    Raises:
        NotAllowed, TrainingStopped: as `Run.train`.
    """
    model = build_network(seed)
    shelf = draw_shelf(work / "shelf", site, lessons.studies, model, varied, tell)
    done: dict[str, Outcome] = {}
    for stage, steps in ((EYE, lessons.eye), (WORDS, lessons.words)):
        knobs = Knobs(
            steps=steps,
            batch=lessons.batch,
            accumulation=1,
            precision="float32",
            seed=seed,
            most_target=LONGEST,
        )
        run = Run(
            work / stage.name,
            model,
            stage,
            shelf,
            SHOWING,
            knobs,
            identity={"site": site.name, "studies": lessons.studies},
            device=device,
            tell=tell,
        )
        # A stage that is done has its last checkpoint, and nothing left to do.
        done[stage.name] = run.train(resume=resume)
        tell(f"{stage.name}: {steps} steps, loss {done[stage.name].loss:.4f}")
    return model.to("cpu").eval(), done


def draw_shelf(
    folder: Path,
    site: Site,
    studies: int,
    model: ClinicalBLIP,
    vary: Callable[[Example, Site], Example],
    tell: Callable[[str], None],
) -> Shelf:
    """The first phantoms of a site on a shelf, drawn by all cores."""
    tell(f"drawing {studies:,} phantoms")
    corpus = Phantoms(site=site)
    examples = (vary(one, site) for one in islice(corpus.read(TRAIN), studies))
    identity = {"corpus": "phantoms", "site": site.name, "studies": studies, "as": vary.__name__}
    # A few hundred are drawn sooner than other processes would start.
    few = 0 if studies < 1000 else None
    return shelve(folder, examples, model.preprocessing, identity, processes=few)


def varied(example: Example, site: Site) -> Example:
    """The example, some with a stranger's report as the prior one, some with nameless views."""
    seed = int(example.key.rpartition("-")[2])
    rng = np.random.default_rng([seed, 6])
    if rng.random() < SHARE_PRIOR:
        other = phantom(int(rng.integers(HELD_OUT)), site)
        priors = Priors(example.priors.indication, example.priors.procedure, other.report)
        example = replace(example, priors=priors)
    if len(example.films) == 2 and rng.random() < SHARE_UNKNOWN:
        example = replace(example, films=tuple(_Nameless(film) for film in example.films))
    return example


@dataclass(frozen=True, slots=True)
class _Nameless:
    """A film that does not say where it was taken from."""

    film: Film
    position: str = "unknown"
    source: str = ""

    def pixels(self, how: Preprocessing) -> NDArray[np.uint8]:
        return self.film.pixels(how)


def _manifest(
    model: ClinicalBLIP, lessons: Lessons, seed: int, done: dict[str, Outcome]
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
        max_new_tokens=LONGEST,
        max_instruction_tokens=MOST_TOKENS,
        training={
            "recipe": "training.recipes.phantoms",
            "seed": seed,
            "studies": lessons.studies,
            "batch": lessons.batch,
            "steps": {"eye": lessons.eye, "words": lessons.words},
            "loss": {name: round(one.loss, 4) for name, one in done.items()},
            "minutes": {name: round(one.counts.seconds / 60, 1) for name, one in done.items()},
        },
    )

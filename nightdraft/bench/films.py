"""`nightdraft bench films`: whether a bundle reads films as served as well as films as trained.

A training rotates and crops films, which resamples them once more than a served film is. A bundle
that learnt from such films alone reads the sharper ones worse, and the difference grows with their
noise. The same phantoms are drafted in both ways, at each level of noise, and the findings that the
drafts name are scored against those that were drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from model.inference.engine import Engine
from model.manifest import Preprocessing
from model.progress import no_progress
from nightdraft.bench.machine import machine_facts
from training.corpus.example import TEST, CorpusOptions, Example, StudyImage
from training.corpus.phantom_corpus import PhantomCorpus
from training.evaluation.drafting import PriorMode, draft, prompt_for
from training.finetuning.batches import SampleTransform, augment_views
from training.metrics.findings import score_findings

MOST_DIFFERENCE = 0.01
"""Finding F1 may differ by so much between the two ways."""


@dataclass(frozen=True, slots=True)
class ChangedImage:
    """An image with noise, resampled once more or not; equal images get equal noise.

    Attributes:
        image: The image as it is served.
        noise: Standard deviation of the noise, in grey values of 255.
        resampling: How a training rotates and crops it; None leaves it as it is.
        seed: Of the noise, the angle and the crop.
    """

    image: StudyImage
    noise: float
    resampling: SampleTransform | None
    seed: int

    @property
    def position(self) -> str:
        """See `StudyImage.position`."""
        return self.image.position

    @property
    def source(self) -> str:
        """See `StudyImage.source`."""
        return self.image.source

    def pixels(self, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        """See `StudyImage.pixels`."""
        grey = self.image.pixels(preprocessing)
        rng = np.random.default_rng([self.seed, 8])
        noisy = grey + self.noise * rng.standard_normal(grey.shape)
        noised = np.clip(noisy + 0.5, 0, 255).astype(np.uint8) if self.noise else grey
        if self.resampling is None:
            return noised
        resampled: NDArray[np.uint8] = augment_views(noised[np.newaxis], self.resampling, rng)[0]
        return resampled


def measure(
    bundle: str,
    studies: int,
    noises: Sequence[float],
    seed: int,
    device: str | None,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Draft held-out phantoms as served and as trained.

    Args:
        bundle: A folder or a shipped name.
        studies: Number of phantoms.
        noises: Standard deviations of noise, in grey values of 255.
        seed: Which held-out phantoms, and of the noise.
        device: The device; None chooses one.
        log: Gets lines for a person.

    Raises:
        BundleError, DeviceError: As `Engine.load`.
    """
    engine, manifest = Engine.load(bundle, device)
    corpus = PhantomCorpus(CorpusOptions(seed=seed))
    examples = [corpus.example(TEST, n) for n in range(studies)]
    resampling = _resampling(manifest.training.get("showing", {}))
    prompt = prompt_for(PriorMode.CONTEXT, manifest, examples, engine.fits)
    rows = []
    for noise in noises:
        row: dict[str, Any] = {"noise": noise}
        for name, changed in (("served", None), ("resampled", resampling)):
            log(f"noise {noise:g}, films {name}: {studies} studies")
            shown = [_change(example, noise, changed, n) for n, example in enumerate(examples)]
            written = draft(engine, manifest, shown, prompt, no_progress)
            truth = [example.truth or frozenset() for example in examples]
            row[name] = round(score_findings(truth, written.texts).f1, 4)
        row["difference"] = round(row["served"] - row["resampled"], 4)
        rows.append(row)
    return {
        "bundle": f"{manifest.name} {manifest.version} {manifest.digest[:12]}",
        "studies": studies,
        "seed": seed,
        "turn": resampling.turn,
        "cut": resampling.cut,
        "noises": rows,
        "agree": all(abs(row["difference"]) <= MOST_DIFFERENCE for row in rows),
        **machine_facts(),
    }


def _resampling(showing: dict[str, Any]) -> SampleTransform:
    """How the bundle's training rotated and cropped films; else by the defaults."""
    plain, default = SampleTransform().without_augmentation(), SampleTransform()
    return replace(
        plain, turn=showing.get("turn", default.turn), cut=showing.get("cut", default.cut)
    )


def _change(
    example: Example, noise: float, resampling: SampleTransform | None, number: int
) -> Example:
    images = tuple(
        ChangedImage(image, noise, resampling, 3 * number + n)
        for n, image in enumerate(example.images)
    )
    return replace(example, images=images)


def render(measured: dict[str, Any]) -> RenderableType:
    """The measurement as a table."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("noise", "as served", "resampled once more", "difference"):
        table.add_column(column, justify="right")
    for row in measured["noises"]:
        table.add_row(
            f"{row['noise']:g}",
            f"{row['served']:.3f}",
            f"{row['resampled']:.3f}",
            f"{row['difference']:+.3f}",
        )
    verdict = (
        f"both ways agree within {MOST_DIFFERENCE}"
        if measured["agree"]
        else f"the two ways differ by more than {MOST_DIFFERENCE}: what this bundle scores on "
        "films as its training showed them is not what it does on films that are served"
    )
    title = f"Finding F1 of {measured['bundle']} on {measured['studies']} held-out phantoms"
    return Group(Text(title, style="bold"), table, Text(verdict))

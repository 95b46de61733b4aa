"""Evaluates a bundle on a corpus: drafts its test split and scores them beside the floors.

HeldOutSet (heldout.py)     the studies, their groups, the floors' reports
Drafts (drafting.py)        what the bundle writes, in each prior mode
SystemScores (scoring.py)   their scores
ImageSupport (image_support.py)  what the finding head says of them
Evaluation (here)           all of it; report_page.py writes it for people
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.decoding import Serving
from model.errors import TemplateError
from model.inference.engine import Engine
from model.labels import load_labeller
from model.manifest import Manifest
from model.progress import ProgressCallback, no_progress
from records.errors import CorpusError
from training.corpus.example import TEST, Corpus
from training.evaluation.drafting import Drafts, Failure, ModePrompt, PriorMode, draft, prompt_for
from training.evaluation.heldout import HeldOutSet, read_held_out_set
from training.evaluation.image_support import ImageSupport, score_image_support
from training.evaluation.scoring import (
    ScoringConfig,
    SystemScores,
    UnsupportedComparisons,
    compare_systems,
    count_unsupported_comparisons,
    score_systems,
)
from training.metrics.findings import FindingAgreement, score_findings, swap_images
from training.metrics.normalisation import NORMALISATIONS
from training.metrics.resampling import PairedResult


@dataclass(frozen=True)
class ModeResult:
    """The drafts of one prior mode and their scores.

    Attributes:
        drafts: The drafts.
        scores: Their scores.
        comparisons: How many texts compare with a prior report that was not in the prompt.
        agreement: On the findings of phantoms; None elsewhere.
        swapped: The same, for drafts from another study's images.
        support: What the bundle's finding head says of the drafts; None without such a head.
    """

    drafts: Drafts
    scores: SystemScores
    comparisons: UnsupportedComparisons
    agreement: FindingAgreement | None = None
    swapped: FindingAgreement | None = None
    support: ImageSupport | None = None


@dataclass(frozen=True)
class Evaluation:
    """A bundle's scores on a corpus.

    Attributes:
        manifest: The bundle's manifest.
        held_out: The studies.
        scoring: How they were scored.
        device, dtype: What the bundle ran on.
        modes: Prior mode -> its result.
        left_out: Prior modes that the bundle cannot be prompted in -> the reason.
        floors: Floor -> its scores.
        descriptions, notes: As in `AllScores`.
        seconds: The time for all of it.
    """

    manifest: Manifest
    held_out: HeldOutSet
    scoring: ScoringConfig
    device: str
    dtype: str
    modes: dict[PriorMode, ModeResult]
    left_out: dict[PriorMode, str]
    floors: dict[str, SystemScores]
    descriptions: dict[str, dict[str, str]]
    notes: dict[str, dict[str, str]]
    seconds: float

    @property
    def mode(self) -> PriorMode:
        """The mode of the headline: the one that is served, or the first that could be drafted."""
        served = next((mode for mode in self.modes if mode == self.manifest.template), None)
        return served or next(iter(self.modes))

    @property
    def main(self) -> ModeResult:
        """The result of the headline's mode."""
        return self.modes[self.mode]

    @property
    def name(self) -> str:
        """The bundle's name and version."""
        return f"{self.manifest.name} {self.manifest.version}"

    def failures(self) -> list[tuple[PriorMode, Failure]]:
        """Return the studies without a draft, by mode."""
        return [
            (mode, failure)
            for mode, result in self.modes.items()
            for failure in result.drafts.failures
        ]


def evaluate(
    bundle: str | Path,
    corpus: Corpus,
    *,
    modes: Sequence[PriorMode] = tuple(PriorMode),
    scoring: ScoringConfig | None = None,
    limit: int | None = None,
    device: str | None = None,
    progress: ProgressCallback = no_progress,
) -> Evaluation:
    """Draft a corpus's test split with a bundle, in each prior mode, and score the drafts.

    Args:
        bundle: A folder or a shipped name.
        corpus: The corpus.
        modes: Those that the bundle cannot be prompted in are left out, with the reason.
        scoring: How to score; None takes the default labeller and normalisations.
        limit: The number of studies; an endless corpus has a limit of its own.
        device: The device; None chooses one.
        progress: Is called for each step.

    Raises:
        CorpusError: there is nothing to score, or the limit is below 1.
        BundleError: there is no such bundle, or it can be prompted in none of the modes.
        DeviceError: the device failed.
    """
    scoring = scoring or ScoringConfig(load_labeller(None))
    held_out = prepare_held_out_set(corpus, scoring, limit, progress)
    return evaluate_bundle(bundle, held_out, scoring, modes, device, progress)


def prepare_held_out_set(
    corpus: Corpus,
    scoring: ScoringConfig,
    limit: int | None,
    progress: ProgressCallback,
    part: str = TEST,
) -> HeldOutSet:
    """Read what is the same for every bundle: the held-out studies and the floors' reports.

    Args:
        corpus: The corpus.
        scoring: How drafts are scored.
        limit: The number of studies.
        progress: Is called for each step.
        part: The split that is scored.

    Raises:
        CorpusError: as `evaluate`, or there is no such normalisation.
    """
    for name in scoring.normalisations:
        if name not in NORMALISATIONS:
            known = ", ".join(NORMALISATIONS)
            raise CorpusError(f"there is no normalisation {name!r}; ask for one of {known}")
    return read_held_out_set(
        corpus,
        part=part,
        limit=limit,
        seed=scoring.seed,
        normal=scoring.labeller.are_normal,
        normal_by=scoring.labeller.name,
        progress=progress,
    )


def evaluate_bundle(
    bundle: str | Path,
    held_out: HeldOutSet,
    scoring: ScoringConfig,
    modes: Sequence[PriorMode],
    device: str | None,
    progress: ProgressCallback,
    serving: Serving | None = None,
) -> Evaluation:
    """Draft held-out studies with a bundle and score them.

    Arguments as of `evaluate`; `serving` says how the bundle drafts, such as with how many beams.

    Raises:
        BundleError, DeviceError: as `evaluate`.
    """
    started = time.monotonic()
    engine, manifest = Engine.load(bundle, device, serving, progress)
    prompts, left_out = _mode_prompts(engine, manifest, held_out, modes)
    drafts = {
        mode: draft(engine, manifest, held_out.examples, prompt, progress)
        for mode, prompt in prompts.items()
    }
    swapped_drafts: dict[PriorMode, Drafts] = {}
    if held_out.truth is not None:
        swapped = swap_images(held_out.examples)
        swapped_drafts = {
            mode: draft(engine, manifest, swapped, prompt, progress, ", films swapped")
            for mode, prompt in prompts.items()
        }
    # No floor has the name of a mode.
    texts = {str(mode): written.texts for mode, written in drafts.items()} | held_out.floors
    grouped = [str(mode) for mode in drafts]
    all_scores = score_systems(held_out, texts, scoring, grouped=grouped, progress=progress)
    truth = held_out.truth
    return Evaluation(
        manifest=manifest,
        held_out=held_out,
        scoring=scoring,
        device=engine.device_name,
        dtype=engine.dtype_name,
        modes={
            mode: ModeResult(
                drafts=written,
                scores=all_scores.by_system[str(mode)],
                comparisons=count_unsupported_comparisons(held_out, written),
                agreement=None if truth is None else score_findings(truth, written.texts),
                swapped=None
                if truth is None
                else score_findings(truth, swapped_drafts[mode].texts),
                support=score_image_support(manifest, held_out, written, scoring),
            )
            for mode, written in drafts.items()
        },
        left_out=left_out,
        floors={name: all_scores.by_system[name] for name in held_out.floors},
        descriptions=all_scores.descriptions,
        notes=all_scores.notes,
        seconds=time.monotonic() - started,
    )


def _mode_prompts(
    engine: Engine, manifest: Manifest, held_out: HeldOutSet, modes: Sequence[PriorMode]
) -> tuple[dict[PriorMode, ModePrompt], dict[PriorMode, str]]:
    """Return the prompt of each mode, and the reasons of the modes that have none.

    Raises:
        TemplateError: no mode has one.
    """
    prompts: dict[PriorMode, ModePrompt] = {}
    left_out: dict[PriorMode, str] = {}
    for mode in dict.fromkeys(modes):
        try:
            prompts[mode] = prompt_for(
                mode, manifest, held_out.examples, engine.fits, engine.score_findings
            )
        except TemplateError as error:
            left_out[mode] = str(error)
    if not prompts:
        reasons = "; ".join(f"{mode}: {reason}" for mode, reason in left_out.items())
        raise TemplateError(
            f"the bundle {manifest.name} {manifest.version} can be prompted in none of these prior "
            f"modes ({reasons or 'none was named'}); name others"
        )
    return prompts, left_out


# ---- Two bundles ----


@dataclass(frozen=True)
class Comparison:
    """Two bundles on the same studies: every score, in each mode that both were drafted in."""

    first: Evaluation
    second: Evaluation
    modes: dict[PriorMode, dict[str, PairedResult]]


def compare_bundles(
    first: Evaluation, second: Evaluation, progress: ProgressCallback = no_progress
) -> Comparison:
    """Test two bundles on the same held-out studies, pair by pair.

    Raises:
        CorpusError: they were not scored on the same studies, or in no mode in common.
    """
    if [e.key for e in first.held_out.examples] != [e.key for e in second.held_out.examples]:
        raise CorpusError(
            "the two bundles were not scored on the same studies; evaluate both again"
        )
    common = [mode for mode in first.modes if mode in second.modes]
    if not common:
        raise CorpusError(
            f"{first.name} and {second.name} were drafted in no prior mode in common "
            f"({', '.join(first.modes)} and {', '.join(second.modes)}), so nothing compares them"
        )
    return Comparison(
        first,
        second,
        {
            mode: compare_systems(
                first.held_out,
                first.modes[mode].drafts.texts,
                second.modes[mode].drafts.texts,
                first.scoring,
                progress,
            )
            for mode in common
        },
    )

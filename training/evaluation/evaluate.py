"""How good a bundle is on a corpus: drafts of its test split, scored beside the floors.

    HeldOut (heldout.py)      the studies, their groups, the floors' reports
    Drafts (drafting.py)      what the bundle writes, in each prior mode
    Scored (scoring.py)       their scores
    Evaluation (here)         all of it; page.py writes it for people

Knows no page and no terminal.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.errors import TemplateError
from model.inference.engine import Engine
from model.labels import load_labeller
from model.manifest import Manifest
from records.errors import CorpusError
from training.corpus.example import Corpus
from training.evaluation.drafting import Done, Drafts, Failure, Mode, ModePrompt, draft, prompt_for
from training.evaluation.heldout import HeldOutSet, read_held_out_set
from training.evaluation.scoring import (
    ScoringConfig,
    SystemScores,
    UnsupportedComparisons,
    compare,
    count_unsupported_comparisons,
    score,
)
from training.metrics.findings import Agreement, agree, swap_images
from training.metrics.normalisation import NORMALISATIONS
from training.metrics.resampling import Paired


def _hush(_what: str, _done: int, _of: int) -> None:
    """Nobody wants to hear."""


@dataclass(frozen=True)
class ModeResult:
    """What came of one prior mode.

    agreement, swapped: findings of phantoms, named from their own films and from another study's.
    """

    drafts: Drafts
    scored: SystemScores
    count_unsupported_comparisons: UnsupportedComparisons
    agreement: Agreement | None = None
    swapped: Agreement | None = None


@dataclass(frozen=True)
class Evaluation:
    """A bundle's scores on a corpus.

    left_out: modes that it cannot be asked in, and why. named, notes: as `AllScored`.
    """

    manifest: Manifest
    held: HeldOutSet
    how: ScoringConfig
    device: str
    dtype: str
    modes: dict[Mode, ModeResult]
    left_out: dict[Mode, str]
    floors: dict[str, SystemScores]
    named: dict[str, dict[str, str]]
    notes: dict[str, dict[str, str]]
    seconds: float

    @property
    def mode(self) -> Mode:
        """The mode of the headline: the one that is served, or the first that could be drafted."""
        return Mode.CONTEXT if Mode.CONTEXT in self.modes else next(iter(self.modes))

    @property
    def main(self) -> ModeResult:
        """The scores of the headline's mode."""
        return self.modes[self.mode]

    @property
    def name(self) -> str:
        """The bundle's name and version."""
        return f"{self.manifest.name} {self.manifest.version}"

    def failures(self) -> list[tuple[Mode, Failure]]:
        """Studies without a draft, by mode."""
        return [(mode, one) for mode, came in self.modes.items() for one in came.drafts.failures]


def evaluate(
    bundle: str | Path,
    corpus: Corpus,
    *,
    modes: Sequence[Mode] = tuple(Mode),
    how: ScoringConfig | None = None,
    limit: int | None = None,
    device: str | None = None,
    told: Done = _hush,
) -> Evaluation:
    """Draft the corpus's test split with a bundle, in each mode, and score it.

    modes: those that the bundle cannot be asked in are left out, with their reason. limit: the
    first so many studies; a corpus without end has a limit of its own. told: hears of each step.

    Raises:
        CorpusError: there is nothing to score, or the limit is below 1.
        BundleError: there is no such bundle, or it can be asked in none of the modes.
        DeviceError: the device failed.
    """
    how = how or ScoringConfig(load_labeller(None))
    return examine(bundle, prepare(corpus, how, limit, told), how, modes, device, told)


def prepare(corpus: Corpus, how: ScoringConfig, limit: int | None, told: Done) -> HeldOutSet:
    """What is the same for every bundle: the held-out studies and the floors' reports.

    Raises:
        CorpusError: as `evaluate`, or there is no such normalisation.
    """
    for name in how.normalisations:
        if name not in NORMALISATIONS:
            known = ", ".join(NORMALISATIONS)
            raise CorpusError(f"there is no normalisation {name!r}; ask for one of {known}")
    return read_held_out_set(
        corpus,
        limit=limit,
        seed=how.seed,
        normal=how.labeller.are_normal,
        normal_by=how.labeller.name,
        told=told,
    )


def examine(
    bundle: str | Path,
    held: HeldOutSet,
    how: ScoringConfig,
    modes: Sequence[Mode],
    device: str | None,
    told: Done,
) -> Evaluation:
    """Draft held-out studies with a bundle and score them; as `evaluate`.

    Raises:
        BundleError, DeviceError: as `evaluate`.
    """
    started = time.monotonic()
    engine, manifest = Engine.load(
        bundle,
        device,
        progress=lambda what, done, total: told(what, round(100 * done / (total or 1)), 100),
    )
    asked, left_out = _ask(engine, manifest, held, modes)
    drafts = {
        mode: draft(engine, manifest, held.examples, one, told) for mode, one in asked.items()
    }
    blind: dict[Mode, Drafts] = {}
    if held.truth is not None:
        swapped = swap_images(held.examples)
        blind = {
            mode: draft(engine, manifest, swapped, one, told, ", films swapped")
            for mode, one in asked.items()
        }
    # A floor's name is no mode's.
    texts = {str(mode): one.texts for mode, one in drafts.items()} | held.floors
    everything = score(held, texts, how, grouped=[str(mode) for mode in drafts], told=told)
    truth = held.truth
    return Evaluation(
        manifest=manifest,
        held=held,
        how=how,
        device=engine.device_name,
        dtype=engine.dtype_name,
        modes={
            mode: ModeResult(
                drafts=one,
                scored=everything.by_name[str(mode)],
                count_unsupported_comparisons=count_unsupported_comparisons(held, one),
                agreement=None if truth is None else agree(truth, one.texts),
                swapped=None if truth is None else agree(truth, blind[mode].texts),
            )
            for mode, one in drafts.items()
        },
        left_out=left_out,
        floors={name: everything.by_name[name] for name in held.floors},
        named=everything.named,
        notes=everything.notes,
        seconds=time.monotonic() - started,
    )


def _ask(
    engine: Engine, manifest: Manifest, held: HeldOutSet, modes: Sequence[Mode]
) -> tuple[dict[Mode, ModePrompt], dict[Mode, str]]:
    """How the bundle is asked in each mode; and why in some it cannot be.

    Raises:
        TemplateError: in none.
    """
    asked: dict[Mode, ModePrompt] = {}
    left_out: dict[Mode, str] = {}
    for mode in dict.fromkeys(modes):
        try:
            asked[mode] = prompt_for(mode, manifest, held.examples, engine.fits)
        except TemplateError as error:
            left_out[mode] = str(error)
    if not asked:
        reasons = "; ".join(f"{mode}: {why}" for mode, why in left_out.items())
        raise TemplateError(
            f"the bundle {manifest.name} {manifest.version} can be asked in none of these prior "
            f"modes ({reasons or 'none was named'}); name others"
        )
    return asked, left_out


# ---- Two bundles ----


@dataclass(frozen=True)
class Comparison:
    """Two bundles on the same studies; in each mode that both were asked in, every score."""

    first: Evaluation
    second: Evaluation
    modes: dict[Mode, dict[str, Paired]]


def compare_bundles(first: Evaluation, second: Evaluation, told: Done = _hush) -> Comparison:
    """Test two bundles on the same held-out studies, pair by pair.

    Raises:
        CorpusError: they were not scored on the same studies, or in no mode in common.
    """
    if [one.key for one in first.held.examples] != [one.key for one in second.held.examples]:
        raise CorpusError(
            "the two bundles were not scored on the same studies; evaluate both again"
        )
    both = [mode for mode in first.modes if mode in second.modes]
    if not both:
        raise CorpusError(
            f"{first.name} and {second.name} were drafted in no prior mode in common "
            f"({', '.join(first.modes)} and {', '.join(second.modes)}), so nothing compares them"
        )
    return Comparison(
        first,
        second,
        {
            mode: compare(
                first.held,
                first.modes[mode].drafts.texts,
                second.modes[mode].drafts.texts,
                first.how,
                told,
            )
            for mode in both
        },
    )

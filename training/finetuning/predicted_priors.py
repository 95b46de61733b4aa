"""Fills the template `predicted` in a training: what finding heads see in the training's images.

A head is right about the studies that it learnt from far more often than about others. A network
that was prompted with such findings would trust its prompt more than it may when it serves. So the
heads here are cross-fitted: patients are divided into folds, and each study is scored by a head
that learnt from the other folds alone. The thresholds of a fold, too, are made from the scores of
the other folds (cross-conformal prediction: Vovk, "Cross-conformal predictors", Annals of
Mathematics and Artificial Intelligence 74, 2015).

What the heads read are the query outputs of a bundle that stands. Cross-fitting cannot help where
that bundle's network has learnt from the same studies, but it shows: the thresholds then do not
hold for studies held out from the network. `check_coverage` refuses such a bundle.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from model.bundling.store import load_bundle
from model.labels.base import Labeller
from model.manifest import Manifest
from model.network.clinicalblip import ClinicalBLIP
from model.network.finding_head import FindingHead
from model.progress import ProgressCallback, no_progress
from model.prompting.prompt import Symptoms
from model.support.calibration import Calibration, calibrate
from model.support.predicted import HEAD_TEMPLATE, symptoms_of
from records.errors import CorpusError, NotAllowed
from training.corpus.example import Example
from training.corpus.prepared_dataset import PreparedDataset
from training.finetuning.batches import SampleTransform
from training.finetuning.checkpoints import reporting_full_disk
from training.finetuning.finding_head import FeatureReader, HeadConfig, fit_head, learnable, spread

FOLDS = 5
"""Parts that the patients are divided into."""
LEAST_GAP, LEAST_DEVIATION = 0.05, 4.0
"""A coverage so far below what the thresholds promise, and so many standard errors, is refused."""

Presence = Mapping[str, bool | None]
"""Whether a study has each observation; None where that is uncertain."""


@dataclass(frozen=True)
class Coverage:
    """How often a threshold is right about studies of one class, over all observations.

    Attributes:
        covered: Scores on the right side of their threshold.
        known: Scores that were compared.
        made_from: Scores that the thresholds were made from.
    """

    covered: int
    known: int
    made_from: int

    @property
    def share(self) -> float:
        """Covered of known; NaN where nothing was compared."""
        return self.covered / self.known if self.known else math.nan


@dataclass(frozen=True)
class PredictedPriors:
    """The symptoms of each study of a training, and how good they are.

    Attributes:
        training: By study, from a head that learnt from no study of its patient.
        validation: By study, from a head that learnt from all training studies.
        record: What the manifest says of them.
    """

    training: tuple[Symptoms, ...]
    validation: tuple[Symptoms, ...]
    record: dict[str, Any]


@dataclass(frozen=True)
class PriorsSource:
    """What the priors of a training are predicted from.

    Attributes:
        bundle: The manifest of the bundle whose network is read.
        training, validation, labeller, transform, config: As in `predict_priors`.
    """

    bundle: Manifest
    training: PreparedDataset
    validation: Sequence[Example]
    labeller: Labeller
    transform: SampleTransform
    config: HeadConfig

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the priors depend on, as JSON."""
        datasets = [d for d in (self.training, self.validation) if isinstance(d, PreparedDataset)]
        identity = {
            "bundle": self.bundle.digest,
            "datasets": [dataset.about["digest"] for dataset in datasets],
            "labeller": self.labeller.name,
            "showing": asdict(self.transform),
            "head": asdict(self.config),
            "folds": FOLDS,
        }
        as_json: dict[str, Any] = json.loads(json.dumps(identity))
        return as_json

    def predict(self, path: Path, bundle: str, device: torch.device) -> PredictedPriors:
        """Read the priors that are kept at a path, or predict them and keep them there.

        Args:
            path: A file; one with priors of another identity is replaced.
            bundle: The bundle's folder or shipped name.
            device: Where its network runs.

        Raises:
            BundleError: The bundle cannot be loaded.
            CorpusError, NotAllowed: As `predict_priors`.
            DiskFull: There is no room at the path.
        """
        if (kept := self._kept(path)) is not None:
            return kept
        model, _ = load_bundle(bundle, device)
        priors = predict_priors(
            model, self.training, self.validation, self.labeller, self.transform, self.config
        )
        fresh = path.with_suffix(".new")
        with reporting_full_disk(fresh, "the predicted priors"):
            content = {"of": self.identity, **asdict(priors)}
            fresh.write_text(json.dumps(content), encoding="utf-8")
            fresh.rename(path)
        return priors

    def read(self, path: Path) -> PredictedPriors:
        """Read the priors that are kept at a path.

        Raises:
            CorpusError: There are none.
        """
        kept = self._kept(path)
        if kept is None:
            raise CorpusError(f"no priors were predicted at {path}")
        return kept

    def _kept(self, path: Path) -> PredictedPriors | None:
        if not path.is_file():
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["of"] != self.identity:
            return None
        training, validation = (
            tuple(Symptoms(tuple(row["present"]), tuple(row["absent"])) for row in content[part])
            for part in ("training", "validation")
        )
        return PredictedPriors(training, validation, content["record"])


def predict_priors(
    model: ClinicalBLIP,
    training: Sequence[Example],
    validation: Sequence[Example],
    labeller: Labeller,
    transform: SampleTransform,
    config: HeadConfig,
    progress: ProgressCallback = no_progress,
) -> PredictedPriors:
    """Fit heads crosswise to a network that stands, and read with them what the images show.

    Args:
        model: The network, on its device. It should not have learnt from these studies.
        training: The studies of the training.
        validation: Studies held out from the training, and from the network.
        labeller: Labels the reports.
        transform: How the training varies its samples; heads learn from such samples, and score
            images as they are served.
        config: How a head is fitted.
        progress: Is called with studies read and heads fitted.

    Raises:
        CorpusError: The studies are too few to fit heads or to set thresholds.
        NotAllowed: As `check_coverage`.
    """
    fold_of = folds_by_patient([example.patient for example in training])
    if len(set(fold_of)) < 2:
        raise CorpusError("all training studies are of one patient: cross-fitting needs several")
    shown = replace(transform, templates=(HEAD_TEMPLATE,))
    read = FeatureReader(model, labeller, progress)
    rows = spread(range(len(training)), config.examples)
    learnt = read(
        [training[row] for row in rows], shown, [config.seed, 3], "reading studies for the heads"
    )
    names = learnable(learnt)
    folds = sorted(set(fold_of))
    heads = {}
    for fold in folds:
        others = [n for n, row in enumerate(rows) if fold_of[row] != fold]
        heads[fold] = fit_head(names, learnt.select(others), config)
        progress("fitting the heads of the folds", len(heads), len(folds))
    whole = fit_head(names, learnt, config)
    del learnt  # its query outputs are most of the memory

    scorer = _Scorer(read, shown.as_served(), config.seed)
    scores = scorer(training, [heads[fold] for fold in fold_of], "predicting priors")
    held_scores = scorer(validation, [whole] * len(validation), "predicting validation priors")
    presence = read.presence([example.target for example in training])
    held_presence = read.presence([example.target for example in validation])

    def calibrated(kept: Sequence[int]) -> Calibration:
        return calibrate(
            [scores[n] for n in kept],
            [presence[n] for n in kept],
            labeller=labeller.name,
            error_rate=config.error_rate,
        )

    by_fold = {
        fold: calibrated([n for n, own in enumerate(fold_of) if own != fold]) for fold in folds
    }
    joint = calibrated(range(len(training)))
    if not calibrate(held_scores, held_presence, labeller=labeller.name).thresholds:
        raise CorpusError(
            f"no observation occurs often enough in the {len(validation)} validation studies to "
            "set the thresholds with which the bundle will serve: give --validation-share a larger "
            "share"
        )
    symptoms = tuple(
        symptoms_of(row, by_fold[fold]) for row, fold in zip(scores, fold_of, strict=True)
    )
    held_coverage = measure_coverage(held_scores, held_presence, joint)
    check_coverage(held_coverage, config.error_rate)
    record = {
        "folds": len(folds),
        "labeller": labeller.name,
        "settings": asdict(config),
        "observations": sorted(joint.thresholds),
        "coverage promised": 1 - config.error_rate,
        "coverage held out": {
            kind: round(each.share, 4) for kind, each in held_coverage.items() if each.known
        },
        "training": _accuracy(symptoms, presence),
        "held out": _accuracy(
            held_symptoms := tuple(symptoms_of(row, joint) for row in held_scores), held_presence
        ),
    }
    return PredictedPriors(symptoms, held_symptoms, record)


def folds_by_patient(patients: Sequence[str], folds: int = FOLDS) -> list[int]:
    """The fold of each study; all studies of a patient are in one, and folds are of equal size."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(patient, len(numbers)) % folds for patient in patients]


def measure_coverage(
    scores: Sequence[Mapping[str, float]], presence: Sequence[Presence], calibration: Calibration
) -> dict[str, Coverage]:
    """How often thresholds hold, for studies that have an observation and for those without."""
    counts: dict[bool, Counter[bool]] = {True: Counter(), False: Counter()}
    for row, labels in zip(scores, presence, strict=True):
        for name, thresholds in calibration.thresholds.items():
            has = labels.get(name)
            if has is not None and name in row:
                covered = row[name] >= thresholds.present if has else row[name] <= thresholds.absent
                counts[has][covered] += 1
    made = calibration.thresholds.values()
    return {
        "present": Coverage(
            counts[True][True], counts[True].total(), sum(each.positives for each in made)
        ),
        "absent": Coverage(
            counts[False][True], counts[False].total(), sum(each.negatives for each in made)
        ),
    }


def check_coverage(held_out: Mapping[str, Coverage], error_rate: float) -> None:
    """Refuse predictions whose thresholds do not hold for studies held out from the network.

    Args:
        held_out: The coverage there of thresholds that were made from the training studies.
        error_rate: The share of errors that the thresholds allow.

    Raises:
        NotAllowed: The coverage is too low by more than chance: the network that was read knows the
            training studies.
    """
    promised = 1 - error_rate
    for kind, coverage in held_out.items():
        if not coverage.known:
            continue
        # Both the thresholds and the coverage come from samples.
        samples = 1 / coverage.known + 1 / coverage.made_from
        error = math.sqrt(promised * error_rate * samples)
        gap = promised - coverage.share
        if gap > max(LEAST_GAP, LEAST_DEVIATION * error):
            raise NotAllowed(
                "the bundle that predicts the priors knows the training studies: its thresholds "
                f"are right about {promised:.0%} of what is {kind} there and about "
                f"{coverage.share:.0%} in the {coverage.known:,} held-out cases. A network that "
                "learns with such priors trusts them too much. Name with --predicted-by a bundle "
                "that did not learn from these studies, such as the base"
            )


def _accuracy(symptoms: Sequence[Symptoms], presence: Sequence[Presence]) -> dict[str, float]:
    """Listed symptoms a study, and the share of them that is right by the reports.

    Those of which a report is uncertain do not count.
    """
    right, listed = Counter[str](), Counter[str]()
    for each, labels in zip(symptoms, presence, strict=True):
        for kind, names, has in (("present", each.present, True), ("absent", each.absent, False)):
            known = [name for name in names if labels.get(name) is not None]
            listed[kind] += len(known)
            right[kind] += sum(labels[name] is has for name in known)
    figures: dict[str, float] = {"studies": len(symptoms)}
    for kind in ("present", "absent"):
        figures[f"{kind} a study"] = round(listed[kind] / max(1, len(symptoms)), 3)
        if listed[kind]:
            figures[f"{kind} right"] = round(right[kind] / listed[kind], 4)
    return figures


@dataclass(frozen=True)
class _Scorer:
    """Scores studies, each with a head of its own, as a bundle that serves scores them."""

    read: FeatureReader
    transform: SampleTransform
    seed: int

    @torch.inference_mode()
    def __call__(
        self, examples: Sequence[Example], heads: Sequence[FindingHead], step: str
    ) -> list[dict[str, float]]:
        queries = self.read.queries(examples, self.transform, [self.seed, 4], step)
        return [
            dict(zip(head.observations, head.score(each), strict=True))
            for head, each in zip(heads, queries, strict=True)
        ]

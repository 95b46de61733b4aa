"""Fits a finding head to a finished network, and calibrates it on studies held out from both.

The network stays as it is: its query outputs are read once, and a linear layer learns from them
which observations a labeller finds in the report. So drafts are the same with and without a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch.nn import functional

from model.bundling.store import load_bundle
from model.labels.base import OBSERVATIONS, Labeller
from model.manifest import FINDING_HEAD, Manifest, write_manifest
from model.network.clinicalblip import ClinicalBLIP
from model.network.finding_head import FindingHead
from model.progress import ProgressCallback, no_progress
from model.support.calibration import ERROR_RATE, Calibration, calibrate
from model.support.predicted import head_template
from model.support.statements import presence_of
from records.errors import CorpusError
from training.corpus.example import Example
from training.finetuning.batches import SampleTransform, make_sample
from training.metrics.ranking import roc_auc

Entry = TypeVar("Entry")

LEAST_POSITIVES = 20
"""An observation with fewer training studies that have it is not learnt."""


@dataclass(frozen=True)
class HeadConfig:
    """How a finding head is fitted.

    Args:
        examples: Training studies that are read, at most. Their query outputs stand in memory: 150
            KB for each study of three views at the published size.
        calibration_examples: Held-out studies that set the thresholds, at most.
        epochs: Times that each is learnt from.
        batch: Studies in a step.
        rate, decay: AdamW's learning rate and weight decay.
        error_rate: The share of errors that the thresholds allow.
        seed: Of all random draws.
    """

    examples: int = 5_000
    calibration_examples: int = 2_000
    epochs: int = 40
    batch: int = 64
    rate: float = 3e-3
    decay: float = 0.05
    error_rate: float = ERROR_RATE
    seed: int = 0


@dataclass(frozen=True)
class FittedHead:
    """A finding head with its calibration, and what the manifest says of both."""

    head: FindingHead
    calibration: Calibration
    record: dict[str, Any]


@dataclass(frozen=True)
class Features:
    """Query outputs of studies and the labels of their reports.

    Attributes:
        queries: (n, T, H) float16, T the query outputs of the study with most views.
        lengths: (n,) how many of the T a study has.
        presence: (n, C) 1 where a study has an observation, 0 where not, NaN where uncertain.
    """

    queries: torch.Tensor
    lengths: torch.Tensor
    presence: torch.Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    def select(self, rows: Sequence[int]) -> Features:
        """The same of some of the studies."""
        index = torch.tensor(rows, dtype=torch.int64)
        return Features(self.queries[index], self.lengths[index], self.presence[index])


def fit_finding_head(
    model: ClinicalBLIP,
    training: Sequence[Example],
    held_out: Sequence[Example],
    labeller: Labeller,
    transform: SampleTransform,
    config: HeadConfig | None = None,
    progress: ProgressCallback = no_progress,
) -> FittedHead:
    """Fit a head to a network and calibrate it.

    Args:
        model: The finished network, on its device.
        training: Studies to learn from; they may be those that the network learnt from.
        held_out: Studies that neither learnt from. Without any, nothing is calibrated, and no
            statement of a draft is assessed.
        labeller: Labels the reports.
        transform: How samples are varied, with the templates that the head reads images with;
            calibration uses plain ones.
        config: How it is fitted.
        progress: Is called with studies read and epochs done.

    Raises:
        CorpusError: There is no study to learn from.
    """
    config = config or HeadConfig()
    plain = transform.as_served()
    chosen = spread(training, config.examples)
    if not chosen:
        raise CorpusError("there is no study that a finding head could learn from")
    read = FeatureReader(model, labeller, progress)
    learnt = read(chosen, transform, [config.seed, 3], "reading studies for the finding head")
    head = fit_head(learnable(learnt), learnt, config, progress)
    held = spread(held_out, config.calibration_examples)
    calibration = Calibration(labeller=labeller.name, error_rate=config.error_rate)
    scores: dict[str, Any] = {}
    if held:
        features = read(held, plain, [config.seed, 4], "reading held-out studies")
        calibration, scores = _calibrate(head, features, labeller, config)
    record = {
        "observations": list(head.observations),
        "labeller": labeller.name,
        "settings": asdict(config),
        "examples": len(learnt),
        "scores": scores,
        "calibration": calibration.as_json(),
    }
    return FittedHead(head, calibration, record)


def add_finding_head(
    folder: Path,
    training: Sequence[Example],
    held_out: Sequence[Example],
    labeller: Labeller,
    transform: SampleTransform,
    config: HeadConfig | None = None,
    *,
    device: torch.device,
    progress: ProgressCallback = no_progress,
) -> Manifest:
    """Fit a head to the bundle in a folder and put it there; as `fit_finding_head`.

    It reads the images with the bundle's own template, or with `context` where that one holds
    findings (`head_template`).

    Raises:
        BundleError: There is no such bundle.
        CorpusError: As `fit_finding_head`.
    """
    model, manifest = load_bundle(folder, device)
    model.finding_head = None
    transform = replace(transform, templates=(head_template(manifest.template),))
    fitted = fit_finding_head(model, training, held_out, labeller, transform, config, progress)
    fitted.head.save(folder)
    return write_manifest(
        folder, replace(manifest, finding_head=fitted.record, classifier=FINDING_HEAD)
    )


@dataclass(frozen=True)
class FeatureReader:
    """Reads query outputs and labels of studies.

    Attributes:
        model: The network, on its device.
        labeller: Labels the reports.
        progress: Is called for each study.
    """

    model: ClinicalBLIP
    labeller: Labeller
    progress: ProgressCallback = no_progress

    def __call__(
        self, examples: Sequence[Example], transform: SampleTransform, seed: list[int], step: str
    ) -> Features:
        """Read studies as a transform shows them; `seed` is of all its random draws."""
        rows = list(self.queries(examples, transform, seed, step))
        lengths = torch.tensor([len(row) for row in rows])
        presence = [
            [_as_number(has) for has in row.values()]
            for row in self.presence([example.target for example in examples])
        ]
        queries = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return Features(queries, lengths, torch.tensor(presence))

    def queries(
        self, examples: Sequence[Example], transform: SampleTransform, seed: list[int], step: str
    ) -> Iterator[torch.Tensor]:
        """Yield the (T, H) float16 query outputs of each study, on the CPU."""
        model = self.model
        device = next(model.network.parameters()).device
        for number, example in enumerate(examples):
            rng = np.random.default_rng([*seed, number])
            sample = make_sample(
                example, model.preprocessing, transform, model.fits, rng, priors=True
            )
            inputs = model.gather([sample.case], [sample.instruction]).to(device)
            with torch.inference_mode():
                _, queries = model.encode_images(inputs)
            yield queries.flatten(0, 1).to("cpu", torch.float16)
            self.progress(step, number + 1, len(examples))

    def presence(self, reports: Sequence[str]) -> list[dict[str, bool | None]]:
        """Whether each study has each observation, by its report with all its comparisons."""
        return [presence_of(labels) for labels in self.labeller.label(reports)]


def learnable(features: Features) -> tuple[str, ...]:
    """The observations that occur often enough to be learnt.

    Raises:
        CorpusError: There is none.
    """
    positives = features.presence.eq(1.0).sum(dim=0).tolist()
    names = tuple(
        name
        for name, count in zip(OBSERVATIONS, positives, strict=True)
        if count >= LEAST_POSITIVES
    )
    if not names:
        raise CorpusError(
            f"no observation occurs in {LEAST_POSITIVES} of {len(features)} training studies, so a "
            "finding head has nothing to learn: take more studies"
        )
    return names


def fit_head(
    names: tuple[str, ...],
    learnt: Features,
    config: HeadConfig,
    progress: ProgressCallback = no_progress,
) -> FindingHead:
    """Train the linear layer for some observations on what was read."""
    generator = torch.Generator().manual_seed(config.seed)
    head = FindingHead(learnt.queries.shape[2], names)
    with torch.no_grad():
        head.linear.weight.normal_(0.0, 0.02, generator=generator)
        head.linear.bias.zero_()
    optimizer = torch.optim.AdamW(head.parameters(), lr=config.rate, weight_decay=config.decay)
    presence = learnt.presence[:, [OBSERVATIONS.index(name) for name in names]]
    is_known = ~presence.isnan()
    targets = presence.nan_to_num()
    for epoch in range(config.epochs):
        order = torch.randperm(len(learnt), generator=generator)
        for rows in torch.split(order, config.batch):
            losses = functional.binary_cross_entropy_with_logits(
                _logits(head, learnt, rows), targets[rows], reduction="none"
            )
            loss = (losses * is_known[rows]).sum() / is_known[rows].sum().clamp(min=1)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        progress("fitting the finding head", epoch + 1, config.epochs)
    return head.eval().requires_grad_(requires_grad=False)


def _logits(head: FindingHead, features: Features, rows: torch.Tensor) -> torch.Tensor:
    """(n, C) the logits of some studies; their padding counts for nothing."""
    queries, lengths = features.queries[rows], features.lengths[rows]
    logits = head.linear(queries.float())  # (n, T, C)
    is_padding = torch.arange(queries.shape[1]) >= lengths.unsqueeze(1)
    highest: torch.Tensor = logits.masked_fill(is_padding.unsqueeze(2), -torch.inf).amax(dim=1)
    return highest


@torch.inference_mode()
def _calibrate(
    head: FindingHead, features: Features, labeller: Labeller, config: HeadConfig
) -> tuple[Calibration, dict[str, Any]]:
    scores = _logits(head, features, torch.arange(len(features))).sigmoid().tolist()
    columns = [OBSERVATIONS.index(name) for name in head.observations]
    presence = features.presence[:, columns].tolist()
    by_name = [dict(zip(head.observations, row, strict=True)) for row in scores]
    known = [
        {name: _as_presence(v) for name, v in zip(head.observations, row, strict=True)}
        for row in presence
    ]
    calibration = calibrate(by_name, known, labeller=labeller.name, error_rate=config.error_rate)
    aucs = {}
    for name in head.observations:
        pairs = [
            (s[name], bool(p[name]))
            for s, p in zip(by_name, known, strict=True)
            if p[name] is not None
        ]
        auc = roc_auc([score for score, _ in pairs], [has for _, has in pairs])
        if auc is not None:
            aucs[name] = round(auc, 4)
    return calibration, {"held-out studies": len(features), "auc": aucs}


def _as_number(has: bool | None) -> float:
    return float("nan") if has is None else float(has)


def _as_presence(number: float) -> bool | None:
    return None if number != number else number > 0.5


def spread(entries: Sequence[Entry], limit: int) -> list[Entry]:
    """At most `limit` entries, spread evenly over all."""
    if len(entries) <= limit:
        return list(entries)
    return [entries[n * len(entries) // limit] for n in range(limit)]

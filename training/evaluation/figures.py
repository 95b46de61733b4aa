"""Writes the figures of an evaluation as one JSON object, without texts and images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from model.manifest import Manifest
from training.evaluation.evaluate import Comparison, Evaluation, ModeResult
from training.evaluation.floors import FLOOR_DESCRIPTIONS
from training.evaluation.scoring import Scores, SystemScores
from training.metrics.findings import F1, FindingAgreement

SWAPPED = f"{F1}_films_swapped"


def as_json(evaluation: Evaluation, comparison: Comparison | None = None) -> dict[str, Any]:
    """Return all figures of an evaluation, of two bundles where they were compared."""
    held_out, manifest, main = evaluation.held_out, evaluation.manifest, evaluation.main
    figures: dict[str, Any] = {
        "bundle": _bundle(manifest),
        "corpus": held_out.corpus,
        "seed": held_out.seed,
        "limit": held_out.limit,
        "studies": len(held_out.examples),
        "training_studies_read": held_out.training,
        "references": held_out.section,
        "device": evaluation.device,
        "dtype": evaluation.dtype,
        "seconds": round(evaluation.seconds, 3),
        "mode": evaluation.mode,
        "normalisations": evaluation.scoring.normalisations,
        "labeller": evaluation.scoring.labeller.name,
        "resamples": evaluation.scoring.resamples,
        "normal_by": held_out.normal_by,
        "duplicates": held_out.duplicates,
        "modes": {mode: _mode(result) for mode, result in evaluation.modes.items()},
        "modes_left_out": evaluation.left_out,
        "floors": {
            name: {"about": FLOOR_DESCRIPTIONS[name]} | _scores(scores)
            for name, scores in evaluation.floors.items()
        },
        "failures": [
            {"mode": mode, "key": failure.key, "reason": failure.reason}
            for mode, failure in evaluation.failures()
        ],
        "names": evaluation.descriptions,
        "notes": evaluation.notes,
    }
    if main.agreement is not None and main.swapped is not None:
        figures |= {F1: main.agreement.f1, SWAPPED: main.swapped.f1}
    if comparison is not None:
        figures["against"] = {
            "bundle": _bundle(comparison.second.manifest),
            "modes": {
                mode: {name: asdict(score) for name, score in scores.items()}
                for mode, scores in comparison.modes.items()
            },
        }
    finite: dict[str, Any] = _finite(figures)
    return finite


def _bundle(manifest: Manifest) -> dict[str, str]:
    return {"name": manifest.name, "version": manifest.version, "digest": manifest.digest}


def _mode(result: ModeResult) -> dict[str, Any]:
    drafts = result.drafts
    figures: dict[str, Any] = {
        "template": drafts.template,
        "seconds": round(drafts.seconds, 3),
        "failures": len(drafts.failures),
        **_scores(result.scores),
        "groups": [
            {
                "by": group.kind,
                "name": group.name,
                "studies": len(group.indices),
                "scores": _intervals(scores),
            }
            for group, scores in result.scores.groups
        ],
        "comparisons_without_prior": asdict(result.comparisons),
        "image_support": None if result.support is None else asdict(result.support),
    }
    if result.agreement is not None and result.swapped is not None:
        figures["agreement"] = _agreement(result.agreement)
        figures[F1], figures[SWAPPED] = result.agreement.f1, result.swapped.f1
    return figures


def _scores(scores: SystemScores) -> dict[str, Any]:
    return {
        "wording": {name: _intervals(wording) for name, wording in scores.wording.items()},
        "observations": _intervals(scores.observations),
        "findings": _intervals(scores.findings),
    }


def _agreement(agreement: FindingAgreement) -> dict[str, Any]:
    """Return the agreement under its published keys: the support is called "there"."""
    figures = asdict(agreement)
    return {**figures, "there": figures.pop("support")}


def _intervals(scores: Scores) -> dict[str, dict[str, float | None]]:
    return {name: asdict(score) for name, score in scores.items()}


def _finite(value: Any) -> Any:
    """Return the same with None in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

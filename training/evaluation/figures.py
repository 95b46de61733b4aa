"""An evaluation's figures as one JSON object. Knows no texts and no films: those are the page's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from model.manifest import Manifest
from training.evaluation.evaluate import Comparison, Evaluation, ModeResult
from training.evaluation.floors import ABOUT
from training.evaluation.scoring import Scores, SystemScores
from training.metrics.findings import F1

SWAPPED = f"{F1}_films_swapped"


def as_json(evaluation: Evaluation, comparison: Comparison | None = None) -> dict[str, Any]:
    """All figures of an evaluation, of two bundles where they were compared."""
    held, manifest, main = evaluation.held, evaluation.manifest, evaluation.main
    said: dict[str, Any] = {
        "bundle": _bundle(manifest),
        "corpus": held.corpus,
        "seed": held.seed,
        "limit": held.limit,
        "studies": len(held.examples),
        "training_studies_read": held.training,
        "references": held.section,
        "device": evaluation.device,
        "dtype": evaluation.dtype,
        "seconds": round(evaluation.seconds, 3),
        "mode": evaluation.mode,
        "normalisations": evaluation.how.normalisations,
        "labeller": evaluation.how.labeller.name,
        "resamples": evaluation.how.resamples,
        "normal_by": held.normal_by,
        "duplicates": held.duplicates,
        "modes": {mode: _mode(came) for mode, came in evaluation.modes.items()},
        "modes_left_out": evaluation.left_out,
        "floors": {
            name: {"about": ABOUT[name]} | _scored(scored)
            for name, scored in evaluation.floors.items()
        },
        "failures": [
            {"mode": mode, "key": one.key, "reason": one.reason}
            for mode, one in evaluation.failures()
        ],
        "names": evaluation.named,
        "notes": evaluation.notes,
    }
    if main.agreement is not None and main.swapped is not None:
        said |= {F1: main.agreement.f1, SWAPPED: main.swapped.f1}
    if comparison is not None:
        said["against"] = {
            "bundle": _bundle(comparison.second.manifest),
            "modes": {
                mode: {name: asdict(one) for name, one in scores.items()}
                for mode, scores in comparison.modes.items()
            },
        }
    numbers: dict[str, Any] = _finite(said)
    return numbers


def _bundle(manifest: Manifest) -> dict[str, str]:
    return {"name": manifest.name, "version": manifest.version, "digest": manifest.digest}


def _mode(came: ModeResult) -> dict[str, Any]:
    drafts = came.drafts
    said: dict[str, Any] = {
        "template": drafts.template,
        "seconds": round(drafts.seconds, 3),
        "failures": len(drafts.failures),
        **_scored(came.scored),
        "groups": [
            {
                "by": group.kind,
                "name": group.name,
                "studies": len(group.places),
                "scores": _intervals(scores),
            }
            for group, scores in came.scored.groups
        ],
        "comparisons_without_prior": asdict(came.count_unsupported_comparisons),
    }
    if came.agreement is not None and came.swapped is not None:
        said["agreement"] = asdict(came.agreement)
        said[F1], said[SWAPPED] = came.agreement.f1, came.swapped.f1
    return said


def _scored(scored: SystemScores) -> dict[str, Any]:
    return {
        "wording": {name: _intervals(scores) for name, scores in scored.wording.items()},
        "observations": _intervals(scored.observations),
        "findings": _intervals(scored.findings),
    }


def _intervals(scores: Scores) -> dict[str, dict[str, float | None]]:
    return {name: asdict(one) for name, one in scores.items()}


def _finite(said: Any) -> Any:
    """The same with None for what is no number: JSON has no NaN."""
    if isinstance(said, Mapping):
        return {str(key): _finite(value) for key, value in said.items()}
    if isinstance(said, list | tuple):
        return [_finite(value) for value in said]
    return None if isinstance(said, float) and not math.isfinite(said) else said

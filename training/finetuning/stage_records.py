"""What a finished stage did, in words for the log and as a record for manifest and card."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.manifest import Manifest
from training.finetuning.checkpoints import IDENTITY_FILE
from training.finetuning.config import TrainingConfig
from training.finetuning.loop import Outcome
from training.finetuning.metric_logging import read_log


def summarize(name: str, config: TrainingConfig, outcome: Outcome, processes: int) -> str:
    """A finished stage in one line.

    Args:
        name: The stage's name.
        config: Its settings.
        outcome: What came out.
        processes: The number of processes that trained it.
    """
    done = outcome.counts.step
    summary = f"{name}: loss {outcome.loss:.4f}"
    if outcome.validation is not None:
        summary += f", {outcome.validation:.4f} on the validation examples"
    if outcome.best_step is not None:
        summary += f"; the weights of step {outcome.best_step:,} of {done:,} are taken"
        if done < config.steps:
            summary += (
                f"; stopped early, before {config.steps:,} steps, because "
                f"{config.early_stopping_patience} validations gave no lower loss"
            )
    if outcome.counts.skipped:
        summary += f"; {outcome.counts.skipped} steps were not finite and were skipped"
    if outcome.counts.cut:
        shown = done * config.batch * config.accumulation * processes
        summary += (
            f"; {outcome.counts.cut:,} of {shown:,} targets were longer than "
            f"{config.most_target} tokens and were cut at their end (--max-target-tokens)"
        )
    return summary


def finished_identity(stage: Path) -> dict[str, Any]:
    """The identity of a finished stage, from its folder."""
    identity: dict[str, Any] = json.loads((stage / IDENTITY_FILE).read_text(encoding="utf-8"))
    return identity


def full_name(manifest: Manifest) -> str:
    """Name, version and digest of a bundle."""
    return f"{manifest.name} {manifest.version} {manifest.digest}"


def _share_of_cut_targets(row: dict[str, Any], settings: dict[str, Any]) -> str:
    """Such as "3 of 1,200 longer than 150 tokens"; "" of a stage that an earlier version logged."""
    if "cut" not in row:
        return ""
    shown = row["step"] * settings["batch"] * settings["accumulation"] * settings["processes"]
    return f"{row['cut']:,} of {shown:,} longer than {settings['most_target']} tokens"


def stage_record(stage: Path) -> dict[str, Any]:
    """The result of a finished stage, and the settings that are its own."""
    rows = read_log(stage)
    if not rows:
        return {}
    identity = finished_identity(stage)
    losses = [row["loss"] for row in rows[-50:] if math.isfinite(row["loss"])]
    return {
        "steps": rows[-1]["step"],
        **_chosen_step(rows, identity["settings"]),
        "loss": round(sum(losses) / len(losses), 4) if losses else None,
        "validation": _validation_taken(rows),
        "skipped": rows[-1]["skipped"],
        "targets_cut": _share_of_cut_targets(rows[-1], identity["settings"]),
        "processes": identity["settings"]["processes"],
        "rates": {group["name"]: group["rate"] for group in identity["stage"]["groups"]},
        "lora": identity["stage"]["lora"],
    }


def _chosen_step(rows: Sequence[dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
    """Of a stage whose best step was taken: that step, and how many were planned."""
    if "best_step" not in rows[-1]:
        return {}
    return {"step_taken": rows[-1]["best_step"], "steps_planned": settings["steps"]}


def _validation_taken(rows: Sequence[dict[str, Any]]) -> float | None:
    """The validation loss of the step whose weights were taken."""
    step = rows[-1].get("best_step", rows[-1]["step"])
    losses: dict[int, float | None] = {row["step"]: row["validation"] for row in rows}
    return losses.get(step, rows[-1]["validation"])

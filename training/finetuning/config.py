"""The settings of a run, and its identity: the settings that must be equal on resume."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from training.finetuning.batches import SampleTransform
from training.finetuning.stages import Stage

Precision = Literal["float16", "bfloat16", "float32"]


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of a run. Its fields are stored with a run: their names stay.

    Args:
        steps: Steps of the optimizer.
        batch: Examples in a micro-batch of one process (the paper: 3).
        accumulation: Micro-batches in a step (the paper: 4).
        precision: Number format of the frozen weights; float16 and bfloat16 run under autocast.
        warm_up: Share of the steps in which the learning rate rises, before the cosine.
        clip: Greatest norm of the gradients.
        seed: Seed of the weights, the order and every other random draw.
        most_target: Longest target, in tokens.
        checkpointed: Whether gradients are checkpointed, to save memory.
        save_every: Steps between checkpoints; 0 saves at the end alone.
        validate_every: Steps between validations; 0 validates at the end alone.
        end_cut_targets: Whether a target that was cut ends with the end token, as
            in runs that were begun before this field was there.
        best_checkpoint: Whether the weights of the step with the lowest validation loss are taken,
            and not those of the last step.
        early_stopping_patience: Validations without a lower loss after which the run ends; 0 never
            ends it early.
    """

    steps: int
    batch: int = 3
    accumulation: int = 4
    precision: Precision = "float16"
    warm_up: float = 0.03
    clip: float = 1.0
    seed: int = 0
    most_target: int = 150
    checkpointed: bool = False
    save_every: int = 200
    validate_every: int = 0
    end_cut_targets: bool = False
    best_checkpoint: bool = False
    early_stopping_patience: int = 0

    def rate_factor(self, step: int) -> float:
        """What every learning rate is multiplied with on a step; step 0 is the first.

        A linear warm-up, then a cosine to 0. transformers' `get_cosine_schedule_with_warmup` has
        the same cosine, but a factor of 0 on the first step (decision 010 says why it is not used).
        """
        warm_up_steps = max(1, round(self.warm_up * self.steps))
        if step < warm_up_steps:
            return (step + 1) / warm_up_steps
        progress = (step - warm_up_steps) / max(1, self.steps - warm_up_steps)
        return 0.5 * (1.0 + math.cos(math.pi * progress))


EARLIER_VALUES: Mapping[str, Mapping[str, Any]] = {
    "settings": {"end_cut_targets": True},
    "showing": {"untouched": 0.0, "noise": 0.0, "blur": 0.0},
}
"""What runs did that were begun before these fields were there, so their identities lack them. An
identity leaves out a field with this value, so that such a run resumes."""

UNSET_VALUES: Mapping[str, Any] = {"best_checkpoint": False, "early_stopping_patience": 0}
"""Settings that are stored only with other values than these, so that what a run stores is what it
was in versions without them."""


def as_begun(
    config: TrainingConfig, transform: SampleTransform, saved: dict[str, Any]
) -> tuple[TrainingConfig, SampleTransform]:
    """The settings with which a run goes on that an earlier version may have begun.

    Args:
        config: The settings of this version.
        transform: How this version makes samples.
        saved: The identity of the run.

    Returns:
        The same, with each field that the identity does not have as in the earlier version.
    """
    earlier = {
        part: {name: value for name, value in values.items() if name not in saved[part]}
        for part, values in EARLIER_VALUES.items()
    }
    return replace(config, **earlier["settings"]), replace(transform, **earlier["showing"])


def stored_settings(config: TrainingConfig) -> dict[str, Any]:
    """The settings as a run and a manifest store them."""
    return {
        name: value
        for name, value in asdict(config).items()
        if name not in UNSET_VALUES or value != UNSET_VALUES[name]
    }


def identity_of(
    stage: Stage,
    config: TrainingConfig,
    transform: SampleTransform,
    processes: int,
    extra: dict[str, Any],
) -> dict[str, Any]:
    """Settings that must be equal on resume, as JSON.

    Args:
        stage: What trains.
        config: The settings; those that change no number are left out. When validations are
            matters only where one of them chooses the weights.
        transform: How examples become samples.
        processes: Number of processes.
        extra: What else must be equal: the base, the corpus.
    """
    settings = stored_settings(config) | {"processes": processes}
    for name in ("save_every", "validate_every", "checkpointed"):
        if name != "validate_every" or not config.best_checkpoint:
            settings.pop(name)
    showing = asdict(transform)
    if not stage.priors:
        # Such a stage never uses them: with other prompts it need not be trained again.
        for name in ("templates", "drop_priors", "drop_lines"):
            showing.pop(name)
    for part, values in (("settings", settings), ("showing", showing)):
        for name, earlier in EARLIER_VALUES[part].items():
            if values[name] == earlier:
                values.pop(name)
    identity = {"stage": asdict(stage), "settings": settings, "showing": showing, **extra}
    as_json: dict[str, Any] = json.loads(json.dumps(identity))
    return as_json


def differences(saved: dict[str, Any], current: dict[str, Any], prefix: str = "") -> list[str]:
    """What differs between two identities, one sentence a key."""
    sentences: list[str] = []
    for key in sorted({*saved, *current}):
        old, new = saved.get(key), current.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            sentences += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            sentences.append(f"{prefix}{key} was {_shortened(old)}, now {_shortened(new)}")
    return sentences


def _shortened(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else text[:57] + "..."

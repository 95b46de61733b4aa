"""The settings of a run, and what it is of: all that may not change on its way. Knows no loop."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from training.finetuning.batches import SampleTransform
from training.finetuning.stages import Stage

Precision = Literal["float16", "bfloat16", "float32"]


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of a run.

    steps: of the optimizer. batch: examples a process reads at once; accumulation: such batches a
    step (the paper: 3 and 4). precision: what is not float32 is autocast. warm_up: share of the
    steps on which the rate rises, before it falls along a cosine. clip: of the gradients' norm.
    seed: of weights, order and all else that is drawn. most_target: tokens of a target.
    checkpointed: gradients are, for memory. save_every: steps between checkpoints. validate_every:
    steps between looks at the examples set apart; 0 looks at the end alone.
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

    def rate(self, step: int) -> float:
        """The share of its height that a rate has on a step, 0 the first."""
        rising = max(1, round(self.warm_up * self.steps))
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1.0 + math.cos(math.pi * (step - rising) / max(1, self.steps - rising)))


def identity_of(
    stage: Stage,
    config: TrainingConfig,
    transform: SampleTransform,
    world: int,
    beside: dict[str, Any],
) -> dict[str, Any]:
    """What a run is of, as JSON has it: all that it may not change on its way.

    world: processes. beside: what else it is of, as its base and its corpus.
    """
    settings = asdict(config) | {"processes": world}
    for name in ("save_every", "validate_every", "checkpointed"):
        settings.pop(name)
    shown = asdict(transform)
    if not stage.priors:
        # It never uses them: another choice of prompts need not train it again.
        for name in ("templates", "drop_priors", "drop_lines"):
            shown.pop(name)
    told = {"stage": asdict(stage), "settings": settings, "showing": shown, **beside}
    said: dict[str, Any] = json.loads(json.dumps(told))
    return said


def differences(was: dict[str, Any], now: dict[str, Any], under: str = "") -> list[str]:
    """What differs between two identities, in words."""
    found: list[str] = []
    for key in sorted({*was, *now}):
        one, other = was.get(key), now.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += differences(one, other, f"{under}{key}.")
        elif one != other:
            found.append(f"{under}{key} was {_shortened(one)}, now {_shortened(other)}")
    return found


def _shortened(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else text[:57] + "..."

"""How many bytes a training writes: the prepared corpus, checkpoints, adapters and the bundle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from transformers import InstructBlipConfig

from model.network.weights import HEAD, build_meta_network
from training.finetuning.checkpoints import KEPT_CHECKPOINTS
from training.finetuning.config import TrainingConfig
from training.memory.plan import MemoryPlan

TEXT_BYTES = 4_000
"""Bytes of an example's texts in the prepared corpus."""


@dataclass(frozen=True)
class DiskUse:
    """Bytes that a training writes.

    Args:
        prepared_bytes: The prepared corpus; removed at the end.
        checkpoints_bytes: The most that the checkpoints of a stage take; removed when it is done.
        adapters_bytes: What the stages learnt; stays.
        bundle_bytes: The bundle; stays.

    Attributes:
        peak_bytes: The most that is on the disk at one time.
        kept_bytes: What is there at the end.
    """

    prepared_bytes: int
    checkpoints_bytes: int
    adapters_bytes: int
    bundle_bytes: int
    peak_bytes: int = field(init=False)
    kept_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        peak = (
            self.prepared_bytes
            + self.adapters_bytes
            + max(self.checkpoints_bytes, self.bundle_bytes)
        )
        object.__setattr__(self, "peak_bytes", peak)
        object.__setattr__(self, "kept_bytes", self.adapters_bytes + self.bundle_bytes)


def plan_disk(
    network: InstructBlipConfig,
    stages: Sequence[tuple[TrainingConfig, MemoryPlan]],
    examples: int,
    films: float,
    pixels: int,
) -> DiskUse:
    """Plan the bytes that a training writes; logs and plots are left out.

    Args:
        network: Configuration of the network.
        stages: Settings and memory of each stage.
        examples: Training and validation examples.
        films: Films of an example, on average.
        pixels: Pixels of a prepared film.
    """
    return DiskUse(
        prepared_bytes=int(examples * (films * pixels + TEXT_BYTES)),
        checkpoints_bytes=max(checkpoint_bytes(config, planned) for config, planned in stages),
        adapters_bytes=sum(planned.trainables for _, planned in stages),
        bundle_bytes=bundle_bytes(network),
    )


def checkpoint_bytes(config: TrainingConfig, planned: MemoryPlan) -> int:
    """The most that the checkpoints of a stage take.

    A new one is written before the oldest is removed.
    """
    copies = 2 if config.best_checkpoint else 1
    each = copies * planned.trainables + planned.optimizer
    written = math.ceil(config.steps / config.save_every) if config.save_every else 1
    return each * min(written, KEPT_CHECKPOINTS + 1)


def bundle_bytes(network: InstructBlipConfig) -> int:
    """The weights of a bundle whose adapters were merged, in float32."""
    weights = dict(build_meta_network(network).named_parameters())
    numbers: int = sum(weight.numel() for weight in weights.values())
    if HEAD not in weights:  # on disk it is a weight of its own
        numbers += network.text_config.vocab_size * network.text_config.d_model
    return 4 * numbers

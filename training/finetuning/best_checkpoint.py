"""Keeps the weights of the step with the lowest validation loss, and ends a run early."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch


class BestCheckpoint:
    """The weights of the best step so far, in memory; each checkpoint of a run has a copy.

    So a checkpoint and the choice in it are always of one moment: a run that was killed and resumed
    takes the step that an unbroken one takes.

    Args:
        patience: Validations without a lower loss after which training stops; 0 never stops it.

    Attributes:
        step: The step with the lowest loss; 0 before there is one.
        loss: Its validation loss.
        weights: What trained, after that step, on the CPU, by name.
        unimproved: Validations since that step.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.step = 0
        self.loss = math.inf
        self.weights: dict[str, torch.Tensor] = {}
        self.unimproved = 0

    @property
    def stops(self) -> bool:
        """Whether the loss has not been lower for as many validations as the patience."""
        return 0 < self.patience <= self.unimproved

    def update(self, step: int, loss: float, weights: Mapping[str, torch.Tensor]) -> None:
        """Take a validation into account.

        Args:
            step: Number of the step; 1 is the first.
            loss: The validation loss after it. One that is not finite is never the lowest.
            weights: What trains, by name; copied where the loss is the lowest so far.
        """
        if not loss < self.loss:
            self.unimproved += 1
            return
        self.step, self.loss, self.unimproved = step, loss, 0
        self.weights = {name: w.detach().to("cpu", copy=True) for name, w in weights.items()}

    @torch.no_grad()
    def apply(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Give the parameters the values of the best step, if there was one."""
        for name, best in self.weights.items():
            weights[name].copy_(best)

    def state(self) -> dict[str, Any]:
        """What a checkpoint stores beside the weights."""
        return {"step": self.step, "loss": self.loss, "unimproved": self.unimproved}

    def restore(self, state: Mapping[str, Any], weights: dict[str, torch.Tensor]) -> None:
        """Go on from what a checkpoint stores."""
        self.step, self.loss = state["step"], state["loss"]
        self.unimproved, self.weights = state["unimproved"], weights

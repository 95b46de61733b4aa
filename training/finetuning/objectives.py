"""What is learnt from a batch: the loss of a report, or of what a film shows. Knows no optimizer.

Shapes: B examples, N films of all of them together, V signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from model.case import Case
from model.network.clinicalblip import ClinicalBLIP, Inputs
from training.corpus.phantoms import FINDINGS, LATERAL_SIGNS, frontal_signs, lateral_signs


@dataclass(frozen=True)
class Sample:
    """An example as it is shown once. findings: where they are known (phantoms)."""

    case: Case
    instruction: str
    target: str
    findings: frozenset[str] | None = None


@dataclass(frozen=True)
class Batch:
    """Lessons as tensors.

    inputs: as the network reads them. labels: (B, L) the targets in T5's tokens, -100 where there
    is none. signs, shown: (N, 17) what each film shows, and which of it such a view can show;
    None where the findings are not known.
    """

    inputs: Inputs
    labels: torch.Tensor
    signs: torch.Tensor | None = None
    shown: torch.Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""

        def there(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        labels = self.labels.to(device, non_blocking=True)
        return Batch(self.inputs.to(device), labels, there(self.signs), there(self.shown))


def gather(model: ClinicalBLIP, samples: Sequence[Sample], most_target: int) -> Batch:
    """Lessons as one batch on the CPU. most_target: tokens of a target, the end among them."""
    targets = model.language(
        [sample.target for sample in samples],
        padding=True,
        truncation=True,
        max_length=most_target,
        return_tensors="pt",
    )
    known = all(sample.findings is not None for sample in samples)
    signs, shown = _signs(samples) if known else (None, None)
    return Batch(
        model.gather([x.case for x in samples], [x.instruction for x in samples]),
        targets["input_ids"].masked_fill(targets["attention_mask"] == 0, -100),
        signs,
        shown,
    )


class Objective(nn.Module):
    """A stage's loss on a batch, by its name in `stages.Stage.objective`.

    Its judges, which tell what a film shows, train with the network and are not kept after.
    """

    def __init__(self, model: ClinicalBLIP, name: str) -> None:
        super().__init__()
        if name not in ("report", "signs", "report and signs"):
            raise ValueError(f"no such objective: {name}")
        self.model = model
        self.name = name
        config = model.config
        width = {
            "signs": config.vision_config.hidden_size,
            "report and signs": config.qformer_config.hidden_size,
        }
        self.auxiliary_head = AuxiliaryHead(width[name]) if name in width else None

    def auxiliary_parameters(self) -> list[nn.Parameter]:
        """What trains beside the network."""
        return [] if self.auxiliary_head is None else list(self.auxiliary_head.parameters())

    def forward(self, batch: Batch) -> torch.Tensor:
        """The mean loss of the batch."""
        network = self.model.network
        if self.name == "signs":
            seen = network.vision_model(batch.inputs.pixels).last_hidden_state[:, 1:]  # (N, P, D)
            return self._sign_loss(seen, batch)
        shown, queries = self.model.see(batch.inputs)
        said = network.language_model(
            inputs_embeds=self.model.embed(batch.inputs, shown),
            attention_mask=batch.inputs.words_mask,
            labels=batch.labels,
        )
        loss = torch.as_tensor(said.loss)
        if self.auxiliary_head is None:
            return loss
        # The queries are judged too, or they would learn to look at the film much later.
        return loss + self._sign_loss(queries, batch)

    def _sign_loss(self, seen: torch.Tensor, batch: Batch) -> torch.Tensor:
        if self.auxiliary_head is None or batch.signs is None or batch.shown is None:
            raise ValueError(f"the objective {self.name!r} wants a corpus with known findings")
        judged = self.auxiliary_head(seen).float()
        loss = functional.binary_cross_entropy_with_logits(judged, batch.signs, reduction="none")
        return (loss * batch.shown).sum() / batch.shown.sum()


class AuxiliaryHead(nn.Module):
    """Tells what a view shows from a row of vectors; for each sign the best place counts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.line = nn.Linear(width, len(FINDINGS) + len(LATERAL_SIGNS))

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """(N, T, D) -> (N, 17): the signs of a frontal view, then those of a lateral one."""
        return torch.as_tensor(self.line(seen).amax(dim=1))


def _signs(samples: Sequence[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
    films = sum(len(sample.case.views) for sample in samples)
    signs = torch.zeros(films, len(FINDINGS) + len(LATERAL_SIGNS))
    shown = torch.zeros_like(signs)
    middle, row = len(FINDINGS), 0
    for sample in samples:
        findings = sample.findings or frozenset()
        for number in range(len(sample.case.views)):
            part = slice(0, middle) if number == 0 else slice(middle, None)
            there = frontal_signs(findings) if number == 0 else lateral_signs(findings)
            signs[row, part] = torch.from_numpy(there)
            shown[row, part] = 1.0
            row += 1
    return signs, shown

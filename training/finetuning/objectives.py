"""The losses: of a report's tokens, or of the signs that an image shows.

Shapes: B examples, N views of all of them together, V signs.
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
    """An example as the network gets it once. findings: where they are known (phantoms)."""

    case: Case
    instruction: str
    target: str
    findings: frozenset[str] | None = None


@dataclass(frozen=True)
class Batch:
    """Samples as tensors.

    Args:
        inputs: The network's inputs.
        labels: (B, L) the targets in T5's tokens, -100 where there is padding.
        signs: (N, V) the signs that each view shows; None where the findings are not known.
        sign_mask: (N, V) 1 for the signs that such a view can show; None like `signs`.
        cut: Targets that were longer than allowed and lost their end.
    """

    inputs: Inputs
    labels: torch.Tensor
    signs: torch.Tensor | None = None
    sign_mask: torch.Tensor | None = None
    cut: int = 0

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""

        def moved(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        labels = self.labels.to(device, non_blocking=True)
        inputs, signs, sign_mask = self.inputs.to(device), moved(self.signs), moved(self.sign_mask)
        return Batch(inputs, labels, signs, sign_mask, self.cut)


def collate(
    model: ClinicalBLIP,
    samples: Sequence[Sample],
    max_target_tokens: int,
    *,
    end_cut_targets: bool = False,
) -> Batch:
    """Samples as one batch on the CPU.

    A target that is too long is cut at its end, whatever the tokenizer's own settings are:
    InstructBLIP's cut at the beginning. A cut target has no end token, because the report goes on.

    Args:
        model: The network that the batch is for.
        samples: The samples.
        max_target_tokens: Longest target; the end token counts too.
        end_cut_targets: Whether a cut target has the end token all the same.
    """
    targets: list[list[int]] = model.language_tokenizer(
        [sample.target for sample in samples], verbose=False
    )["input_ids"]
    longest = min(max(map(len, targets)), max_target_tokens)
    labels = torch.full((len(targets), longest), -100)
    for row, ids in zip(labels, targets, strict=True):
        kept = torch.tensor(ids[:max_target_tokens])
        if end_cut_targets:
            kept[-1] = ids[-1]
        row[: len(kept)] = kept
    known = all(sample.findings is not None for sample in samples)
    signs, sign_mask = _signs(samples) if known else (None, None)
    return Batch(
        model.gather([x.case for x in samples], [x.instruction for x in samples]),
        labels,
        signs,
        sign_mask,
        sum(len(ids) > max_target_tokens for ids in targets),
    )


class Objective(nn.Module):
    """The loss of a stage, by its name in `stages.Stage.objective`.

    An objective on signs has an auxiliary head, which trains with the network and is dropped
    afterwards.

    Raises:
        ValueError: There is no objective of that name.
    """

    def __init__(self, model: ClinicalBLIP, name: str) -> None:
        super().__init__()
        if name not in ("report", "signs", "report and signs"):
            raise ValueError(f"there is no objective {name!r}")
        self.model = model
        self.name = name
        config = model.config
        width = {
            "signs": config.vision_config.hidden_size,
            "report and signs": config.qformer_config.hidden_size,
        }
        self.auxiliary_head = AuxiliaryHead(width[name]) if name in width else None

    def auxiliary_parameters(self) -> list[nn.Parameter]:
        """The parameters that train beside the network's own."""
        return [] if self.auxiliary_head is None else list(self.auxiliary_head.parameters())

    def forward(self, batch: Batch) -> torch.Tensor:
        """The mean loss of the batch, a scalar.

        Raises:
            ValueError: The objective is on signs, and the batch has none.
        """
        network = self.model.network
        if self.name == "signs":
            patches = network.vision_model(batch.inputs.pixels).last_hidden_state[
                :, 1:
            ]  # (N, P, D)
            return self._sign_loss(patches, batch)
        image_embeddings, queries = self.model.encode_images(batch.inputs)
        output = network.language_model(
            inputs_embeds=self.model.embed(batch.inputs, image_embeddings),
            attention_mask=batch.inputs.attention_mask,
            labels=batch.labels,
        )
        loss = torch.as_tensor(output.loss)
        if self.auxiliary_head is None:
            return loss
        # Without a loss of their own, the queries would learn to look at the image much later.
        return loss + self._sign_loss(queries, batch)

    def _sign_loss(self, features: torch.Tensor, batch: Batch) -> torch.Tensor:
        if self.auxiliary_head is None or batch.signs is None or batch.sign_mask is None:
            raise ValueError(f"the objective {self.name!r} needs a corpus with known findings")
        logits = self.auxiliary_head(features).float()
        loss = functional.binary_cross_entropy_with_logits(logits, batch.signs, reduction="none")
        return (loss * batch.sign_mask).sum() / batch.sign_mask.sum()


class AuxiliaryHead(nn.Module):
    """Predicts the signs of a view from its features; for each sign the highest place counts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, len(FINDINGS) + len(LATERAL_SIGNS))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(N, T, D) -> (N, 17): the logits of a frontal view's signs, then a lateral one's."""
        return torch.as_tensor(self.linear(features).amax(dim=1))


def _signs(samples: Sequence[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
    views = sum(len(sample.case.views) for sample in samples)
    signs = torch.zeros(views, len(FINDINGS) + len(LATERAL_SIGNS))
    sign_mask = torch.zeros_like(signs)
    middle, row = len(FINDINGS), 0
    for sample in samples:
        findings = sample.findings or frozenset()
        for number in range(len(sample.case.views)):
            columns = slice(0, middle) if number == 0 else slice(middle, None)
            visible = frontal_signs(findings) if number == 0 else lateral_signs(findings)
            signs[row, columns] = torch.from_numpy(visible)
            sign_mask[row, columns] = 1.0
            row += 1
    return signs, sign_mask

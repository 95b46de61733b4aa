"""The finding head: what the image model sees, apart from what the language model writes.

One linear layer reads each of the Q-Former's query outputs; of an observation's logits the highest
over all queries of all views counts. It is trained on a finished network and never changes it, so a
draft is the same with the head and without it.

Shapes: B cases, N views of all cases together, Q queries a view, H the width of the Q-Former, C
observations.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from model.errors import BundleError

FINDING_HEAD_FILE = "finding_head.safetensors"
"""The head's weights inside a bundle."""


class FindingHead(nn.Module):
    """Scores each observation from the query outputs of a case.

    Args:
        width: H, the width of the Q-Former.
        observations: The names of the C observations.
    """

    def __init__(self, width: int, observations: tuple[str, ...]) -> None:
        super().__init__()
        self.observations = observations
        self.linear = nn.Linear(width, len(observations))

    def forward(
        self, queries: torch.Tensor, case_of_view: torch.Tensor, cases: int
    ) -> torch.Tensor:
        """Return the logits of each case.

        Args:
            queries: (N, Q, H) the query outputs, in any number format.
            case_of_view: (N,) the number of the case that each view belongs to, from 0.
            cases: B.

        Returns:
            (B, C) float32.
        """
        logits = self.linear(queries.float()).amax(dim=1)  # (N, C)
        highest = logits.new_full((cases, logits.shape[1]), -torch.inf)
        index = case_of_view.unsqueeze(1).expand_as(logits)
        scores: torch.Tensor = highest.scatter_reduce(0, index, logits, "amax")
        return scores

    def score(self, queries: torch.Tensor) -> list[float]:
        """Return the C probabilities of one case from its query outputs, (T, H) of all views."""
        probabilities: list[float] = self.linear(queries.float()).amax(dim=0).sigmoid().tolist()
        return probabilities

    def save(self, folder: Path) -> None:
        """Write the weights into a bundle's folder."""
        weights = {name: t.detach().cpu().contiguous() for name, t in self.state_dict().items()}
        save_file(weights, folder / FINDING_HEAD_FILE)

    @classmethod
    def load(cls, folder: Path, width: int, observations: tuple[str, ...]) -> FindingHead:
        """Read the head of a bundle.

        Raises:
            BundleError: The file is missing, damaged, or does not fit the network.
        """
        head = cls(width, observations)
        path = folder / FINDING_HEAD_FILE
        try:
            head.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise BundleError(f"{path} is not a finding head of this network: {error}") from error
        return head.eval().requires_grad_(requires_grad=False)

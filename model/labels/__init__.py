"""CheXpert's 14 observations as labels of a report text, by rules or by CheXbert."""

from __future__ import annotations

from pathlib import Path

from model.labels.base import NO_FINDING, OBSERVATIONS, Label, Labeller, Labels, symptoms_of
from model.labels.rules import RuleLabeller

__all__ = [
    "NO_FINDING",
    "OBSERVATIONS",
    "Label",
    "Labeller",
    "Labels",
    "RuleLabeller",
    "load_labeller",
    "symptoms_of",
]


def load_labeller(path: Path | None = None) -> Labeller:
    """Return CheXbert where `path` names a folder with its weights, else the rules.

    Raises:
        BundleError: CheXbert cannot be loaded from the folder.
    """
    if path is None:
        return RuleLabeller()
    from model.labels.chexbert import CheXbert  # imported here, because it imports torch

    return CheXbert.load(path)

"""The 14 observations of CheXpert, the labels a report gives them, and the interface of a labeller.

The rules (`model.labels.rules`) and CheXbert (`model.labels.chexbert`) both implement `Labeller`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from model.prompting.prompt import Symptoms

ENLARGED_CARDIOMEDIASTINUM = "Enlarged Cardiomediastinum"
CARDIOMEGALY = "Cardiomegaly"
LUNG_OPACITY = "Lung Opacity"
LUNG_LESION = "Lung Lesion"
EDEMA = "Edema"
CONSOLIDATION = "Consolidation"
PNEUMONIA = "Pneumonia"
ATELECTASIS = "Atelectasis"
PNEUMOTHORAX = "Pneumothorax"
PLEURAL_EFFUSION = "Pleural Effusion"
PLEURAL_OTHER = "Pleural Other"
FRACTURE = "Fracture"
SUPPORT_DEVICES = "Support Devices"
NO_FINDING = "No Finding"

OBSERVATIONS = (
    ENLARGED_CARDIOMEDIASTINUM,
    CARDIOMEGALY,
    LUNG_OPACITY,
    LUNG_LESION,
    EDEMA,
    CONSOLIDATION,
    PNEUMONIA,
    ATELECTASIS,
    PNEUMOTHORAX,
    PLEURAL_EFFUSION,
    PLEURAL_OTHER,
    FRACTURE,
    SUPPORT_DEVICES,
    NO_FINDING,
)
"""The observations in CheXpert's order, which is also the order of CheXbert's heads."""


class Label(StrEnum):
    """The label of one observation in a report; CheXpert writes 1, 0, -1 and an empty cell."""

    PRESENT = "present"
    ABSENT = "absent"
    UNCERTAIN = "uncertain"
    BLANK = "blank"


Labels = dict[str, Label]
"""One report's label of each of OBSERVATIONS, in that order. "No Finding" is PRESENT or BLANK."""


class Labeller(Protocol):
    """Labels the observations in reports. Scores made with a labeller carry its name and key."""

    @property
    def name(self) -> str:
        """What labels, as people read it, with its version where it has one."""
        ...

    @property
    def key(self) -> str:
        """The prefix of the names of its scores: "chexbert" or "rules"."""
        ...

    def label(self, texts: Sequence[str]) -> list[Labels]:
        """Return the labels of each report, in the order of `texts`."""
        ...

    def are_normal(self, texts: Sequence[str]) -> list[bool]:
        """Return for each report whether it describes a normal chest: "No Finding" is present."""
        ...


def symptoms_of(labels: Labels) -> Symptoms:
    """Return the paper's symptoms of existence and non-existence, for the `oracle` mode alone.

    "No Finding" is no symptom, and an uncertain observation is in neither list.
    """

    def labelled_as(label: Label) -> tuple[str, ...]:
        return tuple(name for name in OBSERVATIONS[:-1] if labels[name] is label)

    return Symptoms(present=labelled_as(Label.PRESENT), absent=labelled_as(Label.ABSENT))

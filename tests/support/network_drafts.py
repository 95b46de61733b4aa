"""What a network in memory writes of phantoms, where `training.evaluation.evaluate` would load a bundle."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from model.case import Case, FailedCase
from model.decoding import Decoding
from model.inference.engine import Engine
from model.network.clinicalblip import ClinicalBLIP
from model.prompting.prompt import instruct

LONGEST = 100


def write(model: ClinicalBLIP, cases: Sequence[Case]) -> list[str]:
    """The drafts, in the order of the cases."""
    engine = Engine(model, torch.device(model.network.device), Decoding(LONGEST), 16)
    texts = {}
    for one in engine.write((case, instruct(case, "context", engine.fits)) for case in cases):
        assert not isinstance(one, FailedCase), one
        texts[one.key] = one.text
    return [texts[case.key] for case in cases]

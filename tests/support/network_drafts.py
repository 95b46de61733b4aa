"""Drafts phantoms with a network in memory, where the evaluation would load a bundle."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from model.case import Case, FailedCase
from model.decoding import Decoding
from model.inference.engine import Engine
from model.network.clinicalblip import ClinicalBLIP
from model.prompting.prompt import build_instruction

MAX_NEW_TOKENS = 100


def draft_cases(model: ClinicalBLIP, cases: Sequence[Case]) -> list[str]:
    """The drafts' texts, in the order of the cases."""
    engine = Engine(model, torch.device(model.network.device), Decoding(MAX_NEW_TOKENS), 16)
    texts = {}
    for draft in engine.write(
        (case, build_instruction(case, "context", engine.fits)) for case in cases
    ):
        assert not isinstance(draft, FailedCase), draft
        texts[draft.key] = draft.text
    return [texts[case.key] for case in cases]

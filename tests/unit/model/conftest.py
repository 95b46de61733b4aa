"""An untrained network of the demonstration's shape, shared by the tests of the model floor."""

from __future__ import annotations

import pytest
import torch

from model.network.clinicalblip import ClinicalBLIP
from training.recipes.phantoms_network import build_network

# On a busy machine two threads of a small network mostly wait for each other.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def untrained() -> ClinicalBLIP:
    return build_network(seed=1).eval()

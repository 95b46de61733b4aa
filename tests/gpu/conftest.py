"""Checks that need a GPU; they need torch, transformers, peft and pytest, and no other part.

make test-gpu        or, where only those are installed, as docs/develop/gpu-run.md says
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "gpu: needs a CUDA device (make test-gpu)")


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The GPU. NIGHTDRAFT_GPU_REHEARSAL=1 runs the same code on the CPU, to see that it runs."""
    if os.environ.get("NIGHTDRAFT_GPU_REHEARSAL"):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return torch.device("cuda")


@pytest.fixture(scope="session")
def full(device: torch.device) -> str:
    """The size that is checked: the published model's, where there is room."""
    if device.type == "cpu":
        return "tiny"
    free, _ = torch.cuda.mem_get_info()
    return "full" if free > 30e9 else "mid"


@pytest.fixture(autouse=True)
def _memory() -> Iterator[None]:
    yield
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

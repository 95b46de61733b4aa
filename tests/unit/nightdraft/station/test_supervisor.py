"""Which GPUs this machine drafts on, and with how many processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nightdraft.station import supervisor
from nightdraft.station.supervisor import draft_processes, find_gpus
from records.errors import SettingsError
from records.settings import read_settings

TWO_GPUS = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb)
"""
DIVIDED_GPU = """GPU 0: NVIDIA A100 (UUID: GPU-aaaa)
  MIG 3g.20gb     Device  0: (UUID: MIG-1)
  MIG 3g.20gb     Device  1: (UUID: MIG-2)
GPU 1: NVIDIA A100 (UUID: GPU-bbbb)
"""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """`machine(listing)`: a machine whose `nvidia-smi -L` prints this, with a torch for CUDA."""

    def configure(listing: str, visible: str | None = None, torch: str = "2.13.0") -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n[ \"$1\" = -L ] && printf '%s' '{listing}'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path) if listing else "")
        monkeypatch.setattr(supervisor, "version", lambda _: torch)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return configure


@pytest.mark.parametrize(
    ("listing", "visible", "gpus", "expected"),
    [
        ("", None, "auto", []),
        (TWO_GPUS, None, "auto", ["GPU-aaaa", "GPU-bbbb"]),
        (TWO_GPUS, "1", "auto", ["1"]),
        (TWO_GPUS, "", "auto", []),
        (TWO_GPUS, None, "1", ["GPU-bbbb"]),
        (TWO_GPUS, None, "GPU-aaaa", ["GPU-aaaa"]),
        (TWO_GPUS, None, "one", []),
        (DIVIDED_GPU, None, "auto", ["MIG-1", "MIG-2", "GPU-bbbb"]),
        (DIVIDED_GPU, None, "0, 2", ["MIG-1", "GPU-bbbb"]),
    ],
)
def test_drafts_on_the_gpus_that_exist_and_are_chosen(
    machine: Callable[..., None],
    listing: str,
    visible: str | None,
    gpus: str,
    expected: list[str],
) -> None:
    machine(listing, visible)
    assert find_gpus(read_settings(gpus=gpus)) == expected


def test_a_gpu_that_does_not_exist_is_an_error(machine: Callable[..., None]) -> None:
    machine(TWO_GPUS)
    with pytest.raises(SettingsError, match="this machine has no GPU '7'; it has 2"):
        find_gpus(read_settings(gpus="0, 7"))


def test_a_named_device_is_one_process(machine: Callable[..., None]) -> None:
    machine(TWO_GPUS)
    assert find_gpus(read_settings(device="cuda:1")) == []
    assert len(draft_processes(read_settings(device="cpu"))) == 1


def test_a_torch_without_cuda_uses_no_gpu(machine: Callable[..., None]) -> None:
    machine(TWO_GPUS, torch="2.13.0+cpu")
    assert find_gpus(read_settings()) == []


def test_each_gpu_has_a_process_that_sees_it_alone(machine: Callable[..., None]) -> None:
    machine(TWO_GPUS)
    first, second = draft_processes(read_settings())
    assert (first.label, second.label) == ("draft 0", "draft 1")
    assert first.env == {"NIGHTDRAFT_GPUS": "one", "CUDA_VISIBLE_DEVICES": "GPU-aaaa"}
    assert second.env["CUDA_VISIBLE_DEVICES"] == "GPU-bbbb"
    assert {process.part for process in (first, second)} == {"draft"}
    assert list(first.command) == ["work", "draft"]

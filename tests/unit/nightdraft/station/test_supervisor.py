"""Which GPUs are drafted on, and with how many processes."""

from __future__ import annotations

import pytest

from nightdraft.station import supervisor
from nightdraft.station.supervisor import draft_processes, find_gpus
from records.errors import SettingsError
from records.settings import read_settings

TWO = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb)
"""
DIVIDED = """GPU 0: NVIDIA A100 (UUID: GPU-aaaa)
  MIG 3g.20gb     Device  0: (UUID: MIG-1)
  MIG 3g.20gb     Device  1: (UUID: MIG-2)
GPU 1: NVIDIA A100 (UUID: GPU-bbbb)
"""


@pytest.fixture
def machine(monkeypatch):
    """`machine(words)`: what the driver's program says; torch is one for GPUs."""

    def is_one(words, visible=None):
        monkeypatch.setattr(supervisor, "_ask_driver", lambda: words)
        monkeypatch.setattr(supervisor, "version", lambda _: "2.13.0")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return is_one


@pytest.mark.parametrize(
    ("words", "visible", "gpus", "found"),
    [
        ("", None, "auto", []),
        (TWO, None, "auto", ["GPU-aaaa", "GPU-bbbb"]),
        (TWO, "1", "auto", ["1"]),
        (TWO, "", "auto", []),
        (TWO, None, "1", ["GPU-bbbb"]),
        (TWO, None, "GPU-aaaa", ["GPU-aaaa"]),
        (TWO, None, "one", []),
        (DIVIDED, None, "auto", ["MIG-1", "MIG-2", "GPU-bbbb"]),
        (DIVIDED, None, "0, 2", ["MIG-1", "GPU-bbbb"]),
    ],
)
def test_the_gpus_are_those_that_are_there_and_wanted(machine, words, visible, gpus, found):
    machine(words, visible)
    assert find_gpus(read_settings(gpus=gpus)) == found


def test_a_gpu_that_is_not_there_is_said(machine):
    machine(TWO)
    with pytest.raises(SettingsError, match="no GPU '7' on this machine; there are 2"):
        find_gpus(read_settings(gpus="0, 7"))


def test_a_named_device_is_one_process(machine):
    machine(TWO)
    assert find_gpus(read_settings(device="cuda:1")) == []
    assert len(draft_processes(read_settings(device="cpu"))) == 1


def test_a_torch_without_cuda_asks_for_no_gpu(machine, monkeypatch):
    machine(TWO)
    monkeypatch.setattr(supervisor, "version", lambda _: "2.13.0+cpu")
    assert find_gpus(read_settings()) == []


def test_each_gpu_has_a_process_that_sees_it_alone(machine):
    machine(TWO)
    first, second = draft_processes(read_settings())
    assert (first.label, second.label) == ("draft 0", "draft 1")
    assert first.env == {"NIGHTDRAFT_GPUS": "one", "CUDA_VISIBLE_DEVICES": "GPU-aaaa"}
    assert second.env["CUDA_VISIBLE_DEVICES"] == "GPU-bbbb"
    assert {one.part for one in (first, second)} == {"draft"}
    assert list(first.command) == ["work", "draft"]

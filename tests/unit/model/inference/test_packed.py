"""Packed and rounded linear layers give what the layers gave that they replace."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from model.bundling.store import load_bundle
from model.decoding import Decoding
from model.errors import DeviceError
from model.inference import decoder, packed
from model.inference.decoder import weighted_sum
from model.inference.device_tuning import tune_for_device
from model.inference.engine import Engine
from model.inference.int8 import Int8Linear
from model.inference.packed import PackedLinear, can_pack, has_onednn
from model.inference.types import RequestOutput
from model.network.clinicalblip import ClinicalBLIP
from model.prompting.prompt import build_instruction
from training.corpus.phantoms import phantom

CPU = torch.device("cpu")
DECODING = Decoding(60)

onednn = pytest.mark.skipif(not has_onednn(), reason="torch was built without oneDNN")


@pytest.fixture(scope="module")
def demo() -> ClinicalBLIP:
    return load_bundle("demo", CPU)[0]


def texts_of(model: ClinicalBLIP, count: int) -> dict[str, str]:
    cases = []
    for number in range(count):
        case = replace(phantom(number).case(112), key=str(number))
        cases.append((case, build_instruction(case, "context", model.fits)))
    texts = {}
    for output in Engine(model, CPU, DECODING, 4).write(cases):
        assert isinstance(output, RequestOutput)
        texts[output.key] = output.text
    return texts


@onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [(1,), (3,), (40,), (2, 5)])
def test_a_packed_layer_gives_the_same(bias: bool, rows: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(48, 33, bias=bias).requires_grad_(False)
    x = torch.randn(*rows, 48)
    assert torch.allclose(PackedLinear(linear)(x), linear(x), atol=1e-5)


@pytest.mark.slow
@onednn
def test_the_served_model_is_packed_and_writes_the_same(
    demo: ClinicalBLIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "MIN_WEIGHTS", 0)
    monkeypatch.setattr(decoder, "MIN_BAG_VALUES", 0)
    served = copy.deepcopy(demo)
    tune_for_device(served, CPU)
    assert not any(isinstance(module, nn.Linear) for module in served.network.modules())
    assert served.dtype == torch.float32
    assert texts_of(served, 6) == texts_of(demo, 6)
    # The layer still works in transformers' `generate`, with which the engine is compared.
    inputs = served.gather([phantom(1).case(112)], ["Write."])
    assert served.generate(inputs, DECODING)[0].ids == demo.generate(inputs, DECODING)[0].ids


@onednn
def test_small_layers_are_left_as_they_are(demo: ClinicalBLIP) -> None:
    served = copy.deepcopy(demo)
    tune_for_device(served, CPU)
    kinds = {
        type(m): m for m in served.network.modules() if isinstance(m, nn.Linear | PackedLinear)
    }
    assert (
        kinds[nn.Linear].weight.numel() < packed.MIN_WEIGHTS <= kinds[PackedLinear].weight.numel()
    )
    assert texts_of(served, 3) == texts_of(demo, 3)


def test_only_float32_on_a_cpu_is_packed() -> None:
    assert can_pack(nn.Linear(2, 2)) == has_onednn()
    assert not can_pack(nn.Linear(2, 2).double())
    assert not can_pack(nn.Linear(2, 2).half())
    assert not can_pack(nn.Linear(2, 2, device="meta"))


def test_values_are_summed_over_a_slice_of_a_cache() -> None:
    torch.manual_seed(0)
    cache = torch.randn(5, 3, 11, 8)
    values = cache[:4, :, :7]
    weights = torch.rand(4, 3, 1, 7)
    assert torch.allclose(weighted_sum(weights, values), weights @ values, atol=1e-6)


def test_rounded_layers_are_near_and_are_reported(demo: ClinicalBLIP) -> None:
    rounded = copy.deepcopy(demo)
    tune_for_device(rounded, CPU, int8=True)
    kinds = [m for m in rounded.network.modules() if isinstance(m, nn.Linear | Int8Linear)]
    assert kinds
    assert all(isinstance(module, Int8Linear) for module in kinds)
    assert Engine(rounded, CPU, DECODING, 2).settings["int8"] is True
    assert "int8" not in Engine(demo, CPU, DECODING, 2).settings
    torch.manual_seed(0)
    linear = nn.Linear(64, 32)
    x = torch.randn(7, 64)
    difference = Int8Linear(linear.weight, linear.bias)(x) - linear(x)
    assert 0 < difference.abs().max() < 0.03 * linear(x).abs().max()


def test_rounded_layers_are_for_a_cpu(demo: ClinicalBLIP) -> None:
    with pytest.raises(DeviceError, match="CPU"):
        tune_for_device(demo, torch.device("cuda"), int8=True)

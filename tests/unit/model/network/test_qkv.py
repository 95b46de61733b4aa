"""Query, key and value of the ViT, apart and one again."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model.network.clinicalblip import ClinicalBLIP
from model.network.qkv import PARTS, ApartQKV, fold_back, folded_names, split_attention
from model.network.sizes import SIZES, build_random
from tests.support.noise_cases import ASK, noise_cases


def seen(model: ClinicalBLIP) -> torch.Tensor:
    with torch.inference_mode():
        return model.see(model.gather(noise_cases(model), [ASK] * 3))[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_apart_gives_the_same_numbers_to_the_bit(dtype: torch.dtype) -> None:
    model = build_random("tiny", seed=1, dtype=dtype)
    before = seen(model)
    split_attention(model.network)
    names = dict(model.network.named_parameters())
    at = "vision_model.encoder.layers.0.self_attn.qkv"
    for part in PARTS:
        assert names[f"{at}.{part}.weight"].shape == (64, 64)
        assert names[f"{at}.{part}.bias"].abs().sum() > 0
    assert torch.equal(seen(model), before)


@pytest.mark.parametrize("threads", [1, 2])
def test_one_layer_of_the_published_width_apart_to_the_bit(threads: int) -> None:
    """The published ViT's width, 257 positions, two films."""
    had, width = torch.get_num_threads(), SIZES["full"].vision["hidden_size"]
    torch.set_num_threads(threads)
    try:
        torch.manual_seed(0)
        fused, x = nn.Linear(width, 3 * width), torch.randn(2, 257, width)
        with torch.inference_mode():
            assert torch.equal(ApartQKV(fused)(x), fused(x))
    finally:
        torch.set_num_threads(had)


def test_a_layer_that_is_listened_to_runs_as_itself() -> None:
    model = build_random("tiny", seed=1)
    before = seen(model)
    split_attention(model.network)
    heard = []
    layer = model.network.vision_model.encoder.layers[0].self_attn.qkv
    layer.q_proj.register_forward_hook(lambda *_: heard.append(1))
    torch.testing.assert_close(seen(model), before)
    assert heard


def test_folded_back_every_key_is_as_before() -> None:
    model = build_random("tiny", seed=1)
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    split_attention(model.network)
    split_attention(model.network)
    assert set(model.network.state_dict()) != set(before)
    assert {n: torch.cat(parts) for n, parts in folded_names(model.network).items()}.keys() == {
        name for name, _ in build_random("tiny").network.named_parameters()
    }
    fold_back(model.network)
    fold_back(model.network)
    after = model.network.state_dict()
    assert list(after) == list(before)
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]), name
        assert tensor.dtype == before[name].dtype


def test_what_is_trained_apart_is_what_is_folded() -> None:
    """A change of the query alone moves the query's rows of the one layer and no other."""
    model = build_random("tiny", seed=1)
    layer = model.network.vision_model.encoder.layers[1].self_attn
    before = layer.qkv.weight.detach().clone()
    split_attention(model.network)
    with torch.no_grad():
        layer.qkv.q_proj.weight += 1.0
    fold_back(model.network)
    moved = layer.qkv.weight - before
    assert (moved[:64] != 0).all()
    assert not moved[64:].any()


def test_a_layer_that_is_wrapped_is_not_folded() -> None:
    model = build_random("tiny", seed=1)
    split_attention(model.network)
    layer = model.network.vision_model.encoder.layers[0].self_attn
    layer.qkv.v_proj = nn.Sequential(layer.qkv.v_proj)
    with pytest.raises(ValueError, match="v_proj is wrapped"):
        fold_back(model.network)


def test_without_biases() -> None:
    fused = nn.Linear(4, 12, bias=False)
    apart = ApartQKV(fused)
    x = torch.randn(1, 2, 4)
    assert torch.equal(apart(x), fused(x))
    assert apart.folded().bias is None

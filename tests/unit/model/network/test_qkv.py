"""Query, key and value of the ViT, split and fused again."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model.network.clinicalblip import ClinicalBLIP
from model.network.qkv import (
    PROJECTIONS,
    SplitQKV,
    fuse_attention,
    fused_parameters,
    split_attention,
)
from model.network.sizes import SIZES, build_random
from tests.support.noise_cases import INSTRUCTION, noise_cases


def image_embeddings(model: ClinicalBLIP) -> torch.Tensor:
    with torch.inference_mode():
        return model.encode_images(model.gather(noise_cases(model), [INSTRUCTION] * 3))[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_split_network_gives_the_same_numbers_to_the_bit(dtype: torch.dtype) -> None:
    model = build_random("tiny", seed=1, dtype=dtype)
    before = image_embeddings(model)
    split_attention(model.network)
    names = dict(model.network.named_parameters())
    at = "vision_model.encoder.layers.0.self_attn.qkv"
    for part in PROJECTIONS:
        assert names[f"{at}.{part}.weight"].shape == (64, 64)
        assert names[f"{at}.{part}.bias"].abs().sum() > 0
    assert torch.equal(image_embeddings(model), before)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_layer_of_the_published_width_is_split_to_the_bit(threads: int) -> None:
    """The published ViT's width, 257 positions, two views."""
    before, width = torch.get_num_threads(), SIZES["full"].vision["hidden_size"]
    torch.set_num_threads(threads)
    try:
        torch.manual_seed(0)
        fused, x = nn.Linear(width, 3 * width), torch.randn(2, 257, width)
        with torch.inference_mode():
            assert torch.equal(SplitQKV(fused)(x), fused(x))
    finally:
        torch.set_num_threads(before)


def test_a_layer_with_a_hook_runs_on_its_own() -> None:
    model = build_random("tiny", seed=1)
    before = image_embeddings(model)
    split_attention(model.network)
    calls = []
    layer = model.network.vision_model.encoder.layers[0].self_attn.qkv
    layer.q_proj.register_forward_hook(lambda *_: calls.append(1))
    torch.testing.assert_close(image_embeddings(model), before)
    assert calls


def test_after_fusing_every_key_is_as_before() -> None:
    model = build_random("tiny", seed=1)
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    split_attention(model.network)
    split_attention(model.network)
    assert set(model.network.state_dict()) != set(before)
    assert {n: torch.cat(parts) for n, parts in fused_parameters(model.network).items()}.keys() == {
        name for name, _ in build_random("tiny").network.named_parameters()
    }
    fuse_attention(model.network)
    fuse_attention(model.network)
    after = model.network.state_dict()
    assert list(after) == list(before)
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]), name
        assert tensor.dtype == before[name].dtype


def test_a_trained_query_changes_only_its_rows() -> None:
    """A change of the query alone changes the query's rows of the fused layer and no others."""
    model = build_random("tiny", seed=1)
    layer = model.network.vision_model.encoder.layers[1].self_attn
    before = layer.qkv.weight.detach().clone()
    split_attention(model.network)
    with torch.no_grad():
        layer.qkv.q_proj.weight += 1.0
    fuse_attention(model.network)
    change = layer.qkv.weight - before
    assert (change[:64] != 0).all()
    assert not change[64:].any()


def test_a_wrapped_layer_cannot_be_fused() -> None:
    model = build_random("tiny", seed=1)
    split_attention(model.network)
    layer = model.network.vision_model.encoder.layers[0].self_attn
    layer.qkv.v_proj = nn.Sequential(layer.qkv.v_proj)
    with pytest.raises(ValueError, match="v_proj is wrapped"):
        fuse_attention(model.network)


def test_without_biases() -> None:
    fused = nn.Linear(4, 12, bias=False)
    split = SplitQKV(fused)
    x = torch.randn(1, 2, 4)
    assert torch.equal(split(x), fused(x))
    assert split.fuse().bias is None

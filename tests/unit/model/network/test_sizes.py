"""Networks by size: every parameter of the published model, and random weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import prod

import pytest
import torch
from transformers import InstructBlipForConditionalGeneration

from model.decoding import Decoding
from model.network.sizes import FULL_PARAMETERS, SIZES, build_random
from model.network.weights import HEAD, SHARED, build_meta_network, weight_dtype
from tests.support.noise_cases import INSTRUCTION, noise_cases


def layers(prefix: str, number: int, shapes: dict[str, tuple[int, ...]]) -> dict[str, object]:
    return {f"{prefix}.{n}.{name}": shape for n in range(number) for name, shape in shapes.items()}


def linear(name: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def vit() -> dict[str, object]:
    """EVA-CLIP's ViT-g/14 at 224: 39 layers, 1408 wide, 16 x 16 patches and the class."""
    w, inner = 1408, 6144
    return {
        "embeddings.class_embedding": (1, 1, w),
        "embeddings.position_embedding": (1, 257, w),
        "embeddings.patch_embedding.weight": (w, 3, 14, 14),
        "embeddings.patch_embedding.bias": (w,),
        **norm("post_layernorm", w),
        **layers(
            "encoder.layers",
            39,
            {
                **linear("self_attn.qkv", 3 * w, w),
                **linear("self_attn.projection", w, w),
                **norm("layer_norm1", w),
                **linear("mlp.fc1", inner, w),
                **linear("mlp.fc2", w, inner),
                **norm("layer_norm2", w),
            },
        ),
    }


def qformer() -> dict[str, object]:
    """BERT-base with a second MLP for the queries, and cross attention in every other layer."""
    w, inner, vision = 768, 3072, 1408
    weights: dict[str, object] = {
        "embeddings.word_embeddings.weight": (30523, w),
        "embeddings.position_embeddings.weight": (512, w),
        **norm("embeddings.layernorm", w),
    }
    for n in range(12):
        at = f"encoder.layer.{n}"
        for part in ("query", "key", "value"):
            weights |= linear(f"{at}.attention.attention.{part}", w, w)
        weights |= linear(f"{at}.attention.output.dense", w, w)
        weights |= norm(f"{at}.attention.output.LayerNorm", w)
        if n % 2 == 0:
            weights |= linear(f"{at}.crossattention.attention.query", w, w)
            weights |= linear(f"{at}.crossattention.attention.key", w, vision)
            weights |= linear(f"{at}.crossattention.attention.value", w, vision)
            weights |= linear(f"{at}.crossattention.output.dense", w, w)
            weights |= norm(f"{at}.crossattention.output.LayerNorm", w)
        for suffix in ("", "_query"):
            weights |= linear(f"{at}.intermediate{suffix}.dense", inner, w)
            weights |= linear(f"{at}.output{suffix}.dense", w, inner)
            weights |= norm(f"{at}.output{suffix}.LayerNorm", w)
    return weights


def t5(stack: str) -> dict[str, object]:
    """Flan-T5-XL's encoder or decoder: 24 layers, 2048 wide, 32 heads of 64, a gated MLP."""
    w, inner = 2048, 5120
    square = {f"{part}.weight": (w, w) for part in "qkvo"}
    weights: dict[str, object] = {
        "final_layer_norm.weight": (w,),
        "block.0.layer.0.SelfAttention.relative_attention_bias.weight": (32, 32),
    }
    parts = ["SelfAttention"] + (["EncDecAttention"] if stack == "decoder" else [])
    for n in range(24):
        for number, part in enumerate(parts):
            at = f"block.{n}.layer.{number}"
            weights |= {f"{at}.{part}.{name}": shape for name, shape in square.items()}
            weights[f"{at}.layer_norm.weight"] = (w,)
        at = f"block.{n}.layer.{len(parts)}"
        weights[f"{at}.DenseReluDense.wi_0.weight"] = (inner, w)
        weights[f"{at}.DenseReluDense.wi_1.weight"] = (inner, w)
        weights[f"{at}.DenseReluDense.wo.weight"] = (w, inner)
        weights[f"{at}.layer_norm.weight"] = (w,)
    return weights


PARTS = {
    "vision_model": vit(),
    "qformer": qformer(),
    "query_tokens": {"": (1, 32, 768)},
    "language_projection": linear("", 2048, 768),
    "language_model.encoder": t5("encoder"),
    "language_model.decoder": t5("decoder"),
    "language_model.shared": {"weight": (32128, 2048)},
    "language_model.lm_head": {"weight": (32128, 2048)},
}
COUNTS = {
    "vision_model": 985_952_256,
    "qformer": 185_660_160,
    "query_tokens": 24_576,
    "language_projection": 1_574_912,
    "language_model.encoder": 1_157_729_280,
    "language_model.decoder": 1_560_431_616,
    "language_model.shared": 65_798_144,
    "language_model.lm_head": 65_798_144,
}


def test_all_of_the_published_models_parameters_are_accounted_for() -> None:
    network = build_meta_network(SIZES["full"].config())
    shapes_by_name = {name: tuple(weight.shape) for name, weight in network.named_parameters()}
    expected = {
        f"{part}.{name.lstrip('.')}".rstrip("."): shape
        for part, shapes in PARTS.items()
        for name, shape in shapes.items()  # type: ignore[attr-defined]
    }
    assert shapes_by_name == expected
    counts: Counter[str] = Counter()
    for name, shape in shapes_by_name.items():
        (part,) = (p for p in PARTS if name == p or name.startswith(f"{p}."))
        counts[part] += prod(shape)
    assert counts == COUNTS
    assert sum(counts.values()) == FULL_PARAMETERS == 4_022_969_088
    assert all(weight.is_meta for weight in network.parameters())


def test_the_head_is_a_weight_of_its_own() -> None:
    network = build_meta_network(SIZES["full"].config())
    assert network.get_parameter(HEAD) is not network.get_parameter(SHARED)
    language = network.language_model
    assert language.encoder.embed_tokens.weight is language.shared.weight
    assert language.decoder.embed_tokens.weight is language.shared.weight
    assert not language.config.scale_decoder_outputs


def test_transformers_builds_the_network_without_a_head_of_its_own() -> None:
    """If this fails, `build_meta_network` need no longer create the head."""
    with torch.device("meta"):
        plain = InstructBlipForConditionalGeneration(SIZES["full"].config())
    assert FULL_PARAMETERS - sum(p.numel() for p in plain.parameters()) == 32_128 * 2048


def test_the_middle_size_is_a_twelfth() -> None:
    total = sum(p.numel() for p in build_meta_network(SIZES["mid"].config()).parameters())
    assert 330e6 < total < 360e6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_random_weights_have_the_formats_that_loading_gives(dtype: torch.dtype) -> None:
    model, wide = build_random("tiny", dtype=dtype), build_random("tiny").network
    for name, weight in model.network.named_parameters():
        assert weight.dtype == weight_dtype(model.network, name, dtype), name
        assert torch.equal(weight, wide.get_parameter(name).to(weight.dtype)), name
    assert model.dtype == dtype


def test_random_weights_are_set_by_their_seed() -> None:
    first, repeated, other = (build_random("tiny", seed=seed) for seed in (1, 1, 2))
    for name, weight in first.network.named_parameters():
        assert torch.equal(weight, repeated.network.get_parameter(name)), name
    assert not torch.equal(first.network.query_tokens, other.network.query_tokens)
    assert first.network.query_tokens.std() > 0.1
    assert not any(weight.is_meta for weight in first.network.state_dict().values())


def test_a_random_network_writes_differently_for_other_images() -> None:
    model = build_random("tiny", seed=1)
    cases = noise_cases(model)
    drafts = model.generate(model.gather(cases, [INSTRUCTION] * 3), Decoding(20))
    assert len({draft.ids for draft in drafts}) == 3


def test_larger_activations_write_the_same() -> None:
    """Every norm removes the scale, so nothing else changes in float32."""
    plain, large = (build_random("tiny", seed=1, activation_scale=s) for s in (1.0, 2.0**15))
    hidden: dict[str, float] = {}
    for name, model in (("plain", plain), ("large", large)):
        block = model.network.language_model.encoder.block[0]
        block.register_forward_hook(
            lambda *args, name=name: hidden.update({name: float(args[2][0].abs().max())})
        )
    inputs = plain.gather(noise_cases(plain), [INSTRUCTION] * 3)
    drafts = [m.generate(inputs, Decoding(20)) for m in (plain, large)]
    assert [draft.ids for draft in drafts[0]] == [draft.ids for draft in drafts[1]]
    assert hidden["large"] / hidden["plain"] == pytest.approx(2.0**15, rel=1e-3)


def test_a_size_can_be_given_in_full() -> None:
    size = replace(SIZES["tiny"], queries=4)
    assert build_random(size).network.query_tokens.shape == (1, 4, 64)

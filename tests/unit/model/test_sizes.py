"""The sizes: the published model's parameters to the last one, and random weights that compute."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from transformers import InstructBlipForConditionalGeneration

from model.decoding import Decoding
from model.sizes import FULL_PARAMETERS, SIZES, build_random, config_of
from model.weights import HEAD, format_of, parts, skeleton
from training.corpus.phantoms import phantom

WIDE = 2048
LAYER = {  # of T5-XL: name -> shape, heads of 64
    "SelfAttention.q.weight": (WIDE, WIDE),
    "SelfAttention.k.weight": (WIDE, WIDE),
    "SelfAttention.v.weight": (WIDE, WIDE),
    "SelfAttention.o.weight": (WIDE, WIDE),
}
MLP = {
    "DenseReluDense.wi_0.weight": (5120, WIDE),
    "DenseReluDense.wi_1.weight": (5120, WIDE),
    "DenseReluDense.wo.weight": (WIDE, 5120),
}
BIAS = "SelfAttention.relative_attention_bias.weight"


def linear(name: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def published() -> dict[str, tuple[int, ...]]:
    """Every parameter of InstructBLIP Flan-T5-XL, by name, as transformers' classes have them.

    ViT-g/14 (Fang et al. 2022), BERT-base as Q-Former with cross attention in every second layer
    (Li et al. 2023), Flan-T5-XL (Chung et al. 2022).
    """
    shapes: dict[str, tuple[int, ...]] = {"query_tokens": (1, 32, 768)}
    eye = "vision_model"
    shapes |= {
        f"{eye}.embeddings.class_embedding": (1, 1, 1408),
        f"{eye}.embeddings.position_embedding": (1, 257, 1408),
        f"{eye}.embeddings.patch_embedding.weight": (1408, 3, 14, 14),
        f"{eye}.embeddings.patch_embedding.bias": (1408,),
        **norm(f"{eye}.post_layernorm", 1408),
    }
    for n in range(39):
        at = f"{eye}.encoder.layers.{n}"
        shapes |= linear(f"{at}.self_attn.qkv", 3 * 1408, 1408)
        shapes |= linear(f"{at}.self_attn.projection", 1408, 1408)
        shapes |= linear(f"{at}.mlp.fc1", 6144, 1408) | linear(f"{at}.mlp.fc2", 1408, 6144)
        shapes |= norm(f"{at}.layer_norm1", 1408) | norm(f"{at}.layer_norm2", 1408)
    former = "qformer"
    shapes |= {
        f"{former}.embeddings.word_embeddings.weight": (30_523, 768),
        f"{former}.embeddings.position_embeddings.weight": (512, 768),
        **norm(f"{former}.embeddings.layernorm", 768),
    }
    for n in range(12):
        at = f"{former}.encoder.layer.{n}"
        looks = {"attention": 768} | ({"crossattention": 1408} if n % 2 == 0 else {})
        for name, into in looks.items():
            shapes |= linear(f"{at}.{name}.attention.query", 768, 768)
            shapes |= linear(f"{at}.{name}.attention.key", 768, into)
            shapes |= linear(f"{at}.{name}.attention.value", 768, into)
            shapes |= linear(f"{at}.{name}.output.dense", 768, 768)
            shapes |= norm(f"{at}.{name}.output.LayerNorm", 768)
        for end in ("", "_query"):
            shapes |= linear(f"{at}.intermediate{end}.dense", 3072, 768)
            shapes |= linear(f"{at}.output{end}.dense", 768, 3072)
            shapes |= norm(f"{at}.output{end}.LayerNorm", 768)
    shapes |= linear("language_projection", WIDE, 768)
    shapes |= {"language_model.shared.weight": (32_128, WIDE), HEAD: (32_128, WIDE)}
    for stack, last in (("encoder", 1), ("decoder", 2)):
        at = f"language_model.{stack}"
        shapes |= {
            f"{at}.final_layer_norm.weight": (WIDE,),
            f"{at}.block.0.layer.0.{BIAS}": (32, 32),
        }
        for n in range(24):
            shapes |= {f"{at}.block.{n}.layer.0.{name}": s for name, s in LAYER.items()}
            shapes |= {f"{at}.block.{n}.layer.{last}.{name}": s for name, s in MLP.items()}
            if last == 2:
                cross = {k.replace("Self", "EncDec"): s for k, s in LAYER.items()}
                shapes |= {f"{at}.block.{n}.layer.1.{name}": s for name, s in cross.items()}
            for inner in range(last + 1):
                shapes[f"{at}.block.{n}.layer.{inner}.layer_norm.weight"] = (WIDE,)
    return shapes


def test_every_parameter_of_the_published_model_is_accounted_for() -> None:
    network = skeleton(config_of("full"))
    found = {name: tuple(p.shape) for name, p in network.named_parameters()}
    assert found == published()
    counts = parts(network)
    assert sum(counts.values()) == FULL_PARAMETERS == 4_022_969_088
    assert counts == {
        "ViT": 985_952_256,
        "Q-Former": 185_660_160,
        "query tokens": 24_576,
        "projection": 1_574_912,
        "T5 embeddings": 65_798_144,
        "T5 encoder": 1_157_729_280,
        "T5 decoder": 1_560_431_616,
        "T5 head": 65_798_144,
    }


def test_transformers_own_build_is_one_matrix_short() -> None:
    """If this fails, transformers no longer shares the head, and `skeleton` need not part it."""
    with torch.device("meta"):
        plain = InstructBlipForConditionalGeneration(config_of("full"))
    assert FULL_PARAMETERS - sum(p.numel() for p in plain.parameters()) == 32_128 * WIDE


def test_mid_is_as_large_as_it_says_and_proportioned_as_the_published_one() -> None:
    network = skeleton(config_of("mid"))
    counts = parts(network)
    assert 330e6 < sum(counts.values()) < 360e6
    assert set(counts) == set(parts(skeleton(config_of("full"))))


def test_random_weights_are_the_same_for_the_same_seed() -> None:
    one, same, other = (build_random("tiny", seed=seed) for seed in (1, 1, 2))
    for name, weight in one.network.state_dict().items():
        assert torch.equal(weight, same.network.state_dict()[name]), name
    assert not torch.equal(one.network.query_tokens, other.network.query_tokens)
    assert one.network.query_tokens.abs().min() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_random_weights_have_the_formats_that_loading_gives(dtype: torch.dtype) -> None:
    model = build_random("tiny", dtype=dtype)
    kinds = {name: p.dtype for name, p in model.network.named_parameters()}
    assert kinds == {name: format_of(name, dtype) for name in kinds}
    assert model.dtype == dtype
    wide = Counter(kinds.values())[torch.float32]
    assert wide == (len(kinds) if dtype == torch.float32 else 1 + 2 * SIZES["tiny"].t5.layers)


def test_random_weights_look_at_the_film_and_at_the_words() -> None:
    model = build_random("tiny")
    case = phantom(1).case(56)
    grey = replace(case, views=tuple(replace(v, pixels=v.pixels // 2) for v in case.views))
    told = [
        model.generate(model.gather([one], [text]), Decoding(12))[0].logprobs
        for one, text in ((case, "Write."), (grey, "Write."), (case, "Write all."))
    ]
    assert told[0] != told[1]
    assert told[0] != told[2]

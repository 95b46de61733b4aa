"""The network on a GPU: half precision over large activations, loading, split attention."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from model.bench.workload import make_workload
from model.bundling.store import load_bundle, save_bundle
from model.manifest import NULL
from model.network.clinicalblip import ClinicalBLIP
from model.network.qkv import fuse_attention, split_attention
from model.network.sizes import build_random

pytestmark = pytest.mark.gpu

LARGE = 2.0**15
"""Of activations: what `wo` gives is then beyond float16, as in trained Flan-T5."""
STEPS, STUDIES = 24, 4


def log_probabilities(
    model: ClinicalBLIP, device: torch.device, texts: torch.Tensor
) -> torch.Tensor:
    """(B, T, V) log-probabilities of each next token of texts that are given."""
    cases = make_workload(model, STUDIES).cases
    inputs = model.gather([case for case, _ in cases], [text for _, text in cases]).to(device)
    with torch.inference_mode():
        image_features, _ = model.encode_images(inputs)
        logits: torch.Tensor = model.network.language_model(
            inputs_embeds=model.embed(inputs, image_features),
            attention_mask=inputs.attention_mask,
            decoder_input_ids=texts.to(device),
        ).logits
    return logits.float().log_softmax(-1).cpu()


def halved_as_transformers_does(model: ClinicalBLIP, dtype: torch.dtype) -> ClinicalBLIP:
    """Convert a network in place as `from_pretrained(dtype=...)` of transformers does."""
    network = model.network
    parts = (network, network.language_model)
    kept = {
        name
        for part in parts
        for attribute in ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict")
        for name in (getattr(part, attribute, None) or ())
    }
    for name, parameter in network.named_parameters():
        if not kept & set(name.split(".")):
            parameter.data = parameter.data.to(dtype)
    return model


def agreement(narrow: torch.Tensor, wide: torch.Tensor) -> tuple[float, float]:
    """The mean divergence from float32, and how often the likeliest token is the same."""
    divergence = functional.kl_div(narrow, wide, reduction="none", log_target=True).sum(-1)
    same = (wide.argmax(-1) == narrow.argmax(-1)).float().mean()
    return float(divergence.mean()), float(same)


def test_float16_over_large_activations_is_as_near_to_float32_as_transformers_own(
    device: torch.device, full: str
) -> None:
    texts = torch.randint(4, 256, (STUDIES, STEPS), generator=torch.Generator().manual_seed(0))
    logprobs = {}
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        model = build_random(full, activation_scale=LARGE, dtype=dtype, device=device)
        logprobs[dtype] = log_probabilities(model, device, texts)
        del model
        if device.type == "cuda":
            torch.cuda.empty_cache()
    reference_model = halved_as_transformers_does(
        build_random(full, activation_scale=LARGE, dtype=torch.float32, device=device),
        torch.float16,
    )
    reference = log_probabilities(reference_model, device, texts)
    wide, narrow = logprobs[torch.float32], logprobs[torch.float16]
    assert torch.isfinite(narrow).all()
    assert torch.isfinite(logprobs[torch.bfloat16]).all()
    # How much a sound network loses in half precision depends on its size and weights, so the
    # thresholds are what transformers' own half precision loses on the same network.
    divergence, same = agreement(narrow, wide)
    reference_divergence, reference_same = agreement(reference, wide)
    bfloat16_divergence, _ = agreement(logprobs[torch.bfloat16], wide)
    print(
        f"{full}: from float32, KL of float16 {divergence:.2e} (transformers' own "
        f"{reference_divergence:.2e}), of bfloat16 {bfloat16_divergence:.2e}; the same likeliest "
        f"token {same:.3f} (transformers' own {reference_same:.3f})"
    )
    assert divergence <= 1.5 * reference_divergence + 1e-4
    assert same >= reference_same - 0.05


def test_loading_takes_the_weights_and_little_more(device: torch.device, tmp_path: Path) -> None:
    if device.type == "cpu":
        pytest.skip("measured on the CPU by the unit tests")
    network = build_random("mid", dtype=torch.float16)
    manifest = replace(NULL, name="mid", preprocessing=network.preprocessing, template="context")
    save_bundle(tmp_path / "mid", network, manifest)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    model, _ = load_bundle(tmp_path / "mid", device, torch.float16)
    peak = torch.cuda.max_memory_allocated() - before
    weights = sum(p.numel() * p.element_size() for p in model.network.parameters())
    print(f"loading: {peak / weights:.3f} x the weights")
    assert peak <= 1.15 * weights


def test_query_key_and_value_apart_give_the_same_bits(device: torch.device) -> None:
    for dtype in (torch.float32, torch.float16):
        model = build_random("tiny", dtype=dtype, device=device)
        original_weights = copy.deepcopy(model.network.state_dict())
        texts = torch.zeros((STUDIES, 3), dtype=torch.long)
        fused = log_probabilities(model, device, texts)
        split_attention(model.network)
        assert torch.equal(log_probabilities(model, device, texts), fused)
        fuse_attention(model.network)
        folded = model.network.state_dict()
        assert set(folded) == set(original_weights)
        assert all(torch.equal(folded[name], weight) for name, weight in original_weights.items())
